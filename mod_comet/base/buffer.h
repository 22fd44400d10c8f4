/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file base/buffer.h
 * A growing array of bytes.
 */
#ifndef COMET_BUFFER_H
#define COMET_BUFFER_H

#include <string.h>

#include "base/comet.h"

/** A growing array of bytes.  Zero-initialised, it is empty.  One thread owns
 * it. */
typedef struct comet_buffer_t {
    char *data; /* malloc'd; not NUL-terminated */
    apr_size_t length;
    apr_size_t size;
    int failed; /* memory ran out, so the contents are incomplete */
} comet_buffer_t;

/**
 * Make room for `more` bytes, so that appending them allocates nothing.
 * @return whether there is room; if not, buffer->failed is set
 */
int comet_buffer_reserve(comet_buffer_t *buffer, apr_size_t more);

/**
 * Append bytes.  If no memory is left, this sets buffer->failed and appends
 * nothing.  Every later append then does nothing either, so one check at the
 * end is enough.
 */
static inline void comet_buffer_add(comet_buffer_t *buffer, const char *data,
                                    apr_size_t length)
{
    if (length
        && ((length <= buffer->size - buffer->length && !buffer->failed)
            || comet_buffer_reserve(buffer, length))) {
        memcpy(buffer->data + buffer->length, data, length);
        buffer->length += length;
    }
}

/** Append a NUL-terminated string. */
static inline void comet_buffer_puts(comet_buffer_t *buffer, const char *string)
{
    comet_buffer_add(buffer, string, strlen(string));
}

/** Append an integer in decimal. */
void comet_buffer_add_int(comet_buffer_t *buffer, apr_int64_t number);

/** Make a buffer empty.  It keeps its memory, and buffer->failed is cleared. */
void comet_buffer_clear(comet_buffer_t *buffer);

/** Free the unused part of a buffer's memory. */
void comet_buffer_trim(comet_buffer_t *buffer);

/** Free a buffer's memory.  The buffer is empty and may be used again. */
void comet_buffer_free(comet_buffer_t *buffer);

#endif /* COMET_BUFFER_H */
