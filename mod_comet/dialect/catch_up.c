/* SPDX-License-Identifier: Apache-2.0 */
/* Find the messages that a reader has missed.  Answer the reader at once, or
 * when there is news. */
#include "dialect/catch_up.h"

#include <apr_siphash.h>
#include <apr_strings.h>

#include "shared/metrics.h"
#include "server/child.h"
#include "output/answer.h"
#include "request/presence.h"
#include "request/reasons.h"
#include "output/cookies.h"
#include "output/chain.h"
#include "output/filters.h"
#include "output/news.h"
#include "output/outbox.h"
#include "output/upgrade.h"
#include "wait/park.h"
#include "wait/wait.h"
#include "dialect/reading.h"

/*
 * Find where the client begins to read.  A client without a cursor first gets
 * the newest CometReplay messages.  So does a client whose cursor is ahead of
 * the store: the database that gave it the cursor was lost.  Only a fresh view
 * of the store can show that.  This child's memory cannot, because another
 * child might just have committed.
 */
static apr_status_t resolve_cursor(const request_rec *r, comet_store_t *store,
                                   const comet_store_state_t *state,
                                   mod_comet_ask_t *ask)
{
    apr_status_t status;
    int any;

    if (ask->is_unknown || ask->cursor > state->last) {
        comet_metrics_add(COMET_METRIC_resynced, 1);
        ask->cursor = -1;
    }
    else if (ask->cursor >= 0) {
        comet_metrics_add(COMET_METRIC_resumed, 1);
        return APR_SUCCESS;
    }
    ask->is_new = 1;
    /* a page of history and a search need no cursor */
    if (ask->before || ask->words.data) {
        ask->cursor = 0;
        return APR_SUCCESS;
    }
    if (ask->from_now) {
        ask->cursor = state->last;
        return APR_SUCCESS;
    }
    status = comet_store_replay(store, ask->selection,
                                mod_comet_config_replay(r), &ask->cursor, &any);
    if (status == APR_SUCCESS && (!any || mod_comet_config_replay(r) == 0)) {
        ask->cursor = state->last; /* the client gets only what is published
                                    * from now on */
    }
    return status;
}

/* Read the messages after the client's cursor: from memory if memory has all of
 * them, otherwise from the store. */
static apr_status_t read_news(const request_rec *r, comet_store_t *store,
                              const comet_store_state_t *state,
                              mod_comet_ask_t *ask, comet_reading_t *reading)
{
    return comet_hub_recall(
               mod_comet_child()->hub,
               (apr_size_t)mod_comet_config_server(r->server)->store, state,
               ask->cursor, 0, reading)
               ? APR_SUCCESS
               : comet_store_read(store, ask->selection, ask->cursor,
                                  ask->limit, comet_selection_take, reading);
}

static apr_status_t find_floor(comet_store_t *store, mod_comet_ask_t *ask)
{
    comet_timestamp_t floor = 0;
    apr_status_t status = comet_store_floor(store, ask->selection, &floor);

    ask->floor =
        !ask->is_new && ask->cursor > 0 && ask->cursor < floor ? floor : 0;
    ask->pruned = floor;
    return status;
}

/* Send away a client that is not yet authorised for a new channel.  The client
 * comes back at once, and is then judged for the channel. */
static void come_back_if(mod_comet_ask_t *ask, const comet_reading_t *reading)
{
    if (reading->recheck) {
        ask->hold = 0;
    }
}

/* Whether a client asks for a page: the newest messages of a history or of a
 * search. */
static int is_page(const mod_comet_ask_t *ask)
{
    return ask->before || ask->words.data;
}

/* Whether a client asks only for the messages after its cursor. */
static int is_simple(const mod_comet_ask_t *ask)
{
    return !ask->transport->streams && !ask->is_unknown && ask->cursor >= 0
           && !is_page(ask);
}

/* How long a client waits for a shared look at a remote store.  After that time
 * the client asks the store itself. */
