/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file base/text.h
 * Text by address and length.
 */
#ifndef COMET_TEXT_H
#define COMET_TEXT_H

#include <string.h>

#include "base/comet.h"

/** Text by address and length.  It may contain any byte and need not end in
 * NUL. */
typedef struct comet_text_t {
    const char *data;
    apr_size_t length;
} comet_text_t;

/** Whether two texts hold the same bytes. */
static inline int comet_text_equal(comet_text_t a, comet_text_t b)
{
    return a.length == b.length
           && (a.length == 0 || memcmp(a.data, b.data, a.length) == 0);
}

/** The text of a NUL-terminated string; NULL gives {NULL, 0}. */
static inline comet_text_t comet_text(const char *string)
{
    return (comet_text_t){ string, string ? strlen(string) : 0 };
}

/**
 * Copy a text into a block of memory that holds several.
 * @param end  IN OUT: where the copy begins in the block, which has room for
 *             it; moved past the copy
 * @return the copy; its data is NULL if that of @a text is.  Any thread.
 */
comet_text_t comet_text_copy(comet_text_t text, char **end);

#endif /* COMET_TEXT_H */
