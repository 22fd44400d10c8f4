/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file hub/feed.h
 * One store as the hub sees it: its notifications, its ring of recent messages,
 * and the connection that keeps the ring in step with the log.
 *
 * The hub's thread owns everything but the ring and erased_until, which the
 * hub's lock guards: the hub's thread changes them, and workers read the ring.
 * For a store whose engine is remote, read "scout" for "the hub's thread"
 * (hub/scout.h).
 */
#ifndef COMET_FEED_H
#define COMET_FEED_H

#include <pthread.h>
#include <stdatomic.h>

#include "shared/bus.h"
#include "hub/ring.h"
#include "store/committed.h"
#include "store/watch.h"

typedef struct comet_feed_t {
    const comet_store_config_t *store_config;
    comet_bus_t *bus;
    int is_remote; /* whether the store's engine is remote */
    const atomic_int *stopping; /* [atomic] the flag for comet_store_open() */
    comet_store_t *store; /* the hub's connection; NULL while the store fails */
    apr_time_t safety_at; /* when to look at the store without a notification */
    comet_watch_t *watch; /* NULL: this child does not watch */
    int awaits_commit; /* the next look at a remote log waits for a commit that
                        * is under way (comet_store_news()) */
    apr_uint32_t told; /* how many commits of this server the watch has
                        * announced to other servers */
    apr_status_t status; /* status of the last look */
    apr_time_t failing_since; /* when the store began to fail; 0: the last look
                               * succeeded */
    char error[400]; /* the engine's text of the last error */
    apr_status_t reported; /* the status last passed to comet_hub_error_cb */
    int restarted; /* the last look could not continue from the one before,
                    * so some new messages were perhaps not announced */
    comet_committed_t *committed; /* the messages that this child's writer
                                   * commits; NULL: not used */
    comet_tally_t tally; /* the store's tally just before the last look, or
                          * after the last transaction of `committed` */
    int has_tally; /* `tally` is valid, and the ring is in step with it */
    comet_timestamp_t erased_until; /* [hub->lock] no message after this
                                     * timestamp was ever erased */
    comet_ring_t ring; /* [hub->lock] */
} comet_feed_t;

typedef enum {
    COMET_FEED_COVERS, /* the ring has everything after the cursor, and no
                        * message after the cursor was ever erased */
    COMET_FEED_IS_BEHIND, /* there was a commit: look at the store first */
    COMET_FEED_CANNOT_TELL /* only the store can tell */
} comet_feed_coverage_e;

/** Whether the ring has, at this very moment, everything that the store
 * contains after a cursor.  The call costs next to nothing.  For a remote store
 * the answer is always COMET_FEED_CANNOT_TELL.  Called by the hub's thread. */
comet_feed_coverage_e comet_feed_coverage(comet_feed_t *feed,
                                          comet_timestamp_t after);

/**
 * Called with each new message, oldest first, under the hub's lock.
 * @param continuous  whether all messages before this one were announced as
 *                    well.  They were not if the feed had to start again
 */
typedef void comet_feed_cb(void *baton, comet_feed_t *feed,
                           const comet_message_t *message, int continuous);

/** Make a feed.  It does not look at the store until comet_feed_refresh(). */
void comet_feed_init(comet_feed_t *feed, const comet_store_config_t *config,
                     comet_bus_t *bus);

/** Close the store and the watch.  Called by the hub's thread. */
void comet_feed_close(comet_feed_t *feed);

/** When to look at the store next, with or without a notification. */
apr_time_t comet_feed_due(const comet_feed_t *feed);

/** If this server has committed since the last call, and this child has the
 * watch, tell the other servers.  They are not told of other servers' commits;
 * otherwise two servers would tell each other for ever.  Called by the hub's
 * thread. */
void comet_feed_tell_others(comet_feed_t *feed, apr_time_t now);

/**
 * Look at the store, bring the ring into step with it, and announce new
 * messages.  A look costs little if nobody has committed since the last one.
 * The call also checks now and then that the open file is still the one at its
 * path.  Called by the hub's thread.
 * @param lock  the hub's lock.  It is held while the ring changes and while
 *              @a callback runs, never during a read
 * @param notified  whether a notification caused this look; if so, the other
 *                  children know of the change as well
 * @return APR_SUCCESS, or the store's error.  An error other than COMET_ELOCKED
 *         makes the ring of a local store unusable
 */
apr_status_t comet_feed_refresh(comet_feed_t *feed, pthread_mutex_t *lock,
                                int notified, apr_time_t now,
                                comet_feed_cb *callback, void *baton);

#endif /* COMET_FEED_H */
