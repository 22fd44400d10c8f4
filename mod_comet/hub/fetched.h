/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file hub/fetched.h
 * What a fetcher has read for subscribers that ask the same question: the same
 * selection after the same cursor.  They share it.  It is counted by reference,
 * under the hub's lock.
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
    comet_message_t *room[]; /* `limit` of them */
} comet_fetched_t;

/**
 * Make an empty answer to the question of a subscriber.
 * @param subscriber  it has joined the hub
 * @return with one reference; NULL: no memory is left.  With the lock.
 */
comet_fetched_t *comet_fetched_create(const comet_subscriber_t *subscriber);

/** Whether what was fetched answers the question that a subscriber has now.
 * With the lock. */
int comet_fetched_suits(const comet_fetched_t *fetched,
                        const comet_subscriber_t *subscriber);

/** Release a reference; NULL is ignored.  With the lock. */
void comet_fetched_unref(comet_fetched_t *fetched);

/** Take a subscriber out of its fetcher's queue, and drop what was fetched for
 * it.  With the lock. */
void comet_fetched_drop(comet_subscriber_t *subscriber);

#endif /* COMET_FETCHED_H */
