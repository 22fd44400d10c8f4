/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file token/grant.h
 * Patterns of channels that a token grants: "room/42" is that channel, "user/7"
 * followed by a slash and a star is every channel below user/7, and a star
 * alone is every channel.
 */
#ifndef COMET_GRANT_H
#define COMET_GRANT_H

#include <apr_tables.h>

#include "base/text.h"

/**
 * Check a pattern.
 * @return NULL, or the error (a constant).  Any thread.
 */
const char *comet_grant_check(comet_text_t pattern);

/**
 * Whether any pattern covers a channel.
 * @param patterns  an array of const char *, each checked; NULL: there are none
 * @param channel  "room/" stands for all channels below room, and "" for all
 *                 channels; only a pattern that ends in a star covers either
 * Any thread.
 */
int comet_grant_covers(const apr_array_header_t *patterns, const char *channel);

#endif /* COMET_GRANT_H */
