/* SPDX-License-Identifier: Apache-2.0 */
/* Serve sockets that were lent to the hub: answer polls, and pass POSTs on to
 * fast_publish.c. */
#include "wait/fast_priv.h"

#include <errno.h>
#include <http_request.h>
#include <sys/socket.h>

#include "transport/encoder.h"
#include "server/child.h"
#include "server/mpm.h"
#include "output/log.h"
#include "output/filters.h"
#include "output/news.h"
#include "wait/lend.h"
#include "wait/places.h"
#include "wait/wait_priv.h"
#include "output/peek.h"

/* How often a connection is lent before the hub knows the head of its answers.
 * The first poll might have no cursor, so the second one counts, too. */
#define EARLY_MAX 2

/* A poll waits for at most this many looks at the store in a row.  Then it is
 * given to httpd. */
#define LOOKS_MAX 8

/* --- lending the socket (the thread that owns the connection) --------- */

int mod_comet_fast_is_lent(const mod_comet_fast_t *fast)
{
    return fast && fast->state != HOME;
}

void mod_comet_fast_lend(mod_comet_fast_t *fast, conn_rec *c,
                         comet_subscriber_t *subscriber, int holds)
{
    int known =
        fast && (mod_comet_sample_is_known(&fast->answer) || fast->publishes);
    int stores = fast && fast->job;

    if (!fast || !(fast->fresh || stores)
        || !(known || stores || (holds && fast->early < EARLY_MAX))
        || c->aborted || c->data_in_output_filters
        || mod_comet_fast_left(fast, c) <= 0
        || comet_hub_is_stopping(fast->child->hub)) {
        return;
    }
    fast->fresh = 0;
    fast->early += !known && !stores;
    fast->real = mod_comet_lend(fast->child->waiting, fast->fd);
    if (fast->real < 0) {
        return;
    }
    fast->state = holds ? HELD : stores ? PUBLISHING : RESTING;
    fast->looks = fast->gone = 0;
    fast->rest_until = subscriber->timeout_at;
    fast->lent_until = comet_monotonic() + fast->lendable;
    if (stores) {
        fast->publishes = 1; /* the connection rests on the POST's channel */
        subscriber->timeout_at = mod_comet_fast_publish_end(fast);
    }
    subscriber->own_fd = fast->real;
    subscriber->listens = 1;
}

int mod_comet_fast_restore(mod_comet_fast_t *fast, conn_rec *c,
                           comet_subscriber_t *subscriber)
{
    if (!mod_comet_fast_is_lent(fast)) {
        return 0;
    }
    mod_comet_fast_leave(fast);
    ap_assert(fast->real >= 0);
    if (!mod_comet_lend_end(fast->child->waiting, fast->fd, fast->real)) {
        c->aborted = 1; /* httpd closes the eventfd like a socket */
    }
    fast->real = -1;
    fast->state = HOME;
    subscriber->listens = 0;
    return 1;
}

apr_status_t mod_comet_fast_send_rest(mod_comet_fast_t *fast, conn_rec *c)
{
    const mod_comet_outbox_t *rest = fast->outlet.rest;
    apr_status_t status;

    if (!rest) {
        return APR_SUCCESS;
    }
    APR_BRIGADE_INSERT_TAIL(
        fast->brigade, apr_bucket_heap_create(rest->bytes.data + rest->sent,
                                              rest->bytes.length - rest->sent,
                                              NULL, c->bucket_alloc));
    status = mod_comet_filters_pass(c, fast->brigade);
    mod_comet_outlet_clear(&fast->outlet);
    return status;
}

/* --- served by the hub ------------------------------------------------ */

/* Answer the parked request with the head that httpd makes for it. */
static comet_outcome_e respond_by_httpd(mod_comet_fast_t *fast, conn_rec *c,
                                        comet_subscriber_t *subscriber,
                                        const mod_comet_fast_held_t *held,
                                        comet_text_t body)
{
    comet_buffer_t *out = &fast->child->waiting->answer;
    comet_outcome_e outcome;

    comet_buffer_clear(out);
    if (mod_comet_fast_make_answer(fast, held, body, out) != APR_SUCCESS) {
        return mod_comet_fast_lose(fast, c, subscriber);
    }
    outcome = mod_comet_fast_send(fast, c, subscriber);
    return fast->state == RESTING && c->keepalive != AP_CONN_KEEPALIVE
               ? mod_comet_fast_end(fast, subscriber)
               : outcome;
}