#define LOOK_LIMIT apr_time_from_msec(100)

static void note_recalled(mod_comet_ask_t *ask, comet_timestamp_t last,
                          const comet_reading_t *reading)
{
    comet_metrics_add(COMET_METRIC_resumed, 1);
    ask->seen = last;
    come_back_if(ask, reading);
}

/*
 * Answer from memory after a look at a remote store.  Clients that ask at the
 * same time share one look, since each query costs the database a tenth of a
 * millisecond.
 * @return 0: memory cannot answer
 */
static int recall_remote(const request_rec *r, mod_comet_ask_t *ask,
                         comet_batch_t *missed)
{
    comet_reading_t reading = { .selection = ask->selection, .batch = missed };
    comet_store_state_t state;

    if (!is_simple(ask)
        || !comet_hub_recall_remote(
            mod_comet_child()->hub,
            (apr_size_t)mod_comet_config_server(r->server)->store, LOOK_LIMIT,
            ask->cursor, &state, &reading)) {
        return 0;
    }
    note_recalled(ask, state.last, &reading);
    return 1;
}

/*
 * Answer from memory without a view of the store, if nothing was committed
 * since the last view on this connection to the store.
 * @return 0: memory cannot answer
 */
static int recall(const request_rec *r, comet_store_t *store,
                  mod_comet_ask_t *ask, comet_batch_t *missed)
{
    comet_reading_t reading = { .selection = ask->selection, .batch = missed };
    comet_store_state_t state;

    if (!is_simple(ask) || !comet_store_glance(store, &state)
        || ask->cursor > state.last
        || !comet_hub_recall(
            mod_comet_child()->hub,
            (apr_size_t)mod_comet_config_server(r->server)->store, &state,
            ask->cursor, 1, &reading)) {
        return 0;
    }
    note_recalled(ask, state.last, &reading);
    return 1;
}

static apr_status_t read_missed(const request_rec *r, comet_store_t *store,
                                const comet_store_state_t *state,
                                mod_comet_ask_t *ask, comet_batch_t *missed)
{
    comet_reading_t reading = { .selection = ask->selection, .batch = missed };
    apr_status_t status = resolve_cursor(r, store, state, ask);

    if (status == APR_SUCCESS && (ask->cursor > 0 || ask->transport->streams)) {
        status = find_floor(store, ask);
    }
    if (ask->transport->streams) {
        ask->seen = ask->cursor; /* the hub sends what the stream has missed */
        return status;
    }
    ask->seen = state->last;
    if (ask->words.data) {
        return status; /* a search opens its own views */
    }
    if (status == APR_SUCCESS && ask->before) {
        status =
            comet_store_page(store, ask->selection, ask->cursor, ask->before,
                             ask->limit, comet_selection_take, &reading);
    }
    else if (status == APR_SUCCESS) {
        status = read_news(r, store, state, ask, &reading);
    }
    come_back_if(ask, &reading);
    return status;
}

/* Search in several short views of the store.  A long view would keep the
 * write-ahead log from shrinking. */
static apr_status_t search(request_rec *r, comet_store_t *store,
                           mod_comet_ask_t *ask, comet_batch_t *missed)
{
    comet_reading_t reading = { .selection = ask->selection, .batch = missed };
    apr_status_t status;

    mod_comet_reading_limit_search(r, ask, store);
    status = comet_store_search(store, ask->selection, ask->words, ask->cursor,
                                ask->before ? ask->before : COMET_TIMESTAMP_MAX,
                                ask->limit, comet_selection_take, &reading,
                                &ask->rest);
    comet_metrics_add(COMET_METRIC_searches_cut, ask->rest != 0);
    return status;
}

/* Keep only the newest messages of a page, at most @a most bytes of bodies, but
 * at least one message.  The answer says where the next page begins. */
