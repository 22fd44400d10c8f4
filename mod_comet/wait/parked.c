/* SPDX-License-Identifier: Apache-2.0 */
/* Serve a parked client, and end its wait. */
#include "output/filters.h"
#include "output/news.h"
#include "output/outbox.h"
#include "wait/connection.h"
#include "wait/parked.h"
#include "wait/parked_limit.h"
#include "wait/parked_stream.h"

#include <http_connection.h>
#include <mpm_common.h>
#include <sys/socket.h>

#include "server/child.h"
#include "server/mpm.h"
#include "request/limits.h"
#include "wait/lend.h"
#include "wait/verdicts.h"
#include "wait/wait_priv.h"

mod_comet_parked_t *mod_comet_parked_find(const conn_rec *c)
{
    const mod_comet_connection_t *connection = mod_comet_connection(c);

    return connection ? connection->park : NULL;
}

/* --- the request's end ------------------------------------------------ */

void mod_comet_parked_forget(mod_comet_parked_t *park)
{
    if (park->r && park->ask->talk) {
        mod_comet_talk_detach(park->ask->talk);
    }
    if (park->r) {
        park->subscriber.revoked = NULL;
        mod_comet_place_leave(&mod_comet_request(park->r)->place);
        apr_allocator_max_free_set(apr_pool_allocator_get(park->c->pool),
                                   ap_max_mem_free); /* undo connection_trim */
    }
    park->r = NULL;
    park->ask = NULL;
    mod_comet_outbox_clear(&park->outbox);
}

apr_status_t mod_comet_parked_on_destroyed(void *data)
{
    request_rec *r = data;
    mod_comet_parked_t *park = mod_comet_parked_find(r->connection);

    if (park->r == r) {
        mod_comet_parked_forget(park);
    }
    return APR_SUCCESS;
}

/* --- writing (the hub's thread while pinned, else the owner's) -------- */

void mod_comet_parked_make_mpm_close(const mod_comet_parked_t *park)
{
    shutdown(park->fd, SHUT_RD);
}

/* Nothing more can be sent to the client: let the MPM close the
 * connection. */
static comet_outcome_e lose(mod_comet_parked_t *park)
{
    park->c->aborted = 1;
    if (park->ask) {
        mod_comet_story_end(park->ask->story, MOD_COMET_END_lost);
    }
    park->subscriber.blocked_fd = -1;
    park->subscriber.timeout_at = 0;
    comet_metrics_add(COMET_METRIC_dropped, 1);
    shutdown(park->fd, SHUT_RDWR); /* the MPM may wait for either direction */
    return COMET_REST;
}

/* Whether a worker sends the answer and ends the request. */
static int is_workers(const mod_comet_parked_t *park)
{
    return park->by_worker && park->r && !park->ask->transport->streams
           && !comet_hub_is_stopping(mod_comet_child()->hub);
}

/* Whether workers also send the rest of the answer when the client takes more.
 * Before httpd 2.4.63 the MPM does not wake a worker for each of them. */
static int is_sent_by_workers(const mod_comet_parked_t *park)
{
    return is_workers(park) && mod_comet_mpm_capacity()->has_waitio;
}

void mod_comet_parked_note_blocked(mod_comet_parked_t *park)
{
    park->subscriber.blocked_fd =
        park->c->data_in_output_filters && !is_sent_by_workers(park) ? park->fd
                                                                     : -1;
}

/* --- answers that a worker sends ------------------------------------------ */

void mod_comet_parked_lend(mod_comet_parked_t *park)
{
    if (!is_workers(park) || !mod_comet_outbox_is_empty(&park->outbox)) {
        return;
    }
    park->real = mod_comet_lend(mod_comet_child()->waiting, park->fd);
    if (park->real >= 0) {
        park->subscriber.own_fd = park->real;
        park->subscriber.listens = 1;
    }
}

