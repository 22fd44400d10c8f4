/* SPDX-License-Identifier: Apache-2.0 */
/* Waiting with the request's own thread, under a cap. */
#include "mod_comet_block.h"

#include <http_connection.h>
#include <pthread.h>
#include <sys/socket.h>

#include "mod_comet_child.h"
#include "mod_comet_mpm.h"
#include "mod_comet_output.h"

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
    block_t *next; /* [bench_lock] */
    const conn_rec *master; /* of an HTTP/2 stream; NULL: HTTP/1.1 */
    pthread_mutex_t lock;
    pthread_cond_t handed; /* with lock */
    unsigned reasons; /* [lock] */
    comet_batch_t batch; /* [lock] */
};

/* Those of this child, to count what one connection holds. */
static pthread_mutex_t bench_lock = PTHREAD_MUTEX_INITIALIZER;
static block_t *bench; /* [bench_lock] */

/* --- a place to wait --------------------------------------------------------- */

static int sit_down(block_t *block, int cap)
{
    static const comet_metric_e blocked = COMET_METRIC_blocked;
    const block_t *other;
    int mates = 0, fits;

    pthread_mutex_lock(&bench_lock);
    for (other = bench; other; other = other->next) {
        mates += block->master && other->master == block->master;
    }
    fits = mates < STREAMS_PER_CONNECTION
           && !comet_metrics_reach(mod_comet_metrics(), &blocked, 1, cap);
    if (fits) {
        block->next = bench;
        bench = block;
        comet_metrics_add(COMET_METRIC_blocked, 1);
    }
    pthread_mutex_unlock(&bench_lock);
    return fits;
}

static void stand_up(block_t *block)
{
    block_t **link;

    pthread_mutex_lock(&bench_lock);
    for (link = &bench; *link != block; link = &(*link)->next) {
    }
    *link = block->next;
    comet_metrics_add(COMET_METRIC_blocked, -1);
    pthread_mutex_unlock(&bench_lock);
}

/* --- being handed messages (hub's thread) ---------------------------------------- */

/* A poll (it has a time limit) is content with what it got first. */
static comet_verdict_e serve(comet_subscriber_t *subscriber,
                             const comet_occasion_t *occasion)
{
    block_t *block = (block_t *)subscriber;
    apr_size_t i;

    pthread_mutex_lock(&block->lock);
    block->reasons |= occasion->reasons;
    for (i = 0;
         i < occasion->batch->count && block->batch.count < block->batch.size;
         i++) {
        comet_batch_add(&block->batch,
                        comet_message_ref(occasion->batch->messages[i]));
    }
    pthread_cond_signal(&block->handed);
    pthread_mutex_unlock(&block->lock);
    return occasion->batch->count && subscriber->timeout_at ? COMET_REST
                                                            : COMET_WAIT;
}

/* --- waiting (the request's thread) ------------------------------------------------ */

static int is_stopping(void)
{
    return mod_comet_mpm_is_stopping()
           || comet_hub_is_stopping(mod_comet_child()->hub);
}

/* An HTTP/2 stream's end is its connection's business. */
static int is_gone(conn_rec *c)
{
    apr_os_sock_t fd;
    char byte;

    if (c->aborted || c->master) {
        return c->aborted != 0;
    }
    apr_os_sock_get(&fd, ap_get_conn_socket(c));
    return recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0;
}

/* Wait for one slice, or less. @return what has come, messages taken out */
static unsigned await_slice(block_t *block, comet_batch_t *taken)
{
    apr_time_t until = apr_time_now() + SLICE;
    struct timespec deadline = { .tv_sec = apr_time_sec(until),
                                 .tv_nsec = apr_time_usec(until) * 1000 };
    unsigned reasons;

    pthread_mutex_lock(&block->lock);
    if (!block->reasons) {
        pthread_cond_timedwait(&block->handed, &block->lock, &deadline);
    }
    reasons = block->reasons;
    block->reasons = 0;
    while (taken->count < block->batch.count) {
        taken->messages[taken->count] = block->batch.messages[taken->count];
        taken->count++;
    }
    block->batch.count = 0;
    pthread_mutex_unlock(&block->lock);
    return reasons;
}

