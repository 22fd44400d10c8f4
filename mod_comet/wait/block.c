/* SPDX-License-Identifier: Apache-2.0 */
/* Waiting with the request's own thread, under a cap. */
#include "wait/block.h"

#include <http_connection.h>
#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>

#include "base/pulse.h"
#include "wait/adopt.h"
#include "server/child.h"
#include "server/mpm.h"
#include "output/answer.h"
#include "output/filters.h"
#include "output/news.h"

/* How often the thread looks whether httpd stops or the client has left: on
 * prefork nothing can wake it. */
#define SLICE apr_time_from_msec(250)
/* An HTTP/2 connection has few threads; comet may hold so many of them. */
#define STREAMS_PER_CONNECTION 2

/*
 * A waiting thread.  The hub hands over, the thread writes.  Its lock is
 * taken by the hub's thread with no other lock held.
 */
typedef struct block_t block_t;
struct block_t {
    comet_subscriber_t subscriber; /* first: serve() gets its address */
    block_t *next; /* [blocked_lock] */
    const conn_rec *master; /* of an HTTP/2 stream; NULL: HTTP/1.1 */
    pthread_mutex_t lock;
    pthread_cond_t handed; /* with lock */
    unsigned reasons; /* [lock] */
    comet_batch_t batch; /* the hub's thread while joined, then the owner's */
    int fd; /* the client's socket */
    comet_pulse_t pulse; /* [owner thread] a stream's */
};

/* Those of this child, to count what one connection holds. */
static pthread_mutex_t blocked_lock = PTHREAD_MUTEX_INITIALIZER;
static block_t *blocked_list; /* [blocked_lock] */

/* --- a place to wait --------------------------------------------------------- */

static int take_place(block_t *block)
{
    static const comet_metric_e blocked = COMET_METRIC_blocked;
    const block_t *other;
    int streams = 0, fits;

    pthread_mutex_lock(&blocked_lock);
    for (other = blocked_list; other; other = other->next) {
        streams += block->master && other->master == block->master;
    }
    fits = streams < STREAMS_PER_CONNECTION
           && !comet_metrics_is_capped(mod_comet_child_metrics(), &blocked, 1,
                                       mod_comet_mpm_capacity()->blocked);
    if (fits) {
        block->next = blocked_list;
        blocked_list = block;
        comet_metrics_add(COMET_METRIC_blocked, 1);
    }
    pthread_mutex_unlock(&blocked_lock);
    return fits;
}

static void give_place(block_t *block)
{
    block_t **link;

    pthread_mutex_lock(&blocked_lock);
    for (link = &blocked_list; *link != block; link = &(*link)->next) {
    }
    *link = block->next;
    comet_metrics_add(COMET_METRIC_blocked, -1);
    pthread_mutex_unlock(&blocked_lock);
}

/* --- being handed messages (hub's thread) ---------------------------------------- */

/* The thread takes itself back before it writes: what comes meanwhile is in
 * the log, after its cursor. */
static comet_outcome_e serve(comet_subscriber_t *subscriber,
                             const comet_delivery_t *delivery)
{
    block_t *block = (block_t *)subscriber;
    unsigned reasons = delivery->reasons & ~(unsigned)COMET_NEWS;
    apr_size_t i;

    for (i = 0; i < delivery->batch->count; i++) {
        comet_batch_add(&block->batch,
                        comet_message_ref(delivery->batch->messages[i]));
        reasons |= COMET_NEWS;
    }
    pthread_mutex_lock(&block->lock);
    block->reasons |= reasons;
    pthread_cond_signal(&block->handed);
    pthread_mutex_unlock(&block->lock);
    return reasons ? COMET_REST : COMET_WAIT;
}

/* --- waiting (the request's thread) ------------------------------------------------ */

static int is_stopping(void)
{
    return mod_comet_mpm_is_stopping()
           || comet_hub_is_stopping(mod_comet_child()->hub);
}

/* Whether the client has ended the connection, though it may have sent more
 * before that (TLS's closing).  An HTTP/2 stream's end is its connection's
 * business. */
static int is_gone(conn_rec *c)
{
    struct pollfd look = { .events = POLLRDHUP };

    if (c->aborted || c->master) {
        return c->aborted != 0;
    }
    look.fd = mod_comet_filters_fd(c);
    return poll(&look, 1, 0) > 0;
}

/* Wait for one slice, or less. @return what has come */
static unsigned await_slice(block_t *block)
{
    unsigned reasons;

    pthread_mutex_lock(&block->lock);
    if (!block->reasons) {
        comet_condition_wait(&block->handed, &block->lock,
                             comet_monotonic() + SLICE);
    }
    reasons = block->reasons;
    block->reasons = 0;
    pthread_mutex_unlock(&block->lock);
    return reasons;
}

