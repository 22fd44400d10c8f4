/* SPDX-License-Identifier: Apache-2.0 */
/* The most recent messages of a store, in memory. */
#include "hub/ring.h"

static comet_ring_entry_t *entry_at(const comet_ring_t *ring, apr_size_t i)
{
    return (comet_ring_entry_t *)&ring
        ->entries[(ring->first + i) % COMET_RING_MESSAGES];
}

static apr_size_t message_bytes(const comet_message_t *message)
{
    return sizeof(*message) + message->channel.length + message->type.length
           + message->author.length + message->body.length
           + message->update.event.length + message->update.alternates.length;
}

/* Drop the oldest message; the ring no longer covers it. */
static void drop_oldest(comet_ring_t *ring)
{
    comet_ring_entry_t *oldest = entry_at(ring, 0);

    ring->from = oldest->timestamp;
    ring->bytes -= message_bytes(oldest->message);
    comet_message_unref(oldest->message);
    ring->first = (ring->first + 1) % COMET_RING_MESSAGES;
    ring->count--;
}

void comet_ring_reset(comet_ring_t *ring, comet_timestamp_t from)
{
    while (ring->count) {
        drop_oldest(ring);
    }
    ring->from = from;
    ring->lasting = 0;
}

void comet_ring_push(comet_ring_t *ring, comet_message_t *message)
{
    apr_size_t bytes = message_bytes(message);

    while (ring->count == COMET_RING_MESSAGES
           || (ring->count && ring->bytes + bytes > COMET_RING_BYTES)) {
        drop_oldest(ring);
    }
    *entry_at(ring, ring->count++) = (comet_ring_entry_t){
        .timestamp = message->timestamp,
        .channel_hash = message->channel_hash,
        .message = comet_message_ref(message),
    };
    ring->bytes += bytes;
    if (!message->keep_sec) {
        ring->lasting = message->timestamp;
    }
}

comet_timestamp_t comet_ring_newest(const comet_ring_t *ring)
{
    return ring->lasting;
}

int comet_ring_covers(const comet_ring_t *ring, comet_timestamp_t after)
{
    return after >= ring->from;
}

/* The first entry after a cursor; entries are in order of timestamp. */
static apr_size_t find_after(const comet_ring_t *ring, comet_timestamp_t after)
{
    apr_size_t low = 0, high = ring->count;

    while (low < high) {
        apr_size_t middle = low + (high - low) / 2;

        if (entry_at(ring, middle)->timestamp > after) {
            high = middle;
        }
        else {
            low = middle + 1;
        }
    }
    return low;
}

/* Whether a selection takes a message, or would if it were not private. */
static int may_take(const comet_selection_t *selection,
                    const comet_ring_entry_t *entry)
{
    return (selection->by_topics
                ? comet_selection_judge_message(selection, entry->message)
                : comet_selection_match(selection, entry->message->channel,
                                        entry->channel_hash))
           != COMET_SELECTION_NONE;
}

void comet_ring_collect(const comet_ring_t *ring, comet_timestamp_t after,
                        comet_reading_t *reading)
{
    apr_size_t i;
    int more = !comet_batch_is_full(reading->batch);

    for (i = find_after(ring, after); i < ring->count && more; i++) {
        const comet_ring_entry_t *entry = entry_at(ring, i);

        if (!comet_message_is_over(entry->message)
            && may_take(reading->selection, entry)) {
            more = comet_selection_take(reading,
                                        comet_message_ref(entry->message));
        }
    }
}
