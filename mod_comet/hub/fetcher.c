/* SPDX-License-Identifier: Apache-2.0 */
/* A thread that reads from a remote store the messages that memory no longer
 * has. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "hub/fetcher.h"

#include <errno.h>
#include <semaphore.h>
#include <stdlib.h>

#include "hub/hub_priv.h"
#include "shared/metrics.h"

/* How long the connection stays open without being used. */
#define IDLE_USEC apr_time_from_sec(30)

struct comet_fetcher_t {
    comet_hub_t *hub;
    const comet_store_config_t *config;
    struct comet_fetch_ring_t queue; /* [hub->lock] */
    sem_t wanted; /* posted when there might be something to do */
    pthread_t thread;
    int has_thread; /* `thread` was started and was not joined yet */
    atomic_int stopping, ended; /* [atomic] */
    comet_store_t *store; /* [thread] the connection; NULL: it is closed */
};

/*
 * Take the question of the first subscriber in the queue.
 * @param fetched  OUT: NULL if there is no memory
 * @return whether there is a question
 */
static int take_question(comet_fetcher_t *fetcher, comet_fetched_t **fetched)
{
    int any;

    pthread_mutex_lock(&fetcher->hub->lock);
    any = !APR_RING_EMPTY(&fetcher->queue, comet_fetch_t, link);
    if (any) {
        *fetched =
            comet_fetched_create(APR_RING_FIRST(&fetcher->queue)->subscriber);
    }
    pthread_mutex_unlock(&fetcher->hub->lock);
    return any;
}

static apr_status_t read_view(comet_fetcher_t *fetcher,
                              comet_fetched_t *fetched)
{
    comet_reading_t reading = { .selection = fetched->selection,
                                .batch = &fetched->batch };
    comet_store_state_t state;
    apr_status_t status = comet_store_begin(fetcher->store, &state);

    if (status != APR_SUCCESS) {
        return status;
    }
    fetched->last = state.last;
    status =
        comet_store_floor(fetcher->store, fetched->selection, &fetched->floor);
    if (status == APR_SUCCESS) {
        status =
            comet_store_read(fetcher->store, fetched->selection, fetched->after,
                             fetched->limit, comet_selection_take, &reading);
    }
    comet_store_end(fetcher->store);
    fetched->recheck = reading.recheck;
    return status;
}

static void close_store(comet_fetcher_t *fetcher)
{
    comet_store_close(fetcher->store);
    fetcher->store = NULL;
}

static apr_status_t fetch(comet_fetcher_t *fetcher, comet_fetched_t *fetched)
{
    apr_status_t status = APR_SUCCESS;

    if (fetcher->store && !comet_store_is_usable(fetcher->store, 0)) {
        close_store(fetcher);
    }
    if (!fetcher->store) {
        status = comet_store_open(&fetcher->store, fetcher->config,
                                  COMET_STORE_READ, &fetcher->stopping);
    }
    if (status == APR_SUCCESS) {
        comet_metrics_add(COMET_METRIC_catch_ups, 1);
        status = read_view(fetcher, fetched);
        if (status != APR_SUCCESS) {
            close_store(fetcher);
        }
    }
    return status;
}

/* Hand what was fetched to all subscribers that asked for it.  After a failure
 * all subscribers in the queue ask again later.
 * @param fetched  NULL: there was no memory, which is a failure, too */
static void hand_over(comet_fetcher_t *fetcher, comet_fetched_t *fetched,
                      apr_status_t status)
{
    comet_hub_t *hub = fetcher->hub;
    comet_fetch_t *fetch, *next;

    pthread_mutex_lock(&hub->lock);
    for (fetch = APR_RING_FIRST(&fetcher->queue);
         fetch != APR_RING_SENTINEL(&fetcher->queue, comet_fetch_t, link);
         fetch = next) {
        comet_subscriber_t *subscriber = fetch->subscriber;

        next = APR_RING_NEXT(fetch, link);
        if (!fetched || status != APR_SUCCESS) {
            comet_fetched_drop(subscriber);
            comet_hub_retry_locked(hub, subscriber);
        }
        else if (comet_fetched_suits(fetched, subscriber)) {
            APR_RING_REMOVE(fetch, link);
            fetch->fetched = fetched;
            fetched->refs++;
            comet_hub_make_ready_locked(hub, subscriber, COMET_NEWS);
        }
    }
    comet_fetched_unref(fetched);
    pthread_mutex_unlock(&hub->lock);
    comet_hub_wake(hub);
}

/* @return 0: `wanted` was not posted within the limit */
static int await(comet_fetcher_t *fetcher, apr_interval_time_t limit)
{
    return comet_semaphore_wait(&fetcher->wanted, comet_monotonic() + limit);
}

static void *run(void *baton)
{
    comet_fetcher_t *fetcher = baton;

    while (!atomic_load(&fetcher->stopping)) {
        comet_fetched_t *fetched;

        if (take_question(fetcher, &fetched)) {
            hand_over(fetcher, fetched,
                      fetched ? fetch(fetcher, fetched) : APR_ENOMEM);
        }
        else if (!await(fetcher, IDLE_USEC)) {
            close_store(fetcher);
        }
    }
    close_store(fetcher);
    atomic_store(&fetcher->ended, 1);
    return NULL;
}

apr_status_t comet_fetcher_create(comet_fetcher_t **fetcher, comet_hub_t *hub,
                                  const comet_store_config_t *config,
                                  apr_pool_t *pool)
{
    comet_fetcher_t *made = *fetcher = apr_pcalloc(pool, sizeof(*made));
    int failed;

    made->hub = hub;
    made->config = config;
    APR_RING_INIT(&made->queue, comet_fetch_t, link);
    if (sem_init(&made->wanted, 0, 0) != 0) {
        return errno;
    }
    failed = comet_thread_start(&made->thread, run, made);
    made->has_thread = !failed;
    return failed;
}

void comet_fetcher_ask_locked(comet_fetcher_t *fetcher,
                              comet_subscriber_t *subscriber)
{
    comet_fetch_t *fetch;

    if (subscriber->fetch && !subscriber->fetch->fetched) {
        return;
    }
    comet_fetched_drop(subscriber); /* the answer to an earlier question */
    fetch = calloc(1, sizeof(*fetch));
    if (fetch) {
        fetch->subscriber = subscriber;
        subscriber->fetch = fetch;
        APR_RING_INSERT_TAIL(&fetcher->queue, fetch, comet_fetch_t, link);
        sem_post(&fetcher->wanted);
    }
}

void comet_fetcher_end(comet_fetcher_t *fetcher)
{
    atomic_store(&fetcher->stopping, 1);
    sem_post(&fetcher->wanted);
}

int comet_fetcher_has_ended(comet_fetcher_t *fetcher)
{
    if (fetcher->has_thread && atomic_load(&fetcher->ended)) {
        fetcher->has_thread = pthread_join(fetcher->thread, NULL) != 0;
    }
    return !fetcher->has_thread;
}
