/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file hub/hub.h
 * The hub of a child: the subscribers that wait in it, and the one thread that
 * serves them.
 *
 * Invariants
 * 1.  A message reaches the hub only after it was committed: the hub reads it
 *    from the store.
 * 2.  A subscriber sees strictly increasing timestamps.
 * 3.  A subscriber registers first, and only *then* does the hub look for
 *    messages it has missed: joining compares its cursor with the ring under
 *    the lock.  So no message is missed between these two steps.
 * 4.  The hub's thread and its callers do nothing that blocks while they hold
 *    the lock: no read or write, no call of the store or of httpd, no
 *    allocation from a pool. (epoll_ctl() is called under the lock; it does not
 *    block.)
 * 5.  Only one thread at a time touches a connection and its request: the hub's
 *    thread while the subscriber is SERVED, otherwise the thread that joined.
 *    Only the hub's thread touches a socket that the subscriber owns.
 * 6.  A subscriber is in exactly one state (hub/subscriber.h).
 * 7.  There are no queues of messages.  A subscriber has a cursor, and its
 *    owner keeps at most one answer.  A slow subscriber is served from the log
 *    when its socket accepts data again.
 * 8.  No other lock is taken while the hub's is held.  The hub's thread takes
 *    other locks only in a subscriber's serve(), where it does not hold the
 *    hub's.
 */
#ifndef COMET_HUB_H
#define COMET_HUB_H

#include <stddef.h> /* must precede APR, which uses its offsetof */

#include <apr_pools.h>

#include "hub/feed.h"
#include "hub/subscriber.h"

typedef struct comet_hub_t comet_hub_t;

/** Called when a store begins to fail, or works again (APR_SUCCESS).  A store
 * that is missing or locked is reported only after 2 s, because its writer
 * might be about to open it.  Runs on the thread that follows the store: the
 * hub's, or the scout's.
 * @param detail  the engine's own text of the error; "" if the store works */
typedef void comet_hub_error_cb(void *baton, const comet_store_config_t *store,
                                apr_status_t status, const char *detail);

typedef struct comet_hub_config_t {
    const comet_store_config_t *const *stores;
    comet_bus_t *const *buses; /* one per store */
    comet_committed_t *const *committed; /* one per store: what the writer of
                                          * this child commits; NULL: none */
    apr_size_t count;
    int no_hints; /* for tests: no notifications, only the look every 500 ms */
    /** Called every 500 ms on the hub's thread; may be NULL. */
    void (*on_look)(void *baton);
    /** Called on the hub's thread whenever it is awake, before and after it
     * serves subscribers, and without its lock; may be NULL. */
    void (*on_round)(void *baton);
    void (*on_served)(void *baton);
    /** Called with each new message of a store. The hub's lock is held, so the
     * function must take no lock and must not block. May be NULL. */
    void (*on_message)(void *baton, apr_size_t store,
                       const comet_message_t *message);
    comet_hub_error_cb *on_error;
    void *baton;
} comet_hub_config_t;

/**
 * Start a hub and its thread.  Called in child_init.  The hub allocates from
 * @a pool only during this call.
 */
apr_status_t comet_hub_create(comet_hub_t **hub,
                              const comet_hub_config_t *config,
                              apr_pool_t *pool);

/**
 * Register a subscriber.  It can be served before this call returns.  Any
 * thread but the hub's.
 * @param subscriber  in state OUT, with serve, seen, limit, timeout_at,
 *                    blocked_fd and resting set.  It belongs to the hub until
 *                    it leaves.  If `left` and own_fd are set, the hub owns it
 *                    for good: it leaves when its serve() says so, and the
 *                    hub's thread ends only after all such subscribers have
 *                    left
 * @param store  the store's index, in the order of the configuration
 * @param selection  the hub takes a reference of its own
 * @return APR_SUCCESS; if it was not registered, APR_ENOMEM or, with a socket,
 *         the error of epoll_ctl(2)
 */
apr_status_t comet_hub_join(comet_hub_t *hub, comet_subscriber_t *subscriber,
                            apr_size_t store, comet_selection_t *selection);

/**
 * Replace a selection by an equal one that subscribers of the store use
 * already.  This saves memory: the selection of a wildcard can be long, and
 * many clients have the same one.
 * @param selection  the call takes over the caller's reference
 * @return a reference to the shared selection; to @a selection if there is no
 *         equal one.  Any thread.
 */
comet_selection_t *comet_hub_share(comet_hub_t *hub, apr_size_t store,
                                   comet_selection_t *selection);

/**
 * Register a subscriber that waits for the clock.  On every whole multiple of
 * @a period it gets a message whose timestamp is the time.  A tick that the
 * subscriber cannot take in time is lost.
 * @param subscriber  as for comet_hub_join(), but ->seen is a time by
 *                    comet_monotonic(): it gets no tick before that time
 */
