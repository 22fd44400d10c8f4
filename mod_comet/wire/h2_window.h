/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file wire/h2_window.h
 * The flow-control windows of an HTTP/2 connection (RFC 9113, section 5.2)
 * with two writers: mod_http2, and mod_comet on streams that mod_http2 believes
 * closed.  Such a stream is called *ours*.  No I/O.
 *
 * A client grants one window to the whole connection.  It is split in two:
 * mod_http2 knows of one part (`theirs`), and mod_comet spends the other
 * (`ours`).  Of each WINDOW_UPDATE of stream 0 mod_http2 therefore sees only
 * its own part.
 *
 * Invariants
 *  1. theirs + ours is what the client has granted and has not been sent yet.
 *     No more than that is ever sent, and no part of it is lost.
 *  2. `ours` is never negative.
 *  3. A stream's credit is what the client has granted to the stream and has
 *     not been sent.  It may become negative when the client makes its windows
 *     smaller.
 *  4. mod_http2's own count of the connection is `theirs` less what it has
 *     written into its buffers and this file has not seen yet.
 *  5. Neither part starves the other if the client grants more by the time
 *     it has been sent three quarters of its window (those in use do after a
 *     half).  mod_http2 gets a quarter at most; when it has little left it is
 *     lent more (comet_h2_window_lend()).  What it had from the beginning is
 *     taken back by comet_h2_window_filler().
 *
 * The struct has no lock of its own.  The caller guards it: the connection's
 * thread, the hub's thread and the threads of requests all use it.
 */
#ifndef COMET_H2_WINDOW_H
#define COMET_H2_WINDOW_H

#include "wire/h2_frame.h"

/** A window before anybody has said anything (section 6.9.2). */
#define COMET_H2_WINDOW_FIRST 65535
/** The most of the connection's window that mod_http2 keeps, in bytes. */
#define COMET_H2_WINDOW_THEIRS_MOST (1024 * 1024)
/** What a filler leaves of a stream's window, for what mod_http2 sends of the
 * answer itself. */
#define COMET_H2_WINDOW_OPENING 4096
/** The most streams that are counted at once; mod_http2 allows 100 as a
 * rule. */
#define COMET_H2_STREAMS_MOST 1024

/** A stream that the client has opened and that is not over. */
typedef struct comet_h2_stream_t {
    apr_uint32_t id;
    unsigned char ours; /* mod_http2 believes it closed */
    unsigned char has_body; /* the client had more to send than HEADERS */
    apr_int64_t credit; /* bytes of DATA the client takes on it */
} comet_h2_stream_t;

/** The windows of one connection. */
typedef struct comet_h2_window_t {
    apr_int64_t theirs, ours; /* the parts of the connection's window */
    apr_int64_t widest; /* the largest value that theirs + ours ever had */
    apr_int64_t initial; /* of each new stream (SETTINGS) */
    apr_uint32_t frame_most; /* the longest payload the client takes */

    apr_uint32_t latest; /* the last stream that was opened */
    comet_h2_stream_t *streams; /* malloc'd, by id */
    apr_size_t count, size;
} comet_h2_window_t;

void comet_h2_window_init(comet_h2_window_t *window);
void comet_h2_window_free(comet_h2_window_t *window);

/**
 * A stream.
 * @return valid until a stream is opened or ends; NULL: it was never opened,
 *         is over, or was not counted: too many were open, or no memory was
 *         left.  Such a stream stays mod_http2's
 */
const comet_h2_stream_t *comet_h2_window_find(const comet_h2_window_t *window,
                                              apr_uint32_t stream);

/* --- what the client sends, before mod_http2 sees it -------------------- */

/** What the caller is to do with a frame. */
typedef enum {
    COMET_H2_HAND_ON, /* to mod_http2, as it is */
    COMET_H2_KEEP, /* it was for mod_comet: drop it */
    COMET_H2_REPLACE, /* drop it; mod_http2 gets a WINDOW_UPDATE of stream 0
                       * with `number` as its increment */
    COMET_H2_RESET, /* the client has broken a rule on a stream of ours, which
                     * is over: drop the frame, and send the client RST_STREAM
                     * with `number` as its error */
    COMET_H2_FAIL /* the connection has to end: drop the frame, and hand on
                   * comet_h2_frame_add_overflow() */
} comet_h2_fate_e;

