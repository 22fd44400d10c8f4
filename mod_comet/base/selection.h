/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file base/selection.h
 * What a subscriber reads: channels by name, and prefixes of names.  A
 * selection is one block of memory, immutable and counted by reference.
 *
 * Each name is a channel that the subscriber is allowed to read.  A prefix
 * ("room/", or "" for all channels) grants nothing: it only notices new
 * channels.  The channels that already exist under a prefix are among the
 * names.  When a message arrives on one that is not, reading ends just before
 * it, so that the client comes back and is authorised for the new channel.
 *
 * No prefix covers a sibling channel, room/42/@online for example: a subscriber
 * that wants it names it.
 */
#ifndef COMET_SELECTION_H
#define COMET_SELECTION_H

#include "base/batch.h"

/** The byte before a prefix in a key.  No channel's name contains it. */
#define COMET_SELECTION_PREFIX '\t'

/** A name or a prefix, and its hash by comet_message_hash(). */
typedef struct comet_selected_t {
    comet_text_t text;
    apr_uint32_t hash;
} comet_selected_t;

typedef struct comet_selection_t {
    atomic_uint refs; /* [atomic] */
    apr_size_t name_count;
    apr_size_t prefix_count;
    const comet_selected_t
        *names; /* sorted by hash, then bytes; no duplicates */
    const comet_selected_t *prefixes; /* likewise */
    int everything; /* the prefix "" covers sibling channels, too; only
                     * comet_store_tail() sets this */
    /** Equal selections have equal keys.  The key of a single name is that
     * name.  The key of a single prefix is COMET_SELECTION_PREFIX and the
     * prefix. */
    comet_selected_t key;
} comet_selection_t;

/**
 * Make a selection with one reference, which the caller owns.
 * @param names  channels in any order; they are copied, and duplicates are
 *               removed
 * @param prefixes  treated likewise; each is "" or ends with a slash
 * @return NULL if no memory is left.  Any thread.
 */
comet_selection_t *comet_selection_create(const comet_text_t *names,
                                          apr_size_t name_count,
                                          const comet_text_t *prefixes,
                                          apr_size_t prefix_count);

/** Take one more reference.  @return @a selection.  Any thread. */
comet_selection_t *comet_selection_ref(comet_selection_t *selection);

/** Release a reference; releasing the last one frees the selection.  NULL is
 * ignored.  Any thread. */
void comet_selection_unref(comet_selection_t *selection);

/** Whether a selection is a single name or a single prefix. */
int comet_selection_is_atom(const comet_selection_t *selection);

typedef enum {
    COMET_SELECTION_NONE, /* the selection does not cover the channel */
    COMET_SELECTION_NAMED, /* the selection names the channel */
    COMET_SELECTION_UNKNOWN /* covered by one of its prefixes, but not named */
} comet_selection_match_e;

/**
 * How a selection relates to a channel.
 * @param hash  comet_message_hash() of @a channel
 */
comet_selection_match_e comet_selection_match(
    const comet_selection_t *selection, comet_text_t channel,
    apr_uint32_t hash);

/** Messages being collected for a selection. */
typedef struct comet_reading_t {
    const comet_selection_t *selection;
    comet_batch_t *batch;
    int recheck; /* reading ended before a message on an unknown channel */
} comet_reading_t;

/**
 * Add a message to a reading if the selection covers its channel.  This is a
 * comet_store_cb.
 * @param baton  the comet_reading_t
 * @param message  its reference passes to the reading
 * @return whether there is room for another message
 */
int comet_selection_take(void *baton, comet_message_t *message);

#endif /* COMET_SELECTION_H */