void mod_comet_parked_take_back(mod_comet_parked_t *park)
{
    if (park->real < 0) {
        return;
    }
    if (!mod_comet_lend_end(mod_comet_child()->waiting, park->fd, park->real)) {
        park->c->aborted = 1;
    }
    park->real = -1;
    park->subscriber.listens = 0;
}

/* The messages for the client: none once the client's time is over. */
static const comet_batch_t *news_for(const mod_comet_parked_t *park,
                                     const comet_delivery_t *delivery)
{
    static const comet_batch_t no_news = { .count = 0 };

    return mod_comet_news_is_over(park->ends_at) ? &no_news : delivery->batch;
}

/* Put the answer into the outbox, from which a worker sends it. */
static void prepare_answer(mod_comet_parked_t *park, const comet_batch_t *batch,
                           int close)
{
    if (close) {
        park->c->keepalive = AP_CONN_CLOSE;
    }
    mod_comet_news_encode(park->ask, batch, &park->outbox.bytes);
    if (park->outbox.bytes.failed) {
        mod_comet_outbox_clear(&park->outbox);
        park->c->aborted = 1;
        return;
    }
    if (park->ask->transport->whole) {
        ap_set_content_length(park->r, (apr_off_t)park->outbox.bytes.length);
    }
    park->at_once = 1;
}

/* Serve a client whose socket is lent: wake the MPM if there is an answer, or
 * if the client has sent something. */
static comet_outcome_e serve_lent(mod_comet_parked_t *park,
                                  const comet_delivery_t *delivery)
{
    unsigned reasons = delivery->reasons;

    if (delivery->batch->count
        || (reasons
            & (COMET_STOPPING | COMET_TIMEOUT | COMET_RECHECK
               | COMET_REVOKED))) {
        mod_comet_story_end_by(park->ask->story, reasons,
                               mod_comet_news_is_over(park->ends_at));
        prepare_answer(park, news_for(park, delivery),
                       (reasons & COMET_STOPPING) != 0);
    }
    else if (!(reasons & (COMET_READABLE | COMET_GONE))) {
        return COMET_WAIT;
    }
    park->subscriber.timeout_at = 0;
    mod_comet_lend_wake(park->fd);
    return COMET_REST;
}

apr_status_t mod_comet_parked_write(mod_comet_parked_t *park,
                                    comet_buffer_t *bytes)
{
    apr_status_t status = APR_ENOMEM;

    mod_comet_outbox_clear(&park->outbox);
    if (bytes->failed) {
        comet_buffer_free(bytes);
    }
    else {
        park->outbox.bytes = *bytes;
        status = mod_comet_outbox_send(&park->outbox, park->r, park->brigade);
    }
    mod_comet_parked_note_blocked(park);
    return status;
}

static apr_status_t write_stream(mod_comet_parked_t *park,
                                 const comet_batch_t *batch, unsigned reasons)
{
    comet_buffer_t bytes = { .data = NULL };

    if (!mod_comet_parked_stream_encode(park, batch, reasons, &bytes)) {
        return APR_EGENERAL;
    }
    if (!bytes.length && !bytes.failed) {
        return APR_SUCCESS;
    }
    mod_comet_ack_arm(&park->ack, park->fd, bytes.length);
    return mod_comet_parked_write(park, &bytes);
}

apr_status_t mod_comet_parked_end(mod_comet_parked_t *park, int complete,
                                  int close)
{
    request_rec *r = park->r;

    if (close) {
        park->c->keepalive = AP_CONN_CLOSE;
    }
    mod_comet_parked_forget(park);
    return mod_comet_filters_end(r, park->brigade, complete);
}

apr_status_t mod_comet_parked_write_whole(mod_comet_parked_t *park,
                                          comet_buffer_t *bytes)
{
    request_rec *r = park->r;
    apr_status_t status;

    mod_comet_fast_watch_answer(park->fast, r);
    mod_comet_parked_forget(park);
    status = mod_comet_filters_whole(r, park->brigade, bytes);
    mod_comet_parked_note_blocked(park);
    return status;
}

