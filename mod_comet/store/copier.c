/* SPDX-License-Identifier: Apache-2.0 */
/* Copy a store's log into the store's file while publishers go on. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "store/copier.h"

#include <pthread.h>
#include <semaphore.h>

#include "store/engine.h"

/* How long an unused connection stays open. */
#define IDLE_USEC apr_time_from_sec(1)
/* How often a waiting writer checks whether it must stop. */
#define WAIT_USEC 50000
/* While a pass copies, publishers commit more pages.  So a pass that has copied
 * many pages is followed by another one.  The writer copies the few pages that
 * are left in about a millisecond. */
#define PASSES_MAX 4
#define FEW_PAGES 64

typedef enum { IDLE, COPYING, DONE } state_e;

struct comet_copier_t {
    const comet_store_config_t *config;
    const atomic_int *writer_stops; /* [atomic] */
    void (*wake)(void *baton);
    void *baton;
    pthread_t thread;
    int has_thread; /* [writer's thread] */
    _Atomic state_e state; /* [atomic] */
    sem_t wanted, copied; /* `wanted` is raised when the state becomes COPYING,
                           * `copied` when it becomes DONE */
    atomic_int stopping; /* [atomic] */
    comet_store_t *store; /* [copier's thread] NULL: the store is closed */
};

comet_copier_t *comet_copier_create(const comet_store_config_t *config,
                                    const atomic_int *stopping,
                                    void (*wake)(void *baton), void *baton,
                                    apr_pool_t *pool)
{
    comet_copier_t *made;

    if (!config->place.engine->copy || config->sync_full) {
        return NULL;
    }
    made = apr_pcalloc(pool, sizeof(*made));
    made->config = config;
    made->writer_stops = stopping;
    made->wake = wake;
    made->baton = baton;
    sem_init(&made->wanted, 0, 0);
    sem_init(&made->copied, 0, 0);
    return made;
}

/* --- The thread ------------------------------------------------------- */

static void close_store(comet_copier_t *copier)
{
    comet_store_close(copier->store);
    copier->store = NULL;
}

static void copy(comet_copier_t *copier)
{
    apr_status_t status = APR_SUCCESS;
    int pages = FEW_PAGES, i;

    if (copier->store && !comet_store_is_usable(copier->store, 0)) {
        close_store(copier);
    }
    if (!copier->store) {
        status = comet_store_open(&copier->store, copier->config,
                                  COMET_STORE_READ, &copier->stopping);
    }
    for (i = 0; i < PASSES_MAX && status == APR_SUCCESS && pages >= FEW_PAGES
                && !atomic_load(&copier->stopping);
         i++) {
        status = comet_store_copy(copier->store, &pages);
    }
    if (status != APR_SUCCESS) {
        close_store(copier);
    }
}

static void *run(void *baton)
{
    comet_copier_t *copier = baton;

    while (!atomic_load(&copier->stopping)) {
        if (!comet_semaphore_wait(&copier->wanted,
                                  comet_monotonic() + IDLE_USEC)) {
            close_store(copier);
        }
        else if (atomic_load(&copier->state) == COPYING) {
            copy(copier);
            atomic_store(&copier->state, DONE);
            sem_post(&copier->copied);
            copier->wake(copier->baton);
        }
    }
    close_store(copier);
    return NULL;
}

/* --- For the writer ------------------------------------------------------- */

static int has_thread(comet_copier_t *copier)
{
    if (!copier->has_thread) {
        copier->has_thread =
            comet_thread_start(&copier->thread, run, copier) == 0;
    }
    return copier->has_thread;
}

int comet_copier_has_copied(comet_copier_t *copier, int wait)
{
    if (!copier || !has_thread(copier)) {
        return 1;
    }
    if (atomic_load(&copier->state) == IDLE) {
        atomic_store(&copier->state, COPYING);
        sem_post(&copier->wanted);
    }
    while (wait && atomic_load(&copier->state) == COPYING
           && !atomic_load(copier->writer_stops)) {
        comet_semaphore_wait(&copier->copied, comet_monotonic() + WAIT_USEC);
    }
    if (atomic_load(&copier->state) == COPYING) {
        return 0;
    }
    atomic_store(&copier->state, IDLE);
    return 1;
}

void comet_copier_stop(comet_copier_t *copier)
{
    if (copier && copier->has_thread) {
        atomic_store(&copier->stopping, 1);
        sem_post(&copier->wanted);
        pthread_join(copier->thread, NULL);
        copier->has_thread = 0;
    }
}
