/* SPDX-License-Identifier: Apache-2.0 */
/* The straight path of a request that is ours. */
#include "mod_comet_handler.h"

#include <apr_strings.h>

#include "mod_comet_child.h"
#include "mod_comet_output.h"
#include "mod_comet_park.h"
#include "mod_comet_publish.h"

/* A clock stream this young skips the next tick: it has just had one. */
#define YOUNG_USEC apr_time_from_msec(500)

/* --- what it asks for -------------------------------------------------------- */

/* A poll waits less than the MPM's Timeout, whatever was asked: else the MPM
 * would cut it off. */
static apr_interval_time_t longest_hold(const request_rec *r)
{
    apr_interval_time_t most = mod_comet_timeout_server(r)->timeout / 5 * 4;
    apr_interval_time_t hold = mod_comet_poll_timeout(r);

    return hold < most ? hold : most;
}

static const char *parse_cursor(const request_rec *r,
                                const mod_comet_request_t *request,
                                const char *name, comet_timestamp_t *cursor)
{
    comet_text_t text;

    *cursor = -1;
    return comet_params_get(&request->query, name, &text)
               ? comet_params_cursor(text, name, cursor, r->pool)
               : NULL;
}

/* 0 is what the original page starts with; it means "not given". */
static const char *parse_classic(const request_rec *r,
                                 const mod_comet_request_t *request,
                                 mod_comet_ask_t *ask)
{
    const char *wrong = parse_cursor(r, request, "timestamp", &ask->cursor);

    if (ask->cursor == 0) {
        ask->cursor = -1;
    }
    ask->transport = &comet_transport_classic;
    ask->limit = ask->transport->limit;
    ask->hold = longest_hold(r);
    return wrong;
}

static const char *parse_poll(const request_rec *r,
                              const mod_comet_request_t *request,
                              mod_comet_ask_t *ask)
{
    const char *wrong = parse_cursor(r, request, "since", &ask->cursor);
    apr_int64_t limit = COMET_LIMIT_DEFAULT, wait = -1;
    comet_text_t text;

    if (!wrong && comet_params_get(&request->query, "limit", &text)
        && text.length) {
        wrong = comet_params_int(text, "limit", 1, COMET_LIMIT_MAX, &limit,
                                 r->pool);
    }
    if (!wrong && comet_params_get(&request->query, "wait", &text)
        && text.length) {
        wrong =
            comet_params_int(text, "wait", 0, APR_INT32_MAX, &wait, r->pool);
    }
    ask->transport = &comet_transport_poll;
    ask->limit = (apr_size_t)limit;
    ask->hold = longest_hold(r);
    if (wait >= 0 && apr_time_from_sec(wait) < ask->hold) {
        ask->hold = apr_time_from_sec(wait);
    }
    return wrong;
}

/* The channel a URL names: what stands below the endpoint. */
static const char *find_channel(request_rec *r,
                                const mod_comet_mapping_t *mapping,
                                comet_text_t *channel)
{
    const char *below = r->uri + mapping->url_length;

    if (mapping->dialect != MOD_COMET_ENDPOINT) {
        *channel = comet_text(mapping->channel);
        return NULL;
    }
    *channel = comet_text(apr_pstrcat(r->pool, mapping->channel,
                                      *below ? below + 1 : below, NULL));
    return *below && below[1]
               ? comet_params_check_channel(*channel)
               : "a channel must be named, below the path of the endpoint";
}

/* --- what it has missed ---------------------------------------------------------- */

/*
 * Where the client stands.  Without a cursor it is CometReplay messages
 * back; so it is with one that is ahead of the store, whose database was
 * lost.  A fresh view of the store decides, never this child's memory:
 * another child may just have committed.
 */
static apr_status_t resolve_cursor(const request_rec *r, comet_store_t *store,
                                   const comet_store_state_t *state,
                                   mod_comet_ask_t *ask)
{
    apr_status_t status;
    int any;

    if (ask->cursor > state->last) {
        comet_metrics_add(COMET_METRIC_resynced, 1);
        ask->cursor = -1;
    }
    else if (ask->cursor >= 0) {
        comet_metrics_add(COMET_METRIC_resumed, 1);
        return APR_SUCCESS;
    }
    status = comet_store_replay(store, ask->selection, mod_comet_replay(r),
                                &ask->cursor, &any);
    if (status == APR_SUCCESS && (!any || mod_comet_replay(r) == 0)) {
        ask->cursor = state->last; /* only what comes from now on */
    }
    return status;
}