static void shorten(mod_comet_ask_t *ask, comet_batch_t *page, apr_size_t most)
{
    apr_size_t first = page->count, bytes = 0, i;

    while (first
           && (first == page->count
               || bytes + page->messages[first - 1]->body.length <= most)) {
        bytes += page->messages[--first]->body.length;
    }
    for (i = 0; i < page->count; i++) {
        if (i < first) {
            comet_message_unref(page->messages[i]);
        }
        else {
            page->messages[i - first] = page->messages[i];
        }
    }
    page->count -= first;
    if (first) {
        ask->rest = page->messages[0]->timestamp;
    }
}

/* Look up what the client has missed, in one consistent view of the store.  The
 * view ends before anything is sent. */
static apr_status_t look_up(request_rec *r, mod_comet_ask_t *ask,
                            comet_batch_t *missed)
{
    comet_store_t *store;
    comet_store_state_t state;
    apr_status_t status;

    if (recall_remote(r, ask, missed)) {
        return APR_SUCCESS;
    }
    status = mod_comet_reading_borrow(r, &store);
    if (status == APR_SUCCESS && !recall(r, store, ask, missed)) {
        mod_comet_reading_limit(r, ask, store);
        status = comet_store_begin(store, &state);
        if (status == APR_SUCCESS) {
            status = read_missed(r, store, &state, ask, missed);
            comet_store_end(store);
        }
    }
    if (status == APR_SUCCESS && ask->words.data) {
        status = search(r, store, ask, missed);
    }
    mod_comet_reading_return(r, store, status);
    if (is_page(ask) && mod_comet_outbox_most()) {
        shorten(ask, missed, mod_comet_outbox_most());
    }
    return status;
}

apr_status_t mod_comet_catch_up_find(request_rec *r, mod_comet_ask_t *ask)
{
    comet_batch_t nothing = { .size = 0 };

    return look_up(r, ask, &nothing);
}

/* Make the ETag of a page: a hash of the page.  All children, and all servers
 * of a site, must make the same ETag, so the hash has no secret key.  A
 * publisher can hardly forge one: it does not know the timestamp that its
 * message will have.
 * @return a quoted text in @a pool */
static const char *make_etag(const comet_buffer_t *page, apr_pool_t *pool)
{
    static const char digits[] = "0123456789abcdef";
    static const unsigned char no_secret[APR_SIPHASH_KSIZE];
    char etag[] = "\"0123456789abcdef\"";
    apr_uint64_t hash = apr_siphash(page->data, page->length, no_secret, 1, 3);
    int i;

    for (i = 16; i; i--) {
        etag[i] = digits[hash & 15];
        hash >>= 4;
    }
    return apr_pmemdup(pool, etag, sizeof(etag));
}

/* Set the headers of a page of history.  A client may keep the page, and ask
 * later whether it has changed (ETag).
 * @return OK: send the page; otherwise what the handler returns */
static int answer_history(request_rec *r, const comet_buffer_t *body)
{
    mod_comet_answer_headers(r);
    apr_table_setn(r->headers_out, "Cache-Control", "private, no-cache");
    apr_table_setn(r->headers_out, "ETag", make_etag(body, r->pool));
    return mod_comet_answer_conditions(r);
}

/* Send an answer by parking its request, if the answer is long or its client
 * will poll again at once.
 * @return DECLINED: the caller sends the answer */
static int send_parked(request_rec *r, const mod_comet_ask_t *ask,
                       comet_buffer_t *body)
{
    if (body->length > MOD_COMET_PIECE_BYTES) {
        return mod_comet_park_body(r, ask, body);
    }
    return ask->transport->whole && !ask->history
               ? mod_comet_park_answer(r, ask, body)
               : DECLINED;
}