typedef struct comet_h2_verdict_t {
    comet_h2_fate_e fate;
    apr_uint32_t number;
} comet_h2_verdict_t;

/**
 * HEADERS: the client opens a stream, or sends the trailers of one that is
 * known, which changes nothing.  Also called for stream 1 after an upgrade from
 * HTTP/1.1.
 * @param has_body  whether the frame does not end the client's side
 */
void comet_h2_window_open(comet_h2_window_t *window, apr_uint32_t stream,
                          int has_body);

/**
 * WINDOW_UPDATE (section 6.9).
 * @param stream  0: the connection
 * @return COMET_H2_FAIL: the connection's window exceeds 2^31 - 1
 */
comet_h2_verdict_t comet_h2_window_update(comet_h2_window_t *window,
                                          apr_uint32_t stream,
                                          apr_uint32_t increment);

/**
 * An entry of SETTINGS.  mod_http2 gets it in any case.
 * @return COMET_H2_HAND_ON; COMET_H2_FAIL: the window of a stream of ours
 *         exceeds 2^31 - 1 (section 6.9.2).  Hand on the whole SETTINGS frame
 *         even then, and the overflow behind it
 */
comet_h2_fate_e comet_h2_window_set(comet_h2_window_t *window,
                                    apr_uint16_t setting, apr_uint32_t value);

/**
 * RST_STREAM: the stream is over.
 * @return COMET_H2_HAND_ON; COMET_H2_KEEP: it was ours
 */
comet_h2_fate_e comet_h2_window_reset(comet_h2_window_t *window,
                                      apr_uint32_t stream);

/**
 * Give mod_http2 more of our part if less than a quarter of its own is left and
 * we can spare some.  The caller then hands mod_http2 a WINDOW_UPDATE of stream
 * 0, between two frames of the client.
 * @return the increment of that frame; 0: no frame
 */
apr_uint32_t comet_h2_window_lend(comet_h2_window_t *window);

/* --- what mod_http2 writes, before the client sees it ------------------- */

/**
 * DATA that is passed on to the client.
 * @param length  of its payload, padding included, in bytes
 */
void comet_h2_window_sent(comet_h2_window_t *window, apr_uint32_t stream,
                          apr_uint32_t length);

/** DATA that is dropped: mod_http2 has spent its part on it, and the client has
 * not got it, so that mod_comet may spend as much. */
void comet_h2_window_swallowed(comet_h2_window_t *window, apr_uint32_t length);

/**
 * mod_http2 has ended a stream, and the caller hides that from the client: from
 * now on the stream is ours.
 * @return 0: the stream is over or was not counted, and must end for the client
 *         as well
 */
int comet_h2_window_take(comet_h2_window_t *window, apr_uint32_t stream);

/* --- streams of ours ---------------------------------------------------- */

/**
 * How much DATA mod_http2 must send on a stream, for us to swallow, before the
 * stream becomes ours.  A client that never widens the connection's window
 * leaves all of it to mod_http2, and this is the only way to get a part.
 * @return bytes; 0: none; -1: it cannot give us enough on this stream, which
 *         then stays mod_http2's
 */
apr_int64_t comet_h2_window_filler(const comet_h2_window_t *window,
                                   apr_uint32_t stream);

/**
 * How long the payload of the next DATA may be.  DATA without payload may be
 * sent at any time (section 6.9.1).
 * @return bytes; 0: the client has to grant more first, or the stream is not
 *         ours
 */
apr_uint32_t comet_h2_window_room(const comet_h2_window_t *window,
                                  apr_uint32_t stream);

/** DATA is sent. @param length  at most comet_h2_window_room() */
void comet_h2_window_spend(comet_h2_window_t *window, apr_uint32_t stream,
                           apr_uint32_t length);

/** A stream is over: END_STREAM or RST_STREAM goes to the client, from
 * mod_http2 or from us. */
void comet_h2_window_end(comet_h2_window_t *window, apr_uint32_t stream);

#endif /* COMET_H2_WINDOW_H */
