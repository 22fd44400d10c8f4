/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file base/selection.h
 * What a subscriber reads: channels by name, by prefixes of names, and by
 * patterns of topics.  A selection is one block of memory, immutable and
 * counted by reference.
 *
 * Each name is a channel that the subscriber is allowed to read.  A prefix
 * ("room/", or "" for all channels) grants nothing: it only notices new
 * channels.  The channels that already exist under a prefix are among the
 * names.  When a message arrives on a channel that is not among them, reading
 * ends just before the message, so that the client comes back and is authorised
 * for the new channel.
 *
 * No prefix covers a sibling channel, room/42/@online for example: a subscriber
 * must name it to read it.
 *
 * A selection *by topics* (of the Mercure protocol) is judged by a token alone.
 * It takes a message if its names or patterns match any of the message's
 * channels: the message's own channel or an alternate.  At least one channel of
 * a private message must match a grant, too.  Other selections take no private
 * message at all.
 */
#ifndef COMET_SELECTION_H
#define COMET_SELECTION_H

#include "base/batch.h"
#include "base/pattern.h"

/** The byte before a prefix in a key.  No channel's name contains it. */
#define COMET_SELECTION_PREFIX '\t'

/** The byte that the key of a selection by topics begins with. */
#define COMET_SELECTION_TOPICS '\v'

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
    int everything; /* the prefix "" covers the sibling channels and private
                     * messages as well; only comet_store_tail() sets this */
    int by_topics;
    comet_text_t root; /* of a selection by topics: each channel's name is this
                        * prefix and a topic (base/topic.h) */
    apr_size_t pattern_count;
    apr_size_t grant_count;
    const comet_pattern_t *patterns;
    const comet_pattern_t *grants;
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

/** What a selection by topics is made from.  All of it is copied. */
typedef struct comet_topics_t {
    const comet_text_t *names; /* names of channels, with the root */
    apr_size_t name_count;
    const comet_pattern_t *patterns; /* of topics */
    apr_size_t pattern_count;
    const comet_pattern_t *grants; /* of topics whose private messages the token
                                    * grants */
    apr_size_t grant_count;
    comet_text_t root; /* "", or a prefix of channels that ends in a slash */
} comet_topics_t;

/** Make a selection by topics; otherwise like comet_selection_create(). */
comet_selection_t *comet_selection_by_topics(const comet_topics_t *topics);

/** Take one more reference.  @return @a selection.  Any thread. */
comet_selection_t *comet_selection_ref(comet_selection_t *selection);

/** Release a reference; releasing the last one frees the selection.  NULL is
 * ignored.  Any thread. */
void comet_selection_unref(comet_selection_t *selection);

/** Whether a selection is a single name or a single prefix, and not by
 * topics. */
int comet_selection_is_atom(const comet_selection_t *selection);

typedef enum {
    COMET_SELECTION_NONE, /* the selection does not cover the channel */
    COMET_SELECTION_NAMED, /* the selection names the channel */
    COMET_SELECTION_UNKNOWN /* covered by one of its prefixes, but not named */
} comet_selection_match_e;

/**
 * How a selection that is not by topics relates to a channel.
 * @param hash  comet_message_hash() of @a channel
 */
comet_selection_match_e comet_selection_match(
    const comet_selection_t *selection, comet_text_t channel,
    apr_uint32_t hash);

/** The properties of a message that decide who gets it. */
typedef struct comet_address_t {
    comet_text_t channel;
    apr_uint32_t hash; /* comet_message_hash() of the channel */
    int is_private;
    comet_text_t alternates; /* as in comet_update_t */
} comet_address_t;

/** Whether a selection takes a message of this address.  Any thread. */
comet_selection_match_e comet_selection_judge(
    const comet_selection_t *selection, const comet_address_t *address);

/** Like comet_selection_judge(), but for a message. */
comet_selection_match_e comet_selection_judge_message(
    const comet_selection_t *selection, const comet_message_t *message);

/**
 * Whether a name or pattern of a selection by topics matches a channel.  The
 * store uses this to choose the channels in which it looks for messages.
 */
int comet_selection_reads(const comet_selection_t *selection,
                          comet_text_t channel);

/**
 * Find the prefix that all channels of a pattern begin with.
 * @param pattern  the pattern's index
 * @param room  room for COMET_CHANNEL_MAX_BYTES
 * @return the prefix, in @a room; it is "" or ends with a slash
 */
comet_text_t comet_selection_stem(const comet_selection_t *selection,
                                  apr_size_t pattern, char *room);

/** Messages being collected for a selection. */
typedef struct comet_reading_t {
    const comet_selection_t *selection;
    comet_batch_t *batch;
    int recheck; /* reading ended just before a message on a channel that is not
                  * among the names */
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
