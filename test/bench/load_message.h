/* SPDX-License-Identifier: Apache-2.0 */
/* The generator's messages: write them, find them in a stream of bytes, and
 * note which have arrived. */
#ifndef LOAD_MESSAGE_H
#define LOAD_MESSAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A message is `~PL.RUN.CHANNEL.SEQUENCE.SENT_NS.xxx…x~`, filled with x up to
 * its size.  URLs, JSON and event streams leave all of these characters
 * unchanged. */
typedef struct load_message_t {
    uint64_t run, channel, sequence;
    int64_t sent_ns;
} load_message_t;

#define LOAD_MESSAGE_MIN 80 /* the numbers fit into this size */
#define LOAD_MESSAGE_MAX 65536

/* Write a message of this size, with a NUL after it; return its length. */
size_t load_message_write(char *to, size_t size_bytes,
                          const load_message_t *message);

/* The incomplete message at the end of the bytes that were seen so far. */
typedef struct load_scan_t {
    char *carry;
    size_t carried, room;
} load_scan_t;

/* Take bytes off *data up to the end of the next message of at least this size.
 * Returns false if no message is complete there; then all bytes are taken.
 * `malformed` counts the texts that begin like a message but are none. */
bool load_scan_next(load_scan_t *scan, const char **data, size_t *length,
                    size_t size_bytes, load_message_t *message,
                    uint64_t *malformed);

/* The sequence numbers that a subscriber has received. */
typedef struct load_seen_t {
    unsigned char *bits;
    size_t room_bytes;
    uint64_t count, highest;
} load_seen_t;

typedef enum { LOAD_SEEN_NEW, LOAD_SEEN_LATE, LOAD_SEEN_AGAIN } load_seen_e;

load_seen_e load_seen_add(load_seen_t *seen, uint64_t sequence);

#endif
