/* SPDX-License-Identifier: Apache-2.0 */
/* A growing array of bytes. */
#include "base/buffer.h"

#include <stdint.h>
#include <stdlib.h>

#define BUFFER_FIRST_BYTES 256

int comet_buffer_reserve(comet_buffer_t *buffer, apr_size_t more)
{
    apr_size_t size = buffer->size ? buffer->size : BUFFER_FIRST_BYTES;
    char *data;

    if (buffer->failed) {
        return 0;
    }
    if (more <= buffer->size - buffer->length) {
        return 1;
    }
    if (more > SIZE_MAX / 2 - buffer->length) {
        buffer->failed = 1;
        return 0;
    }
    while (size < buffer->length + more) {
        size *= 2;
    }
    data = realloc(buffer->data, size);
    if (!data) {
        buffer->failed = 1;
        return 0;
    }
    buffer->data = data;
    buffer->size = size;
    return 1;
}

void comet_buffer_add_int(comet_buffer_t *buffer, apr_int64_t number)
{
    static const char pairs[] = "0001020304050607080910111213141516171819"
                                "2021222324252627282930313233343536373839"
                                "4041424344454647484950515253545556575859"
                                "6061626364656667686970717273747576777879"
                                "8081828384858687888990919293949596979899";
    char digits[24];
    char *end = digits + sizeof(digits);
    char *start = end;
    apr_uint64_t rest = (apr_uint64_t)number;

    if (number < 0) {
        rest = 0 - rest; /* well defined even for the smallest number */
    }
    while (rest >= 100) { /* two digits a division: timestamps have 16 */
        start -= 2;
        memcpy(start, pairs + rest % 100 * 2, 2);
        rest /= 100;
    }
    do {
        *--start = (char)('0' + rest % 10);
        rest /= 10;
    } while (rest);
    if (number < 0) {
        *--start = '-';
    }
    comet_buffer_add(buffer, start, (apr_size_t)(end - start));
}

void comet_buffer_trim(comet_buffer_t *buffer)
{
    char *data = buffer->length ? realloc(buffer->data, buffer->length) : NULL;

    if (data) {
        buffer->data = data;
        buffer->size = buffer->length;
    }
}

void comet_buffer_clear(comet_buffer_t *buffer)
{
    buffer->length = 0;
    buffer->failed = 0;
}

void comet_buffer_free(comet_buffer_t *buffer)
{
    free(buffer->data);
    *buffer = (comet_buffer_t){ 0 };
}
