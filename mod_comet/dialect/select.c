/* SPDX-License-Identifier: Apache-2.0 */
/* Which channels a request reads, each authorised as its own URL would be. */
#include "dialect/select.h"

#include <apr_strings.h>

#include "server/child.h"
#include "server/pool.h"
#include "request/limits.h"
#include "request/presence.h"
#include "output/answer.h"
#include "wait/verdicts.h"
#include "dialect/judge.h"
#include "dialect/publish.h"
#include "dialect/reading.h"

/* How many parameters `channel` one request may have. */
#define PARAMETERS_MAX 100

static int refuse(request_rec *r, int status, comet_text_t channel,
                  const char *objection)
{
    const char *name = apr_pstrmemdup(r->pool, channel.data, channel.length);

    return objection ? mod_comet_answer_error(
               r, status, "channel: \"%s\" may not be read with others: %s",
               name, objection)
                     : mod_comet_answer_error(
                         r, status, "channel: \"%s\" may not be read", name);
}

/* --- gathering ----------------------------------------------------------- */

typedef struct gathering_t {
    request_rec *r;
    apr_pool_t *pool; /* gone before the request begins to wait */
    const mod_comet_request_t *request;
    mod_comet_ask_t *ask;
    apr_array_header_t *names; /* comet_text_t each, with the endpoint's
                                * prefix */
    apr_array_header_t *prefixes; /* the same */
    comet_selection_t *known; /* channels that the client was allowed to read a
                               * moment ago (wait/verdicts.h); NULL: none are
                               * known */
} gathering_t;

/* @param name  without the endpoint's prefix */
static comet_text_t stored_name(const gathering_t *gathering, comet_text_t name)
{
    const char *prefix = gathering->request->mapping->channel;

    return comet_text(apr_pstrcat(
        gathering->pool, prefix,
        apr_pstrmemdup(gathering->pool, name.data, name.length), NULL));
}

/* @param name  with the endpoint's prefix */
static int is_known(const gathering_t *gathering, comet_text_t name)
{
    return gathering->known
           && comet_selection_match(gathering->known, name,
                                    comet_message_hash(name))
                  == COMET_SELECTION_NAMED;
}

/*
 * Authorise a name or a prefix, and add it to a list.
 * @param shown  the name that a refusal shows.  For the channels of a wildcard
 *               this is the wildcard, since the client must not learn their
 *               names
 * @return DECLINED: go on
 */
static int take(gathering_t *gathering, comet_text_t name, comet_text_t shown,
                apr_array_header_t *list)
{
    comet_text_t stored = stored_name(gathering, name);
    int is_named = list == gathering->names && comet_text_equal(name, shown);
    const char *objection = NULL;
    int status = OK;

    if (list != gathering->names || !is_known(gathering, stored)
        || (is_named && mod_comet_config_presence_used(gathering->r->server))) {
        status =
            mod_comet_judge_channel(gathering->r, gathering->request->mapping,
                                    name, gathering->ask, is_named, &objection);
    }
    if (status != OK) {
        return refuse(gathering->r, status, shown, objection);
    }
    *(comet_text_t *)apr_array_push(list) = stored;
    return DECLINED;
}

/* Every channel costs a sub-request and an entry in the hub. */
static int check_count(const gathering_t *gathering, int more)
{
    const char *limit = mod_comet_limits_channels(
        gathering->r, (apr_size_t)gathering->names->nelts + (apr_size_t)more);

    return limit ? mod_comet_answer_error(gathering->r, HTTP_TOO_MANY_REQUESTS,
                                          "%s", limit)
                 : DECLINED;
}

/* --- wildcards ----------------------------------------------------------- */

static int keep_name(void *baton, comet_text_t name)
{
    apr_array_header_t *list = baton;

    *(comet_text_t *)apr_array_push(list) =
        (comet_text_t){ apr_pstrmemdup(list->pool, name.data, name.length),
                        name.length };
    return 1;
}

