/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file wire/h2_window.h
 * The flow-control windows of an HTTP/2 connection (RFC 9113, section 5.2) that
 * has two writers: mod_http2, and mod_comet on streams that mod_http2 believes
 * closed.  Such a stream is *ours*.  No I/O.
 *
 * A client grants one window to the whole connection.  That window is split in
 * two: mod_http2 knows of one part (`theirs`), and mod_comet spends the other
 * (`ours`).  Of each WINDOW_UPDATE of stream 0, mod_http2 therefore sees its
 * own part only.
 *
 * Invariants
 * 1. theirs + ours is the part of the client's grants that is not used yet.  No
 *    more than that is ever sent, and no part of it is lost.
 * 2.  `ours` is never negative.
 * 3.  A stream's credit is the part of the client's grants to the stream that
 *    is not used yet.  The credit becomes negative if the client shrinks its
 *    windows.
 * 4. mod_http2's own count of the connection's window is `theirs`, less the
 *    bytes in its buffers, which this file has not seen yet.
 * 5.  Neither part starves the other if the client grants more before three
 *    quarters of its window are used (common clients do so after a half).
 *    mod_http2 gets at most a quarter.  If it has little left, it is lent more
 *    (comet_h2_window_lend()).  comet_h2_window_filler() takes back what
 *    mod_http2 has beyond a quarter at the beginning.
 * 6. While no stream is ours, mod_http2 can use up the whole window, but gets
 *    it in parts: first what it has at the beginning, or a quarter if that is
 *    more, and then another part each time it has little left
 *    (comet_h2_window_lend()). mod_http2 never has all of a wide window at
 *    once, because a filler could not take all of that back.
 *
 * The struct has no lock.  The connection's thread, the hub's thread and the
 * threads of requests use it, so the caller has to guard it.
 */
#ifndef COMET_H2_WINDOW_H
#define COMET_H2_WINDOW_H

#include "wire/h2_frame.h"

/** The size of every window at the start of a connection (section 6.9.2). */
#define COMET_H2_WINDOW_FIRST 65535
/** The most of the connection's window that mod_http2 keeps, in bytes. */
#define COMET_H2_WINDOW_THEIRS_MOST (1024 * 1024)
/** How many bytes of a stream's window a filler leaves unused, as a reserve. */
#define COMET_H2_WINDOW_OPENING 4096
/** The largest number of streams that are tracked at once. mod_http2 usually
 * allows 100. */
#define COMET_H2_STREAMS_MOST 1024

/** How many streams are remembered that the client reset after it had sent all of
 * their requests. */
#define COMET_H2_WHOLE_MOST 32

/** A stream that the client has opened and that has not ended. */
typedef struct comet_h2_stream_t {
    apr_uint32_t id;
    unsigned char ours; /* mod_http2 believes that the stream is closed */
    unsigned char has_body; /* the client's HEADERS had no END_STREAM */
    unsigned char complete; /* the client has sent all of its request */
    unsigned char abandoned; /* DATA that mod_http2 sends on the stream is
                              * dropped, and the client gets RST_STREAM */
    apr_int64_t credit; /* how many more bytes of DATA the client accepts */
} comet_h2_stream_t;

/** The windows of one connection. */
typedef struct comet_h2_window_t {
    apr_int64_t theirs, ours; /* the parts of the connection's window */
    int is_split; /* whether a part is kept for our streams */
    apr_int64_t widest; /* the largest value that theirs + ours ever had */
    apr_int64_t initial; /* the window of each new stream (SETTINGS) */
    apr_uint32_t frame_most; /* the longest payload the client accepts */

    apr_uint32_t latest; /* the id of the stream that was opened last */
    int untracked; /* a stream was opened that is not tracked */
    apr_uint32_t whole[COMET_H2_WHOLE_MOST]; /* the latest streams that were
                                              * reset when their requests were
                                              * complete; 0: none */
    apr_size_t next_whole; /* which of them is replaced next */
    comet_h2_stream_t *streams; /* malloc'd; sorted by id */
    apr_size_t count, size;
} comet_h2_window_t;

void comet_h2_window_init(comet_h2_window_t *window);
void comet_h2_window_free(comet_h2_window_t *window);

/**
 * Find a stream.
 * @return the stream, valid until one is opened or ends.  NULL: it was never
 *         opened, has ended, or is not tracked because too many were open or no
 *         memory was left.  Such a stream is left to mod_http2
 */
const comet_h2_stream_t *comet_h2_window_find(const comet_h2_window_t *window,
                                              apr_uint32_t stream);

/**
 * Keep a part of the connection's window for our streams, or leave all of it to
 * mod_http2, as at the beginning.
 */
void comet_h2_window_split(comet_h2_window_t *window, int is_split);

/* --- what the client sends, before mod_http2 sees it --------------------- */

/** What the caller has to do with a frame. */
typedef enum {
    COMET_H2_FORWARD, /* pass it on to mod_http2, unchanged */
    COMET_H2_CONSUME, /* drop it: it was meant for mod_comet */
    COMET_H2_REPLACE, /* drop it; give mod_http2 a WINDOW_UPDATE of stream 0
                       * with `number` as its increment; 0 makes mod_http2 end
                       * the connection */
    COMET_H2_RESET, /* drop it and send the client RST_STREAM with `number` as
                     * its error: the client broke a rule on one of our streams,
                     * which has ended */
    COMET_H2_FAIL /* drop it and give mod_http2
                   * comet_h2_frame_add_overflow(): the connection has to end */
} comet_h2_action_e;

