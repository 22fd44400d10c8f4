/* SPDX-License-Identifier: Apache-2.0 */
/* Functions that all parts of the load generator use. */
#ifndef LOAD_BASE_H
#define LOAD_BASE_H

#include <stddef.h>
#include <stdint.h>

void load_die(const char *format, ...)
    __attribute__((noreturn, format(printf, 1, 2)));
void *load_grow(void *memory, size_t bytes);
int64_t load_now_ns(void);

/* Append bytes to a growing text, and end it with a NUL. */
void load_append(char **text, size_t *length, size_t *room, const char *data,
                 size_t more);

#endif
