/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file hub/fetcher.h
 * A thread that reads from a remote store the messages that memory no longer
 * has. It has a connection of its own, so that the hub never waits for a
 * network.
 *
 * A subscriber that needs such messages waits in its channel as usual, and in
 * the fetcher's queue as well.  So it still gets its heartbeats, and can leave.
 * When the messages have been read, the subscriber becomes ready, and so does
 * every other one in the queue that asked the same question.
 */
#ifndef COMET_FETCHER_H
#define COMET_FETCHER_H

#include "hub/fetched.h"
#include "hub/hub.h"

typedef struct comet_fetcher_t comet_fetcher_t;

/**
 * Start a fetcher.  Called in child_init; the fetcher allocates from @a pool
 * only during this call.
 * @param config  the store's configuration; it and @a hub must outlive the
 *                fetcher
 */
apr_status_t comet_fetcher_create(comet_fetcher_t **fetcher, comet_hub_t *hub,
                                  const comet_store_config_t *config,
                                  apr_pool_t *pool);

/** Queue a subscriber's question, so that the messages it has not seen are
 * fetched.  Does nothing if the question is in the queue already.  If no memory
 * is left, the subscriber's ->fetch is NULL, and the caller has to try again.
 * Called by the hub's thread, which holds the hub's lock. */
void comet_fetcher_ask_locked(comet_fetcher_t *fetcher,
                              comet_subscriber_t *subscriber);

/** Tell the thread to end.  Takes no lock; safe in a signal handler. */
void comet_fetcher_end(comet_fetcher_t *fetcher);

/** Whether the thread has ended.  If it has, this joins it. */
int comet_fetcher_has_ended(comet_fetcher_t *fetcher);

#endif /* COMET_FETCHER_H */
