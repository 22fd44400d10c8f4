/* SPDX-License-Identifier: Apache-2.0 */
/* Wait in the request's own thread.  Only a limited number of threads may do
 * so. */
#include "wait/block.h"

#include <apr_strings.h>
#include <http_connection.h>
#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>

#include "base/pulse.h"
#include "wait/adopt.h"
#include "wait/block_place.h"
#include "wait/held.h"
#include "wait/park.h"
#include "server/child.h"
#include "server/mpm.h"
#include "request/limits.h"
#include "output/answer.h"
#include "output/opening.h"
#include "output/chain.h"
#include "output/filters.h"
#include "output/news.h"
#include "output/outbox.h"
#include "wait/hear.h"
#include "wait/live.h"
#include "wait/verdicts.h"
#include "wait/wait_priv.h"

/* How often a thread checks for events that cannot wake it. */
#define SLICE apr_time_from_msec(250)
/* How often a thread reads a WebSocket over HTTP/2, whose input cannot wake
 * it. */
#define LOOK_EVERY apr_time_from_msec(50)

typedef mod_comet_blocked_t block_t;

/* --- getting messages (hub's thread) ---------------------------------- */

/* Hand messages to the thread.  The thread leaves the hub before it writes.
 * The messages that come meanwhile follow its cursor, so the thread gets them
 * when it joins again. */
static comet_outcome_e serve(comet_subscriber_t *subscriber,
                             const comet_delivery_t *delivery)
{
    block_t *block = (block_t *)subscriber;
    /* input ends the wait only if it comes from a WebSocket whose talk has room
     * for it; other input is read later */
    unsigned reasons =
        delivery->reasons
        & ~(unsigned)(COMET_NEWS | (block->hears ? 0 : COMET_READABLE));
    apr_size_t i;

    for (i = 0; i < delivery->batch->count; i++) {
        comet_batch_add(&block->batch,
                        comet_message_ref(delivery->batch->messages[i]));
        reasons |= COMET_NEWS;
    }
    if (!reasons) {
        return COMET_WAIT;
    }
    pthread_mutex_lock(&block->lock);
    block->reasons |= reasons;
    pthread_cond_signal(&block->handed);
    pthread_mutex_unlock(&block->lock);
    return COMET_REST;
}

void mod_comet_block_wake(mod_comet_child_t *child)
{
    mod_comet_waiting_t *waiting = child->waiting;
    block_t *block;

    pthread_mutex_lock(&waiting->lock);
    APR_RING_FOREACH(block, &waiting->blocked, mod_comet_blocked_t, link)
    {
        pthread_mutex_lock(&block->lock);
        block->woken = 1;
        pthread_cond_signal(&block->handed);
        pthread_mutex_unlock(&block->lock);
    }
    pthread_mutex_unlock(&waiting->lock);
}

/* --- waiting (the request's thread) ----------------------------------- */

static int is_stopping(const block_t *block)
{
    return mod_comet_mpm_is_stopping()
           || comet_hub_is_stopping(block->child->hub);
}

/* Whether the client has ended the connection.  The socket may still hold input
 * (TLS's closing alert).  The end of an HTTP/2 stream is known only to
 * mod_http2, which sets c->aborted. */
static int is_gone(conn_rec *c)
{
    struct pollfd look = { .events = POLLRDHUP };

    if (c->aborted || c->master) {
        return c->aborted != 0;
    }
    look.fd = mod_comet_filters_fd(c);
    return poll(&look, 1, 0) > 0;
}

/* Whether every event wakes the thread.  The hub wakes it for news, its timer,
 * a stop of the child and a client that leaves; mod_comet_block_wake() wakes it
 * for a stop while the hub hangs.  Nothing wakes it for the end of an HTTP/2
 * stream, nor for a graceful stop on prefork, where a signal handler only sets
 * a state. */
static int can_be_woken(const block_t *block)
{
    return block->subscriber.listens && !mod_comet_mpm_capacity()->prefork;
}

/* Whether the thread must check by itself whether its WebSocket has input.
 * Nothing wakes it for input if the WebSocket is a stream of HTTP/2. */
static int must_look(const block_t *block)
{
    return block->talk && block->master;
}

/* Wait until the hub hands something over, or until the thread must check
 * whether to go on.
 * @return bits of comet_reason_e: what was handed over */
static unsigned await_turn(block_t *block)
{
    apr_time_t until =
        comet_monotonic() + (must_look(block) ? LOOK_EVERY : SLICE);
    apr_time_t due =
        block->subscriber.timeout_at + SLICE; /* if the hub is late */
    unsigned reasons;
    int failed = 0;

    if (can_be_woken(block) && due > until) {
        until = due;
    }
    pthread_mutex_lock(&block->lock);
    while (!block->reasons && !block->woken && !failed) {
        failed = comet_condition_wait(&block->handed, &block->lock, until);
    }
    reasons = block->reasons;
    block->reasons = 0;
    block->woken = 0;
    pthread_mutex_unlock(&block->lock);
    return reasons;
}