/* Answer the request that httpd has parked. */
static comet_outcome_e answer_held(mod_comet_fast_t *fast, conn_rec *c,
                                   comet_subscriber_t *subscriber,
                                   const comet_batch_t *batch,
                                   mod_comet_fast_held_t *held)
{
    const mod_comet_ask_t *ask = held->ask;
    mod_comet_story_t before = *ask->story;
    comet_buffer_t body = { .data = NULL };
    comet_outcome_e outcome;

    mod_comet_news_encode(ask, batch, &body);
    if (body.failed || body.length > MOD_COMET_PIECE_BYTES) {
        mod_comet_story_take_back(ask->story, &before);
        subscriber->seen = ask->seen;
        outcome = mod_comet_fast_give_back(fast, subscriber);
    }
    else {
        comet_text_t bytes = { body.data, body.length };

        held->answered = (apr_off_t)body.length;
        outcome = mod_comet_sample_is_known(&fast->answer)
                      ? mod_comet_fast_respond(fast, c, subscriber,
                                               &fast->answer, bytes)
                      : respond_by_httpd(fast, c, subscriber, held, bytes);
        mod_comet_log_count(fast->child->log, c,
                            (apr_off_t)fast->child->waiting->answer.length);
    }
    comet_buffer_free(&body);
    return outcome;
}

static comet_outcome_e answer_empty(mod_comet_fast_t *fast, conn_rec *c,
                                    comet_subscriber_t *subscriber)
{
    comet_answer_t answer = { .format = &fast->format, .cursor = fast->cursor };
    comet_buffer_t body = { .data = NULL };
    comet_outcome_e outcome;

    fast->transport->encode(&body, &answer);
    comet_metrics_add(COMET_METRIC_unanswered, 1);
    outcome = mod_comet_fast_respond(fast, c, subscriber, &fast->answer,
                                     (comet_text_t){ body.data, body.length });
    comet_buffer_free(&body);
    return outcome;
}

static comet_outcome_e answer_news(mod_comet_fast_t *fast, conn_rec *c,
                                   comet_subscriber_t *subscriber,
                                   const comet_batch_t *batch)
{
    const comet_encoding_t *encoding = comet_encoder_encode(
        &fast->child->waiting->polls, fast->transport, &fast->format, batch);

    if (!encoding || encoding->body.length > MOD_COMET_PIECE_BYTES) {
        return mod_comet_fast_give_back(fast, subscriber);
    }
    comet_metrics_add(COMET_METRIC_delivered, (apr_int64_t)batch->count);
    return mod_comet_fast_respond(fast, c, subscriber, &fast->answer,
                                  encoding->body);
}

/* Look at what the client has sent, without taking it.
 * @param cursor  OUT: the poll's cursor; -1: what was sent is not a poll like
 *                the last one
 * @return as recv() */
static ssize_t look(const mod_comet_fast_t *fast, comet_timestamp_t *cursor)
{
    char *bytes = fast->child->waiting->request;
    ssize_t length =
        recv(fast->real, bytes, MOD_COMET_PIECE_BYTES, MSG_PEEK | MSG_DONTWAIT);

    *cursor = -1;
    if (length > 0) {
        comet_head_match(&fast->head,
                         (comet_text_t){ bytes, (apr_size_t)length }, cursor);
    }
    return length;
}

static int is_nothing(ssize_t length)
{
    return length < 0 && (errno == EAGAIN || errno == EINTR);
}

/* The client has sent something.  If it is a poll like the last one, let it
 * wait here; if it is a POST that the hub knows, publish its message; give
 * anything else to httpd. */
static comet_outcome_e hear(mod_comet_fast_t *fast, conn_rec *c,
                            comet_subscriber_t *subscriber)
{
    apr_time_t now = comet_monotonic();
    comet_timestamp_t cursor;
    ssize_t length = look(fast, &cursor);
    comet_feed_coverage_e known;

    if (fast->gone) {
        return mod_comet_fast_give_back(fast, subscriber);
    }
    if (is_nothing(length)) {
        return mod_comet_fast_rest(fast, subscriber);
    }
    if (length > 0 && cursor < 0) {
        return mod_comet_fast_hear_publish(
            fast, c, subscriber,
            (comet_text_t){ fast->child->waiting->request,
                            (apr_size_t)length });
    }
    /* after a POST the connection rests on the POST's channel */
    if (length <= 0 || fast->publishes
        || !mod_comet_sample_is_known(&fast->answer)
        || now + fast->hold >= fast->until
        || mod_comet_fast_left(fast, c) <= 0) {
        return mod_comet_fast_give_back(fast, subscriber);
    }
    known = comet_hub_coverage(fast->child->hub, fast->store, cursor);
    if (known == COMET_FEED_IS_BEHIND && fast->looks++ < LOOKS_MAX) {
        return COMET_AGAIN;
    }
    if (known != COMET_FEED_COVERS
        || !mod_comet_place_reserve(fast->transport->gauge, fast->cap)) {
        return mod_comet_fast_give_back(fast, subscriber);
    }
    fast->looks = 0;
    fast->cursor = cursor;
    fast->pending = (apr_size_t)length;
    fast->state = WAITING;
    comet_metrics_add(COMET_METRIC_resumed, 1);
    subscriber->seen = cursor;
    subscriber->timeout_at = now + fast->hold;
    return COMET_WAIT;
}