static int answer_now(request_rec *r, const mod_comet_ask_t *ask,
                      const comet_batch_t *missed)
{
    mod_comet_story_t before = *ask->story;
    comet_buffer_t body = { .data = NULL };
    int rv = DECLINED;

    if (!ask->history) {
        mod_comet_presence_enter(r, ask); /* the client counts as online, as if
                                           * it had waited */
    }
    mod_comet_news_encode(ask, missed, &body);
    if (ask->history && !body.failed) {
        rv = answer_history(r, &body);
        if (rv != OK) {
            mod_comet_story_take_back(ask->story, &before);
            comet_buffer_free(&body);
            return rv;
        }
    }
    rv = mod_comet_answer_count(r, &body);
    if (rv == DECLINED && !body.failed && !r->header_only
        && !mod_comet_chain_is_compressed(r)
        && ap_discard_request_body(r) == OK) {
        rv = send_parked(r, ask, &body);
    }
    if (rv == DECLINED) {
        rv = mod_comet_answer_reader(r, ask->transport->content_type, &body);
        comet_buffer_free(&body);
    }
    return rv;
}

/* Read the messages that a refused stream has missed.  (The hub sends them to
 * any other stream.)  This is a second view of the store, so messages that were
 * pruned since the first view also count as a gap. */
static apr_status_t read_for_landing(request_rec *r, mod_comet_ask_t *ask,
                                     comet_batch_t *missed)
{
    comet_reading_t reading = { .selection = ask->selection, .batch = missed };
    comet_store_t *store;
    comet_store_state_t state;
    apr_status_t status = mod_comet_reading_take(r, ask, &store);

    if (status == APR_SUCCESS) {
        status = comet_store_begin(store, &state);
    }
    if (status == APR_SUCCESS) {
        status = find_floor(store, ask);
        if (status == APR_SUCCESS) {
            status = read_news(r, store, &state, ask, &reading);
        }
        comet_store_end(store);
    }
    mod_comet_reading_return(r, store, status);
    return status;
}

/*
 * Encode what a stream that is turned away gets: the first message, and as many
 * more as fit into one piece.  The client comes back for the rest.  Sending
 * everything to each of many refused clients would keep the workers busy.
 */
static void encode_piece(const mod_comet_ask_t *ask,
                         const comet_batch_t *missed, comet_buffer_t *body)
{
    apr_size_t i;

    for (i = 0; i < missed->count; i++) {
        comet_batch_t one = { .messages = missed->messages + i, .count = 1 };
        mod_comet_story_t before = *ask->story;
        apr_size_t length = body->length;

        mod_comet_news_encode(ask, &one, body);
        if (i && body->length > MOD_COMET_PIECE_BYTES) {
            mod_comet_story_take_back(ask->story, &before);
            body->length = length;
            return;
        }
    }
}

/* Turn a stream away softly: send its client the messages that it has missed,
 * or the first of them, and tell it when to come back.  No messages are sent
 * while too many bytes are kept for clients that read slowly, or if a long
 * message would hold a thread and too many threads are held like that. */
static int land(request_rec *r, mod_comet_ask_t *ask, const char *reason)
{
    comet_batch_t missed = {
        .messages = apr_palloc(r->pool, ask->limit * sizeof(comet_message_t *)),
        .size = ask->limit,
        .most_bytes = MOD_COMET_PIECE_BYTES,
    };
    comet_buffer_t body = { .data = NULL };
    comet_timestamp_t pruned = ask->pruned;
    mod_comet_story_t before = *ask->story;
    int is_open = r->sent_bodyct != 0;
    apr_status_t status =
        mod_comet_outbox_most() ? APR_EBUSY : read_for_landing(r, ask, &missed);

    /* if the opening was already sent, the client does not know of a gap that
     * appeared since: send no messages */
    if (status == APR_SUCCESS
        && (!is_open || ask->pruned == pruned || ask->pruned <= ask->cursor)) {
        if (!is_open) {
            mod_comet_news_encode_opening(ask, &body);
        }
        encode_piece(ask, &missed, &body);
    }
    comet_batch_clear(&missed);
    if (!mod_comet_answer_may_send(&body)) {
        mod_comet_story_take_back(ask->story, &before);
        body.length = 0;
    }
    return mod_comet_answer_later(r, ask->transport, reason, &body);
}

