/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file token/mercure.h
 * What a token grants by the claims of the Mercure protocol: `mercure` of its
 * versions 0.x, or `authorization_details` of 1.0 (RFC 9396).
 */
#ifndef COMET_MERCURE_H
#define COMET_MERCURE_H

#include <apr_tables.h>

#include "base/pattern.h"

/** The most patterns that one claim of a token may have. */
#define COMET_MERCURE_MAX_PATTERNS 1000

/** What a token grants. The struct lives in the pool of the request that
 * brought the token. */
typedef struct comet_mercure_t {
    int is_v1; /* the token has `authorization_details` */
    int is_for_channels; /* the token has no claim of the protocol, but the claim
                          * `comet`: it is meant for endpoints, and grants
                          * nothing at a hub */
    /** Arrays of comet_pattern_t: the topics to which the client may publish,
     * and those whose private updates it may read.  NULL: the claim is
     * absent. */
    const apr_array_header_t *publish;
    const apr_array_header_t *subscribe;
} comet_mercure_t;

/**
 * Whether any of the patterns matches a topic.
 * @param patterns  an array of comet_pattern_t; NULL: there are none.  Any
 *                  thread.
 */
int comet_mercure_covers(const apr_array_header_t *patterns,
                         comet_text_t topic);

#endif /* COMET_MERCURE_H */
