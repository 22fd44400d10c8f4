/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file hub/ring.h
 * The most recent messages of a store, in memory, so that waking ten
 * thousand clients reads no disk.
 *
 * Invariant: every message of the store with from < timestamp <= last is in
 * the ring, in order, and none that was erased by state.erased.
 * Not locked: its owner guards it.
 */
#ifndef COMET_RING_H
#define COMET_RING_H

#include "store/store.h"

/** The most messages, and the most bytes of them, a ring keeps. */
#define COMET_RING_MESSAGES 1024
#define COMET_RING_BYTES (8 * 1024 * 1024)

typedef struct comet_ring_entry_t {
    comet_timestamp_t timestamp; /* repeated here: a search stays in cache */
    apr_uint32_t channel_hash;
    comet_message_t *message; /* the ring owns a reference */
} comet_ring_entry_t;

typedef struct comet_ring_t {
    comet_ring_entry_t entries[COMET_RING_MESSAGES];
    apr_size_t first;
    apr_size_t count;
    apr_size_t bytes;
    comet_timestamp_t from;
    comet_store_state_t state; /* of the store when it was last in step */
} comet_ring_t;

/** Empty the ring: it then stands for the store's state with no history. */
void comet_ring_reset(comet_ring_t *ring, comet_timestamp_t from);

/**
 * Append a message, the newest; the oldest ones make room.
 * @param message  the ring takes its own reference
 */
void comet_ring_push(comet_ring_t *ring, comet_message_t *message);

/** The timestamp of the newest message; 0 in an empty ring. */
comet_timestamp_t comet_ring_newest(const comet_ring_t *ring);

/** Whether the ring alone can tell what a channel has after a cursor. */
int comet_ring_covers(const comet_ring_t *ring, comet_timestamp_t after);

/**
 * Collect a selection's messages after a cursor, oldest first, as many as
 * the reading has room for.
 */
void comet_ring_collect(const comet_ring_t *ring, comet_timestamp_t after,
                        comet_reading_t *reading);

#endif /* COMET_RING_H */