/* List the channels that exist under a prefix, with the endpoint's prefix. */
static apr_status_t list_channels(const gathering_t *gathering,
                                  comet_text_t prefix, apr_array_header_t *list)
{
    comet_store_t *store;
    apr_status_t status =
        mod_comet_reading_take(gathering->r, gathering->ask, &store);

    if (status == APR_SUCCESS) {
        status = comet_store_channels(
            store, prefix,
            (apr_size_t)mod_comet_config_channel_limit(gathering->r) + 1,
            keep_name, list);
    }
    mod_comet_reading_return(gathering->r, store, status);
    return status;
}

/* A wildcard stands for the channels that exist.  Each of them is authorised
 * separately. */
static int expand(gathering_t *gathering, comet_text_t prefix,
                  comet_text_t wildcard)
{
    request_rec *r = gathering->r;
    apr_size_t hidden = gathering->ask->format.hidden_bytes;
    apr_array_header_t *found =
        apr_array_make(gathering->pool, 16, sizeof(comet_text_t));
    char buffer[200];
    apr_status_t status =
        list_channels(gathering, stored_name(gathering, prefix), found);
    int rv, i;

    if (status == COMET_ECOSTLY || status == COMET_EGONE) {
        return mod_comet_reading_ended(r, gathering->ask, status);
    }
    if (status != APR_SUCCESS) {
        return mod_comet_answer_error(
            r, HTTP_SERVICE_UNAVAILABLE, "the messages cannot be read: %s",
            comet_strerror(status, buffer, sizeof(buffer)));
    }
    rv = check_count(gathering, found->nelts);
    for (i = 0; i < found->nelts && rv == DECLINED; i++) {
        comet_text_t name = APR_ARRAY_IDX(found, i, comet_text_t);

        name.data += hidden;
        name.length -= hidden;
        rv = take(gathering, name, wildcard, gathering->names);
    }
    return rv;
}

/* Whether a name is "room/" and a star, or a star alone. */
static int is_wildcard(comet_text_t name)
{
    return name.length && name.data[name.length - 1] == '*'
           && (name.length == 1 || name.data[name.length - 2] == '/');
}

/* @param wildcard  whether the name is one; then the part before its slash
 *                  must be the name of a channel
 * @return NULL, or what is wrong */
static const char *check_name(const gathering_t *gathering, comet_text_t name,
                              int wildcard)
{
    apr_size_t most =
        COMET_CHANNEL_MAX_BYTES - strlen(gathering->request->mapping->channel);
    comet_text_t stem = name;

    if (name.length > most) {
        return apr_psprintf(gathering->r->pool,
                            "the channel's name must be 1 to %d bytes long",
                            (int)most);
    }
    if (wildcard && name.length == 1) {
        return NULL;
    }
    stem.length -= wildcard ? 2 : 0;
    return comet_params_check_channel(stem);
}

static int take_parameter(gathering_t *gathering, comet_text_t name)
{
    comet_text_t said = name;
    int wildcard = is_wildcard(name);
    const char *wrong = check_name(gathering, name, wildcard);
    int rv;

    if (wrong) {
        return mod_comet_answer_error(gathering->r, HTTP_BAD_REQUEST,
                                      "channel: %s", wrong);
    }
    if (!wildcard) {
        return take(gathering, name, said, gathering->names);
    }
    name.length--; /* the star */
    rv = take(gathering, name, said, gathering->prefixes);
    return rv == DECLINED ? expand(gathering, name, said) : rv;
}

/* Whether an earlier parameter is equal to this one: equal ones are authorised
 * and expanded only once. */
static int is_repeated(const comet_params_t *query, apr_size_t at)
{
    apr_size_t i;

    for (i = 0; i < at; i++) {
        if (comet_text_equal(query->list[i].name, query->list[at].name)
            && comet_text_equal(query->list[i].value, query->list[at].value)) {
            return 1;
        }
    }
    return 0;
}

/* Whether the client may have to come back for a new channel. */
static int has_wildcards(const comet_params_t *query)
{
    apr_size_t i;

    for (i = 0; i < query->count; i++) {
        if (comet_text_equal(query->list[i].name, comet_text("channel"))
            && is_wildcard(query->list[i].value)) {
            return 1;
        }
    }
    return 0;
}

