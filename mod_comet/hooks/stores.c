/* SPDX-License-Identifier: Apache-2.0 */
/* Find the stores that all servers name, and check them together. */
#include "hooks/stores.h"

#include <apr_hash.h>
#include <apr_strings.h>
#include <stdint.h>

#include "request/dialect.h"
#include "hooks/advice.h"
#include "hooks/engines.h"
#include "hooks/site.h"

static int refuse(const server_rec *s, const char *message)
{
    ap_log_error(APLOG_MARK, APLOG_EMERG, 0, s, "COMET0111: %s", message);
    return HTTP_INTERNAL_SERVER_ERROR;
}

static comet_store_config_t make(const server_rec *s,
                                 const comet_place_t *place)
{
    return (comet_store_config_t){
        .place = *place,
        .sync_full = mod_comet_config_sync_full(s) != 0,
        .busy_timeout = mod_comet_config_publish_timeout(s),
        .retain_count = mod_comet_config_retain_count(s),
        .retain_age = mod_comet_config_retain_age(s),
        .search = mod_comet_config_search(s) != 0,
        .deletions = mod_comet_config_deletions(s) != 0,
        .presence_grace = mod_comet_config_presence_used(s)
                              ? mod_comet_config_presence_grace(s)
                              : 0,
        .presence_memory = mod_comet_config_presence_memory(s),
    };
}

static int is_kept_alike(const comet_store_config_t *a,
                         const comet_store_config_t *b)
{
    return a->sync_full == b->sync_full && a->retain_count == b->retain_count
           && a->retain_age == b->retain_age && a->search == b->search
           && a->deletions == b->deletions
           && (!a->presence_grace || !b->presence_grace
               || (a->presence_grace == b->presence_grace
                   && a->presence_memory == b->presence_memory));
}

/*
 * @param known  the stores found so far, by their keys: the index + 1
 * @param place  the resolved place of the server's store
 */
static int add_server(apr_array_header_t *stores, apr_hash_t *known,
                      server_rec *s, const comet_place_t *place)
{
    mod_comet_server_config_t *config = mod_comet_config_server(s);
    comet_store_config_t wanted = make(s, place), *found;
    const char *key =
        apr_pstrcat(stores->pool, place->engine->name, ":", place->key, NULL);

    config->store =
        (int)(intptr_t)apr_hash_get(known, key, APR_HASH_KEY_STRING) - 1;
    if (config->store < 0) {
        config->store = stores->nelts;
        apr_hash_set(known, key, APR_HASH_KEY_STRING,
                     (void *)(intptr_t)(config->store + 1));
        APR_ARRAY_PUSH(stores, comet_store_config_t *) =
            apr_pmemdup(stores->pool, &wanted, sizeof(wanted));
        return OK;
    }
    found = APR_ARRAY_IDX(stores, config->store, comet_store_config_t *);
    if (!is_kept_alike(found, &wanted)) {
        return refuse(s, apr_psprintf(stores->pool,
                                      "CometStore: %s is used by two servers "
                                      "with different CometSync, "
                                      "CometRetain, CometSearch, "
                                      "CometDeletions, CometPresenceGrace or "
                                      "CometPresenceMemory",
                                      place->name));
    }
    if (!found->presence_grace) {
        found->presence_grace = wanted.presence_grace;
        found->presence_memory = wanted.presence_memory;
    }
    return OK;
}

/* Check that a server has a store, and that the store can do what the
 * directives ask.
 * @return NULL, or the error */
static const char *check_server(server_rec *s, apr_pool_t *p)
{
    const mod_comet_server_config_t *config = mod_comet_config_server(s);
    const mod_comet_mapping_t *mapping =
        (mod_comet_mapping_t *)config->mappings->elts;
    const comet_engine_t *engine = config->place.engine;
    const char *obstacle;

    if (!engine) {
        return apr_psprintf(
            p, "%s %s: no CometStore is set for this server; add CometStore %s",
            mapping->directive, mapping->url,
            comet_engines_usage(mod_comet_engines_list(p), p));
    }
    obstacle = mod_comet_config_search(s) ? engine->cannot_search() : NULL;
    return obstacle ? apr_psprintf(p,
                                   "CometSearch: \"on\" is not allowed: "
                                   "expected off, since %s",
                                   obstacle)
                    : NULL;
}