/* Send a poll's answer, and end the request if the client takes all of it. */
static apr_status_t answer_poll(mod_comet_parked_t *park,
                                const comet_batch_t *batch, int close)
{
    int whole = park->ask->transport->whole;
    comet_buffer_t bytes = { .data = NULL };
    apr_status_t status;

    if (close) { /* the headers are not sent yet, and can announce the end */
        park->c->keepalive = AP_CONN_CLOSE;
    }
    mod_comet_news_encode(park->ask, batch, &bytes);
    if (whole && !bytes.failed) {
        ap_set_content_length(park->r, (apr_off_t)bytes.length);
    }
    if (bytes.length > MOD_COMET_PIECE_BYTES) {
        mod_comet_ack_arm(&park->ack, park->fd, bytes.length);
    }
    else if (whole && !bytes.failed) {
        return mod_comet_parked_write_whole(park, &bytes);
    }
    status = mod_comet_parked_write(park, &bytes);
    if (status != APR_SUCCESS) {
        mod_comet_parked_end(park, 0, 1);
    }
    else if (mod_comet_outbox_is_empty(&park->outbox)) {
        status = mod_comet_parked_end(park, 1, close);
        mod_comet_parked_note_blocked(park);
    }
    return status;
}

apr_status_t mod_comet_parked_dismiss(mod_comet_parked_t *park, int close)
{
    static const comet_batch_t no_news = { .count = 0 };

    if (comet_hub_is_stopping(mod_comet_child()->hub)) {
        mod_comet_story_end(park->ask->story, MOD_COMET_END_stopping);
    }
    return park->ask->transport->streams ? mod_comet_parked_end(park, 1, 1)
                                         : answer_poll(park, &no_news, close);
}

/* --- served by the hub ------------------------------------------------ */

/*
 * The client has its answer.  It rests until the MPM sees its next request, or
 * until its keep-alive time is over.  While the client still takes the answer,
 * the limit is the MPM's Timeout; when the child ends, it is that of
 * wait/parked_limit.
 */
static comet_outcome_e rest(mod_comet_parked_t *park, unsigned reasons)
{
    conn_rec *c = park->c;
    int stopping = comet_hub_is_stopping(mod_comet_child()->hub);
    int timeout = (reasons & (COMET_TIMEOUT | COMET_YIELD)) != 0;

    if ((reasons & COMET_YIELD) && c->data_in_output_filters) {
        return lose(park); /* the client does not take its answer */
    }
    if (c->data_in_output_filters && !c->aborted
        && mod_comet_parked_limit_may_finish(park)) {
        return mod_comet_parked_limit_finish(park) ? COMET_REST : lose(park);
    }
    if (c->data_in_output_filters && !c->aborted
        && !mod_comet_parked_limit_is_over(park)) {
        park->subscriber.timeout_at =
            stopping ? mod_comet_parked_limit_close(park)
                     : comet_monotonic() + park->keep_alive;
    }
    else if ((timeout || stopping || c->aborted
              || c->keepalive != AP_CONN_KEEPALIVE)
             && !mod_comet_parked_limit_linger(park)) {
        mod_comet_parked_make_mpm_close(park);
    }
    return COMET_REST;
}

/* The answer was just sent: the keep-alive time begins. */
static comet_outcome_e rest_answered(mod_comet_parked_t *park)
{
    park->subscriber.timeout_at = comet_monotonic() + park->keep_alive;
    return rest(park, 0);
}

void mod_comet_parked_set_timer(mod_comet_parked_t *park)
{
    park->subscriber.timeout_at = mod_comet_news_due(
        park->end_msec ? park->stops_at : park->ends_at, park->heartbeat);
}

/* Write a stream's end.  If ending the request may block, a worker does it; but
 * not when the child stops, because httpd may have no workers left then. */
