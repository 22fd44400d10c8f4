/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file wire/params.h
 * Decodes and checks the parameters of a request.
 *
 * An error is a text for the client (the body of a 400).  NULL means success.
 */
#ifndef COMET_PARAMS_H
#define COMET_PARAMS_H

#include <stddef.h> /* must precede APR, which uses its offsetof */

#include <apr_pools.h>

#include "base/message.h"

/** One decoded parameter of a query string or a form. */
typedef struct comet_param_t {
    comet_text_t name;
    comet_text_t value;
} comet_param_t;

typedef struct comet_params_t {
    const comet_param_t *list; /* in the order they were sent */
    apr_size_t count;
    int too_many; /* there were more than COMET_PARAMS_MAX, so none was
                   * decoded */
} comet_params_t;

/** The largest number of parameters.  Without this limit a form such as
 * "a&a&..." would take 16 times its own size in memory. */
#define COMET_PARAMS_MAX 1000

/**
 * Decode application/x-www-form-urlencoded (WHATWG URL, section 5.1).  Pairs
 * are separated by '&' only. '+' is a space and %XX a byte; invalid escapes are
 * copied.  Names are case-sensitive, and empty pairs are skipped.  Decoded
 * values may contain any bytes.  If there are more than COMET_PARAMS_MAX pairs,
 * none is decoded and params->too_many is set.
 * @param pool  where the result lives; @a encoded is not needed afterwards
 */
void comet_params_parse(comet_params_t *params, comet_text_t encoded,
                        apr_pool_t *pool);

/**
 * Get the last parameter of a name.
 * @return whether there is one; if not, @a value is {NULL, 0}
 */
int comet_params_get(const comet_params_t *params, const char *name,
                     comet_text_t *value);

/**
 * Hide the values of a parameter in a query string.
 * @param text  the encoded query; a space ends it, and what follows is copied
 * @return a copy in which each value of that parameter is "-", in @a pool
 */
char *comet_params_hide(const char *text, const char *name, apr_pool_t *pool);

/**
 * Parse a cursor: decimal digits only (leading zeros are allowed), 0 to
 * COMET_TIMESTAMP_MAX.
 * @param name  the parameter's name, for the error text
 * @param cursor  set on success; an empty value gives -1 ("not given")
 * @return NULL, or the error, in @a pool
 */
const char *comet_params_cursor(comet_text_t value, const char *name,
                                comet_timestamp_t *cursor, apr_pool_t *pool);

/**
 * Parse a whole number of decimal digits (leading zeros are allowed) between
 * two bounds, neither of which is negative.
 * @return NULL, or the error and what is allowed, in @a pool
 */
const char *comet_params_int(comet_text_t value, const char *name,
                             apr_int64_t minimum, apr_int64_t maximum,
                             apr_int64_t *number, apr_pool_t *pool);

/** Whether a value is UTF-8 without NUL.  No store has any other text, and some
 * cannot even look for it. */
int comet_params_is_text(comet_text_t value);

/**
 * Check a topic of the Mercure protocol, or a pattern of topics: UTF-8 without
 * control characters (C0, DEL, C1).
 * @return NULL, or the error (a constant)
 */
const char *comet_params_check_topic(comet_text_t topic);

/**
 * Check a channel's name: 1 to 255 bytes of UTF-8 without control characters
 * (C0, DEL, C1).  No segment between slashes may be empty, "." or "..".
 * @return NULL, or the error (a constant)
 */
const char *comet_params_check_channel(comet_text_t name);

/**
 * Check the name that the site's application gives a user: 1 to 255 bytes of
 * UTF-8 without control characters (C0, DEL, C1).
 * @return NULL, or the error (a constant)
 */
const char *comet_params_check_user(comet_text_t user);

/**
 * Check an event type that a client chose: 1 to 255 bytes of UTF-8 without
 * control characters. "gap", and all types that begin with "@", are reserved,
 * because pages take them for events of the server.
 * @return NULL, or the error (a constant)
 */
const char *comet_params_check_type(comet_text_t type);

/**
 * Parse how long a message is kept: digits and a unit, s, min or h.  Digits
 * without a unit are seconds.
 * @param seconds  set on success: 1 to COMET_KEEP_MAX_SEC
 * @return NULL, or the error (a constant)
 */
const char *comet_params_keep(comet_text_t value, int *seconds);

/** The longest age of messages that a channel keeps: a hundred years. */
#define COMET_AGE_MAX_SEC APR_INT64_C(3153600000)

/**
 * Parse the age up to which messages are kept: digits and a unit, s, min, h or
 * d.  Digits without a unit are seconds.
 * @param seconds  set on success: 1 to COMET_AGE_MAX_SEC
 * @return NULL, or the error (a constant)
 */
const char *comet_params_age(comet_text_t value, apr_int64_t *seconds);

/**
 * Check a message's text: UTF-8 without NUL; it may be empty.  The caller
 * checks the length, because a message that is too long gets another status.
 * @return NULL, or the error (a constant)
 */
const char *comet_params_check_body(comet_text_t body);

#endif /* COMET_PARAMS_H */
