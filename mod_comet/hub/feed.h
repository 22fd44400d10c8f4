/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file hub/feed.h
 * One store as the hub sees it: its bell, its ring of recent messages and
 * the connection that keeps the ring in step with the log.
 *
 * Everything but the ring is of the hub's thread.  The ring is guarded by
 * the hub's lock: the hub's thread changes it, workers read it.
 */
#ifndef COMET_FEED_H
#define COMET_FEED_H

#include <pthread.h>

#include "shared/bus.h"
#include "hub/ring.h"
#include "store/sqlite/watch.h"

typedef struct comet_feed_t {
    const comet_store_config_t *store_config;
    comet_bus_t *bus;
    comet_store_t *store; /* the hub's connection; NULL while it fails */
    apr_time_t safety_at; /* when to look although nothing hinted at it */
    comet_watch_t watch;
    apr_status_t status; /* of the last look */
    apr_time_t failing_since; /* 0: the last look did not fail */
    apr_status_t told; /* what comet_hub_error_cb was told last */
    int began_anew; /* the last look could not go on from the one before: not
                     * all that is new may have been told */
    comet_tally_t tally; /* from before the last look */
    int tallied; /* the ring is in step with that */
    comet_timestamp_t calm; /* what came after it was never erased */
    comet_ring_t ring; /* [hub->lock] */
} comet_feed_t;

typedef enum {
    COMET_FEED_KNOWS, /* the ring has all there is, and nothing was pruned */
    COMET_FEED_IS_BEHIND, /* somebody has committed: look first */
    COMET_FEED_CANNOT_TELL /* only the store can */
} comet_feed_answer_e;

/** Whether the ring alone can tell what there is after a cursor at this very
 * moment; costs next to nothing. */
comet_feed_answer_e comet_feed_ask(comet_feed_t *feed, comet_timestamp_t after);


/**
 * Told of each message that is new, oldest first, under the hub's lock.
 * @param continuous  whether all messages before it were told, too: not so
 *                    when the feed had to begin anew
 */
typedef void comet_feed_cb(void *baton, comet_feed_t *feed,
                           const comet_message_t *message, int continuous);

/** Make a feed; it looks at the store the first time it is asked to. */
void comet_feed_init(comet_feed_t *feed, const comet_store_config_t *config,
                     comet_bus_t *bus);

/** Close what it has open, by the hub's thread. */
void comet_feed_close(comet_feed_t *feed);

/** When the store is to be looked at next, whatever the hints say. */
apr_time_t comet_feed_due(const comet_feed_t *feed);

/**
 * Look at the store; bring the ring in step; tell what is new.  Now and then
 * also check that the file is still the one that is open.
 * @param lock  the hub's: taken to change the ring and around @a callback,
 *              never during a read
 * @param rung  whether the bell rang: then the other children know, too
 * @return APR_SUCCESS, or the store's failure (the ring stays as it was)
 */
apr_status_t comet_feed_refresh(comet_feed_t *feed, pthread_mutex_t *lock,
                                int rung, apr_time_t now,
                                comet_feed_cb *callback, void *baton);

#endif /* COMET_FEED_H */
