/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file hub/fetched.h
 * What a subscriber asks a fetcher, and what the fetcher has read.  Subscribers
 * that ask the same question (the same selection and cursor) share the answer.
 * The answer is reference-counted, under the hub's lock.
 */
#ifndef COMET_FETCHED_H
#define COMET_FETCHED_H

#include "hub/subscriber.h"

typedef struct comet_fetched_t {
    unsigned refs; /* [hub->lock] */
    /* what was asked */
    comet_selection_t *selection; /* an owned reference */
    comet_timestamp_t after;
    apr_size_t limit, piece; /* as in comet_subscriber_t */
    /* what was found, in one view of the store */
    comet_timestamp_t last; /* the store's newest timestamp in that view */
    comet_timestamp_t floor; /* from comet_store_floor() */
    int recheck; /* as in comet_reading_t */
    comet_batch_t batch;
    comet_message_t *room[]; /* for `limit` messages */
} comet_fetched_t;

/** A question that a subscriber has asked.  The subscriber holds the selection
 * and the cursor. */
typedef struct comet_fetch_t comet_fetch_t;
struct comet_fetch_t {
    APR_RING_ENTRY(comet_fetch_t) link; /* [hub->lock] in the fetcher's queue,
                                         * until it is answered */
    comet_subscriber_t *subscriber;
    comet_fetched_t *fetched; /* [hub->lock] the answer, a reference; NULL:
                               * there is none yet */
};
APR_RING_HEAD(comet_fetch_ring_t, comet_fetch_t);

/**
 * Make an empty answer to the question of a subscriber.
 * @param subscriber  a subscriber that has joined the hub
 * @return the answer, with one reference; NULL: no memory is left.  The caller
 *         holds the hub's lock
 */
comet_fetched_t *comet_fetched_create(const comet_subscriber_t *subscriber);

/** The answer to a subscriber's question; NULL: there is none yet, or the
 * subscriber has asked nothing.  The caller holds the hub's lock. */
comet_fetched_t *comet_fetched_of(const comet_subscriber_t *subscriber);

/** Whether what was fetched answers the question that a subscriber has now.
 * The caller holds the hub's lock. */
int comet_fetched_suits(const comet_fetched_t *fetched,
                        const comet_subscriber_t *subscriber);

/** Release a reference; NULL is ignored.  The caller holds the hub's lock. */
void comet_fetched_unref(comet_fetched_t *fetched);

/** Withdraw a subscriber's question, and drop its answer.  Does nothing if the
 * subscriber has asked nothing.  The caller holds the hub's lock. */
void comet_fetched_drop(comet_subscriber_t *subscriber);

#endif /* COMET_FETCHED_H */
