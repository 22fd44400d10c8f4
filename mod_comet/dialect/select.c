/* SPDX-License-Identifier: Apache-2.0 */
/* Select the channels that a request reads.  Each channel is authorised like a
 * request to its own URL. */
#include "dialect/select.h"

#include <apr_strings.h>

#include "server/child.h"
#include "server/pool.h"
#include "request/limits.h"
#include "request/presence.h"
#include "output/answer.h"
#include "wait/verdicts.h"
#include "dialect/gather.h"
#include "dialect/publish.h"

/* How many times a request may have the parameter `channel`. */
#define PARAMETERS_MAX 100

typedef mod_comet_gathering_t gathering_t;

/* Whether an earlier parameter has the same value.  A repeated value is
 * authorised and expanded only once. */
static int is_repeated(gathering_t *gathering, comet_text_t name)
{
    apr_ssize_t length = (apr_ssize_t)name.length;

    if (apr_hash_get(gathering->named, name.data, length)) {
        return 1;
    }
    apr_hash_set(gathering->named, name.data, length, "");
    return 0;
}

/* Whether the client reads by wildcards, and so may have to come back for a new
 * channel. */
static int has_wildcards(const comet_params_t *query)
{
    apr_size_t i;

    for (i = 0; i < query->count; i++) {
        if (comet_text_equal(query->list[i].name, comet_text("channel"))
            && mod_comet_gather_is_wildcard(query->list[i].value)) {
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
            return mod_comet_gather_refuse(gathering, HTTP_BAD_REQUEST,
                                           "channel: at most %d such "
                                           "parameters are allowed",
                                           PARAMETERS_MAX);
        }
        if (!is_repeated(gathering, query->list[i].value)) {
            rv = mod_comet_gather_add(gathering, query->list[i].value);
        }
    }
    return rv == DECLINED ? mod_comet_gather_check_count(gathering, 0) : rv;
}

/* --- making -------------------------------------------------------------- */

static apr_status_t unref_selection(void *selection)
{
    comet_selection_unref(selection);
    return APR_SUCCESS;
}

/* Replace a selection with an equal one that the hub has, if there is one.
 * @param selection  the caller's reference, which this function takes over;
 *                   NULL: there was no memory */
static comet_selection_t *share(const request_rec *r,
                                comet_selection_t *selection)
{
    return selection ? comet_hub_share(
               mod_comet_child()->hub,
               (apr_size_t)mod_comet_config_server(r->server)->store, selection)
                     : NULL;
}

/* Keep a selection as long as the request.
 * @param selection  NULL: there was no memory
 * @return what the handler returns; DECLINED: go on */
static int keep(request_rec *r, comet_selection_t *selection)
{
    if (!selection) {
        return mod_comet_answer_error(r, HTTP_SERVICE_UNAVAILABLE,
                                      "the server is out of memory");
    }
    apr_pool_cleanup_register(r->pool, selection, unref_selection,
                              apr_pool_cleanup_null);
    return DECLINED;
}

int mod_comet_select_keep(request_rec *r, mod_comet_ask_t *ask,
                          comet_selection_t *selection)
{
    /* a selection of one channel is small, so it need not be shared */
    ask->selection = selection && comet_selection_is_atom(selection)
                         ? selection
                         : share(r, selection);
    return keep(r, ask->selection);
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

/* Answer a request whose gathering was refused.
 * @param rv  from a function of dialect/gather.h
 * @return DECLINED: go on; or what the handler returns */
static int answer(const gathering_t *gathering, int rv)
{
    return rv == DECLINED
               ? rv
               : mod_comet_answer_error(gathering->r, gathering->status, "%s",
                                        gathering->reason);
}

/* Gather the channels that the parameters name, and select them. */
static int gather(request_rec *r, const mod_comet_request_t *request,
                  mod_comet_ask_t *ask)
{
    apr_pool_t *pool = mod_comet_pool_create_brief(
        r->pool, mod_comet_child()->kept, "comet_select");
    apr_time_t began = comet_thread_time();
    gathering_t gathering;
    int rv;

    if (!pool) {
        return mod_comet_answer_error(r, HTTP_SERVICE_UNAVAILABLE,
                                      "there is no memory");
    }
    gathering = mod_comet_gather_begin(r, request, ask, pool);
    mod_comet_presence_note(r, r, ask, ask->channel);
    if (!ask->history && has_wildcards(&request->query)) {
        mod_comet_verdicts_identify(r, ask);
        gathering.known =
            mod_comet_verdicts_find(mod_comet_child()->verdicts, ask);
    }
    rv = answer(&gathering, take_parameters(&gathering));
    if (rv == DECLINED) {
        rv = make(&gathering);
    }
    comet_selection_unref(gathering.known);
    apr_pool_destroy(pool);
    ask->judged.took = comet_thread_time() - began + gathering.waited;
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
    ask->format.json = 1; /* each message must name its channel */
    return gather(r, request, ask);
}

/* --- publishing on a WebSocket --------------------------------------------- */

/* Gather the channels of the URL that the client may publish to.
 * @return DECLINED: go on */
static int take_writables(gathering_t *gathering)
{
    const comet_params_t *query = &gathering->request->query;
    apr_size_t hidden = gathering->ask->format.hidden_bytes, i;
    comet_text_t own = gathering->ask->channel;
    int rv = DECLINED;

    if (own.data) {
        rv = mod_comet_gather_add_writable(
            gathering,
            (comet_text_t){ own.data + hidden, own.length - hidden });
    }
    for (i = 0; i < query->count && rv == DECLINED; i++) {
        comet_text_t name = query->list[i].value;

        if (comet_text_equal(query->list[i].name, comet_text("channel"))
            && !mod_comet_gather_is_wildcard(name)
            && !is_repeated(gathering, name)) {
            rv = mod_comet_gather_add_writable(gathering, name);
        }
    }
    return rv;
}

/* @return DECLINED: go on */
static int keep_writes(gathering_t *gathering)
{
    request_rec *r = gathering->r;

    if (!gathering->names->nelts) {
        return DECLINED;
    }
    gathering->ask->writes = share(
        r,
        comet_selection_create((const comet_text_t *)gathering->names->elts,
                               (apr_size_t)gathering->names->nelts, NULL, 0));
    return keep(r, gathering->ask->writes);
}

int mod_comet_select_writes(request_rec *r, const mod_comet_request_t *request,
                            mod_comet_ask_t *ask)
{
    apr_pool_t *pool = mod_comet_pool_create_brief(
        r->pool, mod_comet_child()->kept, "comet_select_writes");
    apr_time_t began = comet_thread_time();
    gathering_t gathering;
    int rv = DECLINED;

    if (!pool) {
        return mod_comet_answer_error(r, HTTP_SERVICE_UNAVAILABLE,
                                      "there is no memory");
    }
    gathering = mod_comet_gather_begin(r, request, ask, pool);
    gathering.names->nelts = 0; /* begin() has added the URL's own channel */
    ask->prefix = request->mapping->channel;
    ask->mute = mod_comet_publish_find_author(r, &ask->author);
    if (!ask->mute) {
        rv = answer(&gathering, take_writables(&gathering));
    }
    if (rv == DECLINED) {
        rv = keep_writes(&gathering);
    }
    apr_pool_destroy(pool);
    ask->judged.took += comet_thread_time() - began;
    return rv;
}