/* @return why it is over; 0: the client is gone */
static unsigned await(conn_rec *c, block_t *block)
{
    unsigned reasons;

    do {
        reasons = await_slice(block);
        if (is_gone(c)) {
            comet_metrics_add(COMET_METRIC_departed, 1);
            c->aborted = 1;
            return 0;
        }
        if (is_stopping()) {
            reasons |= COMET_STOPPING;
        }
    } while (!reasons);
    return reasons;
}

/* --- writing ------------------------------------------------------------------------- */

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

static apr_status_t join(const request_rec *r, const mod_comet_ask_t *ask,
                         block_t *block, apr_time_t ends_at)
{
    comet_hub_t *hub = mod_comet_child()->hub;
    int store = mod_comet_config_server(r->server)->store;

    block->subscriber = (comet_subscriber_t){
        .serve = serve,
        .seen = ask->seen,
        .floor = ask->pruned,
        .limit = ask->limit,
        .timeout_at = mod_comet_news_due(
            ends_at, ask->transport->streams ? ask->heartbeat : ask->hold),
        .blocked_fd = -1,
    };
    return ask->tick ? comet_hub_join_clock(hub, &block->subscriber, ask->tick)
                     : comet_hub_join(hub, &block->subscriber,
                                      (apr_size_t)store, ask->selection);
}

/* Whether what was sent arrives nowhere.  An HTTP/2 connection, which would
 * wait for TCP to give up, and its streams with it, is told. */
static int is_lost(conn_rec *c, block_t *block)
{
    if (!comet_pulse_is_lost(&block->pulse, block->fd)) {
        return 0;
    }
    comet_metrics_add(COMET_METRIC_dropped, 1);
    c->aborted = 1;
    if (block->master) {
        shutdown(block->fd, SHUT_RDWR);
    }
    return 1;
}

/* Wait for one thing and tell the client of it.
 * @return whether it goes on waiting */
static int attend(request_rec *r, mod_comet_ask_t *ask, block_t *block,
                  apr_time_t ends_at)
{
    comet_buffer_t bytes = { .data = NULL };
    unsigned reasons;
    int retry_msec;

    if (join(r, ask, block, ends_at) != APR_SUCCESS) {
        return 0;
    }
    reasons = await(r->connection, block);
    comet_hub_leave(mod_comet_child()->hub, &block->subscriber);
    if (!reasons) {
        return 0;
    }
    ask->seen = block->subscriber.seen;
    retry_msec = mod_comet_news_retry(reasons, ends_at);
    mod_comet_news_encode_next(ask, &block->batch, retry_msec,
                               (reasons & COMET_TIMEOUT) != 0, &bytes);
    comet_batch_clear(&block->batch);
    return write_bytes(r, &bytes, ask->transport->whole) == APR_SUCCESS
           && ask->transport->streams && !retry_msec
           && !is_lost(r->connection, block);
}

static comet_batch_t make_batch(apr_pool_t *p, apr_size_t size)
{
    return (comet_batch_t){
        .messages = apr_palloc(p, size * sizeof(comet_message_t *)),
        .size = size,
    };
}

int mod_comet_block(request_rec *r, mod_comet_ask_t *ask, apr_int64_t adopting)
{
    conn_rec *c = r->connection;
    block_t block = { .master = c->master,
                      .fd = mod_comet_filters_fd(c->master ? c->master : c),
                      .lock = PTHREAD_MUTEX_INITIALIZER,
                      .batch = make_batch(r->pool, ask->limit) };
    apr_time_t ends_at = ask->lifetime ? comet_monotonic() + ask->lifetime : 0;
    int is_open = adopting >= 0;

    if (is_open) {
        if (open_answer(r, ask) != APR_SUCCESS) {
            return OK;
        }
        if (mod_comet_adopt(r, ask, adopting)) {
            return DONE;
        }
    }
    if (comet_condition_init(&block.handed) != 0) {
        return is_open ? OK : mod_comet_answer_full(r);
    }
    if (!take_place(&block)) {
        pthread_cond_destroy(&block.handed);
        return is_open ? OK : mod_comet_answer_full(r);
    }
    if (ask->transport->streams) {
        comet_pulse_begin(&block.pulse, block.fd, ask->heartbeat);
    }
    comet_metrics_add(ask->transport->gauge, 1);
    if (is_open || open_answer(r, ask) == APR_SUCCESS) {
        while (attend(r, ask, &block, ends_at)) {
        }
    }
    comet_batch_clear(&block.batch);
    comet_metrics_add(ask->transport->gauge, -1);
    give_place(&block);
    pthread_cond_destroy(&block.handed);
    return OK;
}