static apr_status_t end_stream(mod_comet_parked_t *park)
{
    if (!park->by_worker || comet_hub_is_stopping(mod_comet_child()->hub)) {
        return mod_comet_parked_end(park, 1, 1);
    }
    park->over = 1;
    park->c->keepalive = AP_CONN_CLOSE;
    return mod_comet_filters_finish(park->r, park->brigade);
}

/* Continue after a stream's client has taken all bytes: the client waits again,
 * or the stream ends. */
static comet_outcome_e go_on_streaming(mod_comet_parked_t *park,
                                       unsigned reasons)
{
    if (!park->retry_msec && !park->said_all) {
        mod_comet_parked_set_timer(park);
        mod_comet_parked_stream_go_on_talking(park);
        return COMET_WAIT;
    }
    if (end_stream(park) != APR_SUCCESS) {
        return lose(park);
    }
    mod_comet_parked_note_blocked(park);
    return rest(park, reasons);
}

/* Continue while the client has not taken all of its answer. */
static comet_outcome_e go_on_sending(mod_comet_parked_t *park, unsigned reasons)
{
    int streams = park->ask->transport->streams;
    apr_status_t status = APR_SUCCESS;

    if (park->subscriber.blocked_fd < 0) {
        status = mod_comet_outbox_send(&park->outbox, park->r, park->brigade);
        mod_comet_parked_note_blocked(park);
    }
    if (status == APR_SUCCESS && mod_comet_outbox_is_empty(&park->outbox)) {
        if (streams) {
            return go_on_streaming(park, 0);
        }
        status = mod_comet_parked_end(park, 1, 0);
        mod_comet_parked_note_blocked(park);
        return status == APR_SUCCESS ? rest_answered(park) : lose(park);
    }
    if (status != APR_SUCCESS || !mod_comet_parked_limit_keep(park, reasons)) {
        return lose(park);
    }
    if (reasons & COMET_STOPPING) {
        *(park->ask->talk ? &park->end_msec : &park->retry_msec) =
            mod_comet_news_retry(park->ask->story, reasons, 0,
                                 park->ask->judged.took);
        park->c->keepalive = AP_CONN_CLOSE;
    }
    return COMET_WAIT;
}

/* Find out whether the stream ends now.  A WebSocket does not end while its
 * client waits for an answer that might come in time.
 * @return within how many milliseconds the client is told to come back; 0: the
 *         stream does not end */
static int find_end(mod_comet_parked_t *park, unsigned reasons)
{
    mod_comet_talk_t *talk = park->ask->talk;
    int retry_msec = mod_comet_news_retry(
        park->ask->story, reasons, park->ends_at, park->ask->judged.took);

    if (!talk) {
        return retry_msec;
    }
    if (retry_msec && !park->end_msec) {
        park->end_msec = retry_msec;
        mod_comet_parked_limit_close(park);
    }
    return park->end_msec && mod_comet_talk_is_unanswered(talk)
                   && !mod_comet_parked_limit_is_over(park)
               ? 0
               : park->end_msec;
}

static comet_outcome_e serve_stream(mod_comet_parked_t *park,
                                    const comet_delivery_t *delivery)
{
    unsigned reasons = delivery->reasons;

    park->retry_msec = find_end(park, reasons);
    if (reasons & COMET_STOPPING) {
        mod_comet_parked_limit_close(park);
    }
    /* if the hub has not looked for messages, an empty batch does not mean that
     * the rest of a long message was erased */
    if (!(park->slice.of && !park->retry_msec
          && ((delivery->is_unread && !delivery->batch->count)
              || park->subscriber.blocked_fd >= 0))
        && write_stream(park, news_for(park, delivery), reasons)
               != APR_SUCCESS) {
        return lose(park);
    }
    return mod_comet_outbox_is_empty(&park->outbox)
               ? go_on_streaming(park, reasons & COMET_STOPPING)
               : go_on_sending(park, reasons & COMET_STOPPING);
}

