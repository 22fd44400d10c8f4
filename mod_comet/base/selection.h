/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file base/selection.h
 * What a subscriber reads: channels by their names, and prefixes of names.
 * Immutable, counted by reference, one block.
 *
 * A name is a channel that the subscriber was allowed to read.  A prefix
 * ("room/", or "" for all) only notices: the channels that exist under it are
 * among the names, and a message on one that is not ends the reading just
 * before it, so that the client comes back and is judged anew.
 */
#ifndef COMET_SELECTION_H
#define COMET_SELECTION_H

#include "base/batch.h"

/** The byte before a prefix in a key; no name has it. */
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
        *names; /* in order of hash and bytes; no two equal */
    const comet_selected_t *prefixes; /* the same */
    /** What is equal for equal selections.  Of one name alone: that name; of
     * one prefix alone: COMET_SELECTION_PREFIX and the prefix. */
    comet_selected_t key;
} comet_selection_t;

/**
 * Make a selection with one reference, which the caller owns.
 * @param names     channels; copied, in any order, equal ones count once
 * @param prefixes  each "" or with a slash at its end; the same
 * @return NULL when there is no memory.  Any thread.
 */
comet_selection_t *comet_selection_create(const comet_text_t *names,
                                          apr_size_t name_count,
                                          const comet_text_t *prefixes,
                                          apr_size_t prefix_count);

/** Take one more reference. @return @a selection.  Any thread. */
comet_selection_t *comet_selection_ref(comet_selection_t *selection);

/** Give one reference back; the last frees.  NULL is ignored.  Any thread. */
void comet_selection_unref(comet_selection_t *selection);

/** Whether it is one name, or one prefix, and nothing else. */
int comet_selection_is_atom(const comet_selection_t *selection);

typedef enum {
    COMET_SELECTION_NONE, /* none of it */
    COMET_SELECTION_NAMED, /* a channel it names */
    COMET_SELECTION_UNKNOWN /* under a prefix, and not named */
} comet_selection_match_e;

/** @param hash  of @a channel, by comet_message_hash() */
comet_selection_match_e comet_selection_match(
    const comet_selection_t *selection, comet_text_t channel,
    apr_uint32_t hash);

/** Messages being gathered for a selection. */
typedef struct comet_reading_t {
    const comet_selection_t *selection;
    comet_batch_t *batch;
    int recheck; /* it ended before a message of an unknown channel */
} comet_reading_t;

/**
 * Take a message into a reading; a comet_store_cb.
 * @param baton    the comet_reading_t
 * @param message  the reading takes the reference over
 * @return whether there is room for another
 */
int comet_selection_take(void *baton, comet_message_t *message);

#endif /* COMET_SELECTION_H */
