/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file hub/fetcher.h
 * Reads from a remote store what memory cannot tell a subscriber: a thread with
 * a connection of its own, so that the hub never waits for a network.
 *
 * A subscriber that needs it waits in its channel as usual, and in the fetcher's
 * queue besides.  So it still gets its heartbeats, and may leave.  Once the
 * messages are here it is made ready, and so are all others in the queue that
 * asked the same.
 */
#ifndef COMET_FETCHER_H
#define COMET_FETCHER_H

#include "hub/fetched.h"
#include "hub/hub.h"

typedef struct comet_fetcher_t comet_fetcher_t;

/**
 * Start a fetcher.  Called in child_init, the only time that it allocates from
 * @a pool.
 * @param config  outlives the fetcher, as the hub does
 */
apr_status_t comet_fetcher_create(comet_fetcher_t **fetcher, comet_hub_t *hub,
                                  const comet_store_config_t *config,
                                  apr_pool_t *pool);

/** Have what a subscriber has not seen be fetched, unless that was asked for
 * already.  The hub's thread, with the lock. */
void comet_fetcher_ask_locked(comet_fetcher_t *fetcher,
                              comet_subscriber_t *subscriber);

/** Tell the thread to end.  Takes no lock; safe in a signal handler. */
void comet_fetcher_end(comet_fetcher_t *fetcher);

/** Whether the thread has ended, which is joined then. */
int comet_fetcher_has_ended(comet_fetcher_t *fetcher);

#endif /* COMET_FETCHER_H */
