/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file hub/ring.h
 * The most recent messages of a store, in memory, so that the hub can wake ten
 * thousand clients without reading from disk.
 *
 * Invariant: the ring holds every message of the store with from < timestamp <=
 * last, in order, and no message that was erased according to state.erased.  An
 * expired passing message may be absent or present: nobody gets it.  The ring
 * has no lock; its owner guards it.
 */
#ifndef COMET_RING_H
#define COMET_RING_H

#include "store/store.h"

/** The largest number of messages, and of their bytes, that a ring keeps. */
#define COMET_RING_MESSAGES 1024
#define COMET_RING_BYTES (8 * 1024 * 1024)

typedef struct comet_ring_entry_t {
    comet_timestamp_t timestamp; /* a copy, so that a search stays in the
                                  * cache */
    apr_uint32_t channel_hash;
    comet_message_t *message; /* an owned reference */
} comet_ring_entry_t;

typedef struct comet_ring_t {
    comet_ring_entry_t entries[COMET_RING_MESSAGES];
    apr_size_t first;
    apr_size_t count;
    apr_size_t bytes;
    comet_timestamp_t lasting; /* the timestamp of the newest message that
                                * lasts; 0: none since the ring was reset */
    comet_timestamp_t from;
    comet_store_state_t state; /* the store's state when the ring was last in
                                * step with it */
} comet_ring_t;

/** Empty the ring.  It then covers only what comes after @a from. */
void comet_ring_reset(comet_ring_t *ring, comet_timestamp_t from);

/**
 * Append the newest message.  The oldest messages are dropped to make room.
 * @param message  the ring takes a reference of its own
 */
void comet_ring_push(comet_ring_t *ring, comet_message_t *message);

/** The timestamp of the newest lasting message that was put into the ring, even
 * if the ring has dropped it; 0 if there was none. */
comet_timestamp_t comet_ring_newest(const comet_ring_t *ring);

/** Whether the ring holds every message after a cursor. */
int comet_ring_covers(const comet_ring_t *ring, comet_timestamp_t after);

/**
 * Collect the messages of a selection after a cursor, oldest first, as many as
 * the reading has room for.  Expired messages are left out.
 */
void comet_ring_collect(const comet_ring_t *ring, comet_timestamp_t after,
                        comet_reading_t *reading);

#endif /* COMET_RING_H */
