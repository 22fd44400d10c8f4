/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file wire/logline.h
 * What the formats and conditions of an access log look at: whether a line can
 * be written by a copy of the request, and what that copy must have.
 *
 * Known are mod_log_config's formats with those of mod_logio and mod_ssl, and
 * the variables, functions and operators of httpd 2.4's expressions.  What is
 * not known needs the request itself; so does what makes a sub-request, looks
 * at the file system, or was measured on the connection.
 */
#ifndef COMET_LOGLINE_H
#define COMET_LOGLINE_H

#include "base/message.h"

/** Parts of a request that few logs look at; bits. */
typedef enum comet_logline_e {
    COMET_LOGLINE_REQUEST = 1, /* header fields besides COMET_LOGLINE_USUAL */
    COMET_LOGLINE_RESPONSE = 2, /* header fields of the response */
} comet_logline_e;

/** The header fields of a request that a line may show without needing
 * COMET_LOGLINE_REQUEST; ends in NULL. */
extern const char *const COMET_LOGLINE_USUAL[];

/**
 * Look at a format, as of LogFormat.
 * @param needs  bits of comet_logline_e are added
 * @return the first item that needs the request itself, in @a format; data is
 *         NULL: there is none.  Any thread
 */
comet_text_t comet_logline_format(const char *format, unsigned *needs);

/**
 * Look at a condition: an expression, without "expr=".
 * @param needs  bits of comet_logline_e are added
 * @return the first operator, variable or function that needs the request
 *         itself, in @a expression; data is NULL: there is none.  Any thread
 */
comet_text_t comet_logline_condition(const char *expression, unsigned *needs);

#endif /* COMET_LOGLINE_H */
