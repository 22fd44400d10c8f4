/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file hub/scout.h
 * A thread that follows a remote store in the hub's place, so that the hub
 * never waits for the network.
 *
 * A scout that is notified looks at once, unless it is resting: after each look
 * it rests for several times as long as the look took.  If nobody waits in
 * its child, it looks 10 ms later.  While the store fails, the scout tries
 * again after 50 ms, 100 ms … 2 s.
 *
 * Workers whose clients ask what is new share the scout's looks: a look that
 * begins after a question finds everything that was stored before the question.
 */
#ifndef COMET_SCOUT_H
#define COMET_SCOUT_H

#include "hub/hub.h"

typedef struct comet_scout_t comet_scout_t;

/**
 * Start the scout of a feed, which owns it from now on.  Called in child_init;
 * the scout allocates from @a pool only during this call.
 * @param number  the feed's index, in the order of the hub's configuration
 */
apr_status_t comet_scout_create(comet_scout_t **scout, comet_hub_t *hub,
                                apr_size_t number, apr_pool_t *pool);

/**
 * Wait for a look that begins after this call.  After that look the ring has
 * everything that was stored before the call.  Any thread but the hub's,
 * without a lock.
 * @param limit  how long to wait
 * @return whether there was such a look.  While the store fails there is none,
 *         and the call returns at once
 */
int comet_scout_await_look(comet_scout_t *scout, apr_interval_time_t limit);

/** Tell the thread to end.  Takes no lock; safe in a signal handler. */
void comet_scout_end(comet_scout_t *scout);

/** Whether the thread has ended.  If it has, this joins it. */
int comet_scout_has_ended(comet_scout_t *scout);

/** Free what a scout that has ended holds outside its pool. */
void comet_scout_free(comet_scout_t *scout);

#endif /* COMET_SCOUT_H */
