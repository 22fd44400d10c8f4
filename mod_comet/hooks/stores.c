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

#define UNSET MOD_COMET_UNSET

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

/* The stores found so far. */
typedef struct search_t {
    apr_array_header_t *stores; /* comet_store_config_t * */
    apr_array_header_t *said; /* said_t, one for each store */
    apr_hash_t *known; /* by the place's key: the store's index + 1 */
    server_rec *main;
    const void *named; /* ->own of the place that was located last */
    comet_place_t place; /* that place, located */
    const char *wrong; /* why that place cannot be used, or NULL */
    apr_pool_t *p; /* that of ->stores */
} search_t;

/* What the servers of a store have set; UNSET: none has. */
typedef struct said_t {
    apr_int64_t grace, memory;
} said_t;

static int is_kept_alike(const comet_store_config_t *a,
                         const comet_store_config_t *b)
{
    return a->sync_full == b->sync_full && a->retain_count == b->retain_count
           && a->retain_age == b->retain_age && a->search == b->search
           && a->deletions == b->deletions;
}

/* @return whether no other server has set another value */
static int is_agreed(apr_int64_t *said, apr_int64_t value)
{
    if (*said == UNSET) {
        *said = value;
    }
    return value == UNSET || *said == value;
}

/* Bring the presence settings of a store's servers together.  A server that
 * does not set a directive gets the value of the store's other servers.
 * @return whether the servers agree */
static int agree_on_presence(comet_store_config_t *store, said_t *said,
                             const server_rec *s)
{
    const mod_comet_server_config_t *config = mod_comet_config_server(s);

    if (!mod_comet_config_presence_used(s)) {
        return 1;
    }
    if (!is_agreed(&said->grace, config->presence_grace)
        || !is_agreed(&said->memory, config->presence_memory)) {
        return 0;
    }
    /* a value that no server has set is the default */
    store->presence_grace =
        said->grace != UNSET ? said->grace : mod_comet_config_presence_grace(s);
    store->presence_memory = said->memory != UNSET
                                 ? said->memory
                                 : mod_comet_config_presence_memory(s);
    return 1;
}

/* Find the place that a server's CometStore names.  Most hosts share one
 * place. */
static void locate(search_t *search, const server_rec *s)
{
    const comet_place_t *place = &mod_comet_config_server(s)->place;

    if (!search->place.engine || search->named != place->own) {
        search->named = place->own;
        search->place = *place;
        search->wrong = place->engine->locate(&search->place, search->p);
    }
}

/* Note which store a server has, if this store has been found already.
 * @return the key of the located place */
static const char *recognise(search_t *search, const server_rec *s)
{
    const char *key = apr_pstrcat(search->p, search->place.engine->name, ":",
                                  search->place.key, NULL);

    mod_comet_config_server(s)->store =
        (int)(intptr_t)apr_hash_get(search->known, key, APR_HASH_KEY_STRING)
        - 1;
    return key;
}

static void add_store(search_t *search, const server_rec *s, const char *key)
{
    mod_comet_server_config_t *config = mod_comet_config_server(s);
    comet_store_config_t wanted = make(s, &search->place);
    const said_t said = { config->presence_grace, config->presence_memory };
    const int used = wanted.presence_grace != 0;

    config->store = search->stores->nelts;
    apr_hash_set(search->known, key, APR_HASH_KEY_STRING,
                 (void *)(intptr_t)(config->store + 1));
    APR_ARRAY_PUSH(search->stores, comet_store_config_t *) =
        apr_pmemdup(search->p, &wanted, sizeof(wanted));
    APR_ARRAY_PUSH(search->said, said_t) =
        used ? said : (said_t){ UNSET, UNSET };
}

/* Find out why a server's store cannot do what the server's directives ask;
 * NULL: it can. */
static const char *find_obstacle(const server_rec *s, apr_pool_t *p)
{
    const comet_engine_t *engine = mod_comet_config_server(s)->place.engine;
    const char *obstacle;

    if (!engine) {
        return apr_pstrcat(p,
                           "no CometStore is set for this server; add "
                           "CometStore ",
                           comet_engines_usage(mod_comet_engines_list(p), p),
                           NULL);
    }
    obstacle = mod_comet_config_search(s) ? engine->cannot_search() : NULL;
    return obstacle ? apr_pstrcat(p,
                                  "CometSearch: \"on\" is not allowed: "
                                  "expected off, since ",
                                  obstacle, NULL)
                    : NULL;
}

/* --- servers that must have a store --------------------------------------- */

/* Find the first mapping that is not optional; NULL: there is none. */
static const mod_comet_mapping_t *find_needed(const server_rec *s)
{
    const apr_array_header_t *mappings = mod_comet_config_server(s)->mappings;
    const mod_comet_mapping_t *mapping = (mod_comet_mapping_t *)mappings->elts;
    int i = 0;

    while (i < mappings->nelts && mapping[i].optional) {
        i++;
    }
    return i < mappings->nelts ? &mapping[i] : NULL;
}

