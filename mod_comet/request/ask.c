/* SPDX-License-Identifier: Apache-2.0 */
/* From the parameters and headers of a request to what it asks for. */
#include "request/ask.h"

#include <apr_strings.h>

#include "wire/encode.h"

/* How long a stream lasts by default where a user was authenticated: then
 * the rights are looked at anew. */
#define LIFETIME_AUTHENTICATED apr_time_from_sec(3600)

/* A clock stream this young skips the next tick: it has just had one. */
#define YOUNG_USEC apr_time_from_msec(500)

/* --- pieces ----------------------------------------------------------------- */

/* A poll waits less than the MPM's Timeout, whatever was asked: else the MPM
 * would cut it off. */
static apr_interval_time_t longest_hold(const request_rec *r)
{
    apr_interval_time_t most =
        mod_comet_request_timeout_server(r)->timeout / 5 * 4;
    apr_interval_time_t hold = mod_comet_config_poll_timeout(r);

    return hold < most ? hold : most;
}

/* @param cursor  left as it is when the parameter is absent or empty */
static const char *parse_cursor(const request_rec *r,
                                const mod_comet_request_t *request,
                                const char *name, comet_timestamp_t *cursor)
{
    comet_text_t text;

    return comet_params_get(&request->query, name, &text) && text.length
               ? comet_params_cursor(text, name, cursor, r->pool)
               : NULL;
}

/* The same for a number between two bounds. */
static const char *parse_int(const request_rec *r,
                             const mod_comet_request_t *request,
                             const char *name, apr_int64_t minimum,
                             apr_int64_t maximum, apr_int64_t *number)
{
    comet_text_t text;

    return comet_params_get(&request->query, name, &text) && text.length
               ? comet_params_int(text, name, minimum, maximum, number, r->pool)
               : NULL;
}

static int is(comet_text_t text, const char *word)
{
    return comet_text_equal(text, comet_text(word));
}

/* --- the endpoint ----------------------------------------------------------- */

static const char *choose_transport(request_rec *r,
                                    const mod_comet_request_t *request,
                                    mod_comet_ask_t *ask)
{
    const char *accept = apr_table_get(r->headers_in, "Accept");
    comet_text_t name;

    if (!comet_params_get(&request->query, "transport", &name)) {
        ask->transport = accept && ap_strcasestr(accept, "text/event-stream")
                             ? &comet_transport_events
                             : &comet_transport_poll;
        return NULL;
    }
    ask->transport = comet_transport_find(name);
    return ask->transport
               ? NULL
               : apr_pstrcat(r->pool, "transport: expected ",
                             comet_transport_names("or", r->pool), NULL);
}

const char *const mod_comet_ask_cursors[] = { "last_event_id", "lastEventId",
                                              "since", NULL };

/* EventSource's header wins; then come its stand-ins, and our own name. */
static const char *find_cursor(const request_rec *r,
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
        wrong =
            parse_cursor(r, request, mod_comet_ask_cursors[i], &ask->cursor);
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
    ask->format.json = is(format, "json");
    return ask->format.json ? NULL : "format: expected text or json";
}

/* Words to look for, whatever they are. */
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
        return "q: only a poll can look for words (transport=poll)";
    }
    return !comet_encode_is_utf8(ask->words)
                   || memchr(ask->words.data, '\0', ask->words.length)
               ? "q: expected words in UTF-8"
               : NULL;
}

/* What is asked backwards, by words, or without waiting, is history. */
static const char *parse_extent(const request_rec *r,
                                const mod_comet_request_t *request,
                                mod_comet_ask_t *ask)
{
    apr_int64_t limit = COMET_LIMIT_DEFAULT, wait = -1;
    const char *wrong =
        parse_int(r, request, "before", 1, COMET_TIMESTAMP_MAX, &ask->before);

    if (!wrong && ask->before && ask->transport->streams) {
        wrong = "before: a stream goes forwards; history is transport=poll";
    }
    if (!wrong) {
        wrong = parse_words(r, request, ask);
    }
    if (!wrong) {
        wrong = parse_int(r, request, "limit", 1, COMET_LIMIT_MAX, &limit);
    }
    if (!wrong) {
        wrong = parse_int(r, request, "wait", 0, APR_INT32_MAX, &wait);
    }
    ask->limit =
        ask->transport->streams ? ask->transport->limit : (apr_size_t)limit;
    ask->history = !ask->transport->streams
                   && (wait == 0 || ask->before || ask->words.data);
    ask->hold = ask->history ? 0 : longest_hold(r);
    if (wait >= 0 && apr_time_from_sec(wait) < ask->hold) {
        ask->hold = apr_time_from_sec(wait);
    }
    return wrong;
}

const char *mod_comet_endpoint_ask(request_rec *r,
                                   const mod_comet_request_t *request,
                                   mod_comet_ask_t *ask)
{
    const char *wrong = choose_transport(r, request, ask);

    ask->format.callback = mod_comet_config_callback(r);
    ask->format.hidden_bytes = strlen(request->mapping->channel);
    ask->heartbeat = mod_comet_config_heartbeat(r);
    if (!wrong) {
        wrong = find_cursor(r, request, ask);
    }
    if (!wrong) {
        wrong = choose_format(request, ask);
    }
    return wrong ? wrong : parse_extent(r, request, ask);
}

/* --- the originals ---------------------------------------------------------- */

/* 0 is what the original page starts with; it means "not given". */
const char *mod_comet_classic_ask(request_rec *r,
                                  const mod_comet_request_t *request,
                                  mod_comet_ask_t *ask)
{
    const char *wrong;

    ask->cursor = -1;
    wrong = parse_cursor(r, request, "timestamp", &ask->cursor);
    if (ask->cursor == 0) {
        ask->cursor = -1;
    }
    ask->transport = &comet_transport_classic;
    ask->format.escape = mod_comet_config_escape(r) != 0;
    ask->limit = ask->transport->limit;
    ask->hold = longest_hold(r);
    return wrong;
}

void mod_comet_clock_ask(request_rec *r, mod_comet_ask_t *ask)
{
    ask->transport = &comet_transport_clock;
    ask->limit = 1;
    ask->tick = mod_comet_config_tick(r);
    ask->cursor = apr_time_now();
    ask->seen = comet_monotonic() + YOUNG_USEC;
    ask->heartbeat = mod_comet_config_heartbeat(r);
    mod_comet_ask_limit_lifetime(ask, r);
}

int mod_comet_ask_is_transport_allowed(const request_rec *r,
                                       const mod_comet_ask_t *ask)
{
    return ask->history
           || (mod_comet_config_transports(r)
               & comet_transport_bit(ask->transport))
                  != 0;
}

void mod_comet_ask_limit_lifetime(mod_comet_ask_t *ask, const request_rec *r)
{
    apr_interval_time_t most = mod_comet_config_max_lifetime(r);

    if (most == MOD_COMET_UNSET) {
        most = r->user || ask->authenticated ? LIFETIME_AUTHENTICATED : 0;
    }
    if (most && (!ask->lifetime || most < ask->lifetime)) {
        ask->lifetime = most;
    }
}