/* --- writing ------------------------------------------------------------------------- */

static apr_status_t write_bytes(request_rec *r, comet_buffer_t *bytes)
{
    apr_status_t status = APR_ENOMEM;

    if (!bytes->failed) {
        status = ap_rwrite(bytes->data, (int)bytes->length, r) < 0
                         || ap_rflush(r) < 0
                     ? APR_ECONNABORTED
                     : APR_SUCCESS;
    }
    comet_buffer_free(bytes);
    return status;
}

static apr_status_t write_answer(request_rec *r, const mod_comet_ask_t *ask,
                                 const comet_batch_t *batch)
{
    comet_buffer_t bytes = { .data = NULL };

    mod_comet_output_encode(ask, batch, &bytes);
    return write_bytes(r, &bytes);
}

static apr_status_t open_answer(request_rec *r, const mod_comet_ask_t *ask)
{
    comet_buffer_t bytes = { .data = NULL };

    mod_comet_output_prepare(r, ask->transport);
    mod_comet_output_encode_opening(ask, &bytes);
    return write_bytes(r, &bytes);
}

/* Until the answer is given, the client leaves or httpd stops. */
static void attend(request_rec *r, const mod_comet_ask_t *ask, block_t *block,
                   comet_batch_t *taken)
{
    int streams = ask->transport->streams, over = 0;

    while (!over) {
        unsigned reasons = await_slice(block, taken);

        if (is_gone(r->connection)) {
            comet_metrics_add(COMET_METRIC_departed, 1);
            r->connection->aborted = 1;
            return;
        }
        over = is_stopping() || (reasons & (COMET_STOPPING | COMET_TIMEOUT))
               || (taken->count && !streams);
        if ((taken->count || (over && !streams))
            && write_answer(r, ask, taken) != APR_SUCCESS) {
            over = 1;
        }
        comet_batch_clear(taken);
    }
}

static apr_status_t join(const request_rec *r, const mod_comet_ask_t *ask,
                         block_t *block)
{
    comet_hub_t *hub = mod_comet_child()->hub;
    int store = mod_comet_server_config(r->server)->store;

    block->subscriber = (comet_subscriber_t){
        .serve = serve,
        .seen = ask->seen,
        .limit = ask->limit,
        .timeout_at = ask->tick ? 0 : comet_monotonic() + ask->hold,
        .blocked_fd = -1,
    };
    return ask->tick ? comet_hub_join_clock(hub, &block->subscriber, ask->tick)
                     : comet_hub_join(hub, &block->subscriber,
                                      (apr_size_t)store, ask->selection);
}

static comet_batch_t make_batch(apr_pool_t *p, apr_size_t size)
{
    return (comet_batch_t){
        .messages = apr_palloc(p, size * sizeof(comet_message_t *)),
        .size = size,
    };
}

int mod_comet_block(request_rec *r, mod_comet_ask_t *ask, int cap)
{
    block_t block = { .master = r->connection->master,
                      .lock = PTHREAD_MUTEX_INITIALIZER,
                      .handed = PTHREAD_COND_INITIALIZER,
                      .batch = make_batch(r->pool, ask->limit) };
    comet_batch_t taken = make_batch(r->pool, ask->limit);

    if (!sit_down(&block, cap)) {
        return mod_comet_output_full(r);
    }
    comet_metrics_add(ask->transport->gauge, 1);
    if (open_answer(r, ask) == APR_SUCCESS
        && join(r, ask, &block) == APR_SUCCESS) {
        attend(r, ask, &block, &taken);
        comet_hub_leave(mod_comet_child()->hub, &block.subscriber);
    }
    comet_batch_clear(&taken);
    comet_batch_clear(&block.batch);
    comet_metrics_add(ask->transport->gauge, -1);
    stand_up(&block);
    return OK;
}
