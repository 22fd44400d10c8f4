/* SPDX-License-Identifier: Apache-2.0 */
/* The channels somebody in this child waits on. */
#include "comet_channel.h"

#include <stdlib.h>
#include <string.h>

#include "comet_subscriber.h"

#define FIRST_SIZE 256

apr_status_t comet_channels_init(comet_channels_t *channels)
{
    *channels = (comet_channels_t){ .size = FIRST_SIZE };
    channels->buckets = calloc(FIRST_SIZE, sizeof(*channels->buckets));
    return channels->buckets ? APR_SUCCESS : APR_ENOMEM;
}

void comet_channels_free(comet_channels_t *channels)
{
    apr_size_t i;

    for (i = 0; i < channels->size && channels->buckets; i++) {
        while (channels->buckets[i]) {
            comet_channel_t *channel = channels->buckets[i];

            channels->buckets[i] = channel->next;
            free(channel);
        }
    }
    free(channels->buckets);
    *channels = (comet_channels_t){ .size = 0 };
}

static comet_channel_t **place(const comet_channels_t *channels,
                               const void *source, comet_text_t name,
                               apr_uint32_t hash)
{
    comet_channel_t **link = &channels->buckets[hash & (channels->size - 1)];

    while (*link
           && ((*link)->hash != hash || (*link)->source != source
               || !comet_text_equal((*link)->name, name))) {
        link = &(*link)->next;
    }
    return link;
}

comet_channel_t *comet_channels_find(const comet_channels_t *channels,
                                     const void *source, comet_text_t name,
                                     apr_uint32_t hash)
{
    return *place(channels, source, name, hash);
}

/* Twice the buckets; when there is no memory the chains just get longer. */
static void grow(comet_channels_t *channels)
{
    apr_size_t size = channels->size * 2, i;
    comet_channel_t **buckets = calloc(size, sizeof(*buckets));

    if (!buckets) {
        return;
    }
    for (i = 0; i < channels->size; i++) {
        while (channels->buckets[i]) {
            comet_channel_t *channel = channels->buckets[i];

            channels->buckets[i] = channel->next;
            channel->next = buckets[channel->hash & (size - 1)];
            buckets[channel->hash & (size - 1)] = channel;
        }
    }
    free(channels->buckets);
    channels->buckets = buckets;
    channels->size = size;
}

static comet_channel_t *make(const void *source, comet_text_t name,
                             apr_uint32_t hash)
{
    comet_channel_t *channel = malloc(sizeof(*channel) + name.length);

    if (channel) {
        *channel = (comet_channel_t){ .source = source, .hash = hash };
        memcpy(channel + 1, name.data, name.length);
        channel->name =
            (comet_text_t){ (const char *)(channel + 1), name.length };
        APR_RING_INIT(&channel->waiting, comet_subscriber_t, link);
    }
    return channel;
}

comet_channel_t *comet_channels_enter(comet_channels_t *channels,
                                      const void *source, comet_text_t name)
{
    apr_uint32_t hash = comet_message_hash(name);
    comet_channel_t **link = place(channels, source, name, hash);

    if (!*link) {
        if (channels->count >= channels->size) {
            grow(channels);
            link = place(channels, source, name, hash);
        }
        *link = make(source, name, hash);
        if (!*link) {
            return NULL;
        }
        channels->count++;
    }
    (*link)->members++;
    return *link;
}

void comet_channels_exit(comet_channels_t *channels, comet_channel_t *channel)
{
    comet_channel_t **link;

    if (--channel->members) {
        return;
    }
    link = place(channels, channel->source, channel->name, channel->hash);
    *link = channel->next;
    channels->count--;
    free(channel);
}

void comet_channels_each(const comet_channels_t *channels,
                         void (*visit)(void *baton, comet_channel_t *channel),
                         void *baton)
{
    apr_size_t i;
    comet_channel_t *channel;

    for (i = 0; i < channels->size; i++) {
        for (channel = channels->buckets[i]; channel; channel = channel->next) {
            visit(baton, channel);
        }
    }
}
