/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file wire/accept.h
 * The header Accept (RFC 9110, section 12.5.1): which media types a client
 * prefers.  No I/O; any thread.
 */
#ifndef COMET_ACCEPT_H
#define COMET_ACCEPT_H

#include "base/text.h"

/** How specifically a range of an Accept names a media type.  The most specific
 * range decides. */
typedef enum {
    COMET_ACCEPT_NOT, /* no range covers the type */
    COMET_ACCEPT_ANYTHING, /* a star for both halves */
    COMET_ACCEPT_FAMILY, /* "text/" and a star */
    COMET_ACCEPT_NAMED, /* the type itself, perhaps with charset=utf-8 */
} comet_accept_range_e;

/** What an Accept says about one media type. */
typedef struct comet_accept_t {
    comet_accept_range_e range;
    int quality; /* the weight in thousandths; 0: the client does not accept the
                  * type */
} comet_accept_t;

/**
 * Look up a media type in an Accept.  A malformed range is skipped.  A range
 * covers the type only if its only parameters are a weight and charset=utf-8,
 * because every answer is in UTF-8.
 * @param header  the header's value; data NULL or only blanks: the client
 *                accepts every type alike
 * @param type    without parameters, in lower case: "text/event-stream"
 */
comet_accept_t comet_accept_find(comet_text_t header, const char *type);

/**
 * Whether to send a client a type instead of the usual one: it prefers the type
 * to the usual one, or it names the type and gives both the same weight.  A
 * client that accepts neither gets the usual one.
 * @param type   as for comet_accept_find()
 * @param usual  what a client without a preference gets
 */
int comet_accept_prefers(comet_text_t header, const char *type,
                         const char *usual);

#endif /* COMET_ACCEPT_H */
