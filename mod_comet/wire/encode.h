/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file wire/encode.h
 * Writing text so that it means the same where it lands: JSON (also inside
 * a script element), HTML, and a check that bytes are UTF-8.
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
 * Append text as lines, each behind a prefix and with LF at its end: CRLF, CR
 * and LF end a line in the text (WHATWG HTML, section 9.2.6).  Bytes that are
 * not UTF-8 become U+FFFD as in comet_encode_json().  Empty text is one line.
 */
void comet_encode_lines(comet_buffer_t *buffer, const char *prefix,
                        comet_text_t text);

/**
 * Append text as HTML character data: & < > " ' become references, all else
 * is copied, bytes that are not UTF-8 too.
 */
void comet_encode_html(comet_buffer_t *buffer, comet_text_t text);

/**
 * Append text as a JSON string with its quotes (RFC 8259, section 7).
 * Safe inside a script element and as JavaScript: < > & U+2028 U+2029 DEL
 * and controls are written \uXXXX (those that have one, by their short escape:
 * \b \t \n \f \r), all else as it is; bytes that are not UTF-8 (a writer
 * outside httpd can store some) become U+FFFD, one for each maximal subpart
 * (Unicode 15, section 3.9).
 */
void comet_encode_json(comet_buffer_t *buffer, comet_text_t text);

#endif /* COMET_ENCODE_H */
