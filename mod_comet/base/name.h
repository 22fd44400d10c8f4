/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file base/name.h
 * Names of channels that have a special meaning.  A channel may have sibling
 * channels, such as room/42/@online for room/42.  Their names have a segment
 * that begins with @.
 */
#ifndef COMET_NAME_H
#define COMET_NAME_H

#include "base/text.h"

/** Whether any segment of a name begins with @.  Only the server and programs
 * that use the database publish to such a channel; clients cannot.  Any
 * thread. */
int comet_name_is_reserved(comet_text_t name);

/** Whether the last segment of a name begins with @.  Such a channel can only
 * be read by its full name: no prefix ("room/") covers it.  Any thread. */
int comet_name_is_sibling(comet_text_t name);

/**
 * The channel that a sibling is about: room/42 for room/42/@online.  A client
 * that may read all channels below room may read room/42/@online, but not
 * room/@online, which is about the channel room.
 * @return data NULL: the name is no sibling.  Any thread.
 */
comet_text_t comet_name_owner(comet_text_t name);

/** How a list of patterns covers a name. */
typedef enum comet_cover_e {
    COMET_COVER_NOT,
    COMET_COVER_BELOW, /**< by a pattern that ends in a star */
    COMET_COVER_EXACTLY,
} comet_cover_e;

/** Find out how patterns cover a name.
 * @param baton  the caller's data, which contains the patterns */
typedef comet_cover_e comet_cover_cb(const void *baton, comet_text_t name);

/**
 * Whether patterns grant a channel.  A pattern with a star grants a sibling
 * only if the patterns also grant the channel that the sibling is about.
 * @param cover  called for the name and, if necessary, for its owner
 * Any thread.
 */
int comet_name_is_granted(comet_text_t name, comet_cover_cb *cover,
                          const void *baton);

#endif /* COMET_NAME_H */
