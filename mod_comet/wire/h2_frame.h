/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file wire/h2_frame.h
 * HTTP/2 frames (RFC 9113, sections 4 and 6): their names and numbers, and the
 * frames that mod_comet makes itself.  No I/O.
 */
#ifndef COMET_H2_FRAME_H
#define COMET_H2_FRAME_H

#include "wire/encode.h"

/** The length of a frame's header. */
#define COMET_H2_HEADER_BYTES 9
/** The length of the payload of WINDOW_UPDATE and of RST_STREAM: one number. */
#define COMET_H2_NUMBER_BYTES 4
/** The shortest payload of GOAWAY: two numbers. */
#define COMET_H2_GOAWAY_LEAST 8
/** The longest payload that every peer accepts.  It is the smallest allowed
 * value of SETTINGS_MAX_FRAME_SIZE, and its default. */
#define COMET_H2_FRAME_LEAST 16384
/** The longest payload that a frame's header can announce. */
#define COMET_H2_FRAME_MOST 16777215
/** The largest window, and the largest stream identifier: 2^31 - 1. */
#define COMET_H2_31_BITS 0x7fffffff

/** The frame types (section 6) that matter here.  All others are passed on. */
typedef enum {
    COMET_H2_DATA = 0,
    COMET_H2_HEADERS = 1,
    COMET_H2_RST_STREAM = 3,
    COMET_H2_SETTINGS = 4,
    COMET_H2_PUSH_PROMISE = 5,
    COMET_H2_GOAWAY = 7,
    COMET_H2_WINDOW_UPDATE = 8,
    COMET_H2_CONTINUATION = 9
} comet_h2_type_e;

#define COMET_H2_FLAG_END_STREAM 0x1 /* DATA, HEADERS */
#define COMET_H2_FLAG_ACK 0x1 /* SETTINGS */
#define COMET_H2_FLAG_END_HEADERS 0x4 /* HEADERS and CONTINUATION */

/** Error codes (section 7) that mod_comet sends. */
typedef enum {
    COMET_H2_NO_ERROR = 0,
    COMET_H2_PROTOCOL_ERROR = 1,
    COMET_H2_INTERNAL_ERROR = 2,
    COMET_H2_FLOW_CONTROL_ERROR = 3,
    COMET_H2_STREAM_CLOSED = 5,
    COMET_H2_CANCEL = 8
} comet_h2_error_e;

/** Entries of SETTINGS (section 6.5.2) that matter to mod_comet. */
typedef enum {
    COMET_H2_SETTING_INITIAL_WINDOW_SIZE = 4,
    COMET_H2_SETTING_MAX_FRAME_SIZE = 5
} comet_h2_setting_e;

/** A frame's header. */
typedef struct comet_h2_frame_t {
    apr_uint32_t length; /* the length of the payload, in bytes */
    unsigned char type, flags;
    apr_uint32_t stream; /* 0: the connection */
} comet_h2_frame_t;

/** Write a frame's header.  @param out  room for COMET_H2_HEADER_BYTES */
void comet_h2_frame_write(unsigned char *out, const comet_h2_frame_t *frame);

/**
 * Append as many DATA frames as a text needs.
 * @param text  if it is empty, nothing is appended, or an empty frame if @a end
 *              is set
 * @param most  the longest payload that the recipient accepts, in bytes; at
 *              least 1
 * @param end  whether the last frame ends the stream
 */
void comet_h2_frame_add_data(comet_buffer_t *out, apr_uint32_t stream,
                             comet_text_t text, apr_uint32_t most, int end);

/** Append RST_STREAM. */
void comet_h2_frame_add_reset(comet_buffer_t *out, apr_uint32_t stream,
                              comet_h2_error_e error);

/** Append WINDOW_UPDATE.
 * @param increment  1 to COMET_H2_31_BITS, in bytes; 0 is an error and makes
 *                   mod_http2 end the connection */
void comet_h2_frame_add_update(comet_buffer_t *out, apr_uint32_t stream,
                               apr_uint32_t increment);

/**
 * Append two WINDOW_UPDATE frames of stream 0 whose sum exceeds any window.
 * They make mod_http2 end the connection with GOAWAY (FLOW_CONTROL_ERROR).  Use
 * them when a client has broken a rule of flow control that only mod_comet
 * could check.
 */
void comet_h2_frame_add_overflow(comet_buffer_t *out);

#endif /* COMET_H2_FRAME_H */
