/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file wire/encode.h
 * Encode text for its destination: JSON (also inside a script element), HTML or
 * lines; and check that bytes are UTF-8.
 */
#ifndef COMET_ENCODE_H
#define COMET_ENCODE_H

#include "base/buffer.h"
#include "base/message.h"

/**
 * Whether bytes are well-formed UTF-8 (Unicode 15, table 3-7: no overlong
 * forms, no surrogates, nothing above U+10FFFF).
 */
int comet_encode_is_utf8(comet_text_t text);

/**
 * Append text as lines.  Each line begins with the prefix and ends with LF.  In
 * the text CRLF, CR and LF each end a line (WHATWG HTML, section 9.2.6).  Bytes
 * that are not UTF-8 become U+FFFD as in comet_encode_json().  Empty text is
 * one line.
 */
void comet_encode_lines(comet_buffer_t *buffer, const char *prefix,
                        comet_text_t text);

/**
 * Append text as HTML character data.  The characters & < > " ' become
 * references.  Everything else is copied, including bytes that are not UTF-8.
 */
void comet_encode_html(comet_buffer_t *buffer, comet_text_t text);

/**
 * Append text as a JSON string with its quotes (RFC 8259, section 7).  The
 * result is also safe as JavaScript and inside a script element: < > & U+2028
 * U+2029 DEL and control characters are escaped as \uXXXX (\b \t \n \f \r by
 * their short escapes), and everything else is copied.  Bytes that are not
 * UTF-8, which a writer outside httpd can store, become U+FFFD, one for each
 * maximal subpart (Unicode 15, section 3.9).
 */
void comet_encode_json(comet_buffer_t *buffer, comet_text_t text);

/** Append , "channel": "…"} and a newline: the end of an answer to a
 * publisher. */
void comet_encode_stored_end(comet_buffer_t *buffer, comet_text_t channel);

/** Append {"timestamp": N, "channel": "…"} and a newline: the answer to a
 * publisher whose message is stored. */
void comet_encode_stored(comet_buffer_t *buffer, comet_timestamp_t timestamp,
                         comet_text_t channel);

#endif /* COMET_ENCODE_H */