static int take_parameters(gathering_t *gathering)
{
    const comet_params_t *query = &gathering->request->query;
    int rv = DECLINED, count = 0;
    apr_size_t i;

    for (i = 0; i < query->count && rv == DECLINED; i++) {
        if (!comet_text_equal(query->list[i].name, comet_text("channel"))) {
            continue;
        }
        if (++count > PARAMETERS_MAX) {
            return mod_comet_answer_error(gathering->r, HTTP_BAD_REQUEST,
                                          "channel: may be given %d times at "
                                          "most",
                                          PARAMETERS_MAX);
        }
        if (!is_repeated(query, i)) {
            rv = take_parameter(gathering, query->list[i].value);
        }
    }
    return rv == DECLINED ? check_count(gathering, 0) : rv;
}

/* --- making -------------------------------------------------------------- */

static apr_status_t unref_selection(void *selection)
{
    comet_selection_unref(selection);
    return APR_SUCCESS;
}

int mod_comet_select_keep(request_rec *r, mod_comet_ask_t *ask,
                          comet_selection_t *selection)
{
    if (!selection) {
        return mod_comet_answer_error(r, HTTP_SERVICE_UNAVAILABLE,
                                      "the server is out of memory");
    }
    selection = comet_hub_share(
        mod_comet_child()->hub,
        (apr_size_t)mod_comet_config_server(r->server)->store, selection);
    apr_pool_cleanup_register(r->pool, selection, unref_selection,
                              apr_pool_cleanup_null);
    ask->selection = selection;
    return DECLINED;
}

static int make(const gathering_t *gathering)
{
    return mod_comet_select_keep(
        gathering->r, gathering->ask,
        comet_selection_create((const comet_text_t *)gathering->names->elts,
                               (apr_size_t)gathering->names->nelts,
                               (const comet_text_t *)gathering->prefixes->elts,
                               /* a reader of history need not notice new
                                * channels */
                               gathering->ask->history
                                   ? 0
                                   : (apr_size_t)gathering->prefixes->nelts));
}

static gathering_t begin(request_rec *r, const mod_comet_request_t *request,
                         mod_comet_ask_t *ask, apr_pool_t *pool)
{
    gathering_t gathering = {
        .r = r,
        .pool = pool,
        .request = request,
        .ask = ask,
        .names = apr_array_make(pool, 1, sizeof(comet_text_t)),
        .prefixes = apr_array_make(pool, 1, sizeof(comet_text_t)),
    };

    if (ask->channel.data) {
        *(comet_text_t *)apr_array_push(gathering.names) = ask->channel;
    }
    return gathering;
}

/* Gather the channels that the parameters name, and select them. */
static int gather(request_rec *r, const mod_comet_request_t *request,
                  mod_comet_ask_t *ask)
{
    apr_pool_t *pool = mod_comet_pool_create(r->pool, "comet_select");
    apr_time_t began = comet_thread_time();
    gathering_t gathering;
    int rv;

    if (!pool) {
        return mod_comet_answer_error(r, HTTP_SERVICE_UNAVAILABLE,
                                      "there is no memory");
    }
    gathering = begin(r, request, ask, pool);
    mod_comet_presence_note(r, r, ask, ask->channel);
    if (!ask->history && has_wildcards(&request->query)) {
        mod_comet_verdicts_identify(r, ask);
        gathering.known =
            mod_comet_verdicts_find(mod_comet_child()->verdicts, ask);
    }
    rv = take_parameters(&gathering);
    if (rv == DECLINED) {
        rv = make(&gathering);
    }
    comet_selection_unref(gathering.known);
    apr_pool_destroy(pool);
    ask->judging = comet_thread_time() - began;
    return rv;
}

int mod_comet_select_one(request_rec *r, mod_comet_ask_t *ask)
{
    mod_comet_presence_note(r, r, ask, ask->channel);
    return mod_comet_select_keep(
        r, ask, comet_selection_create(&ask->channel, 1, NULL, 0));
}

