/* SPDX-License-Identifier: Apache-2.0 */
/* The endpoint for modern pages.  Its URLs serve polls, streams and history,
 * and a POST to them publishes. */
#include "dialect/dialects.h"

#include <apr_strings.h>

#include "wire/accept.h"
#include "wire/encode.h"
#include "output/answer.h"
#include "output/handshake.h"
#include "wait/park.h"
#include "dialect/catch_up.h"
#include "dialect/change.h"
#include "dialect/channels.h"
#include "dialect/gather.h"
#include "dialect/marks.h"
#include "dialect/members.h"
#include "dialect/moderate.h"
#include "dialect/post.h"
#include "dialect/retention.h"
#include "dialect/select.h"

static int is(comet_text_t text, const char *word)
{
    return comet_text_equal(text, comet_text(word));
}

static const comet_transport_t *find_transport(
    const request_rec *r, const mod_comet_request_t *request)
{
    comet_text_t accept = comet_text(apr_table_get(r->headers_in, "Accept"));
    comet_text_t name;

    if (mod_comet_handshake_is_asked(r)) {
        return &comet_transport_websocket;
    }
    if (comet_params_get(&request->query, "transport", &name)) {
        return comet_transport_find(name);
    }
    return comet_accept_prefers(accept, comet_transport_events.content_type,
                                "application/json")
               ? &comet_transport_events
               : &comet_transport_poll;
}

/* Read the cursor: from the header that EventSource sends; otherwise from a
 * parameter that replaces this header, or from mod_comet's own parameters. */
static const char *read_cursor(const request_rec *r,
                               const mod_comet_request_t *request,
                               mod_comet_ask_t *ask)
{
    const char *header = apr_table_get(r->headers_in, "Last-Event-ID");
    const char *wrong = NULL;
    apr_size_t i;

    ask->cursor = -1;
    if (header && *header) {
        return comet_params_cursor(comet_text(header), "Last-Event-ID",
                                   &ask->cursor, r->pool);
    }
    for (i = 0; mod_comet_ask_cursors[i] && !wrong && ask->cursor < 0; i++) {
        wrong = mod_comet_ask_parse_cursor(r, request, mod_comet_ask_cursors[i],
                                           &ask->cursor);
    }
    return wrong;
}

/*
 * Find the cursor.  An EventSource that was connected to another system sends
 * the last id of that system, and a 400 would make it give up for good.  So for
 * a stream such a cursor counts as unknown, and the client is told of a gap.
 * The same holds for a WebSocket, because browsers do not tell pages why a
 * handshake was refused.
 */
static const char *find_cursor(const request_rec *r,
                               const mod_comet_request_t *request,
                               mod_comet_ask_t *ask)
{
    const char *wrong = read_cursor(r, request, ask);

    if (wrong
        && (ask->transport == &comet_transport_events
            || ask->transport == &comet_transport_websocket)) {
        ask->cursor = -1;
        ask->is_unknown = 1;
        return NULL;
    }
    return wrong;
}

static const char *choose_format(const mod_comet_request_t *request,
                                 mod_comet_ask_t *ask)
{
    comet_text_t format;

    if (!comet_params_get(&request->query, "format", &format)
        || is(format, "text")) {
        return NULL;
    }
    ask->format.json = is(format, "json") != 0;
    return ask->format.json ? NULL : "format: expected text or json";
}

/* Read the words of a search.  The index decides what counts as a word. */
static const char *parse_words(const request_rec *r,
                               const mod_comet_request_t *request,
                               mod_comet_ask_t *ask)
{
    if (!comet_params_get(&request->query, "q", &ask->words)) {
        return NULL;
    }
    if (!mod_comet_config_search(r->server)) {
        return "q: searching is off here (CometSearch)";
    }
    if (ask->transport->streams) {
        return "q: only a poll can search for words (transport=poll)";
    }
    return !comet_encode_is_utf8(ask->words)
                   || memchr(ask->words.data, '\0', ask->words.length)
               ? "q: expected words in UTF-8"
               : NULL;
}

