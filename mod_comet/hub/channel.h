/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file hub/channel.h
 * A hash table of the selections that subscribers of this child wait on.  Each
 * entry holds one selection (most are a single channel, hence the name) and its
 * waiting subscribers.  The entry of a selection with several names or
 * prefixes is linked with an entry for each of these parts, so that a message
 * finds every subscriber it concerns.  The part for a pattern is the prefix
 * that its channels begin with.  An entry exists only while a subscriber uses
 * it.  Guarded by the hub's lock.
 */
#ifndef COMET_CHANNEL_H
#define COMET_CHANNEL_H

#include <stddef.h> /* must precede APR, which uses its offsetof */

#include <apr_ring.h>

#include "base/selection.h"

struct comet_subscriber_t;
APR_RING_HEAD(comet_subscriber_ring_t, comet_subscriber_t);

typedef struct comet_channel_t comet_channel_t;

/** Says that one selection is part of another. */
typedef struct comet_channel_link_t comet_channel_link_t;
struct comet_channel_link_t {
    APR_RING_ENTRY(comet_channel_link_t) link; /* in part->wholes */
    comet_channel_t *part;
    comet_channel_t *whole;
};
APR_RING_HEAD(comet_channel_link_ring_t, comet_channel_link_t);

struct comet_channel_t {
    comet_channel_t *next; /* in its bucket */
    const void *source; /* where its messages come from: a feed, or the hub
                         * for the clock */
    comet_selection_t *selection; /* an owned reference */
    apr_size_t members; /* how many subscribers use this entry, plus how many
                         * other entries have it as a part */
    /** The subscribers to wake when a message comes. */
    struct comet_subscriber_ring_t waiting;
    struct comet_channel_link_ring_t wholes;
    apr_size_t part_count;
    comet_channel_link_t parts[]; /* links to the entries of its parts; none if
                                   * its selection is a single name or prefix */
};

typedef struct comet_channels_t {
    comet_channel_t **buckets;
    apr_size_t size; /* a power of two */
    apr_size_t count;
    apr_size_t prefix_count; /* how many entries are single prefixes */
} comet_channels_t;

/** Called with an entry of the table. */
typedef void comet_channel_cb(void *baton, comet_channel_t *channel);

/** @return APR_SUCCESS or APR_ENOMEM */
apr_status_t comet_channels_init(comet_channels_t *channels);

void comet_channels_free(comet_channels_t *channels);

/** Find or make the entry of a selection, and count one more member.
 * @return NULL: no memory is left */
comet_channel_t *comet_channels_enter(comet_channels_t *channels,
                                      const void *source,
                                      comet_selection_t *selection);

/** Find an entry whose selection equals this one.  @return a reference to the
 * entry's selection; NULL: there is none */
comet_selection_t *comet_channels_share(const comet_channels_t *channels,
                                        const void *source,
                                        const comet_selection_t *selection);

/** Count one member less.  An entry without members is freed. */
void comet_channels_exit(comet_channels_t *channels, comet_channel_t *channel);

/**
 * Call @a visit with each entry that covers a channel: a message on that
 * channel concerns the entry's subscribers.  An entry that covers the channel
 * in two ways is visited twice.  An entry with patterns is visited if the
 * channel might match one of them; comet_selection_judge() tells whether it
 * does.
 * @param hash  comet_message_hash() of @a name
 */
void comet_channels_reach(const comet_channels_t *channels, const void *source,
                          comet_text_t name, apr_uint32_t hash,
                          comet_channel_cb *visit, void *baton);

/** Call @a visit with each entry. */
void comet_channels_each(const comet_channels_t *channels,
                         comet_channel_cb *visit, void *baton);

#endif /* COMET_CHANNEL_H */