/* @return why the wait is over, in bits of comet_reason_e; 0: the client is
 *         gone */
static unsigned await(conn_rec *c, block_t *block)
{
    unsigned reasons;

    do {
        reasons = await_turn(block) & ~(unsigned)COMET_GONE;
        if (!block->talk && is_gone(c)) {
            comet_metrics_add(COMET_METRIC_departed, 1);
            c->aborted = 1;
            return 0;
        }
        if (is_stopping(block)) {
            reasons |= COMET_STOPPING;
        }
        if (must_look(block)) {
            reasons |= COMET_READABLE;
        }
    } while (!reasons);
    return reasons;
}

/* --- writing ---------------------------------------------------------- */

static apr_status_t write_bytes(request_rec *r, comet_buffer_t *bytes,
                                int whole)
{
    apr_status_t status = APR_ENOMEM;

    if (!bytes->failed) {
        if (whole) {
            ap_set_content_length(r, (apr_off_t)bytes->length);
        }
        status = ap_rwrite(bytes->data, (int)bytes->length, r) < 0
                         || ap_rflush(r) < 0
                     ? APR_ECONNABORTED
                     : APR_SUCCESS;
    }
    comet_buffer_free(bytes);
    return status;
}

static apr_status_t open_answer(request_rec *r, const mod_comet_ask_t *ask)
{
    comet_buffer_t bytes = { .data = NULL };

    mod_comet_answer_prepare(r, ask->transport);
    if (ask->transport->whole) {
        return APR_SUCCESS;
    }
    mod_comet_news_encode_opening(ask, &bytes);
    return write_bytes(r, &bytes, 0);
}

static apr_status_t join_hub(const request_rec *r, const mod_comet_ask_t *ask,
                             block_t *block)
{
    comet_hub_t *hub = block->child->hub;
    int store = mod_comet_config_server(r->server)->store;

    return ask->tick
               ? comet_hub_join_clock(hub, &block->subscriber, ask->tick)
               : comet_hub_join(hub, &block->subscriber, (apr_size_t)store,
                                mod_comet_live_selection(ask));
}

/* Join the hub, which watches the socket of an HTTP/1.1 client to notice when
 * the client leaves.  If epoll refuses the socket, the thread checks for that
 * itself. */
static apr_status_t join(const request_rec *r, const mod_comet_ask_t *ask,
                         block_t *block, apr_time_t ends_at)
{
    apr_status_t status;

    block->subscriber = (comet_subscriber_t){
        .serve = serve,
        .seen = ask->seen,
        .floor = ask->pruned,
        .limit = (apr_uint32_t)ask->limit,
        .piece = ask->transport->streams ? MOD_COMET_STREAM_BYTES : 0,
        .timeout_at = mod_comet_talk_due(
            block->talk,
            mod_comet_news_due(ends_at, ask->transport->streams ? ask->heartbeat
                                                                : ask->hold)),
        .blocked_fd = -1,
        .own_fd = block->fd,
        .listens = !block->master,
        .revoked = comet_presence_revoked(mod_comet_request(r)->place.seat),
    };
    mod_comet_live_prepare(ask, &block->subscriber);
    if (block->talk) {
        mod_comet_talk_attach(block->talk, block->child->hub,
                              &block->subscriber);
    }
    status = join_hub(r, ask, block);
    if (status != APR_SUCCESS && block->subscriber.listens) {
        block->subscriber.listens = 0;
        status = join_hub(r, ask, block);
    }
    return status;
}

/* Whether the client acknowledges none of the bytes that were sent.  An HTTP/2
 * connection is shut down then; otherwise it and all its streams would wait
 * until TCP gives up. */
static int is_lost(conn_rec *c, const mod_comet_ask_t *ask, block_t *block)
{
    if (!comet_pulse_is_lost(&block->pulse, block->fd, ask->heartbeat)) {
        return 0;
    }
    comet_metrics_add(COMET_METRIC_dropped, 1);
    mod_comet_story_end(ask->story, MOD_COMET_END_lost);
    c->aborted = 1;
    if (block->master) {
        shutdown(block->fd, SHUT_RDWR);
    }
    return 1;
}

/* Stop counting the client as waiting.  This comes before the last bytes are
 * written, because a client that has them may wait again at once. */
static void stop_counting(request_rec *r, block_t *block)
{
    block->is_over = 1;
    mod_comet_place_leave(&mod_comet_request(r)->place);
}

/* Read what the client of a WebSocket has said.
 * @return 0: the client has left */