/* Read how much the request asks for.  A request that pages backwards,
 * searches, or does not wait asks for history. */
static const char *parse_extent(const request_rec *r,
                                const mod_comet_request_t *request,
                                mod_comet_ask_t *ask)
{
    apr_int64_t limit = COMET_LIMIT_DEFAULT, wait = -1;
    const char *wrong = mod_comet_ask_parse_int(
        r, request, "before", 1, COMET_TIMESTAMP_MAX, &ask->before);

    if (!wrong && ask->before && ask->transport->streams) {
        wrong = "before: a stream cannot read backwards; ask for history with"
                " transport=poll";
    }
    if (!wrong) {
        wrong = parse_words(r, request, ask);
    }
    if (!wrong) {
        wrong = mod_comet_ask_parse_int(r, request, "limit", 1, COMET_LIMIT_MAX,
                                        &limit);
    }
    if (!wrong) {
        wrong = mod_comet_ask_parse_int(r, request, "wait", 0, APR_INT32_MAX,
                                        &wait);
    }
    ask->limit =
        ask->transport->streams ? ask->transport->limit : (apr_size_t)limit;
    ask->history = !ask->transport->streams
                   && (wait == 0 || ask->before || ask->words.data);
    ask->hold = ask->history ? 0 : mod_comet_ask_longest_hold(r);
    if (wait >= 0 && apr_time_from_sec(wait) < ask->hold) {
        ask->hold = apr_time_from_sec(wait);
    }
    return wrong;
}

/* Find out whether a WebSocket's client can change its channels.  It can as
 * long as the WebSocket's request exists.  A request that the MPM can park
 * costs little.  Any other request holds a thread, so its client must ask for
 * changes with live=1. */
static const char *parse_live(const request_rec *r,
                              const mod_comet_request_t *request,
                              mod_comet_ask_t *ask)
{
    apr_int64_t live = mod_comet_park_can_suspend(r);
    const char *wrong =
        mod_comet_ask_parse_int(r, request, "live", 0, 1, &live);

    ask->is_live =
        live && ask->transport->upgrades && mod_comet_config_multi(r);
    return wrong;
}

static const char *read_ask(request_rec *r, const mod_comet_request_t *request,
                            mod_comet_ask_t *ask)
{
    const char *wrong;

    if (!ask->transport) {
        return apr_pstrcat(r->pool, "transport: expected ",
                           comet_transport_names("or", r->pool), NULL);
    }
    ask->format.callback = mod_comet_config_callback(r);
    ask->format.hidden_bytes = (apr_uint32_t)strlen(request->mapping->channel);
    ask->heartbeat = mod_comet_config_heartbeat(r);
    wrong = find_cursor(r, request, ask);
    if (!wrong) {
        wrong = choose_format(request, ask);
    }
    if (!wrong) {
        wrong = parse_live(r, request, ask);
    }
    return wrong ? wrong : parse_extent(r, request, ask);
}

static const char *map(mod_comet_mapping_t *mapping, const char *argument,
                       apr_pool_t *pool)
{
    apr_size_t length = argument ? strlen(argument) : 0;

    mapping->channel = argument ? argument : "";
    return argument
                   && (length < 2 || length >= COMET_CHANNEL_MAX_BYTES
                       || argument[length - 1] != '/'
                       || comet_params_check_channel(
                           (comet_text_t){ argument, length - 1 }))
               ? "a prefix of channels that ends with a slash and does not "
                 "begin with one, such as shared/"
               : NULL;
}

