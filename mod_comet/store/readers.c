/* SPDX-License-Identifier: Apache-2.0 */
/* The connections through which the workers of a child read one store. */
#include "store/readers.h"

#include <pthread.h>
#include <stdatomic.h>

/** A caller takes one of the `places` before it receives a connection, and
 * frees the place when it gives the connection back.  If all places are taken
 * and no connection was opened or given back for this long, the store counts as
 * hanging.  Then waiting callers give up, and later callers are refused at
 * once. */
#define HANGS_USEC 500000
/** How long a caller waits for a place at most. */
#define PLACE_USEC 1000000
/** How long an answer of comet_store_is_usable() is reused.  The check takes
 * three system calls, a tenth of a short request's time. */
#define LOOK_USEC 1000
/** How often a caller that waits for a place checks whether it was dismissed. */
#define DISMISSED_USEC 20000

struct comet_readers_t {
    const comet_store_config_t *config;
    pthread_mutex_t lock;
    pthread_cond_t vacated; /* with `lock`: taken < places */
    apr_size_t keep; /* how many idle connections are kept at most */
    apr_size_t places; /* how many connections may be in use at a time */
    atomic_int dismissed; /* [atomic] nobody may wait any more */
    apr_size_t taken; /* [lock] how many places are taken; <= places */
    apr_time_t moved_at; /* [lock] when a connection was last opened or given
                          * back, or a place was taken while all were free */
    int fails; /* [lock] the last use of a connection failed because of the
                * store; while this is set, taking a place does not set
                * ->moved_at */
    apr_size_t count; /* [lock] how many connections are idle */
    comet_store_t *idle[]; /* [lock] most recently used last */
};

apr_status_t comet_readers_create(comet_readers_t **readers,
                                  const comet_store_config_t *config,
                                  apr_size_t keep, apr_size_t places,
                                  apr_pool_t *pool)
{
    comet_readers_t *made =
        apr_pcalloc(pool, sizeof(*made) + keep * sizeof(*made->idle));
    int failed;

    made->config = config;
    made->keep = keep;
    made->places = places;
    *readers = made;
    failed = pthread_mutex_init(&made->lock, NULL);
    return failed ? failed : comet_condition_init(&made->vacated);
}

static comet_store_t *pop_locked(comet_readers_t *readers)
{
    return readers->count ? readers->idle[--readers->count] : NULL;
}

/* Wait until a place is free, the store counts as hanging, or nobody may wait
 * any more. */
static void await_place_locked(comet_readers_t *readers)
{
    apr_time_t now = comet_monotonic(), deadline = now + PLACE_USEC;
    apr_time_t until = deadline;

    while (readers->taken >= readers->places && now < until
           && !atomic_load(&readers->dismissed)) {
        until = readers->moved_at + HANGS_USEC < deadline
                    ? readers->moved_at + HANGS_USEC
                    : deadline;
        comet_condition_wait(
            &readers->vacated, &readers->lock,
            until < now + DISMISSED_USEC ? until : now + DISMISSED_USEC);
        now = comet_monotonic();
    }
}

/* Wait for one of the places, and take it.
 * @param idle  set to an idle connection; NULL: none is idle
 * @return as comet_readers_take() */
static apr_status_t seize_place(comet_readers_t *readers, comet_store_t **idle)
{
    int seized;

    pthread_mutex_lock(&readers->lock);
    if (readers->taken >= readers->places) {
        await_place_locked(readers);
    }
    seized = readers->taken < readers->places;
    if (seized && !readers->taken++ && !readers->fails) {
        readers->moved_at = comet_monotonic();
    }
    *idle = seized ? pop_locked(readers) : NULL;
    pthread_mutex_unlock(&readers->lock);
    return seized                             ? APR_SUCCESS
           : atomic_load(&readers->dismissed) ? COMET_ESTOPPING
                                              : COMET_EBUSY;
}

/* Note whether the store has answered.  A request that failed through its own
 * fault was answered, too. */
static void note_answer_locked(comet_readers_t *readers, apr_status_t status)
{
    readers->fails = comet_store_is_at_fault(status);
    if (!readers->fails) {
        readers->moved_at = comet_monotonic();
    }
}

static void vacate_place_locked(comet_readers_t *readers, apr_status_t status)
{
    readers->taken--;
    note_answer_locked(readers, status);
    pthread_cond_signal(&readers->vacated);
}

static void vacate_place(comet_readers_t *readers, apr_status_t status)
{
    pthread_mutex_lock(&readers->lock);
    vacate_place_locked(readers, status);
    pthread_mutex_unlock(&readers->lock);
}

/* @return NULL: none is idle */
static comet_store_t *pop(comet_readers_t *readers)
{
    comet_store_t *store;

    pthread_mutex_lock(&readers->lock);
    store = pop_locked(readers);
    pthread_mutex_unlock(&readers->lock);
    return store;
}

/* Find an idle connection that is still usable, or open a new one.
 * @param store  IN OUT: the idle connection to begin with; NULL: none is
 *               idle */
static apr_status_t find(comet_readers_t *readers, comet_store_t **store)
{
    apr_status_t status;

    while (*store && !comet_store_is_usable(*store, LOOK_USEC)) {
        comet_store_close(*store);
        *store = pop(readers);
    }
    if (*store) {
        return APR_SUCCESS;
    }
    status = comet_store_open(store, readers->config, COMET_STORE_READ,
                              &readers->dismissed);
    if (status == APR_SUCCESS) {
        pthread_mutex_lock(&readers->lock);
        note_answer_locked(readers, status);
        pthread_mutex_unlock(&readers->lock);
    }
    return status == COMET_ELOCKED && atomic_load(&readers->dismissed)
               ? COMET_ESTOPPING
               : status;
}

apr_status_t comet_readers_take(comet_readers_t *readers, comet_store_t **store)
{
    apr_status_t status = seize_place(readers, store);

    if (status != APR_SUCCESS) {
        return status;
    }
    status = find(readers, store);
    if (status != APR_SUCCESS) {
        vacate_place(readers, status);
    }
    return status;
}

void comet_readers_return(comet_readers_t *readers, comet_store_t *store,
                          apr_status_t status)
{
    int may_idle;

    if (!store) {
        return;
    }
    may_idle = status == APR_SUCCESS && comet_store_may_idle(store);
    pthread_mutex_lock(&readers->lock);
    if (may_idle && readers->count < readers->keep) {
        readers->idle[readers->count++] = store;
        store = NULL;
        vacate_place_locked(readers, status);
    }
    pthread_mutex_unlock(&readers->lock);
    if (store) {
        comet_store_close(store);
        vacate_place(readers, status);
    }
}

void comet_readers_dismiss(comet_readers_t *readers)
{
    atomic_store(&readers->dismissed, 1);
}

void comet_readers_close(comet_readers_t *readers)
{
    while (readers->count) {
        comet_store_close(readers->idle[--readers->count]);
    }
}
