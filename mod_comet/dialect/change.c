/* SPDX-License-Identifier: Apache-2.0 */
/* Judge a change of the channels of an open WebSocket. */
#include "dialect/change.h"

#include <apr_strings.h>

#include "request/limits.h"
#include "dialect/catch_up.h"
#include "dialect/gather.h"
#include "dialect/reading.h"

typedef mod_comet_gathering_t gathering_t;

/* --- what the client asks for ---------------------------------------------- */

/* The channels and wildcards that a client names, each with the endpoint's
 * prefix. */
typedef struct asked_t {
    apr_array_header_t *names; /* comet_text_t each */
    apr_array_header_t *prefixes; /* the same */
} asked_t;

static asked_t begin_asked(apr_pool_t *pool)
{
    return (asked_t){ apr_array_make(pool, 4, sizeof(comet_text_t)),
                      apr_array_make(pool, 1, sizeof(comet_text_t)) };
}

/* Add a channel or wildcard to what the client asks for.
 * @param name  a checked name, without the endpoint's prefix */
static void add_asked(const gathering_t *gathering, asked_t *asked,
                      comet_text_t name)
{
    int wildcard = mod_comet_gather_is_wildcard(name);
    apr_array_header_t *list = wildcard ? asked->prefixes : asked->names;

    name.length -= wildcard ? 1 : 0; /* the star */
    *(comet_text_t *)apr_array_push(list) =
        mod_comet_gather_stored_name(gathering, name);
}

static comet_selection_t *make(const apr_array_header_t *names,
                               const apr_array_header_t *prefixes)
{
    return comet_selection_create(
        (const comet_text_t *)names->elts, (apr_size_t)names->nelts,
        prefixes ? (const comet_text_t *)prefixes->elts : NULL,
        prefixes ? (apr_size_t)prefixes->nelts : 0);
}

/* @return DECLINED: go on */
static int find_asked(gathering_t *gathering, const comet_command_t *command)
{
    asked_t asked = begin_asked(gathering->pool);
    apr_size_t i;

    for (i = 0; i < command->channel_count; i++) {
        comet_text_t name = command->channels[i];
        const char *wrong = mod_comet_gather_check_name(
            gathering, name, mod_comet_gather_is_wildcard(name));

        if (wrong) {
            return mod_comet_gather_refuse(gathering, HTTP_BAD_REQUEST,
                                           "channel: %s", wrong);
        }
        add_asked(gathering, &asked, name);
    }
    gathering->ask->asked = make(asked.names, asked.prefixes);
    return gathering->ask->asked
               ? DECLINED
               : mod_comet_gather_refuse(gathering, HTTP_SERVICE_UNAVAILABLE,
                                         "the server is out of memory");
}

static apr_status_t unref_selection(void *selection)
{
    comet_selection_unref(selection);
    return APR_SUCCESS;
}

int mod_comet_change_begin(request_rec *r, const mod_comet_request_t *request,
                           mod_comet_ask_t *ask)
{
    const comet_params_t *query = &request->query;
    gathering_t gathering = mod_comet_gather_begin(r, request, ask, r->pool);
    asked_t asked = begin_asked(r->pool);
    apr_size_t i;

    for (i = 0; i < query->count; i++) {
        if (comet_text_equal(query->list[i].name, comet_text("channel"))) {
            add_asked(&gathering, &asked, query->list[i].value);
        }
    }
    if (ask->channel.data) {
        *(comet_text_t *)apr_array_push(asked.names) = ask->channel;
    }
    ask->asked = make(asked.names, asked.prefixes);
    if (ask->asked) {
        apr_pool_cleanup_register(r->pool, ask->asked, unref_selection,
                                  apr_pool_cleanup_null);
    }
    return ask->asked != NULL;
}

/* --- judging --------------------------------------------------------------- */

/* Find out what the client may read.
 * @return DECLINED: go on */
