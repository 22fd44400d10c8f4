/* SPDX-License-Identifier: Apache-2.0 */
/* The selections that subscribers of this child wait on. */
#include "hub/channel.h"

#include <stdlib.h>
#include <string.h>

#include "base/name.h"
#include "hub/subscriber.h"

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
            comet_selection_unref(channel->selection);
            free(channel);
        }
    }
    free(channels->buckets);
    *channels = (comet_channels_t){ .size = 0 };
}

static comet_channel_t **place(const comet_channels_t *channels,
                               const void *source, comet_selected_t key)
{
    comet_channel_t **link =
        &channels->buckets[key.hash & (channels->size - 1)];

    while (*link
           && ((*link)->selection->key.hash != key.hash
               || (*link)->source != source
               || !comet_text_equal((*link)->selection->key.text, key.text))) {
        link = &(*link)->next;
    }
    return link;
}

/* Double the number of buckets.  If no memory is left, the chains just get
 * longer. */
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
            channel->next = buckets[channel->selection->key.hash & (size - 1)];
            buckets[channel->selection->key.hash & (size - 1)] = channel;
        }
    }
    free(channels->buckets);
    channels->buckets = buckets;
    channels->size = size;
}

static comet_channel_t *make(const void *source, comet_selection_t *selection)
{
    apr_size_t parts = comet_selection_is_atom(selection)
                           ? 0
                           : selection->name_count + selection->prefix_count
                                 + selection->pattern_count;
    comet_channel_t *channel =
        malloc(sizeof(*channel) + parts * sizeof(*channel->parts));

    if (channel) {
        *channel = (comet_channel_t){
            .source = source,
            .selection = comet_selection_ref(selection),
        };
        APR_RING_INIT(&channel->waiting, comet_subscriber_t, link);
        APR_RING_INIT(&channel->wholes, comet_channel_link_t, link);
    }
    return channel;
}

static void unlink_parts(comet_channels_t *channels, comet_channel_t *whole)
{
    while (whole->part_count) {
        comet_channel_link_t *link = &whole->parts[--whole->part_count];

        APR_RING_REMOVE(link, link);
        comet_channels_exit(channels, link->part);
    }
}

/* Link an entry with the entry of one of its parts.  @return 0: no memory is
 * left */
static int link_part(comet_channels_t *channels, comet_channel_t *whole,
                     const comet_text_t *name, const comet_text_t *prefix)
{
    comet_selection_t *atom =
        comet_selection_create(name, name != NULL, prefix, prefix != NULL);
    comet_channel_link_t *link = &whole->parts[whole->part_count];

    link->part =
        atom ? comet_channels_enter(channels, whole->source, atom) : NULL;
    comet_selection_unref(atom);
    if (!link->part) {
        return 0;
    }
    link->whole = whole;
    APR_RING_INSERT_TAIL(&link->part->wholes, link, comet_channel_link_t, link);
    whole->part_count++;
    return 1;
}

/* A pattern is found by the prefix that its channels begin with. */
static int link_pattern(comet_channels_t *channels, comet_channel_t *whole,
                        apr_size_t pattern)
{
    char room[COMET_CHANNEL_MAX_BYTES];
    comet_text_t prefix = comet_selection_stem(whole->selection, pattern, room);

    return link_part(channels, whole, NULL, &prefix);
}

static int link_parts(comet_channels_t *channels, comet_channel_t *whole)
{
    const comet_selection_t *selection = whole->selection;
    apr_size_t i;

    for (i = 0; i < selection->name_count; i++) {
        if (!link_part(channels, whole, &selection->names[i].text, NULL)) {
            return 0;
        }
    }
    for (i = 0; i < selection->prefix_count; i++) {
        if (!link_part(channels, whole, NULL, &selection->prefixes[i].text)) {
            return 0;
        }
    }
    for (i = 0; i < selection->pattern_count; i++) {
        if (!link_pattern(channels, whole, i)) {
            return 0;
        }
    }
    return 1;
}

