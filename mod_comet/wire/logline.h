/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file wire/logline.h
 * Finds out which parts of a request the formats and conditions of an access
 * log read: whether a copy of the request is enough to write a line, and what
 * that copy must contain.
 *
 * This file knows the formats of mod_log_config, mod_logio and mod_ssl, and the
 * variables, functions and operators of httpd 2.4's expressions.  Anything it
 * does not know needs the request itself.  So does anything that makes a
 * sub-request, looks at the file system or is measured on the connection.
 */
#ifndef COMET_LOGLINE_H
#define COMET_LOGLINE_H

#include "base/message.h"

/** Bits: the parts of a request that few logs read. */
typedef enum comet_logline_e {
    COMET_LOGLINE_REQUEST = 1, /* header fields other than
                                * COMET_LOGLINE_USUAL */
    COMET_LOGLINE_RESPONSE = 2, /* header fields of the response */
    COMET_LOGLINE_NOTES = 4, /* notes that mod_comet sets; in a condition, any
                              * note */
} comet_logline_e;

/** The request header fields that a line may show without needing
 * COMET_LOGLINE_REQUEST.  The list ends with NULL. */
extern const char *const COMET_LOGLINE_USUAL[];

/**
 * Check a format of LogFormat.
 * @param needs  the bits of comet_logline_e that the format needs are added to
 *               it
 * @return the first item that needs the request itself, within @a format; data
 *         is NULL if there is none.  Any thread
 */
comet_text_t comet_logline_check_format(const char *format, unsigned *needs);

/**
 * Check a condition: an expression without "expr=".
 * @param needs  the bits of comet_logline_e that the condition needs are added
 *               to it
 * @return the first operator, variable or function that needs the request
 *         itself, within @a expression; data is NULL if there is none.  Any
 *         thread
 */
comet_text_t comet_logline_check_condition(const char *expression,
                                           unsigned *needs);

#endif /* COMET_LOGLINE_H */
