/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file wire/h2_scanner.h
 * Finds HTTP/2 frames (RFC 9113, section 4) in a stream of bytes.  No I/O.
 *
 * A scanner watches one direction of a connection.  It reports pieces: the
 * client's preface, the header of each frame, each whole WINDOW_UPDATE and
 * RST_STREAM, and each entry of SETTINGS.  Other payload is only counted, so
 * that the caller can pass it on or drop it without reading it:
 *
 *     bytes of the connection
 *       |-- comet_h2_scanner_take(): a piece, complete in scanner->bytes
 *       `-- comet_h2_scanner_left(): how many bytes of payload come next;
 *           comet_h2_scanner_skip() tells the scanner how many have passed
 *
 * The pieces and the payload, in order, are exactly the bytes of the
 * connection: a caller that passes all of them on changes nothing.  A scanner
 * validates no frame.  A frame that breaks the protocol is reported by its
 * header alone, and its recipient has to end the connection.
 */
#ifndef COMET_H2_SCANNER_H
#define COMET_H2_SCANNER_H

#include "wire/h2_frame.h"

/** The length of the client's preface (section 3.4). */
#define COMET_H2_PREFACE_BYTES 24

/** What comet_h2_scanner_take() found. */
typedef enum {
    COMET_H2_MORE, /* all bytes were taken, and no piece is complete yet */
    COMET_H2_PAYLOAD, /* nothing was taken: comet_h2_scanner_left() bytes of
                       * payload come first */
    COMET_H2_FRAME, /* a frame's header; for a WINDOW_UPDATE or RST_STREAM of
                     * the right length, the whole frame */
    COMET_H2_SETTING, /* one entry of a SETTINGS frame without ACK */
    COMET_H2_PREFACE, /* the client's preface */
    COMET_H2_FOREIGN /* this is not HTTP/2: all bytes from here on are
                      * payload */
} comet_h2_piece_e;

/** What the next byte of the connection belongs to. */
typedef enum {
    COMET_H2_IN_PREFACE,
    COMET_H2_IN_HEADER, /* or between two frames */
    COMET_H2_IN_NUMBER, /* the payload of WINDOW_UPDATE or RST_STREAM */
    COMET_H2_IN_SETTINGS,
    COMET_H2_IN_PAYLOAD,
    COMET_H2_IN_FOREIGN
} comet_h2_place_e;

/** One direction of a connection.  The thread that reads this direction owns
 * the scanner.  A scanner allocates nothing. */
typedef struct comet_h2_scanner_t {
    comet_h2_frame_t frame; /* the latest frame with a complete header */
    /** The latest piece.  A caller may change it before passing it on. */
    unsigned char bytes[COMET_H2_PREFACE_BYTES];
    apr_size_t length; /* the length of that piece, in bytes */
    /** The increment of a whole WINDOW_UPDATE, the error code of a RST_STREAM,
     * or the value of an entry of SETTINGS. */
    apr_uint32_t value;
    apr_uint16_t setting; /* the identifier of the entry of SETTINGS */
    /** Whether the latest frame was reported whole, with its payload in
     * `value`. */
    int has_value;

    /* internal */
    comet_h2_place_e place;
    apr_size_t have; /* how many bytes of the next piece have arrived */
    apr_uint32_t left; /* how many bytes of payload are still to come */
    int in_block; /* a header block has begun and is incomplete */
} comet_h2_scanner_t;

/**
 * Start at the first byte of a direction.
 * @param client  whether the client sends these bytes, which then begin with a
 *                preface (section 3.4)
 */
void comet_h2_scanner_init(comet_h2_scanner_t *scanner, int client);

/**
 * Take bytes until a piece is complete.
 * @param bytes  IN OUT: the bytes, which may end anywhere, even within a
 *               frame's header; those that were taken are cut off
 * @return what was found; the piece in @a scanner is valid until the next call
 */
comet_h2_piece_e comet_h2_scanner_take(comet_h2_scanner_t *scanner,
                                       comet_text_t *bytes);

/** How many bytes of payload come next; APR_SIZE_MAX after COMET_H2_FOREIGN:
 * all further bytes are payload. */
apr_size_t comet_h2_scanner_left(const comet_h2_scanner_t *scanner);

/**
 * Tell the scanner that the caller has passed on or dropped payload.
 * @param length  in bytes; at most comet_h2_scanner_left()
 */
void comet_h2_scanner_skip(comet_h2_scanner_t *scanner, apr_size_t length);

/**
 * Whether another frame may be inserted here.  It may not be inserted within a
 * frame, nor before the end of a header block (section 4.3).
 */
int comet_h2_scanner_is_between(const comet_h2_scanner_t *scanner);

#endif /* COMET_H2_SCANNER_H */