/* Find the channel: the path below the endpoint, which can be empty. */
static const char *find_channel(const request_rec *r,
                                const mod_comet_mapping_t *mapping,
                                comet_text_t *channel)
{
    const char *below = r->uri + mapping->url_length, *wrong;

    if (!*below || !below[1]) {
        *channel = (comet_text_t){ .data = NULL };
        return NULL;
    }
    *channel =
        comet_text(apr_pstrcat(r->pool, mapping->channel, below + 1, NULL));
    wrong = mod_comet_gather_check_root(mapping, comet_text(below + 1));
    return wrong ? wrong : comet_params_check_channel(*channel);
}

static int publishes(const request_rec *r, const mod_comet_request_t *request)
{
    comet_text_t any;

    return r->method_number == M_POST
           && !comet_params_get(&request->query, "read", &any);
}

static int handle_get(request_rec *r, const mod_comet_request_t *request,
                      mod_comet_ask_t *ask)
{
    const char *wrong;
    comet_text_t any;
    int rv;

    if (comet_params_get(&request->query, "members", &any)) {
        return mod_comet_members_answer(r, request, ask);
    }
    if (comet_params_get(&request->query, "unread", &any)) {
        return mod_comet_marks_answer(r, ask);
    }
    if (comet_params_get(&request->query, "channels", &any)) {
        return mod_comet_channels_answer(r, request, ask);
    }
    if (comet_params_get(&request->query, "retention", &any)) {
        return mod_comet_retention_answer(r, request, ask);
    }
    wrong = read_ask(r, request, ask);
    if (wrong) {
        return mod_comet_answer_error(r, HTTP_BAD_REQUEST, "%s", wrong);
    }
    if (ask->transport->upgrades && !mod_comet_handshake_is_asked(r)) {
        return mod_comet_handshake_demand(r);
    }
    if (!mod_comet_ask_is_transport_allowed(r, ask)) {
        return mod_comet_answer_error(r, HTTP_NOT_ACCEPTABLE,
                                      "transport: %s is off here "
                                      "(CometTransports)",
                                      ask->transport->name);
    }
    rv = mod_comet_select_find(r, request, ask);
    if (rv == DECLINED && ask->transport->upgrades) {
        rv = mod_comet_select_writes(r, request, ask);
    }
    if (rv == DECLINED && ask->is_live
        && !mod_comet_change_begin(r, request, ask)) {
        rv = mod_comet_answer_error(r, HTTP_SERVICE_UNAVAILABLE,
                                    "the server is out of memory");
    }
    if (rv != DECLINED) {
        return rv;
    }
    mod_comet_ask_limit_time(ask, r);
    return r->header_only && !ask->history ? mod_comet_catch_up_head(r, ask)
                                           : mod_comet_catch_up_answer(r, ask);
}

static int handle(request_rec *r, const mod_comet_request_t *request,
                  mod_comet_ask_t *ask)
{
    comet_text_t any;

    if (r->method_number == M_GET) {
        return handle_get(r, request, ask);
    }
    if (comet_params_get(&request->query, "read", &any)) {
        return mod_comet_marks_set(r, request, ask);
    }
    if (comet_params_get(&request->query, "delete", &any)
        || comet_params_get(&request->query, "remove", &any)) {
        return mod_comet_moderate(r, request, ask);
    }
    if (comet_params_get(&request->query, "retention", &any)) {
        return mod_comet_retention_set(r, request, ask);
    }
    return ask->channel.data
               ? mod_comet_post_body(r, request, ask->channel)
               : mod_comet_answer_error(r, HTTP_BAD_REQUEST,
                                        "channel: append a channel's name to "
                                        "the endpoint's path");
}

const mod_comet_dialect_t mod_comet_dialect_endpoint = {
    .usage = "URL [PREFIX/] [optional]",
    .takes = MOD_COMET_OPTIONAL_ARGUMENT,
    .methods = "GET, HEAD, POST, OPTIONS",
    .accepts = MOD_COMET_POST_ACCEPTS,
    .upgrades = 1,
    .subtree = 1,
    .map = map,
    .find_channel = find_channel,
    .publishes = publishes,
    .find_transport = find_transport,
    .handle = handle,
    .change = mod_comet_change_judge,
};