static apr_status_t read_missed(const request_rec *r, comet_store_t *store,
                                const comet_store_state_t *state,
                                mod_comet_ask_t *ask, comet_batch_t *missed)
{
    comet_reading_t reading = { .selection = ask->selection, .batch = missed };
    comet_timestamp_t floor = 0;
    apr_status_t status = resolve_cursor(r, store, state, ask);

    if (status == APR_SUCCESS && ask->cursor > 0) {
        status = comet_store_floor(store, ask->selection, &floor);
        ask->gap = ask->cursor < floor;
    }
    if (status == APR_SUCCESS
        && !comet_hub_recall(
            mod_comet_child()->hub,
            (apr_size_t)mod_comet_server_config(r->server)->store, state,
            ask->cursor, &reading)) {
        status = comet_store_read(store, ask->selection, ask->cursor,
                                  ask->limit, comet_selection_take, &reading);
    }
    ask->seen = state->last;
    return status;
}

/* In one consistent view, which ends before anything is sent. */
static apr_status_t look_up(const request_rec *r, mod_comet_ask_t *ask,
                            comet_batch_t *missed)
{
    comet_readers_t *readers =
        mod_comet_child()
            ->stores[mod_comet_server_config(r->server)->store]
            .readers;
    comet_store_t *store;
    comet_store_state_t state;
    apr_status_t status = comet_readers_take(readers, &store);

    if (status != APR_SUCCESS) {
        return status;
    }
    status = comet_store_begin(store, &state);
    if (status == APR_SUCCESS) {
        status = read_missed(r, store, &state, ask, missed);
        comet_store_end(store);
    }
    comet_readers_return(readers, store, status);
    return status;
}

/* --- answering -------------------------------------------------------------------- */

static int answer_now(request_rec *r, const mod_comet_ask_t *ask,
                      const comet_batch_t *missed)
{
    comet_buffer_t body = { .data = NULL };
    int rv = DECLINED;

    mod_comet_output_encode(ask, missed, &body);
    if (body.length > MOD_COMET_PIECE_BYTES && !r->header_only
        && ap_discard_request_body(r) == OK) {
        rv = mod_comet_park_body(r, ask, &body);
    }
    if (rv == DECLINED) {
        rv = mod_comet_output_body(r, HTTP_OK, ask->transport->content_type,
                                   &body);
        comet_buffer_free(&body);
    }
    return rv;
}

/* An unread body would be taken for the next request while this one waits. */
static int wait_for_news(request_rec *r, mod_comet_ask_t *ask)
{
    int rv = ap_discard_request_body(r);

    return rv == OK ? mod_comet_park(r, ask) : rv;
}

/* A child that ends does not begin to wait: the client is to come back on
 * another connection, to another child. */
static void stop_waiting(const request_rec *r, mod_comet_ask_t *ask)
{
    if (comet_hub_is_stopping(mod_comet_child()->hub)) {
        ask->hold = 0;
        r->connection->keepalive = AP_CONN_CLOSE;
    }
}

static apr_status_t unref_selection(void *selection)
{
    comet_selection_unref(selection);
    return APR_SUCCESS;
}

/* @return 0: no memory */
static int select_channel(request_rec *r, mod_comet_ask_t *ask)
{
    ask->selection = comet_selection_create(&ask->channel, 1, NULL, 0);
    if (ask->selection) {
        apr_pool_cleanup_register(r->pool, ask->selection, unref_selection,
                                  apr_pool_cleanup_null);
    }
    return ask->selection != NULL;
}

static int poll(request_rec *r, mod_comet_ask_t *ask)
{
    comet_batch_t missed = {
        .messages = apr_palloc(r->pool, ask->limit * sizeof(comet_message_t *)),
        .size = ask->limit,
    };
    apr_status_t status =
        select_channel(r, ask) ? look_up(r, ask, &missed) : APR_ENOMEM;
    char buffer[200];
    int rv;

    if (status != APR_SUCCESS) {
        comet_batch_clear(&missed);
        return mod_comet_output_error(
            r, HTTP_SERVICE_UNAVAILABLE, "the messages cannot be read: %s",
            comet_strerror(status, buffer, sizeof(buffer)));
    }
    stop_waiting(r, ask);
    rv = missed.count || !ask->hold || r->header_only
             ? answer_now(r, ask, &missed)
             : wait_for_news(r, ask);
    comet_batch_clear(&missed);
    return rv;
}

