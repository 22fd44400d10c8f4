/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file wire/params.h
 * From bytes of a request to parameters that can be trusted.
 *
 * Errors are texts for the client (the body of a 400): NULL is fine.
 */
#ifndef COMET_PARAMS_H
#define COMET_PARAMS_H

#include <stddef.h> /* before APR looks for offsetof */

#include <apr_pools.h>

#include "base/message.h"

/** One decoded parameter of a query string or a form. */
typedef struct comet_param_t {
    comet_text_t name;
    comet_text_t value;
} comet_param_t;

typedef struct comet_params_t {
    const comet_param_t *list; /* in the order sent */
    apr_size_t count;
    int too_many; /* more than COMET_PARAMS_MAX: none was decoded */
} comet_params_t;

/** The most parameters that are decoded: a form of "a&a&..." would take 16
 * times its length. */
#define COMET_PARAMS_MAX 1000

/**
 * Decode application/x-www-form-urlencoded (WHATWG URL, section 5.1): pairs
 * split at '&' only, '+' is a space, %XX a byte, bad escapes stay as they
 * are, names are case-sensitive, empty pairs are skipped; what is decoded may
 * be any bytes.  Of more than COMET_PARAMS_MAX
 * none is decoded, and params->too_many is set.
 * @param pool  where the result lives; @a encoded is not needed any more
 */
void comet_params_parse(comet_params_t *params, comet_text_t encoded,
                        apr_pool_t *pool);

/**
 * The last parameter of that name.
 * @return whether there is one; @a value is {NULL, 0} when not
 */
int comet_params_get(const comet_params_t *params, const char *name,
                     comet_text_t *value);

/**
 * Read a cursor: decimal digits only (leading zeros change nothing), 0 to
 * COMET_TIMESTAMP_MAX.
 * @param name  the parameter's, for the error text
 * @param cursor  set on success; an empty value gives -1 ("not given")
 * @return NULL, or what is wrong, in @a pool
 */
const char *comet_params_cursor(comet_text_t value, const char *name,
                                comet_timestamp_t *cursor, apr_pool_t *pool);

/**
 * Read a whole number of decimal digits (leading zeros change nothing) between
 * two bounds, neither below 0.
 * @return NULL, or what is wrong and what is allowed, in @a pool
 */
const char *comet_params_int(comet_text_t value, const char *name,
                             apr_int64_t minimum, apr_int64_t maximum,
                             apr_int64_t *number, apr_pool_t *pool);

/**
 * Check a channel's name: 1 to 255 bytes of UTF-8 without controls (C0, DEL,
 * C1), no empty, "." or ".." segment before, between or after slashes.
 * @return NULL, or what is wrong (a constant)
 */
const char *comet_params_check_channel(comet_text_t name);

/**
 * Check an event type that a client chose: 1 to 255 bytes of UTF-8 without
 * controls, and not "gap", which pages take for the server's word.
 * @return NULL, or what is wrong (a constant)
 */
const char *comet_params_check_type(comet_text_t type);

/**
 * Check a message's text: not empty, UTF-8, no NUL.  Its length is the
 * caller's business (it has a status of its own).
 * @return NULL, or what is wrong (a constant)
 */
const char *comet_params_check_body(comet_text_t body);

#endif /* COMET_PARAMS_H */