typedef struct comet_h2_decision_t {
    comet_h2_action_e action;
    apr_uint32_t number;
} comet_h2_decision_t;

/**
 * Handle HEADERS: the client opens a stream, or sends the trailers of a known
 * one, which changes nothing.  Also called for stream 1 after an upgrade from
 * HTTP/1.1.
 * @param has_body  whether the frame has no END_STREAM, so a body follows
 */
void comet_h2_window_open(comet_h2_window_t *window, apr_uint32_t stream,
                          int has_body);

/** Note that the client has sent all of a stream's request: the frame with
 * END_STREAM has arrived completely. */
void comet_h2_window_complete(comet_h2_window_t *window, apr_uint32_t stream);

/** What is known of a request's end. */
typedef enum {
    COMET_H2_UNKNOWN, /* the stream is not tracked */
    COMET_H2_WHOLE, /* the client has sent all of the request, even if it has
                     * reset the stream since then */
    COMET_H2_CUT /* the client has not sent the end, or it has left or reset the
                  * stream before */
} comet_h2_extent_e;

/** Whether the client has sent all of a stream's request.  Only the latest
 * COMET_H2_WHOLE_MOST streams are known to be whole after a reset; an older one
 * counts as cut. */
comet_h2_extent_e comet_h2_window_extent(const comet_h2_window_t *window,
                                         apr_uint32_t stream);

/**
 * Handle WINDOW_UPDATE (section 6.9).
 * @param stream  0: the connection
 * @return COMET_H2_FAIL: the connection's window exceeds 2^31 - 1
 */
comet_h2_decision_t comet_h2_window_update(comet_h2_window_t *window,
                                           apr_uint32_t stream,
                                           apr_uint32_t increment);

/**
 * Handle an entry of SETTINGS. mod_http2 gets the whole SETTINGS frame in any
 * case.
 * @return COMET_H2_FORWARD; COMET_H2_FAIL: the window of one of our streams
 *         exceeds 2^31 - 1 (section 6.9.2).  Then comet_h2_frame_add_overflow()
 *         has to follow that frame
 */
comet_h2_action_e comet_h2_window_set(comet_h2_window_t *window,
                                      apr_uint16_t setting, apr_uint32_t value);

/**
 * Handle RST_STREAM: the stream has ended.
 * @return COMET_H2_FORWARD; COMET_H2_CONSUME: the stream was ours
 */
comet_h2_action_e comet_h2_window_reset(comet_h2_window_t *window,
                                        apr_uint32_t stream);

/**
 * Lend mod_http2 some of mod_comet's part, if mod_http2 has less than a quarter
 * of its share left and mod_comet can spare some.  The caller then gives
 * mod_http2 a WINDOW_UPDATE of stream 0, between two frames of the client.
 * @return the increment of that frame; 0: no frame
 */
apr_uint32_t comet_h2_window_lend(comet_h2_window_t *window);

/* --- what mod_http2 writes, before the client sees it -------------------- */

/**
 * Note DATA of mod_http2 that is passed on to the client.
 * @param length  the length of the payload in bytes, including padding
 */
void comet_h2_window_sent(comet_h2_window_t *window, apr_uint32_t stream,
                          apr_uint32_t length);

/** Note DATA of mod_http2 that is dropped.  mod_http2 has spent window on it,
 * but the client does not receive it, so mod_comet can spend the same
 * amount. */
void comet_h2_window_swallowed(comet_h2_window_t *window, apr_uint32_t length);

/**
 * Take over a stream that mod_http2 has ended and whose end the caller hides
 * from the client.  From now on the stream is ours.
 * @return 0: the stream has ended or is not tracked, so it must end for the
 *         client as well
 */
int comet_h2_window_take(comet_h2_window_t *window, apr_uint32_t stream);

/** Set `abandoned` of a stream that mod_http2 has not ended yet. */
void comet_h2_window_abandon(comet_h2_window_t *window, apr_uint32_t stream);

/* --- our streams --------------------------------------------------------- */

/**
 * How much DATA mod_http2 must send on a stream, for mod_comet to drop, before
 * mod_comet takes the stream over.  If a client never widens the connection's
 * window, mod_http2 has all of it, and only a filler frees a part for
 * mod_comet.
 * @return bytes; 0: none; -1: this stream cannot free enough window, so it is
 *         left to mod_http2
 */
apr_int64_t comet_h2_window_filler(const comet_h2_window_t *window,
                                   apr_uint32_t stream);

/**
 * The longest payload that the next DATA may have.  DATA without payload may be
 * sent at any time (section 6.9.1).
 * @return bytes; 0: the client has to grant more first, or the stream is not
 *         ours
 */
apr_uint32_t comet_h2_window_room(const comet_h2_window_t *window,
                                  apr_uint32_t stream);

/** Note DATA that mod_comet sends.
 * @param length  at most comet_h2_window_room() */
void comet_h2_window_spend(comet_h2_window_t *window, apr_uint32_t stream,
                           apr_uint32_t length);

/** Forget a stream that has ended: mod_http2 or mod_comet sends the client
 * END_STREAM or RST_STREAM. */
void comet_h2_window_end(comet_h2_window_t *window, apr_uint32_t stream);

#endif /* COMET_H2_WINDOW_H */