static int hear(conn_rec *c, apr_bucket_brigade *brigade, block_t *block)
{
    mod_comet_hear_e heard;

    if (!block->talk) {
        return 1;
    }
    heard = mod_comet_hear_filters(block->child, c, brigade, block->talk);
    block->hears = heard != MOD_COMET_HEAR_FULL;
    if (heard == MOD_COMET_HEAR_GONE) {
        comet_metrics_add(COMET_METRIC_departed, 1);
        c->aborted = 1;
        return 0;
    }
    return 1;
}

/* Wait in the hub.
 * @return as await() */
static unsigned wait_once(request_rec *r, const mod_comet_ask_t *ask,
                          block_t *block, apr_time_t ends_at)
{
    unsigned reasons = 0;

    if (join(r, ask, block, ends_at) == APR_SUCCESS) {
        reasons = await(r->connection, block);
        comet_hub_leave(block->child->hub, &block->subscriber);
    }
    if (block->talk) {
        mod_comet_talk_detach(block->talk);
    }
    return reasons;
}

/* Encode the bytes to send to the client now.
 * @return whether the stream continues afterwards */
static int encode_next(const mod_comet_ask_t *ask, block_t *block,
                       unsigned reasons, apr_time_t ends_at,
                       comet_buffer_t *bytes)
{
    int retry_msec =
        mod_comet_news_retry(ask->story, reasons, ends_at, ask->judged.took);

    if ((reasons & COMET_RECHECK) && !(reasons & COMET_REVOKED)) {
        mod_comet_verdicts_keep(
            block->child->verdicts, ask->judged.identity, ask->selection,
            ask->authenticated,
            ask->transport->streams ? ends_at : block->subscriber.timeout_at);
    }
    if (block->talk && retry_msec) {
        mod_comet_talk_settle(block->talk, MOD_COMET_CLOSING_LIMIT);
    }
    if (block->talk && mod_comet_talk_take(block->talk, bytes)) {
        return 0;
    }
    if (mod_comet_news_is_over(ends_at)) {
        comet_batch_clear(&block->batch);
    }
    mod_comet_news_encode_next(ask, &block->batch, retry_msec,
                               (reasons & COMET_TIMEOUT) != 0, bytes);
    return ask->transport->streams && !retry_msec;
}

/* Make the changes of channels that the client of a WebSocket has asked for.
 * @param reasons  why the client was just served; 0: it was not */
static void change_channels(mod_comet_ask_t *ask, block_t *block,
                            unsigned reasons, apr_time_t *ends_at)
{
    block->subscriber.seen = ask->seen;
    block->subscriber.floor = ask->pruned;
    mod_comet_live_go_on(ask, &block->subscriber, reasons);
    mod_comet_live_listen(ask, &block->subscriber, 1, ends_at);
    ask->seen = block->subscriber.seen;
    ask->pruned = block->subscriber.floor;
}

/* Wait until there is something for the client, and send it.
 * @return whether the client goes on waiting */
static int attend(request_rec *r, mod_comet_ask_t *ask, block_t *block,
                  apr_bucket_brigade *brigade, apr_time_t *ends_at)
{
    comet_buffer_t bytes = { .data = NULL };
    unsigned reasons;
    int goes_on;

    if (!hear(r->connection, brigade, block)) {
        return 0;
    }
    change_channels(ask, block, 0, ends_at);
    reasons = wait_once(r, ask, block, *ends_at);
    if (!reasons) {
        return 0;
    }
    ask->seen = block->subscriber.seen;
    goes_on = encode_next(ask, block, reasons, *ends_at, &bytes);
    comet_batch_clear(&block->batch);
    change_channels(ask, block, reasons, ends_at);
    if (!goes_on) {
        stop_counting(r, block);
    }
    return (!(bytes.length || bytes.failed || ask->transport->whole)
            || write_bytes(r, &bytes, ask->transport->whole) == APR_SUCCESS)
           && !block->is_over && !is_lost(r->connection, ask, block);
}

static comet_batch_t make_batch(apr_pool_t *p, apr_size_t size)
{
    return (comet_batch_t){
        .messages = apr_palloc(p, size * sizeof(comet_message_t *)),
        .size = size,
    };
}

/* Refuse a stream, because a filter holds it back: nothing of its answer has
 * reached the client, and no message would. */
static int refuse(request_rec *r, const char *filter)
{
    mod_comet_chain_clear(r);
    ap_log_rerror(APLOG_MARK, APLOG_ERR, 0, r,
                  "COMET0132: the output filter %s holds back everything that "
                  "%s streams; remove the filter from this path (see the "
                  "manual, \"Other modules\")",
                  filter, r->uri);
    return mod_comet_answer_error(r, HTTP_INTERNAL_SERVER_ERROR,
                                  "the output filter %s holds back the stream",
                                  filter);
}