int mod_comet_stores_find(apr_array_header_t *stores, server_rec *main)
{
    apr_pool_t *p = stores->pool;
    apr_hash_t *known = apr_hash_make(p);
    const void *named = NULL;
    comet_place_t place = { .engine = NULL };
    server_rec *s;
    int rv = OK;

    for (s = main; s && rv == OK; s = s->next) {
        const mod_comet_server_config_t *config = mod_comet_config_server(s);
        const char *wrong;

        if (!config->mappings->nelts) {
            continue;
        }
        wrong = check_server(s, p);
        if (wrong) {
            return refuse(s, wrong);
        }
        if (!place.engine
            || named != config->place.own) { /* most hosts share one place */
            named = config->place.own;
            place = config->place;
            wrong = place.engine->locate(&place, p);
        }
        rv = wrong ? refuse(s, apr_pstrcat(p, "CometStore: ", wrong, NULL))
                   : add_server(stores, known, s, &place);
    }
    return rv;
}

static void log_advice(void *baton, int fatal, apr_status_t error,
                       const char *text)
{
    const server_rec *s = baton;

    ap_log_error(APLOG_MARK, fatal ? APLOG_ERR : APLOG_WARNING, error, s,
                 "COMET0120: CometStore: %s", text);
}

void mod_comet_stores_advise(const apr_array_header_t *stores, server_rec *main,
                             apr_pool_t *p)
{
    const comet_site_t site = mod_comet_site(main, p);
    int i;

    for (i = 0; i < stores->nelts; i++) {
        const comet_place_t *place =
            &APR_ARRAY_IDX(stores, i, comet_store_config_t *)->place;

        if (place->engine->advise) {
            place->engine->advise(place, &site, log_advice, main, p);
        }
    }
}

/* Check the places of all stores together, which no single directive can do. */
static int check_places(server_rec *main, const apr_array_header_t *stores)
{
    apr_pool_t *p = stores->pool;
    const comet_site_t site = mod_comet_site(main, p);
    int i;

    for (i = 0; i < stores->nelts; i++) {
        const comet_place_t *place =
            &APR_ARRAY_IDX(stores, i, comet_store_config_t *)->place;
        const char *refusal =
            place->engine->check ? place->engine->check(place, &site, p) : NULL;

        if (refusal) {
            return refuse(main, apr_pstrcat(p, "CometStore: ", refusal, NULL));
        }
    }
    return OK;
}

/*
 * Modules that serve requests in processes forked from httpd's children, where
 * neither the threads nor the database handles of a child exist.
 */
static int check_modules(const server_rec *main, apr_pool_t *p)
{
    static const char *const forking[] = { "mpm_itk.c", NULL };
    int i;

    for (i = 0; forking[i]; i++) {
        if (ap_find_linked_module(forking[i])) {
            return refuse(
                main,
                apr_psprintf(p,
                             "mod_comet cannot be used together with %s, which "
                             "serves each connection in a process of its own: "
                             "comet's threads and database do not exist there; "
                             "unload that module, or serve comet's URLs from "
                             "a second httpd without it",
                             forking[i]));
        }
    }
    return OK;
}

int mod_comet_stores_check_config(apr_pool_t *pconf, apr_pool_t *plog,
                                  apr_pool_t *ptemp, server_rec *main)
{
    apr_array_header_t *stores =
        apr_array_make(ptemp, 1, sizeof(comet_store_config_t *));
    int rv = mod_comet_stores_find(stores, main);

    if (rv == OK && stores->nelts) {
        rv = check_modules(main, ptemp);
    }
    if (rv == OK && stores->nelts) {
        rv = check_places(main, stores);
    }
    /* at a start the log is not open yet: post_config warns then */
    if (rv == OK && ap_state_query(AP_SQ_RUN_MODE) == AP_SQ_RM_CONFIG_TEST) {
        mod_comet_stores_advise(stores, main, ptemp);
        mod_comet_advice_give(main, ptemp);
    }
    return rv;
}
