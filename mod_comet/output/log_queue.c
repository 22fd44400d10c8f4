/* SPDX-License-Identifier: Apache-2.0 */
/* The thread that writes log lines. */
#include "output/log_queue.h"

#include <http_log.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>

#include "base/comet.h"

/* How many lines may wait; one takes about 1 KB. */
#define LINES_MAX 10000
/* Ending the thread may take this many times the limit for one line. */
#define LIMITS_MAX 10

struct mod_comet_log_queue_t {
    server_rec *server;
    mod_comet_log_queue_cb *write;
    void *baton;
    pthread_t thread;
    sem_t awake; /* posted for each line, and when the thread must end.  It is a
                  * semaphore because a signal handler may post it */
    pthread_mutex_t lock;
    mod_comet_log_line_t *first, *last; /* [lock] */
    int count; /* [lock] */
    int refused; /* [lock] how many lines were refused since the thread last
                  * looked for a line */
    atomic_uint written; /* [atomic] */
    atomic_int must_end, has_ended; /* [atomic] */
    int joined; /* [the thread that stops] */
};

/* @param refused  OUT: how many lines were refused since the last call
 * @return NULL: no line waits */
static mod_comet_log_line_t *take(mod_comet_log_queue_t *queue, int *refused)
{
    mod_comet_log_line_t *line;

    pthread_mutex_lock(&queue->lock);
    line = queue->first;
    if (line) {
        queue->first = line->next;
        queue->count--;
    }
    *refused = queue->refused;
    queue->refused = 0;
    pthread_mutex_unlock(&queue->lock);
    return line;
}

static void *run(void *baton)
{
    mod_comet_log_queue_t *queue = baton;
    mod_comet_log_line_t *line;
    int refused;

    do {
        while (sem_wait(&queue->awake) != 0) {
        }
        line = take(queue, &refused);
        if (refused) {
            ap_log_error(APLOG_MARK, APLOG_ERR, 0, queue->server,
                         "COMET0135: %d lines of ended streams are missing "
                         "from the access log, because it accepted no lines "
                         "for too long, or because memory ran out",
                         refused);
        }
        if (line) {
            queue->write(queue->baton, line);
            atomic_fetch_add(&queue->written, 1);
        }
    } while (line || !atomic_load(&queue->must_end));
    atomic_store(&queue->has_ended, 1);
    return NULL;
}

mod_comet_log_queue_t *mod_comet_log_queue_start(apr_pool_t *pool,
                                                 server_rec *server,
                                                 mod_comet_log_queue_cb *write,
                                                 void *baton)
{
    mod_comet_log_queue_t *queue = apr_pcalloc(pool, sizeof(*queue));

    queue->server = server;
    queue->write = write;
    queue->baton = baton;
    pthread_mutex_init(&queue->lock, NULL);
    return sem_init(&queue->awake, 0, 0) == 0
                   && comet_thread_start(&queue->thread, run, queue)
                          == APR_SUCCESS
               ? queue
               : NULL;
}

int mod_comet_log_queue_add(mod_comet_log_queue_t *queue,
                            mod_comet_log_line_t *line)
{
    int taken;

    line->next = NULL;
    pthread_mutex_lock(&queue->lock);
    taken = queue->count < LINES_MAX;
    if (!taken) {
        queue->refused++;
    }
    else if (queue->count++) {
        queue->last->next = line;
    }
    else {
        queue->first = line;
    }
    queue->last = taken ? line : queue->last;
    pthread_mutex_unlock(&queue->lock);
    if (taken) {
        sem_post(&queue->awake);
    }
    return taken;
}

void mod_comet_log_queue_miss(mod_comet_log_queue_t *queue)
{
    pthread_mutex_lock(&queue->lock);
    queue->refused++;
    pthread_mutex_unlock(&queue->lock);
}

/* @return whether the thread has ended in time */
static int await_end(mod_comet_log_queue_t *queue, apr_interval_time_t limit)
{
    apr_time_t begin = comet_monotonic(), moved_at = begin;
    unsigned written = atomic_load(&queue->written);

    while (!atomic_load(&queue->has_ended)) {
        apr_time_t now = comet_monotonic();

        if (atomic_load(&queue->written) != written) {
            written = atomic_load(&queue->written);
            moved_at = now;
        }
        if (now - moved_at >= limit || now - begin >= LIMITS_MAX * limit) {
            return 0;
        }
        poll(NULL, 0, 1);
    }
    return 1;
}

int mod_comet_log_queue_stop(mod_comet_log_queue_t *queue,
                             apr_interval_time_t limit)
{
    if (!atomic_exchange(&queue->must_end, 1)) {
        sem_post(&queue->awake);
    }
    if (!queue->joined && await_end(queue, limit)) {
        queue->joined = pthread_join(queue->thread, NULL) == 0;
    }
    return queue->joined;
}