static comet_outcome_e serve_poll(mod_comet_parked_t *park,
                                  const comet_delivery_t *delivery)
{
    int stopping = (delivery->reasons & COMET_STOPPING) != 0;

    if (!delivery->batch->count && !stopping
        && !(delivery->reasons
             & (COMET_TIMEOUT | COMET_RECHECK | COMET_REVOKED))) {
        return COMET_WAIT;
    }
    mod_comet_story_end_by(park->ask->story, delivery->reasons,
                           mod_comet_news_is_over(park->ends_at));
    if (answer_poll(park, news_for(park, delivery), stopping) != APR_SUCCESS) {
        return lose(park);
    }
    return park->r ? go_on_sending(park, delivery->reasons & COMET_STOPPING)
                   : rest_answered(park);
}

/* Serve a client whose socket the hub has borrowed (wait/fast.h).  If this
 * answers the parked request, httpd only has to log that request. */
static comet_outcome_e serve_fast(mod_comet_parked_t *park,
                                  const comet_delivery_t *delivery)
{
    mod_comet_fast_held_t held = { park->r, park->ask, -1 };
    comet_outcome_e outcome = mod_comet_fast_serve(
        park->fast, park->c, &park->subscriber, delivery, &held);

    if (held.answered >= 0) {
        park->r->bytes_sent = held.answered;
        park->r->sent_bodyct = 1;
        mod_comet_parked_end(park, 0, 0);
    }
    return outcome;
}

static int may_keep_verdicts(const comet_delivery_t *delivery)
{
    return (delivery->reasons & COMET_RECHECK)
           && !(delivery->reasons & COMET_REVOKED);
}

/* Keep the verdicts for a client that will come back, until its stream or poll
 * would have ended. */
static void keep_verdicts(const mod_comet_parked_t *park)
{
    const mod_comet_ask_t *ask = park->ask;

    mod_comet_verdicts_keep(
        mod_comet_child()->verdicts, ask->judged.identity, ask->selection,
        ask->authenticated,
        ask->transport->streams ? park->ends_at : park->subscriber.timeout_at);
}

comet_outcome_e mod_comet_parked_serve(comet_subscriber_t *subscriber,
                                       const comet_delivery_t *delivery)
{
    mod_comet_parked_t *park = (mod_comet_parked_t *)subscriber;
    comet_outcome_e outcome;

    if (delivery->reasons & COMET_STOPPING) {
        mod_comet_fast_forget(park->fast);
    }
    if (mod_comet_fast_is_lent(park->fast)) {
        return serve_fast(park, delivery);
    }
    if (park->real >= 0 && may_keep_verdicts(delivery) && park->r) {
        keep_verdicts(park);
    }
    if (park->real >= 0) {
        return park->at_once ? COMET_REST : serve_lent(park, delivery);
    }
    if (is_sent_by_workers(park) && !mod_comet_outbox_is_empty(&park->outbox)) {
        return COMET_REST;
    }
    if (delivery->reasons & COMET_WRITABLE) {
        mod_comet_ack_arm(&park->ack, park->fd, 0);
        if (mod_comet_filters_push(park->c) != APR_SUCCESS) {
            return lose(park);
        }
        mod_comet_parked_note_blocked(park);
    }
    if (!park->r || park->over) {
        return rest(park, delivery->reasons);
    }
    if (may_keep_verdicts(delivery)) {
        keep_verdicts(park);
    }
    if (!mod_comet_outbox_is_empty(&park->outbox)) {
        outcome = go_on_sending(park, delivery->reasons);
    }
    else if (park->ask->transport->streams) {
        outcome = serve_stream(park, delivery);
    }
    else {
        outcome = serve_poll(park, delivery);
    }
    if (outcome == COMET_WAIT
        && comet_pulse_is_lost(&park->pulse, park->fd, park->heartbeat)) {
        outcome = lose(park);
    }
    return outcome;
}
