/* SPDX-License-Identifier: Apache-2.0 */
/* Functions that all parts of the load generator use. */
#include "load_base.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

void load_die(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    fprintf(stderr, "load: ");
    vfprintf(stderr, format, arguments);
    fprintf(stderr, "\n");
    va_end(arguments);
    exit(2);
}

void *load_grow(void *memory, size_t bytes)
{
    void *grown = realloc(memory, bytes);

    if (!grown) {
        load_die("out of memory");
    }
    return grown;
}

int64_t load_now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

void load_append(char **text, size_t *length, size_t *room, const char *data,
                 size_t more)
{
    if (*length + more + 1 > *room) {
        *room = *length + more + 512;
        *text = load_grow(*text, *room);
    }
    memcpy(*text + *length, data, more);
    *length += more;
    (*text)[*length] = '\0';
}
