/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file hub/hub.h
 * The hub of a child: who waits for what, and the one thread that serves
 * them when it comes.
 *
 * Invariants
 *  1. A message reaches the hub only after its append has committed: it is
 *     read from the store.
 *  2. A subscriber sees strictly increasing timestamps.
 *  3. It registers first, *then* what it missed is looked for (join compares
 *     its cursor with the ring under the lock), so nothing falls between.
 *  4. Under the lock: no I/O, no store, no httpd, no pool.
 *  5. A connection and its request are touched by one thread at a time: by
 *     the hub's while the subscriber is SERVED, else by the one that joined.
 *     A socket that is the subscriber's own is touched by the hub's alone.
 *  6. A subscriber is in exactly one state (comet_subscriber.h).
 *  7. No queues: a subscriber has a cursor, and whoever serves it keeps one
 *     answer at most.  A slow one is served from the log when its socket
 *     takes data again.
 *  8. The hub's lock is the only one its thread takes; none is taken under
 *     it.
 */
#ifndef COMET_HUB_H
#define COMET_HUB_H

#include <stddef.h> /* before APR looks for offsetof */

#include <apr_pools.h>

#include "hub/feed.h"
#include "hub/subscriber.h"

typedef struct comet_hub_t comet_hub_t;

/** Told when a feed's store begins to fail or works again (APR_SUCCESS); one that
 * is missing or locked is told only when it has been so for 2 s, since its writer
 * may be about to open it.  Runs on the hub's thread. */
typedef void comet_hub_error_cb(void *baton, const comet_store_config_t *store,
                                apr_status_t status);

typedef struct comet_hub_config_t {
    const comet_store_config_t *const *stores;
    comet_bus_t *const *buses; /* one for each store */
    apr_size_t count;
    int deaf; /* for tests: no hints, only the safety poll */
    /** Called with every safety look (500 ms), on the hub's thread; or NULL */
    void (*on_look)(void *baton);
    comet_hub_error_cb *on_error;
    void *baton;
} comet_hub_config_t;

/**
 * Start the hub and its thread.  Called in child_init; allocates from
 * @a pool then only.
 */
apr_status_t comet_hub_create(comet_hub_t **hub,
                              const comet_hub_config_t *config,
                              apr_pool_t *pool);

/**
 * Register a subscriber; it may be served before this returns.
 * @param subscriber  OUT; its serve, seen, limit, timeout_at, blocked_fd and
 *                    resting set; it belongs to the hub until leave.  With `left` and
 *                    own_fd set it is the hub's for ever: it leaves when its
 *                    serve says so, and the hub ends only when all these have
 * @param store    index of the store, in the order of the configuration
 * @param selection  the hub takes its own reference
 * @return APR_SUCCESS, or APR_ENOMEM, with a socket also what epoll refuses
 *         it with (it is not registered then).  Any thread but the hub's.
 */
apr_status_t comet_hub_join(comet_hub_t *hub, comet_subscriber_t *subscriber,
                            apr_size_t store, comet_selection_t *selection);

/**
 * Register a subscriber to the clock instead: it gets a message whose
 * timestamp is the time, on every whole multiple of @a period.  What it
 * cannot take in time is not kept for it.
 * @param subscriber  as for join; ->seen is the time (comet_monotonic) from
 *                    which on it is old enough for a tick
 */
apr_status_t comet_hub_join_clock(comet_hub_t *hub,
                                  comet_subscriber_t *subscriber,
                                  apr_interval_time_t period);

/**
 * Take a subscriber back: waits while it is being served; then it is the
 * caller's alone.  One that never joined is left as it is.
 * Any thread but the hub's.
 */
void comet_hub_leave(comet_hub_t *hub, comet_subscriber_t *subscriber);

/**
 * Answer from memory, if the ring is in step with this state of the store.
 * @param reading  empty yet
 * @return whether the ring could tell.  Any thread.
 */
int comet_hub_recall(comet_hub_t *hub, apr_size_t store,
                     const comet_store_state_t *state, comet_timestamp_t after,
                     comet_reading_t *reading);

/**
 * Whether memory alone can tell, at this very moment, what a store has after
 * a cursor.  The hub's thread.
 */
comet_feed_answer_e comet_hub_ask(comet_hub_t *hub, apr_size_t store,
                                  comet_timestamp_t after);

/** Let everybody go (COMET_STOPPING), now and from now on.  Only sets a flag
 * and wakes the hub: safe in a signal handler. */
void comet_hub_stopping(comet_hub_t *hub);

/** Whether comet_hub_stopping was called.  Any thread. */
int comet_hub_is_stopping(const comet_hub_t *hub);

/**
 * Let everybody go, then end the thread, joining it within @a limit; takes
 * no lock (on prefork it may run in a signal handler).
 * @return whether the thread has ended
 */
int comet_hub_stop(comet_hub_t *hub, apr_interval_time_t limit);

/** Free what the hub holds outside its pool, once its thread has ended and
 * nobody calls it any more. */
void comet_hub_free(comet_hub_t *hub);

/**
 * How many subscribers are registered.  Any thread.
 * @param owned  OUT: of them, those with a socket of their own; may be NULL
 */
apr_size_t comet_hub_members(comet_hub_t *hub, apr_size_t *owned);

#endif /* COMET_HUB_H */
