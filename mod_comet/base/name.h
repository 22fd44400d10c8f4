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
 * that use the database publish to such a channel; its clients do not.  Any
 * thread. */
int comet_name_is_reserved(comet_text_t name);

/** Whether the last segment of a name begins with @.  Such a channel is read by
 * its name only: no prefix ("room/") covers it.  Any thread. */
int comet_name_is_sibling(comet_text_t name);

/**
 * The channel that a sibling tells of: room/42 for room/42/@online.  Whoever
 * may read all channels below room may read that sibling, but not room/@online,
 * which tells of the channel room.
 * @return data NULL: the name is no sibling.  Any thread.
 */
comet_text_t comet_name_owner(comet_text_t name);

#endif /* COMET_NAME_H */
