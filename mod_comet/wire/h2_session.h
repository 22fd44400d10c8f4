/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file wire/h2_session.h
 * An HTTP/2 connection of mod_http2 on which mod_comet keeps streams that
 * mod_http2 believes closed: *ghosts*.  The session sits between mod_http2 and
 * TLS.  It sees all bytes of both directions, and decides which of them reach
 * the other side.  No I/O and no lock: the caller guards it.
 *
 *   CLAIMED --- mod_http2 ends the stream, the client is not told --> OURS
 *      |                                                               |
 *      |  mod_http2 or the client resets it                            | its
 *      last v                                                               v
 *      bytes
 *    LOST <------------ the client resets it, breaks a rule -------- OVER
 *
 * No DATA that mod_http2 sends on a claimed stream reaches the client: it is
 * filler, which makes mod_http2 give up a part of the connection's window
 * (wire/h2_window.h).  All that the client reads comes from the ghost's bytes.
 */
#ifndef COMET_H2_SESSION_H
#define COMET_H2_SESSION_H

#include <stddef.h> /* must precede APR, which uses its offsetof */

#include <apr_ring.h>

#include "wire/h2_scanner.h"
#include "wire/h2_window.h"

typedef enum {
    COMET_H2_CLAIMED,
    COMET_H2_OURS,
    COMET_H2_OVER, /* END_STREAM is among the frames that were taken */
    COMET_H2_LOST
} comet_h2_ghost_state_e;

/** A ghost.  Its owner makes it and frees it. */
typedef struct comet_h2_ghost_t comet_h2_ghost_t;
struct comet_h2_ghost_t {
    APR_RING_ENTRY(comet_h2_ghost_t) link; /* in the session's `ghosts` */
    apr_uint32_t stream;
    comet_h2_ghost_state_e state;
    comet_buffer_t bytes; /* the bytes for the client */
    apr_size_t taken; /* how many of these bytes are in frames already */
    int ends; /* whether the stream ends after these bytes */
    void *owner; /* for use by the session's callback `told` */
};
APR_RING_HEAD(comet_h2_ghost_ring_t, comet_h2_ghost_t);

/** Why a stream cannot be claimed. */
typedef enum {
    COMET_H2_NO_WINDOW = -1, /* the client grants too little window */
    COMET_H2_HAS_BODY = -2,
    COMET_H2_ENDED = -3 /* the client has reset the stream, or the connection
                         * ends */
} comet_h2_refusal_e;

/** Called when all bytes of a ghost are in frames, or when its state has
 * changed. */
typedef void comet_h2_told_cb(void *baton, comet_h2_ghost_t *ghost);

typedef struct comet_h2_session_t {
    comet_h2_scanner_t in, out; /* what the client sends, and what mod_http2
                                 * sends */
    comet_h2_window_t window;
    struct comet_h2_ghost_ring_t ghosts;
    apr_size_t count; /* how many ghosts there are */
    comet_buffer_t control; /* frames that mod_comet sends besides DATA */
    comet_buffer_t farewell; /* a GOAWAY of the client that is held back */
    int skipping; /* the client's current frame goes to `farewell` */
    int dropping; /* mod_http2's current frame is dropped */
    int overflow; /* after this SETTINGS frame, mod_http2 is sent
                   * comet_h2_frame_add_overflow() */
    int going; /* mod_http2 has sent GOAWAY, or the connection is lost: no
                * stream is claimed any more */
    int foreign; /* one direction is not HTTP/2: nothing is claimed */
    comet_h2_told_cb *told;
    void *baton;
} comet_h2_session_t;

/** @param told  called for a ghost, within the call that changes it */
void comet_h2_session_init(comet_h2_session_t *session, comet_h2_told_cb *told,
                           void *baton);

/** Free what the session holds.  The ghosts belong to their owners. */
void comet_h2_session_free(comet_h2_session_t *session);

/**
 * Claim a stream whose answer mod_http2 has not begun.
 * @param ghost  zeroed except for its stream; it stays linked until
 *               comet_h2_session_drop()
 * @return how many bytes of filler mod_http2 has to send on the stream, or a
 *         comet_h2_refusal_e, which is negative.  The filler has at least one
 *         byte: mod_http2 ends an answer without DATA with its HEADERS, which
 *         cannot be hidden
 */
apr_int64_t comet_h2_session_claim(comet_h2_session_t *session,
                                   comet_h2_ghost_t *ghost);

/** Forget a ghost.  If it was OURS, the client gets RST_STREAM.  If it was only
 * CLAIMED, all DATA that mod_http2 still sends on the stream is dropped, and
 * the client gets RST_STREAM when mod_http2 ends the stream. */
void comet_h2_session_drop(comet_h2_session_t *session,
                           comet_h2_ghost_t *ghost);

/**
 * Take bytes that the client has sent.
 * @param to  OUT: the bytes for mod_http2 are appended.  If to->failed is set,
 *            the connection has to be closed
 */
void comet_h2_session_in(comet_h2_session_t *session, comet_text_t bytes,
                         comet_buffer_t *to);

/** Whether the client has sent all of a stream's request.  If the client resets
 * the stream before the end, mod_http2 may report the end of the body as if it
 * were complete. */
comet_h2_extent_e comet_h2_session_extent(const comet_h2_session_t *session,
                                          apr_uint32_t stream);

/**
 * Give mod_http2 more window if it has little left.
 * @param to  OUT: the frame for mod_http2 is appended
 */
void comet_h2_session_lend(comet_h2_session_t *session, comet_buffer_t *to);

/** Whether comet_h2_session_lend() would append a frame. */
int comet_h2_session_can_lend(const comet_h2_session_t *session);

/**
 * Handle a piece of what mod_http2 writes, as comet_h2_scanner_take() has found
 * it for session->out.
 * @return whether the piece, and the frame's payload, go to the client
 */
int comet_h2_session_out(comet_h2_session_t *session, comet_h2_piece_e piece);

/** Whether comet_h2_session_take() would append anything. */
int comet_h2_session_has_frames(const comet_h2_session_t *session);

/**
 * Put the ghosts' bytes into frames, as far as the client's windows allow.
 * @param to  OUT: about @a most bytes are appended; nothing while mod_http2 is
 *            within a frame or a header block.  If to->failed is set, the
 *            connection has to be closed
 */
void comet_h2_session_take(comet_h2_session_t *session, apr_size_t most,
                           comet_buffer_t *to);

/** How many ghosts are CLAIMED or OURS. */
apr_size_t comet_h2_session_alive(const comet_h2_session_t *session);

/** Note that the connection is lost, and with it all its ghosts. */
void comet_h2_session_lose(comet_h2_session_t *session);

#endif /* COMET_H2_SESSION_H */