static int tick(request_rec *r, mod_comet_ask_t *ask)
{
    ask->transport = &comet_transport_clock;
    ask->limit = 1;
    ask->tick = mod_comet_tick(r);
    ask->seen = comet_monotonic() + YOUNG_USEC;
    if (r->header_only) {
        mod_comet_output_prepare(r, ask->transport);
        return OK;
    }
    return wait_for_news(r, ask);
}

/* --- choosing ---------------------------------------------------------------------- */

/* An event stream is not served yet; better said than waited for. */
static int wants_only_events(const request_rec *r)
{
    const char *accept = apr_table_get(r->headers_in, "Accept");

    return accept && strncasecmp(accept, "text/event-stream", 17) == 0
           && !strstr(accept, "json") && !strstr(accept, "*/*");
}

static int handle_clock(request_rec *r, mod_comet_ask_t *ask)
{
    if (r->method_number == M_OPTIONS) {
        return mod_comet_output_options(r, "GET, HEAD, OPTIONS");
    }
    if (r->method_number != M_GET) {
        return mod_comet_output_not_allowed(r, "GET, HEAD, OPTIONS");
    }
    return tick(r, ask);
}

static int handle_classic(request_rec *r, const mod_comet_request_t *request,
                          mod_comet_ask_t *ask)
{
    const char *wrong;

    if (r->method_number == M_OPTIONS) {
        return mod_comet_output_options(r, "GET, HEAD, POST, PUT, OPTIONS");
    }
    if (r->method_number != M_GET && r->method_number != M_POST
        && r->method_number != M_PUT) {
        return mod_comet_output_not_allowed(r, "GET, HEAD, POST, PUT, OPTIONS");
    }
    if (request->publishes) {
        return r->header_only
                   ? mod_comet_output_not_allowed(r, "GET, POST, PUT, OPTIONS")
                   : mod_comet_publish_classic(r, request, ask->channel);
    }
    wrong = parse_classic(r, request, ask);
    return wrong ? mod_comet_output_error(r, HTTP_BAD_REQUEST, "%s", wrong)
                 : poll(r, ask);
}

static int handle_endpoint(request_rec *r, const mod_comet_request_t *request,
                           mod_comet_ask_t *ask)
{
    const char *wrong;

    if (r->method_number == M_OPTIONS) {
        return mod_comet_output_options(r, "GET, HEAD, POST, OPTIONS");
    }
    if (r->method_number == M_POST) {
        return mod_comet_publish_body(r, request, ask->channel);
    }
    if (r->method_number != M_GET) {
        return mod_comet_output_not_allowed(r, "GET, HEAD, POST, OPTIONS");
    }
    if (wants_only_events(r)) {
        return mod_comet_output_error(r, HTTP_NOT_ACCEPTABLE,
                                      "Accept: only application/json is "
                                      "served here");
    }
    wrong = parse_poll(r, request, ask);
    return wrong ? mod_comet_output_error(r, HTTP_BAD_REQUEST, "%s", wrong)
                 : poll(r, ask);
}

int mod_comet_handler(request_rec *r)
{
    const mod_comet_request_t *request = mod_comet_request(r);
    mod_comet_ask_t *ask;
    const char *wrong;

    if (!request || r->main) {
        return DECLINED; /* what waits needs a connection of its own */
    }
    if (!mod_comet_child()) {
        return mod_comet_output_error(r, HTTP_SERVICE_UNAVAILABLE,
                                      "this server could not start; see its "
                                      "error log");
    }
    ask = apr_pcalloc(r->pool, sizeof(*ask));
    ask->escape = mod_comet_escape(r) != 0;
    wrong = find_channel(r, request->mapping, &ask->channel);
    if (wrong) {
        return mod_comet_output_error(r, HTTP_BAD_REQUEST, "channel: %s",
                                      wrong);
    }
    switch (request->mapping->dialect) {
    case MOD_COMET_CLOCK:
        return handle_clock(r, ask);
    case MOD_COMET_CLASSIC:
        return handle_classic(r, request, ask);
    default:
        return handle_endpoint(r, request, ask);
    }
}