static void drop(comet_channels_t *channels, comet_channel_t *channel)
{
    unlink_parts(channels, channel);
    comet_selection_unref(channel->selection);
    free(channel);
}

/* Add an entry and those of its parts.  The parts come first, because adding
 * them can make the table grow. */
static comet_channel_t *add(comet_channels_t *channels, const void *source,
                            comet_selection_t *selection)
{
    comet_channel_t *channel = make(source, selection);
    comet_channel_t **link;

    if (!channel) {
        return NULL;
    }
    if (!comet_selection_is_atom(selection) && !link_parts(channels, channel)) {
        drop(channels, channel);
        return NULL;
    }
    if (channels->count >= channels->size) {
        grow(channels);
    }
    link = place(channels, source, selection->key);
    *link = channel;
    channels->count++;
    channels->prefix_count +=
        comet_selection_is_atom(selection) && selection->prefix_count;
    return channel;
}

comet_channel_t *comet_channels_enter(comet_channels_t *channels,
                                      const void *source,
                                      comet_selection_t *selection)
{
    comet_channel_t *channel = *place(channels, source, selection->key);

    if (!channel) {
        channel = add(channels, source, selection);
    }
    if (channel) {
        channel->members++;
    }
    return channel;
}

comet_selection_t *comet_channels_share(const comet_channels_t *channels,
                                        const void *source,
                                        const comet_selection_t *selection)
{
    const comet_channel_t *channel = *place(channels, source, selection->key);

    return channel ? comet_selection_ref(channel->selection) : NULL;
}

void comet_channels_exit(comet_channels_t *channels, comet_channel_t *channel)
{
    comet_channel_t **link;

    if (--channel->members) {
        return;
    }
    link = place(channels, channel->source, channel->selection->key);
    *link = channel->next;
    channels->count--;
    channels->prefix_count -= comet_selection_is_atom(channel->selection)
                              && channel->selection->prefix_count;
    drop(channels, channel);
}

static void reach(comet_channel_t *part, comet_channel_cb *visit, void *baton)
{
    comet_channel_link_t *link;

    if (!part) {
        return;
    }
    visit(baton, part);
    APR_RING_FOREACH(link, &part->wholes, comet_channel_link_t, link)
    {
        visit(baton, link->whole);
    }
}

/* Visit the prefixes of a name: "", "a/" and "a/b/" of a/b/c. */
static void reach_prefixes(const comet_channels_t *channels, const void *source,
                           comet_text_t name, comet_channel_cb *visit,
                           void *baton)
{
    char bytes[COMET_CHANNEL_MAX_BYTES + 1] = { COMET_SELECTION_PREFIX };
    apr_size_t i;

    for (i = 0; i < name.length && i < COMET_CHANNEL_MAX_BYTES; i++) {
        if (i == 0 || name.data[i - 1] == '/') {
            comet_text_t key = { bytes, i + 1 };

            reach(*place(channels, source,
                         (comet_selected_t){ key, comet_message_hash(key) }),
                  visit, baton);
        }
        bytes[i + 1] = name.data[i];
    }
}

void comet_channels_reach(const comet_channels_t *channels, const void *source,
                          comet_text_t name, apr_uint32_t hash,
                          comet_channel_cb *visit, void *baton)
{
    reach(*place(channels, source, (comet_selected_t){ name, hash }), visit,
          baton);
    if (channels->prefix_count && !comet_name_is_sibling(name)) {
        reach_prefixes(channels, source, name, visit, baton);
    }
}

void comet_channels_each(const comet_channels_t *channels,
                         comet_channel_cb *visit, void *baton)
{
    apr_size_t i;
    comet_channel_t *channel;

    for (i = 0; i < channels->size; i++) {
        for (channel = channels->buckets[i]; channel; channel = channel->next) {
            visit(baton, channel);
        }
    }
}
