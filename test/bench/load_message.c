/* SPDX-License-Identifier: Apache-2.0 */
/* The generator's messages: write them, find them in a stream of bytes, and
 * note which have arrived. */
#include "load_message.h"
#include "load.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const char PREFIX[] = "~PL.";
#define PREFIX_LENGTH (sizeof(PREFIX) - 1)

size_t load_message_write(char *to, size_t size_bytes,
                          const load_message_t *message)
{
    int written = snprintf(to, LOAD_MESSAGE_MIN,
                           "%s%" PRIu64 ".%" PRIu64 ".%" PRIu64 ".%" PRId64 ".",
                           PREFIX, message->run, message->channel,
                           message->sequence, message->sent_ns);
    size_t length = written > 0 ? (size_t)written : 0;

    if (length + 1 < size_bytes) {
        memset(to + length, 'x', size_bytes - 1 - length);
        length = size_bytes - 1;
    }
    to[length++] = '~';
    to[length] = '\0';
    return length;
}

typedef enum { WHOLE, PART, NONE, MALFORMED } verdict_e;

static bool read_number(const char **at, uint64_t *number)
{
    const char *start = *at;

    for (*number = 0; **at >= '0' && **at <= '9'; ++*at) {
        *number = *number * 10 + (uint64_t)(**at - '0');
    }
    return *at > start && *(*at)++ == '.';
}

/* Parse the message whose first tilde is at `text`.  Its numbers are read only
 * if its last tilde is there, too, so that reading stops at this tilde. */
static verdict_e parse(const char *text, size_t length, size_t size_bytes,
                       load_message_t *message, size_t *used)
{
    size_t known = length < PREFIX_LENGTH ? length : PREFIX_LENGTH;
    const char *at = text + PREFIX_LENGTH, *end;
    uint64_t sent;

    if (memcmp(text, PREFIX, known) != 0) {
        return NONE;
    }
    end =
        known < PREFIX_LENGTH ? NULL : memchr(at, '~', length - PREFIX_LENGTH);
    if (!end) {
        return length < LOAD_MESSAGE_MAX ? PART : MALFORMED;
    }
    if (!read_number(&at, &message->run) || !read_number(&at, &message->channel)
        || !read_number(&at, &message->sequence) || !read_number(&at, &sent)) {
        return MALFORMED;
    }
    message->sent_ns = (int64_t)sent;
    at += strspn(at, "x");
    *used = (size_t)(end + 1 - text);
    return at == end && *used >= size_bytes ? WHOLE : MALFORMED;
}

static void carry(load_scan_t *scan, const char *data, size_t length)
{
    if (scan->carried + length > scan->room) {
        scan->room = scan->carried + length + 128;
        scan->carry = load_grow(scan->carry, scan->room);
    }
    memcpy(scan->carry + scan->carried, data, length);
    scan->carried += length;
}

/* Continue a message that has begun.  Returns PART if the message is still
 * incomplete; then all bytes are taken. */
static verdict_e finish_carried(load_scan_t *scan, const char **data,
                                size_t *length, size_t size_bytes,
                                load_message_t *message)
{
    size_t before = scan->carried, used = 0;
    verdict_e verdict;

    carry(scan, *data, *length);
    verdict = parse(scan->carry, scan->carried, size_bytes, message, &used);
    if (verdict == PART) {
        *length = 0;
        return PART;
    }
    scan->carried = 0;
    if (verdict == WHOLE) {
        *data += used - before;
        *length -= used - before;
    }
    return verdict;
}

bool load_scan_next(load_scan_t *scan, const char **data, size_t *length,
                    size_t size_bytes, load_message_t *message,
                    uint64_t *malformed)
{
    verdict_e verdict = NONE;
    const char *start;
    size_t used = 1;

    if (*length > 0 && scan->carried > 0) {
        verdict = finish_carried(scan, data, length, size_bytes, message);
        *malformed += verdict == MALFORMED;
    }
    while (verdict != WHOLE && *length > 0
           && (start = memchr(*data, '~', *length)) != NULL) {
        *length -= (size_t)(start - *data);
        *data = start;
        used = 1;
        verdict = parse(start, *length, size_bytes, message, &used);
        if (verdict == PART) {
            carry(scan, start, *length);
            used = *length;
        }
        else if (verdict == MALFORMED) {
            ++*malformed;
            used = 1;
        }
        *data += used;
        *length -= used;
    }
    if (verdict != WHOLE) {
        *length = 0;
    }
    return verdict == WHOLE;
}

load_seen_e load_seen_add(load_seen_t *seen, uint64_t sequence)
{
    size_t byte = (size_t)(sequence / 8), room = seen->room_bytes;
    unsigned char bit = (unsigned char)(1u << (sequence % 8));

    if (byte >= room) {
        room = room ? room * 2 : 32;
        room = byte >= room ? byte + 1 : room;
        seen->bits = load_grow(seen->bits, room);
        memset(seen->bits + seen->room_bytes, 0, room - seen->room_bytes);
        seen->room_bytes = room;
    }
    if (seen->bits[byte] & bit) {
        return LOAD_SEEN_AGAIN;
    }
    seen->bits[byte] |= bit;
    seen->count++;
    if (sequence < seen->highest) {
        return LOAD_SEEN_LATE;
    }
    seen->highest = sequence;
    return LOAD_SEEN_NEW;
}
