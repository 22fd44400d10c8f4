/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file wire/h2_scanner.h
 * Finds HTTP/2 frames (RFC 9113, section 4) in a stream of bytes.  No I/O.
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
#ifndef COMET_H2_SCANNER_H
#define COMET_H2_SCANNER_H

#include "wire/h2_frame.h"

/** The length of the client's preface (section 3.4). */
#define COMET_H2_PREFACE_BYTES 24

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

#endif /* COMET_H2_SCANNER_H */