static comet_outcome_e serve_held(mod_comet_fast_t *fast, conn_rec *c,
                                  comet_subscriber_t *subscriber,
                                  const comet_delivery_t *delivery,
                                  mod_comet_fast_held_t *held)
{
    comet_timestamp_t cursor;

    if ((delivery->reasons & COMET_READABLE)
        && !is_nothing(look(fast, &cursor))) {
        subscriber->seen = held->ask->seen;
        return mod_comet_fast_give_back(fast, subscriber);
    }
    return delivery->batch->count || (delivery->reasons & COMET_TIMEOUT)
               ? answer_held(fast, c, subscriber, delivery->batch, held)
               : COMET_WAIT;
}

static comet_outcome_e serve_waiting(mod_comet_fast_t *fast, conn_rec *c,
                                     comet_subscriber_t *subscriber,
                                     const comet_delivery_t *delivery)
{
    comet_timestamp_t cursor;

    if ((delivery->reasons & COMET_READABLE)
        && (look(fast, &cursor) != (ssize_t)fast->pending
            || cursor != fast->cursor)) {
        return mod_comet_fast_give_back(fast, subscriber);
    }
    if (delivery->batch->count) {
        return answer_news(fast, c, subscriber, delivery->batch);
    }
    return delivery->reasons & COMET_TIMEOUT ? answer_empty(fast, c, subscriber)
                                             : COMET_WAIT;
}

static comet_outcome_e serve_resting(mod_comet_fast_t *fast, conn_rec *c,
                                     comet_subscriber_t *subscriber,
                                     unsigned reasons)
{
    if (reasons & COMET_READABLE) {
        return hear(fast, c, subscriber);
    }
    if (!(reasons & COMET_TIMEOUT)) {
        return mod_comet_fast_rest(fast, subscriber);
    }
    return comet_monotonic() >= fast->rest_until
               ? mod_comet_fast_end(fast, subscriber)
               : mod_comet_fast_give_back(fast, subscriber);
}

/* Serve a client whose socket has not taken all of an answer.  Its next request
 * is looked at afterwards. */
static comet_outcome_e serve_blocked(mod_comet_fast_t *fast, conn_rec *c,
                                     comet_subscriber_t *subscriber,
                                     unsigned reasons)
{
    if (reasons & COMET_YIELD) {
        return mod_comet_fast_lose(fast, c, subscriber);
    }
    if (reasons & (COMET_TIMEOUT | COMET_STOPPING)) {
        return mod_comet_fast_give_back(fast, subscriber);
    }
    if (mod_comet_outlet_flush(&fast->outlet, fast->real) < 0) {
        return mod_comet_fast_lose(fast, c, subscriber);
    }
    mod_comet_fast_rest(fast, subscriber);
    return mod_comet_outlet_is_empty(&fast->outlet) ? hear(fast, c, subscriber)
                                                    : COMET_REST;
}

/* Stop serving the client in the hub: the child ends, another client needs the
 * place, the client has closed its side, or a channel has appeared under its
 * selection.  httpd answers the client's request, if there is one. */
static comet_outcome_e serve_end(mod_comet_fast_t *fast,
                                 comet_subscriber_t *subscriber,
                                 const mod_comet_ask_t *ask, unsigned reasons)
{
    comet_timestamp_t cursor;

    if (ask) {
        subscriber->seen = ask->seen;
    }
    return fast->state == RESTING && (reasons & (COMET_STOPPING | COMET_YIELD))
                   && is_nothing(look(fast, &cursor))
               ? mod_comet_fast_end(fast, subscriber)
               : mod_comet_fast_give_back(fast, subscriber);
}

comet_outcome_e mod_comet_fast_serve(mod_comet_fast_t *fast, conn_rec *c,
                                     comet_subscriber_t *subscriber,
                                     const comet_delivery_t *delivery,
                                     mod_comet_fast_held_t *held)
{
    unsigned reasons = delivery->reasons;
    comet_outcome_e outcome;

    held->answered = -1;
    fast->gone |= (reasons & COMET_GONE) != 0;
    if ((reasons & COMET_STOPPING) && mod_comet_child_must_end()) {
        /* no thread of httpd will ask for the outcome */
        mod_comet_fast_drop_publish(fast);
    }
    if (fast->state == RETURNING) {
        return COMET_REST;
    }
    if (fast->state == PUBLISHING && !fast->job) {
        return mod_comet_fast_give_back(fast, subscriber);
    }
    if (fast->state == PUBLISHING) {
        outcome = mod_comet_fast_serve_publish(fast, c, subscriber, reasons);
        return fast->state == RESTING && fast->heard
                       && mod_comet_outlet_is_empty(&fast->outlet)
                   ? hear(fast, c, subscriber)
                   : outcome;
    }
    if (!mod_comet_outlet_is_empty(&fast->outlet)) {
        return serve_blocked(fast, c, subscriber, reasons);
    }
    if (reasons
        & (COMET_STOPPING | COMET_RECHECK | COMET_GONE | COMET_YIELD
           | COMET_REVOKED)) {
        return serve_end(fast, subscriber, held->ask, reasons);
    }
    switch (fast->state) {
    case HELD:
        return serve_held(fast, c, subscriber, delivery, held);
    case WAITING:
        return serve_waiting(fast, c, subscriber, delivery);
    default:
        return serve_resting(fast, c, subscriber, reasons);
    }
}