static int judge_reading(gathering_t *gathering, const comet_command_t *command,
                         const comet_selection_t *held)
{
    apr_size_t i, fresh = 0;
    const char *limit;
    int rv = DECLINED;

    for (i = 0; i < command->channel_count && rv == DECLINED; i++) {
        rv = mod_comet_gather_add(gathering, command->channels[i]);
    }
    for (i = 0; i < (apr_size_t)gathering->names->nelts; i++) {
        comet_text_t name =
            APR_ARRAY_IDX(gathering->names, i, const comet_text_t);

        fresh += comet_selection_match(held, name, comet_message_hash(name))
                 != COMET_SELECTION_NAMED;
    }
    limit = rv == DECLINED ? mod_comet_limits_channels(
                gathering->r, held->name_count + fresh, gathering->pool)
                           : NULL;
    return limit ? mod_comet_gather_refuse(gathering, HTTP_TOO_MANY_REQUESTS,
                                           "%s", limit)
                 : rv;
}

/* Find out which of the channels the client may publish to.
 * @return DECLINED: go on */
static int judge_writing(gathering_t *gathering, const comet_command_t *command)
{
    mod_comet_ask_t *more = gathering->ask;
    gathering_t writes = mod_comet_gather_begin(
        gathering->r, gathering->request, more, gathering->pool);
    int rv = DECLINED;
    apr_size_t i;

    writes.names->nelts = 0; /* without the URL's own channel */
    for (i = 0; i < command->channel_count && rv == DECLINED && !more->mute;
         i++) {
        if (!mod_comet_gather_is_wildcard(command->channels[i])) {
            rv = mod_comet_gather_add_writable(&writes, command->channels[i]);
        }
    }
    if (rv != DECLINED) {
        gathering->reason = writes.reason;
        return gathering->status = writes.status;
    }
    more->writes = make(writes.names, NULL);
    return DECLINED;
}

/* Find where reading begins.
 * @return DECLINED: go on */
static int find_place(gathering_t *gathering, const comet_command_t *command)
{
    mod_comet_ask_t *more = gathering->ask;
    apr_status_t status;

    more->cursor = command->since;
    more->is_new = more->is_unknown = 0;
    more->floor = more->pruned = 0;
    more->reading.time = 0; /* each change has its own budget of CPU time */
    status = mod_comet_catch_up_find(gathering->r, more);
    return status == APR_SUCCESS ? DECLINED
                                 : mod_comet_gather_refuse_reading(
                                     gathering, status, "the messages");
}

/* @return DECLINED: go on */
static int judge(gathering_t *gathering, const comet_command_t *command,
                 const comet_selection_t *held)
{
    mod_comet_ask_t *more = gathering->ask;
    int rv = judge_reading(gathering, command, held);

    if (rv == DECLINED) {
        rv = judge_writing(gathering, command);
    }
    if (rv == DECLINED) {
        more->selection = make(gathering->names, gathering->prefixes);
        rv = more->selection && more->writes
                 ? find_place(gathering, command)
                 : mod_comet_gather_refuse(gathering, HTTP_SERVICE_UNAVAILABLE,
                                           "the server is out of memory");
    }
    return rv;
}

const char *mod_comet_change_judge(request_rec *r, mod_comet_ask_t *more,
                                   const comet_command_t *command,
                                   const comet_selection_t *held,
                                   apr_pool_t *pool, int *status)
{
    gathering_t gathering =
        mod_comet_gather_begin(r, mod_comet_request(r), more, pool);

    gathering.names->nelts = 0; /* without the URL's own channel */
    more->selection = more->writes = more->asked = NULL;
    more->rooms = NULL;
    more->rooms_pool = pool;
    if (find_asked(&gathering, command) == DECLINED
        && command->kind == COMET_COMMAND_SUBSCRIBE) {
        judge(&gathering, command, held);
    }
    *status = gathering.status;
    return gathering.reason;
}