int mod_comet_catch_up_wait(request_rec *r, mod_comet_ask_t *ask)
{
    mod_comet_refusal_t refusal = { 0 };
    /* httpd would take an unread body for the next request of the waiting
     * client; a WebSocket's handshake has no body */
    int rv = ask->transport->upgrades ? OK : ap_discard_request_body(r);

    if (rv == OK) {
        if (ask->transport->upgrades) {
            mod_comet_upgrade_begin(r);
        }
        rv = mod_comet_wait(r, ask, &refusal);
    }
    if (rv != DECLINED) {
        return rv;
    }
    if (r->sent_bodyct || mod_comet_request(r)->softly) {
        mod_comet_reasons_log(r, refusal.status, refusal.reason);
        return ask->transport->close ? land(r, ask, refusal.reason) : OK;
    }
    return mod_comet_answer_error(r, refusal.status, "%s", refusal.reason);
}

/*
 * Let no client begin to wait in a child that is ending.  A header makes the
 * client come back on a new connection, to another child.  If keep-alive were
 * turned off on the connection itself, httpd would not mark the end of a
 * stream's body.
 */
static void stop_waiting(const request_rec *r, mod_comet_ask_t *ask)
{
    if (comet_hub_is_stopping(mod_comet_child()->hub)) {
        ask->hold = 0;
        apr_table_mergen(r->headers_out, "Connection", "close");
    }
}

static int refuse(request_rec *r, const mod_comet_ask_t *ask,
                  apr_status_t status)
{
    if (ask->words.data && status == COMET_EINVALID) {
        return mod_comet_answer_error(
            r, HTTP_BAD_REQUEST,
            "q: expected 1 to %d different words; any character other than a "
            "letter or a digit ends a word (foo-bar is two)",
            COMET_WORDS_MAX);
    }
    if (ask->words.data && status == APR_ENOENT) {
        return mod_comet_answer_error(r, HTTP_SERVICE_UNAVAILABLE,
                                      "q: the index is not ready yet");
    }
    return mod_comet_reading_refuse(r, ask, status, "the messages");
}

int mod_comet_catch_up_answer(request_rec *r, mod_comet_ask_t *ask)
{
    /* the hub sends what a stream has missed, so a stream needs no room here */
    apr_size_t size = ask->transport->streams ? 0 : ask->limit;
    comet_batch_t missed = {
        .messages = apr_palloc(r->pool, size * sizeof(comet_message_t *)),
        .size = size,
        .most_bytes = is_page(ask) ? 0 : mod_comet_outbox_most(),
    };
    int searching = ask->words.data != NULL;
    apr_status_t status;
    int rv;

    if (searching && !mod_comet_reading_enter()) {
        return mod_comet_answer_error(r, HTTP_SERVICE_UNAVAILABLE,
                                      "q: too many searches are running; try "
                                      "again in a moment");
    }
    status = look_up(r, ask, &missed);
    if (searching) {
        mod_comet_reading_leave();
    }
    if (!ask->history) {
        mod_comet_cookies_withhold(r, ask);
    }
    if (status != APR_SUCCESS) {
        comet_batch_clear(&missed);
        return refuse(r, ask, status);
    }
    ask->story->cursor = ask->cursor > 0 ? ask->cursor : 0;
    stop_waiting(r, ask);
    rv = ask->transport->streams || (!missed.count && ask->hold)
             ? mod_comet_catch_up_wait(r, ask)
             : answer_now(r, ask, &missed);
    comet_batch_clear(&missed);
    return rv;
}

int mod_comet_catch_up_head(request_rec *r, const mod_comet_ask_t *ask)
{
    mod_comet_answer_prepare(r, ask->transport);
    return OK;
}
