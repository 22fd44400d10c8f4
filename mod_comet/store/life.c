/* SPDX-License-Identifier: Apache-2.0 */
/* Start and stop a writer. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "shared/metrics.h"
#include "store/engine.h"
#include "store/writer_priv.h"

#include <poll.h>
#include <stdatomic.h>
#include <unistd.h>

/** How long the writer waits for another program's lock while it opens the
 * store.  It holds the bus's lock meanwhile. */
#define OPEN_USEC 50000

/* --- Life ------------------------------------------------------------- */

static apr_status_t free_rest(void *baton)
{
    comet_writer_t *writer = baton;

    /* the thread may have ended after the child stopped waiting for it */
    if (comet_writer_stop(writer, 0)) {
        sem_destroy(&writer->wake);
        comet_presence_free(writer->presence);
    }
    return APR_SUCCESS;
}

static void wake(void *writer)
{
    comet_writer_wake(writer);
}

static void count_limited(void *writer)
{
    comet_metrics_add(COMET_METRIC_limited_joins, 1);
}

static apr_status_t create_presence(comet_writer_t *writer)
{
    const comet_presence_config_t config = {
        .store = &writer->store_config,
        .bus = writer->config.bus,
        .stopping = &writer->stopping,
        .wake = wake,
        .on_limit = count_limited,
        .baton = writer,
    };

    if (!writer->store_config.presence_grace) {
        return APR_SUCCESS;
    }
    writer->presence = comet_presence_create(&config);
    return writer->presence ? APR_SUCCESS : APR_ENOMEM;
}

comet_presence_t *comet_writer_presence(comet_writer_t *writer)
{
    return writer->presence;
}

apr_status_t comet_writer_create(comet_writer_t **writer,
                                 const comet_writer_config_t *config,
                                 apr_pool_t *pool)
{
    comet_writer_t *made = apr_pcalloc(pool, sizeof(*made));
    apr_size_t places = config->places ? config->places : 1;
    int failed;

    *writer = NULL;
    made->config = *config;
    made->config.places = places;
    if (!config->waiting) {
        made->config.waiting = &made->own_waiting;
    }
    made->store_config = *config->store;
    made->store_config.busy_timeout = OPEN_USEC;
    TAILQ_INIT(&made->queue);
    TAILQ_INIT(&made->overflow);
    made->jobs =
        apr_palloc(pool, (places + COMET_WRITER_GROUPS) * sizeof(*made->jobs));
    made->groups = apr_palloc(pool, (places + COMET_WRITER_GROUPS)
                                        * sizeof(*made->groups));
    made->copier = comet_copier_create(&made->store_config, &made->stopping,
                                       wake, made, pool);
    sem_init(&made->wake, 0, 0);
    failed = pthread_mutex_init(&made->mutex, NULL);
    if (!failed) {
        failed = comet_condition_init(&made->has_tried);
    }
    if (!failed) {
        failed = create_presence(made);
    }
    if (!failed) {
        failed = comet_thread_start(&made->thread, comet_writer_run, made);
    }
    if (failed) {
        comet_presence_free(made->presence);
        sem_destroy(&made->wake);
        return failed;
    }
    apr_pool_cleanup_register(pool, made, free_rest, apr_pool_cleanup_null);
    *writer = made;
    return APR_SUCCESS;
}

int comet_writer_stop(comet_writer_t *writer, apr_interval_time_t limit)
{
    apr_int64_t deadline = comet_monotonic() + limit;

    atomic_store(&writer->stopping, 1);
    /* this may run in a signal handler that has interrupted a publisher between
     * setting `awake` and raising the semaphore */
    atomic_store(&writer->awake, 0);
    comet_writer_wake(writer);
    while (!atomic_load(&writer->ended)) {
        if (comet_monotonic() >= deadline) {
            return 0;
        }
        poll(NULL, 0, 1);
    }
    if (!atomic_exchange(&writer->joined, 1)) {
        pthread_join(writer->thread, NULL);
    }
    return 1;
}

void comet_writer_dismiss(comet_writer_t *writer)
{
    atomic_store(&writer->dismissed, 1);
}

void comet_writer_keep_log(comet_writer_t *writer)
{
    atomic_store(&writer->keeps_log, 1);
}

int comet_writer_is_stuck(const comet_writer_t *writer,
                          apr_interval_time_t time)
{
    apr_int64_t since = atomic_load(&writer->busy_since);

    return since && !atomic_load(&writer->ended)
           && comet_monotonic() - since >= time;
}