/* Send a stream's opening.  If a filter may hold bytes back, check whether it
 * passes the opening on.
 * @param keeper  OUT: a filter that holds the stream back; NULL: none does */
static apr_status_t send_stream_opening(request_rec *r,
                                        const mod_comet_ask_t *ask,
                                        const char **keeper)
{
    const char *obstacle = mod_comet_chain_find_obstacle(r);
    comet_buffer_t bytes = { .data = NULL };
    mod_comet_opening_t opening;
    apr_status_t status;

    *keeper = mod_comet_chain_find_program(r);
    if (*keeper) {
        return APR_SUCCESS;
    }
    mod_comet_answer_prepare(r, ask->transport);
    mod_comet_news_encode_opening(ask, &bytes);
    if (!obstacle || !bytes.length) {
        return write_bytes(r, &bytes, 0);
    }
    mod_comet_opening_begin(r, &opening,
                            (comet_text_t){ bytes.data, bytes.length });
    status = write_bytes(r, &bytes, 0);
    if (status != APR_SUCCESS) {
        return status;
    }
    if (!mod_comet_opening_has_passed(&opening)) {
        *keeper = mod_comet_chain_find_obstacle(r);
        if (!*keeper) {
            *keeper = obstacle; /* it has left the chain */
        }
        return APR_SUCCESS;
    }
    return mod_comet_opening_end(&opening);
}

/* Open a stream, then check whether it needs the thread after all: many filters
 * leave the chain when the headers are sent.
 * @return what the handler returns; DECLINED: it needs the thread */
static int open_stream(request_rec *r, mod_comet_ask_t *ask,
                       apr_int64_t adopting)
{
    const char *keeper;

    if (send_stream_opening(r, ask, &keeper) != APR_SUCCESS) {
        return OK;
    }
    if (keeper) {
        return refuse(r, keeper);
    }
    if (adopting >= 0 && mod_comet_adopt(r, ask, adopting)) {
        return DONE;
    }
    if (mod_comet_park_opened(r, ask)) {
        return SUSPENDED;
    }
    if (mod_comet_park_can_hold(r->connection) || mod_comet_adopt_may(r, ask)) {
        mod_comet_chain_tell(r);
    }
    return DECLINED;
}

static void attend_all(request_rec *r, mod_comet_ask_t *ask, block_t *block)
{
    apr_time_t ends_at = mod_comet_ask_end(ask);
    apr_bucket_brigade *brigade =
        apr_brigade_create(r->pool, r->connection->bucket_alloc);

    block->talk = ask->talk;
    if (ask->transport->streams) {
        comet_pulse_begin(&block->pulse, block->fd, ask->heartbeat);
    }
    mod_comet_held_tell(r);
    ask->story->way = "blocked";
    while (attend(r, ask, block, brigade, &ends_at)) {
    }
    comet_batch_clear(&block->batch);
}

/* @return NULL: the thread may wait until give_back(); otherwise why it may
 *         not */
static const char *take(block_t *block, apr_pool_t *p)
{
    const char *obstacle;

    if (comet_condition_init(&block->handed) != 0) {
        return "the server is out of memory";
    }
    obstacle = mod_comet_block_place_take(block, p);
    if (obstacle) {
        pthread_cond_destroy(&block->handed);
    }
    block->has_place = !obstacle;
    return obstacle;
}

static void give_back(block_t *block)
{
    if (block->has_place) {
        mod_comet_block_place_give(block);
        pthread_cond_destroy(&block->handed);
    }
}

int mod_comet_block(request_rec *r, mod_comet_ask_t *ask, apr_int64_t adopting,
                    mod_comet_refusal_t *refusal)
{
    conn_rec *c = r->connection;
    block_t block = { .child = mod_comet_child(),
                      .master = c->master,
                      .fd = mod_comet_filters_fd(c->master ? c->master : c),
                      .lock = PTHREAD_MUTEX_INITIALIZER,
                      .batch = make_batch(r->pool, ask->limit) };
    /* a stream that can be adopted usually is, and then needs no place for a
     * thread */
    int is_plain = adopting >= 0 && mod_comet_adopt_is_plain(r, ask);
    const char *obstacle = is_plain ? NULL : take(&block, r->pool);
    int rv = DECLINED;

    if (!obstacle && ask->transport->streams) {
        rv = open_stream(r, ask, adopting);
    }
    else if (!obstacle) {
        rv = open_answer(r, ask) == APR_SUCCESS ? DECLINED : OK;
    }
    if (!obstacle && rv == DECLINED && is_plain) {
        obstacle = take(&block, r->pool);
    }
    if (obstacle) {
        mod_comet_places_refuse(refusal, obstacle);
        return DECLINED;
    }
    if (rv == DECLINED) {
        attend_all(r, ask, &block);
        stop_counting(r, &block);
        rv = OK;
    }
    give_back(&block);
    return rv;
}