int mod_comet_select_find(request_rec *r, const mod_comet_request_t *request,
                          mod_comet_ask_t *ask)
{
    comet_text_t any;

    if (!comet_params_get(&request->query, "channel", &any)) {
        return ask->channel.data ? mod_comet_select_one(r, ask)
                                 : mod_comet_answer_error(
                                     r, HTTP_BAD_REQUEST,
                                     "channel: append a channel's name to the "
                                     "endpoint's path");
    }
    if (!mod_comet_config_multi(r)) {
        return mod_comet_answer_error(r, HTTP_FORBIDDEN,
                                      "channel: only the URL's own channel may "
                                      "be read here (CometMulti)");
    }
    ask->format.json = 1; /* each message is to name its channel */
    return gather(r, request, ask);
}

/* --- publishing on a WebSocket --------------------------------------------- */

/* @param name  without the endpoint's prefix
 * @return DECLINED: go on */
static int take_writable(gathering_t *gathering, comet_text_t name)
{
    int status = mod_comet_judge_writing(
        gathering->r, gathering->request->mapping, name, gathering->ask);

    if (status == HTTP_SERVICE_UNAVAILABLE) {
        return mod_comet_answer_error(gathering->r, status,
                                      "it cannot be found out where this "
                                      "client may publish; try again later");
    }
    if (status == OK) {
        *(comet_text_t *)apr_array_push(gathering->names) =
            stored_name(gathering, name);
    }
    return DECLINED;
}

/* @return DECLINED: go on */
static int take_writables(gathering_t *gathering)
{
    const comet_params_t *query = &gathering->request->query;
    apr_size_t hidden = gathering->ask->format.hidden_bytes, i;
    comet_text_t own = gathering->ask->channel;
    int rv = DECLINED;

    if (own.data) {
        rv = take_writable(gathering, (comet_text_t){ own.data + hidden,
                                                      own.length - hidden });
    }
    for (i = 0; i < query->count && rv == DECLINED; i++) {
        comet_text_t name = query->list[i].value;

        if (comet_text_equal(query->list[i].name, comet_text("channel"))
            && !is_wildcard(name) && !is_repeated(query, i)) {
            rv = take_writable(gathering, name);
        }
    }
    return rv;
}

/* @return DECLINED: go on */
static int keep_writes(gathering_t *gathering)
{
    mod_comet_ask_t *ask = gathering->ask;

    if (!gathering->names->nelts) {
        return DECLINED;
    }
    ask->writes =
        comet_selection_create((const comet_text_t *)gathering->names->elts,
                               (apr_size_t)gathering->names->nelts, NULL, 0);
    if (!ask->writes) {
        return mod_comet_answer_error(gathering->r, HTTP_SERVICE_UNAVAILABLE,
                                      "the server is out of memory");
    }
    apr_pool_cleanup_register(gathering->r->pool, ask->writes, unref_selection,
                              apr_pool_cleanup_null);
    return DECLINED;
}

int mod_comet_select_writes(request_rec *r, const mod_comet_request_t *request,
                            mod_comet_ask_t *ask)
{
    apr_pool_t *pool = mod_comet_pool_create(r->pool, "comet_select_writes");
    apr_time_t began = comet_thread_time();
    gathering_t gathering;
    int rv = DECLINED;

    if (!pool) {
        return mod_comet_answer_error(r, HTTP_SERVICE_UNAVAILABLE,
                                      "there is no memory");
    }
    gathering = begin(r, request, ask, pool);
    gathering.names->nelts = 0; /* begin() has added the URL's own channel */
    ask->prefix = request->mapping->channel;
    ask->mute = mod_comet_publish_find_author(r, &ask->author);
    if (!ask->mute) {
        rv = take_writables(&gathering);
    }
    if (rv == DECLINED) {
        rv = keep_writes(&gathering);
    }
    apr_pool_destroy(pool);
    ask->judging += comet_thread_time() - began;
    return rv;
}
