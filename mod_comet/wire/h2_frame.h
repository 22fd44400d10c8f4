/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file wire/h2_frame.h
 * HTTP/2 frames (RFC 9113, sections 4 and 6): finds them in a stream of bytes,
 * and makes those that mod_comet sends itself.  No I/O.
 *
 * A scanner watches one direction of a connection.  It reports pieces: the
 * client's preface, each frame's header, each whole WINDOW_UPDATE and
 * RST_STREAM, each entry of SETTINGS.  It only counts all other payload, so
 * that the caller can pass that on, or drop it, without reading it:
 *
 *     bytes of the connection
 *       |-- comet_h2_scanner_take(): a piece, complete in scanner->bytes
 *       `-- comet_h2_scanner_left(): so many bytes of payload come next;
 *           comet_h2_scanner_skip() says how many of them have gone
 *
 * The pieces and the payload, in order, are exactly the bytes of the
 * connection: a caller that hands all of them on changes nothing.  A scanner
 * judges no frame.  It reports one that breaks the protocol by its header
 * alone, and leaves it to the recipient to end the connection.
 */
#ifndef COMET_H2_FRAME_H
#define COMET_H2_FRAME_H

#include "wire/encode.h"

#define COMET_H2_HEADER_BYTES 9
#define COMET_H2_PREFACE_BYTES 24
/** The longest payload that every peer accepts: the smallest value of
 * SETTINGS_MAX_FRAME_SIZE, and its default. */
#define COMET_H2_FRAME_LEAST 16384
/** The longest payload a frame's header can tell of. */
#define COMET_H2_FRAME_MOST 16777215
/** The largest window, and the largest stream identifier: 2^31 - 1. */
#define COMET_H2_31_BITS 0x7fffffff

/** The types of frames (section 6) that matter here.  All others are passed
 * on. */
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
#define COMET_H2_FLAG_END_HEADERS 0x4 /* HEADERS and what continues them */

/** Error codes (section 7) that mod_comet sends. */
typedef enum {
    COMET_H2_NO_ERROR = 0,
    COMET_H2_PROTOCOL_ERROR = 1,
    COMET_H2_INTERNAL_ERROR = 2,
    COMET_H2_FLOW_CONTROL_ERROR = 3,
    COMET_H2_CANCEL = 8
} comet_h2_error_e;

/** Entries of SETTINGS (section 6.5.2) that matter to mod_comet. */
typedef enum {
    COMET_H2_SETTING_HEADER_TABLE_SIZE = 1,
    COMET_H2_SETTING_INITIAL_WINDOW_SIZE = 4,
    COMET_H2_SETTING_MAX_FRAME_SIZE = 5
} comet_h2_setting_e;

/** A frame's header. */
typedef struct comet_h2_frame_t {
    apr_uint32_t length; /* of its payload, in bytes */
    unsigned char type, flags;
    apr_uint32_t stream; /* 0: the connection */
} comet_h2_frame_t;

/* --- finding frames ----------------------------------------------------- */

/** What comet_h2_scanner_take() has found. */
typedef enum {
    COMET_H2_MORE, /* all bytes were taken, and no piece is complete */
    COMET_H2_PAYLOAD, /* nothing was taken: comet_h2_scanner_left() bytes of
                       * payload come first */
    COMET_H2_FRAME, /* a frame's header; of a WINDOW_UPDATE or RST_STREAM of
                     * the right length the whole frame */
    COMET_H2_SETTING, /* one entry of a SETTINGS frame that is no ACK */
    COMET_H2_PREFACE, /* the client's preface */
    COMET_H2_FOREIGN /* this is not HTTP/2: from here on all is payload */
} comet_h2_piece_e;

/** Where in its direction a scanner is. */
typedef enum {
    COMET_H2_IN_PREFACE,
    COMET_H2_IN_HEADER, /* … or between two frames */
    COMET_H2_IN_NUMBER, /* the payload of WINDOW_UPDATE or RST_STREAM */
    COMET_H2_IN_SETTINGS,
    COMET_H2_IN_PAYLOAD,
    COMET_H2_IN_FOREIGN
} comet_h2_place_e;

/** One direction of a connection.  Owned by the thread that reads this
 * direction.  It allocates nothing. */
typedef struct comet_h2_scanner_t {
    comet_h2_frame_t frame; /* the latest whose header is complete */
    /** The latest piece; a caller may change it before it hands it on. */
    unsigned char bytes[COMET_H2_PREFACE_BYTES];
    apr_size_t length; /* of that piece */
    /** Of a whole WINDOW_UPDATE its increment, of RST_STREAM its error code;
     * of an entry of SETTINGS its value. */
    apr_uint32_t value;
    apr_uint16_t setting; /* which entry it is */
    /** Whether the latest frame is whole, and `value` its payload. */
    int has_value;

    /* the scanner's own */
    comet_h2_place_e place;
    apr_size_t have; /* bytes gathered of the next piece */
    apr_uint32_t left; /* bytes of the frame's payload still to come */
    int in_block; /* more of a header block has to follow */
} comet_h2_scanner_t;

/**
 * Begin with the first byte of a direction.
 * @param client  whether the client sends it: it begins with a preface
 *                (section 3.4)
 */
void comet_h2_scanner_init(comet_h2_scanner_t *scanner, int client);

/**
 * Take bytes until a piece is complete.
 * @param bytes  where to take them from; what was taken is cut off.  They may
 *               end anywhere, also within a frame's header
 * @return what was found; the piece in @a scanner is valid until the next call
 */
comet_h2_piece_e comet_h2_scanner_take(comet_h2_scanner_t *scanner,
                                       comet_text_t *bytes);

/** How many bytes of payload come next; APR_SIZE_MAX: every byte from now on,
 * after COMET_H2_FOREIGN. */
apr_size_t comet_h2_scanner_left(const comet_h2_scanner_t *scanner);

/**
 * Payload has gone by, passed on or dropped.
 * @param length  in bytes; at most comet_h2_scanner_left()
 */
void comet_h2_scanner_skip(comet_h2_scanner_t *scanner, apr_size_t length);

/**
 * Whether another frame may be put between what has gone by and what comes:
 * not within a frame, and not before the end of a header block (section 4.3).
 */
int comet_h2_scanner_is_between(const comet_h2_scanner_t *scanner);

/* --- making frames ------------------------------------------------------ */

/** Write a frame's header. @param out  room for COMET_H2_HEADER_BYTES */
void comet_h2_frame_write(unsigned char *out, const comet_h2_frame_t *frame);

/**
 * Append DATA: as many frames as the text needs.
 * @param text  may be empty: with @a end an empty frame ends the stream,
 *              without it nothing is appended
 * @param most  the longest payload the recipient takes, in bytes; at least 1
 * @param end  whether the last frame ends the stream
 */
void comet_h2_frame_add_data(comet_buffer_t *out, apr_uint32_t stream,
                             comet_text_t text, apr_uint32_t most, int end);

/**
 * Append HEADERS, and CONTINUATION where one frame cannot hold the block.
 * @param block  of comet_h2_block_begin() and comet_h2_block_add()
 * @param most  the longest payload the recipient takes, in bytes; at least 1
 * @param end  whether the stream has no DATA
 */
void comet_h2_frame_add_headers(comet_buffer_t *out, apr_uint32_t stream,
                                comet_text_t block, apr_uint32_t most, int end);

/** Append RST_STREAM. */
void comet_h2_frame_add_reset(comet_buffer_t *out, apr_uint32_t stream,
                              comet_h2_error_e error);

/** Append WINDOW_UPDATE. @param increment  1 to COMET_H2_31_BITS, in bytes */
void comet_h2_frame_add_update(comet_buffer_t *out, apr_uint32_t stream,
                               apr_uint32_t increment);

/**
 * Append two WINDOW_UPDATE frames of stream 0 whose sum exceeds any window.
 * When mod_http2 reads them it ends the connection with GOAWAY
 * (FLOW_CONTROL_ERROR).  They are for a client that has broken a rule of flow
 * control which only mod_comet could check.
 */
void comet_h2_frame_add_overflow(comet_buffer_t *out);

/* --- making header blocks ----------------------------------------------- */

/**
 * Begin the header block of a response (RFC 7541).  The block uses the static
 * table and literals only: it neither reads nor changes the table that
 * mod_http2 shares with the client.  It may therefore be sent between any two
 * blocks of mod_http2, unless comet_h2_window_t.small_table is set.
 * @param block  empty
 * @param status  100 to 999
 */
void comet_h2_block_begin(comet_buffer_t *block, int status);

/**
 * Append a field.
 * @param name  in any case; it is sent in lower case (RFC 9113, section 8.2)
 * @return whether it was appended: not if it must not be sent (section 8.2.2:
 *         fields of the connection; 8.2.1: forbidden characters)
 */
int comet_h2_block_add(comet_buffer_t *block, const char *name,
                       const char *value);

#endif /* COMET_H2_FRAME_H */
