/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file wire/h2_session.h
 * An HTTP/2 connection of mod_http2 on which mod_comet keeps streams that
 * mod_http2 believes closed: *ghosts*.  It sits between mod_http2 and TLS, sees
 * all bytes of both directions, and decides what the other side gets of them.
 * No I/O and no lock: the caller guards it.
 *
 *   CLAIMED --- mod_http2 ends the stream, the client is not told --> OURS
 *      |                                                               |
 *      |  mod_http2 or the client resets it                            | its last
 *      v                                                               v  bytes
 *    LOST <------------ the client resets it, breaks a rule -------- OVER
 *
 * No DATA that mod_http2 sends on a claimed stream reaches the client: it is
 * filler, which makes mod_http2 give away a part of the connection's window
 * (wire/h2_window.h).  All that the client reads comes from the ghost's bytes.
 */
#ifndef COMET_H2_SESSION_H
#define COMET_H2_SESSION_H

#include <stddef.h> /* before APR looks for offsetof */

#include <apr_ring.h>

#include "wire/h2_scanner.h"
#include "wire/h2_window.h"

typedef enum {
    COMET_H2_CLAIMED,
    COMET_H2_OURS,
    COMET_H2_OVER, /* END_STREAM is among the frames that were taken */
    COMET_H2_LOST
} comet_h2_ghost_state_e;

/** A stream of ours.  Its owner makes it and frees it. */
typedef struct comet_h2_ghost_t comet_h2_ghost_t;
struct comet_h2_ghost_t {
    APR_RING_ENTRY(comet_h2_ghost_t) link; /* in its session */
    apr_uint32_t stream;
    comet_h2_ghost_state_e state;
    comet_buffer_t bytes; /* for the client */
    apr_size_t taken; /* of them, in frames already */
    int ends; /* they are the last ones */
    void *owner; /* for the session's told callback */
};
APR_RING_HEAD(comet_h2_ghost_ring_t, comet_h2_ghost_t);

/** Why a stream cannot be claimed. */
typedef enum {
    COMET_H2_NO_WINDOW = -1, /* its client grants too little */
    COMET_H2_HAS_BODY = -2,
    COMET_H2_ENDED = -3 /* its client has reset it, or its connection ends */
} comet_h2_refusal_e;

/** A ghost has got rid of all its bytes, or its state has changed. */
typedef void comet_h2_told_cb(void *baton, comet_h2_ghost_t *ghost);

typedef struct comet_h2_session_t {
    comet_h2_scanner_t in, out; /* what the client sends, what it gets */
    comet_h2_window_t window;
    struct comet_h2_ghost_ring_t ghosts;
    apr_size_t count; /* of them */
    comet_buffer_t control; /* frames of ours that are no DATA */
    int dropping; /* the payload that mod_http2 writes now is dropped */
    int overflow; /* behind this SETTINGS frame mod_http2 gets an overflow */
    int going; /* a GOAWAY has gone by: no stream is claimed any more */
    int foreign; /* one direction is not HTTP/2: nothing is claimed */
    comet_h2_told_cb *told;
    void *baton;
} comet_h2_session_t;

/** @param told  called for ghosts, within any call that changes them */
void comet_h2_session_init(comet_h2_session_t *session, comet_h2_told_cb *told,
                           void *baton);

/** Free what the session holds; ghosts are their owners'. */
void comet_h2_session_free(comet_h2_session_t *session);

/**
 * Claim a stream whose answer mod_http2 has not begun.
 * @param ghost  zeroed, with its stream; linked until comet_h2_session_drop()
 * @return how many bytes of filler mod_http2 has to send on it, at least one, as
 *         it ends an answer without DATA with its HEADERS; or a
 *         comet_h2_refusal_e, which is negative
 */
apr_int64_t comet_h2_session_claim(comet_h2_session_t *session,
                                   comet_h2_ghost_t *ghost);

/** Forget a ghost.  If it was OURS, the client gets RST_STREAM; if it was only
 * CLAIMED, the client gets that instead of what mod_http2 still sends. */
void comet_h2_session_drop(comet_h2_session_t *session,
                           comet_h2_ghost_t *ghost);

/**
 * The client has sent bytes.
 * @param to  OUT: appended to; what mod_http2 gets of them.  If it failed, the
 *            connection has to be given up
 */
void comet_h2_session_in(comet_h2_session_t *session, comet_text_t bytes,
                         comet_buffer_t *to);

/**
 * Give mod_http2 more window, where it has little left.
 * @param to  OUT: appended to; for mod_http2
 */
void comet_h2_session_lend(comet_h2_session_t *session, comet_buffer_t *to);

/** Whether comet_h2_session_lend() would give any. */
int comet_h2_session_can_lend(const comet_h2_session_t *session);

/**
 * mod_http2 writes a piece that comet_h2_scanner_take(&session->out) has found.
 * Its bytes (session->out.bytes) may have been changed.
 * @return whether the piece, and the frame's payload, go to the client
 */
int comet_h2_session_out(comet_h2_session_t *session, comet_h2_piece_e piece);

/** Whether comet_h2_session_take() would give anything. */
int comet_h2_session_has_frames(const comet_h2_session_t *session);

/**
 * Frames of ours for the client, as far as its windows allow.
 * @param to  OUT: appended to, about @a most bytes; nothing where mod_http2 is
 *            within a frame or a header block.  If it failed, the connection has
 *            to be given up
 */
void comet_h2_session_take(comet_h2_session_t *session, apr_size_t most,
                           comet_buffer_t *to);

/** How many ghosts are CLAIMED or OURS. */
apr_size_t comet_h2_session_alive(const comet_h2_session_t *session);

/** The connection is lost: so are its ghosts. */
void comet_h2_session_lose(comet_h2_session_t *session);

#endif /* COMET_H2_SESSION_H */