apr_status_t comet_hub_join_clock(comet_hub_t *hub,
                                  comet_subscriber_t *subscriber,
                                  apr_interval_time_t period);

/**
 * Take a subscriber back.  The call waits while the subscriber is being served;
 * afterwards the subscriber belongs to the caller alone.  A subscriber that
 * never joined is ignored.  Any thread but the hub's.
 */
void comet_hub_leave(comet_hub_t *hub, comet_subscriber_t *subscriber);

/**
 * Like comet_hub_leave(), but if the subscriber is queued to be served, the hub
 * serves it first.  Any thread but the hub's.
 * @param limit  how long to wait until it has been served
 */
void comet_hub_leave_served(comet_hub_t *hub, comet_subscriber_t *subscriber,
                            apr_interval_time_t limit);

/**
 * Serve a subscriber with COMET_CALLED soon, after the others that are ready.
 * A subscriber that has not joined yet is served with COMET_CALLED when it
 * joins.  Any thread, the hub's included.
 * @param subscriber  the caller keeps it from being freed during the call
 */
void comet_hub_call(comet_hub_t *hub, comet_subscriber_t *subscriber);

/**
 * Ask the subscriber that has been idle for the longest to give up its place,
 * because another client needs one.  That subscriber is served with
 * COMET_YIELD.
 * @return whether there was such a subscriber (with ->yields set).  Any thread.
 */
int comet_hub_make_room(comet_hub_t *hub);

/**
 * Have a subscriber served soon.  A subscriber that has not joined yet, or that
 * has left, is not served, and comet_hub_join() forgets the reasons.
 * @param subscriber  joined, about to join or about to leave; the caller keeps
 *                    it from being freed meanwhile
 * @param reasons  bits of comet_reason_e; COMET_WRITABLE also clears
 *                 ->stalled.  Any thread, also the hub's within a serve().
 */
void comet_hub_poke(comet_hub_t *hub, comet_subscriber_t *subscriber,
                    unsigned reasons);

/**
 * End the subscribers whose ->revoked has become non-zero: they are served with
 * COMET_REVOKED.  Any thread; takes no lock.
 */
void comet_hub_review(comet_hub_t *hub);

/**
 * Answer from memory, if the ring is in step with this state of the store.  Any
 * thread.
 * @param whole  answer only if no message after the cursor was ever erased, so
 *               that the caller need not ask the store for its floor
 * @param reading  must be empty; the messages are added to it
 * @return whether the ring could answer
 */
int comet_hub_recall(comet_hub_t *hub, apr_size_t store,
                     const comet_store_state_t *state, comet_timestamp_t after,
                     int whole, comet_reading_t *reading);

/**
 * Answer from memory for a remote store, after a look at the store that begins
 * after this call.  Callers that wait at the same time share that look.  Any
 * thread but the hub's; the call waits.
 * @param limit  how long to wait for the look
 * @param state  set to the state of the store that memory was in step with
 * @param reading  must be empty; the messages are added to it
 * @return whether the ring could answer; 0 also if the store is not remote, or
 *         if a message after the cursor was ever erased
 */
int comet_hub_recall_remote(comet_hub_t *hub, apr_size_t store,
                            apr_interval_time_t limit, comet_timestamp_t after,
                            comet_store_state_t *state,
                            comet_reading_t *reading);

/**
 * Whether the ring has, at this very moment, everything that a store contains
 * after a cursor.  Called by the hub's thread.
 */
comet_feed_coverage_e comet_hub_coverage(comet_hub_t *hub, apr_size_t store,
                                         comet_timestamp_t after);

/** Make all subscribers finish (COMET_STOPPING), including those that join
 * later.  This only sets a flag and wakes the hub, so it is safe in a signal
 * handler. */
void comet_hub_begin_stop(comet_hub_t *hub);

/** Wake the hub's thread.  Any thread; safe in a signal handler. */
void comet_hub_wake(comet_hub_t *hub);

/** Whether comet_hub_begin_stop() was called.  Any thread. */
int comet_hub_is_stopping(const comet_hub_t *hub);

/**
 * Make all subscribers finish, then wait at most @a limit for the thread's end.
 * Takes no lock, since it can be called in a signal handler (prefork).
 * @return whether the thread has ended
 */
int comet_hub_stop(comet_hub_t *hub, apr_interval_time_t limit);

/** Free what the hub holds outside its pool.  Called after its thread has
 * ended, when no other thread uses the hub any more. */
void comet_hub_free(comet_hub_t *hub);

/**
 * How many subscribers are registered, not counting those that were asked to
 * give up their places and are about to leave.  Any thread.
 * @param owned  set to how many of them own a socket; may be NULL
 */
apr_size_t comet_hub_members(comet_hub_t *hub, apr_size_t *owned);

#endif /* COMET_HUB_H */
