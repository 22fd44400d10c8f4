/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file base/buffer.h
 * Bytes that grow.
 */
#ifndef COMET_BUFFER_H
#define COMET_BUFFER_H

#include "base/comet.h"

/** Bytes that grow; zero-initialised is empty.  Owned by one thread. */
typedef struct comet_buffer_t {
    char *data; /* malloc'd; not NUL-terminated */
    apr_size_t length;
    apr_size_t size;
    int failed; /* memory ran out: what it holds is incomplete */
} comet_buffer_t;

/**
 * Append bytes; on lack of memory sets buffer->failed and does nothing, as
 * do all calls that append from then on.  So one look at the end will do.
 */
void comet_buffer_add(comet_buffer_t *buffer, const char *data,
                      apr_size_t length);

/**
 * Make room for so many bytes more, so that appending them allocates nothing.
 * @return whether there is room; else buffer->failed is set
 */
int comet_buffer_reserve(comet_buffer_t *buffer, apr_size_t more);

/** Append a NUL-terminated string. */
void comet_buffer_puts(comet_buffer_t *buffer, const char *string);

/** Append an integer in decimal. */
void comet_buffer_add_int(comet_buffer_t *buffer, apr_int64_t number);

/** Empty it, keeping its memory, and forget a failure. */
void comet_buffer_clear(comet_buffer_t *buffer);

/** Give back what of its memory holds nothing. */
void comet_buffer_trim(comet_buffer_t *buffer);

/** Free its memory; it is empty again. */
void comet_buffer_free(comet_buffer_t *buffer);

#endif /* COMET_BUFFER_H */
