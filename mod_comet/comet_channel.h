/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file comet_channel.h
 * The channels somebody in this child waits on: a hash table of names, each
 * with its waiting subscribers.  A channel nobody waits on does not exist.
 * Guarded by the hub's lock.
 */
#ifndef COMET_CHANNEL_H
#define COMET_CHANNEL_H

#include <stddef.h> /* before APR looks for offsetof */

#include <apr_ring.h>

#include "comet_message.h"

struct comet_subscriber_t;
APR_RING_HEAD(comet_subscriber_ring_t, comet_subscriber_t);

typedef struct comet_channel_t comet_channel_t;
struct comet_channel_t {
    comet_channel_t *next; /* in its bucket */
    const void *source; /* whose channel: a feed, or the hub's clock */
    apr_uint32_t hash;
    apr_size_t members; /* subscribers that named it, waiting or not */
    /** Those to wake when a message comes. */
    struct comet_subscriber_ring_t waiting;
    comet_text_t name; /* behind the struct */
};

typedef struct comet_channels_t {
    comet_channel_t **buckets;
    apr_size_t size; /* a power of two */
    apr_size_t count;
} comet_channels_t;

/** @return APR_SUCCESS or APR_ENOMEM */
apr_status_t comet_channels_init(comet_channels_t *channels);

void comet_channels_free(comet_channels_t *channels);

/** Find a channel; NULL when nobody named it. */
comet_channel_t *comet_channels_find(const comet_channels_t *channels,
                                     const void *source, comet_text_t name,
                                     apr_uint32_t hash);

/** Find or make a channel and count one more member; NULL: no memory. */
comet_channel_t *comet_channels_enter(comet_channels_t *channels,
                                      const void *source, comet_text_t name);

/** One member less; the last one frees the channel. */
void comet_channels_exit(comet_channels_t *channels, comet_channel_t *channel);

/** Call for each channel. */
void comet_channels_each(const comet_channels_t *channels,
                         void (*visit)(void *baton, comet_channel_t *channel),
                         void *baton);

#endif /* COMET_CHANNEL_H */