static int add_server(search_t *search, const server_rec *s,
                      const mod_comet_mapping_t *mapping)
{
    const mod_comet_server_config_t *config = mod_comet_config_server(s);
    const char *wrong = find_obstacle(s, search->p), *key;
    comet_store_config_t wanted, *found;

    if (wrong) {
        return refuse(s, config->place.engine
                             ? wrong
                             : apr_psprintf(search->p, "%s %s: %s",
                                            mapping->directive, mapping->url,
                                            wrong));
    }
    locate(search, s);
    if (search->wrong) {
        return refuse(
            s, apr_pstrcat(search->p, "CometStore: ", search->wrong, NULL));
    }
    key = recognise(search, s);
    if (config->store == UNSET) {
        add_store(search, s, key);
        return OK;
    }
    found =
        APR_ARRAY_IDX(search->stores, config->store, comet_store_config_t *);
    wanted = make(s, &search->place);
    if (!is_kept_alike(found, &wanted)
        || !agree_on_presence(
            found, &APR_ARRAY_IDX(search->said, config->store, said_t), s)) {
        return refuse(s, apr_psprintf(search->p,
                                      "CometStore: %s is used by two servers "
                                      "with different CometSync, "
                                      "CometRetain, CometSearch, "
                                      "CometDeletions, CometPresenceGrace or "
                                      "CometPresenceMemory",
                                      search->place.name));
    }
    return OK;
}

/* --- servers that may lack a store ---------------------------------------- */

/*
 * Find a module that serves requests in processes forked from httpd's children.
 * Neither the threads nor the database handles of a child exist there.
 * @return why comet cannot run beside one of them; NULL: none is loaded
 */
static const char *find_forking(apr_pool_t *p)
{
    static const char *const forking[] = { "mpm_itk.c", NULL };
    int i;

    for (i = 0; forking[i]; i++) {
        if (ap_find_linked_module(forking[i])) {
            return apr_psprintf(p,
                                "mod_comet cannot be used together with %s, "
                                "which serves each connection in a process of "
                                "its own: comet's threads and database do not "
                                "exist there; unload that module, or serve "
                                "comet's URLs from a second httpd without it",
                                forking[i]);
        }
    }
    return NULL;
}

/* Check a place together with the rest of the configuration, which no single
 * directive can do.
 * @return NULL, or why the server must not use it */
static const char *check_place(const comet_place_t *place,
                               const server_rec *main, apr_pool_t *p)
{
    const comet_site_t site = mod_comet_site(main, p);

    return place->engine->check ? place->engine->check(place, &site, p) : NULL;
}

/* Note the store of a server whose mappings are all optional.  If servers that
 * must have a store use the same store, their settings apply.
 * @return NULL, or why the server's mappings must be left out */
static const char *add_optional(search_t *search, const server_rec *s)
{
    const char *wrong = find_obstacle(s, search->p), *key;

    wrong = wrong ? wrong : find_forking(search->p);
    if (wrong) {
        return wrong;
    }
    locate(search, s);
    if (search->wrong) {
        return search->wrong;
    }
    key = recognise(search, s);
    if (mod_comet_config_server(s)->store == UNSET) {
        search->wrong = check_place(&search->place, search->main, search->p);
        if (!search->wrong) {
            add_store(search, s, key);
        }
    }
    return search->wrong;
}

static int has_optional(const mod_comet_server_config_t *config)
{
    const mod_comet_mapping_t *mapping =
        (mod_comet_mapping_t *)config->mappings->elts;
    int i = 0;

    while (i < config->mappings->nelts && !mapping[i].optional) {
        i++;
    }
    return i < config->mappings->nelts;
}

/* Add the servers whose mappings are all optional.  A server without a
 * CometStore is worth a warning only if no other server serves such
 * mappings. */
static void add_all_optional(search_t *search, server_rec *main)
{
    int served = 0;
    server_rec *s;

    for (s = main; s; s = s->next) {
        mod_comet_server_config_t *config = mod_comet_config_server(s);
        const char *wrong;

        if (config->mappings->nelts && !find_needed(s)) {
            wrong = add_optional(search, s);
            config->omitted =
                wrong ? apr_pstrdup(config->mappings->pool, wrong) : NULL;
        }
        served |= mod_comet_config_serves(config) && has_optional(config);
    }
    for (s = main; s && served; s = s->next) {
        mod_comet_server_config_t *config = mod_comet_config_server(s);

        if (!config->place.engine) {
            config->omitted = NULL;
        }
    }
}

int mod_comet_stores_find(apr_array_header_t *stores, server_rec *main)
{
    apr_pool_t *p = stores->pool;
    search_t search = { .stores = stores,
                        .said = apr_array_make(p, 1, sizeof(said_t)),
                        .known = apr_hash_make(p),
                        .main = main,
                        .p = p };
    server_rec *s;

    for (s = main; s; s = s->next) {
        const mod_comet_mapping_t *mapping = find_needed(s);

        mod_comet_config_server(s)->store = UNSET;
        mod_comet_config_server(s)->omitted = NULL;
        if (mapping && add_server(&search, s, mapping) != OK) {
            return HTTP_INTERNAL_SERVER_ERROR;
        }
    }
    add_all_optional(&search, main);
    return OK;
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

void mod_comet_stores_confine(const apr_array_header_t *stores,
                              const server_rec *main)
{
    const char *jail = mod_comet_site(main, stores->pool).jail;
    int i;

    for (i = 0; i < stores->nelts && jail; i++) {
        comet_place_t *place =
            &APR_ARRAY_IDX(stores, i, comet_store_config_t *)->place;

        if (place->engine->confine) {
            place->engine->confine(place, jail);
        }
    }
}

static int check_places(server_rec *main, const apr_array_header_t *stores)
{
    apr_pool_t *p = stores->pool;
    int i;

    for (i = 0; i < stores->nelts; i++) {
        const char *refusal = check_place(
            &APR_ARRAY_IDX(stores, i, comet_store_config_t *)->place, main, p);

        if (refusal) {
            return refuse(main, apr_pstrcat(p, "CometStore: ", refusal, NULL));
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
        const char *forking = find_forking(ptemp);

        rv = forking ? refuse(main, forking) : OK;
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
