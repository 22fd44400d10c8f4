/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file reference.h
 * Slow decoders for comparison.  They are written from the standards, not from
 * the code under test.
 */
#ifndef REFERENCE_H
#define REFERENCE_H

#include <stddef.h>
#include <stdint.h>

/**
 * Decode one UTF-8 sequence by arithmetic (RFC 3629).
 * @return its length; 0 if no well-formed sequence begins here
 */
size_t reference_utf8(const unsigned char *at, size_t length, uint32_t *code);

/** Whether a whole text is well-formed UTF-8. */
int reference_utf8_valid(const unsigned char *data, size_t length);

/**
 * Replace bytes that are not UTF-8 by U+FFFD, one for each maximal subpart.  A
 * maximal subpart is the longest beginning of a well-formed sequence; if there
 * is none, it is one byte.
 * @param out  room for 3 * length bytes
 * @return the length of the result
 */
size_t reference_repair(const unsigned char *data, size_t length,
                        unsigned char *out);

/**
 * Decode a JSON string (RFC 8259), which begins and ends with its quotes.
 * @param out  room for length bytes
 * @return whether it is a JSON string; @a written is the length of its text
 */
int reference_json(const char *data, size_t length, unsigned char *out,
                   size_t *written);

/**
 * Find a member of a JSON object whose members are all strings (RFC 8259).
 * Blanks around the object are allowed.
 * @param out  room for length bytes; set to the text of the last member with
 *             this name
 * @return how many members have this name; -1: the text is not such an object
 */
int reference_member(const char *data, size_t length, const char *name,
                     unsigned char *out, size_t *written);

/**
 * Decode HTML character data in which only five character references are known.
 * @param out  room for length bytes
 * @return whether the text has no bare & < > " '
 */
int reference_html(const char *data, size_t length, unsigned char *out,
                   size_t *written);

/** The next of a sequence of pseudo-random numbers (xorshift64*). */
uint64_t reference_random(uint64_t *state);

/** Write a code point as UTF-8.  @return how many bytes (1 to 4) */
size_t reference_put(uint32_t code, unsigned char *out);

/** An event of an event stream.  The caller provides the room for its texts. */
typedef struct reference_event_t {
    unsigned char *type, *data; /* each with room for the whole stream */
    size_t type_length, data_length;
    long long id; /* -1 if the event has no id, or the id is not a number */
} reference_event_t;

/**
 * Parse an event stream as the WHATWG specifies it (HTML, section 9.2.6).
 * @param event  set to the last event that was dispatched
 * @return how many events were dispatched; -1: bytes are left over, or the
 *         stream is not UTF-8
 */
int reference_events(const char *stream, size_t length,
                     reference_event_t *event);

#endif /* REFERENCE_H */
