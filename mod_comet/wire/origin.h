/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file wire/origin.h
 * Checks origins as CometAllowOrigin names them (RFC 6454, section 6.2).
 */
#ifndef COMET_ORIGIN_H
#define COMET_ORIGIN_H

#include <stddef.h> /* must precede APR, which uses its offsetof */

#include <apr_tables.h>

/** The value that stands for any origin. */
#define COMET_ORIGIN_ANY "*"

/**
 * Check an origin that a directive names, scheme://host[:port] or "*", and
 * append it in the form that browsers send.
 * @param origins  an array of char pointers: the origins that were named before
 * @return NULL, or a text that says what is allowed
 */
const char *comet_origin_add(apr_array_header_t *origins, const char *value);

#endif /* COMET_ORIGIN_H */
