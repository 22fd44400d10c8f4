/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file hub/channel.h
 * What somebody in this child waits on: a hash table of selections, each
 * with its waiting subscribers.  A selection of several names or prefixes is
 * linked with an entry for each of them, so that a message finds everybody it
 * is news to.  What nobody waits on does not exist.
 * Guarded by the hub's lock.
 */
#ifndef COMET_CHANNEL_H
#define COMET_CHANNEL_H

#include <stddef.h> /* before APR looks for offsetof */

#include <apr_ring.h>

#include "base/selection.h"

struct comet_subscriber_t;
APR_RING_HEAD(comet_subscriber_ring_t, comet_subscriber_t);

typedef struct comet_channel_t comet_channel_t;

/** That one selection is part of another. */
typedef struct comet_channel_link_t comet_channel_link_t;
struct comet_channel_link_t {
    APR_RING_ENTRY(comet_channel_link_t) link; /* in part->wholes */
    comet_channel_t *part;
    comet_channel_t *whole;
};
APR_RING_HEAD(comet_channel_link_ring_t, comet_channel_link_t);

struct comet_channel_t {
    comet_channel_t *next; /* in its bucket */
    const void *source; /* whose it is: a feed, or the hub's clock */
    comet_selection_t *selection; /* a reference */
    apr_size_t members; /* subscribers and wholes that entered it */
    /** Those to wake when a message comes. */
    struct comet_subscriber_ring_t waiting;
    struct comet_channel_link_ring_t wholes;
    apr_size_t part_count;
    comet_channel_link_t parts[]; /* of a whole */
};

typedef struct comet_channels_t {
    comet_channel_t **buckets;
    apr_size_t size; /* a power of two */
    apr_size_t count;
    apr_size_t prefix_count; /* of them, prefixes */
} comet_channels_t;

/** Called for an entry of the table. */
typedef void comet_channel_cb(void *baton, comet_channel_t *channel);

/** @return APR_SUCCESS or APR_ENOMEM */
apr_status_t comet_channels_init(comet_channels_t *channels);

void comet_channels_free(comet_channels_t *channels);

/** Find or make the entry of a selection and count one more member; NULL: no
 * memory. */
comet_channel_t *comet_channels_enter(comet_channels_t *channels,
                                      const void *source,
                                      comet_selection_t *selection);

/** One member less; the last one frees the entry. */
void comet_channels_exit(comet_channels_t *channels, comet_channel_t *channel);

/**
 * Call for each entry to which a message on a channel is news; for one that
 * names it in two ways, twice.
 * @param hash  of @a name, by comet_message_hash()
 */
void comet_channels_reach(const comet_channels_t *channels, const void *source,
                          comet_text_t name, apr_uint32_t hash,
                          comet_channel_cb *visit, void *baton);

/** Call for each entry. */
void comet_channels_each(const comet_channels_t *channels,
                         comet_channel_cb *visit, void *baton);

#endif /* COMET_CHANNEL_H */
