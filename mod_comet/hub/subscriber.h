/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file hub/subscriber.h
 * A waiting client as the hub sees it: its position in the log, and what to
 * call when there is something for it.
 *
 *              join                    news, timer, writable, stop
 *     OUT ------------->  WAITING  --------------------->  READY
 *      ^                  ^                                  |
 *      | leave            | serve said COMET_WAIT            | hub takes it
 *      | (any state       |                                  v
 *      |  but SERVED:     +------------------------------  SERVED
 *      |  waits)                                             |
 *      |-------------------  IDLE  <-------------------------+
 *      |                               serve said COMET_REST |
 *      +-----------------------------------------------------+
 *                                     serve said COMET_LEAVE
 *
 * A WAITING subscriber is linked in its channel, a READY one in the hub's
 * queue, and an IDLE one in the hub's list of idle subscribers: it was
 * answered, and only its timer and its socket still matter.  A SERVED
 * subscriber is linked nowhere.  It is pinned: only the hub's thread may touch
 * its connection.  In all other states the thread that called join may take it
 * back (leave).
 *
 * A subscriber that owns a socket belongs to the hub once it has joined.  No
 * thread takes it back; it leaves by itself.
 */
#ifndef COMET_SUBSCRIBER_H
#define COMET_SUBSCRIBER_H

#include <stdatomic.h>

#include "hub/channel.h"
#include "base/wheel.h"

typedef struct comet_subscriber_t comet_subscriber_t;

/** Bits: why a subscriber is served. */
typedef enum {
    COMET_NEWS = 1, /* there might be messages after its cursor */
    COMET_TIMEOUT = 2, /* its timer fired */
    COMET_WRITABLE = 4, /* its socket accepts data again */
    COMET_STOPPING = 8, /* the child is ending: finish it */
    COMET_RECHECK = 16, /* finish it after the messages: one of its prefixes
                         * has a new channel, for which it is not authorised
                         * yet, or retention has removed messages it has not
                         * seen.  Its client is told when it comes back */
    COMET_READABLE = 32, /* its own socket has input, or its client has gone */
    COMET_GONE = 64, /* if it listens: its client has closed its side */
    COMET_YIELD = 128, /* it is idle, and another client needs its place:
                        * leave */
    COMET_CALLED = 256, /* comet_hub_call() was called */
    COMET_POKED = 512, /* comet_hub_poke() was called */
    COMET_REVOKED =
        1024, /* its permission was revoked: finish it. Its client comes back
               * and is judged again */
    COMET_REACHED = 2048, /* it has been given every message up to ->until,
                           * where its cursor is now */
    COMET_JOINED = 4096 /* it has joined, or reads another selection now; for
                         * the hub alone */
} comet_reason_e;

/** What the hub passes to a subscriber that it serves. */
typedef struct comet_delivery_t {
    unsigned reasons; /* bits of comet_reason_e */
    const comet_batch_t *batch; /* messages, borrowed during the call */
    int is_unread; /* the batch is empty because nobody has looked for messages
                    * (the socket was blocked, or the subscriber rests), or
                    * because they could not be read yet */
} comet_delivery_t;

/** What a subscriber answers. */
typedef enum {
    COMET_WAIT, /* it continues to wait for messages */
    COMET_REST, /* it has its answer and becomes idle */
    COMET_AGAIN, /* the subscriber becomes idle, and is served with
                  * COMET_READABLE as soon as the hub has looked at the store */
    COMET_LEAVE /* the subscriber has finished; only one that owns a socket may
                 * answer this */
} comet_outcome_e;

/**
 * Serve a subscriber.  Runs on the hub's thread with the subscriber pinned and
 * no lock held.  The function must not block.  It may change
 * subscriber->timeout_at, ->blocked_fd, ->piece, ->seen, ->floor, ->until and
 * ->moves_to.  If it sets ->seen back to before a message of the batch, the
 * subscriber is served with that message again.
 */
typedef comet_outcome_e comet_serve_cb(comet_subscriber_t *subscriber,
                                       const comet_delivery_t *delivery);

/**
 * Close and free a subscriber that owns a socket.  Called after the subscriber
 * has answered COMET_LEAVE, on the hub's thread with no lock held.
 */
typedef void comet_left_cb(comet_subscriber_t *subscriber);

typedef enum {
    COMET_SUBSCRIBER_OUT,
    COMET_SUBSCRIBER_WAITING,
    COMET_SUBSCRIBER_READY,
    COMET_SUBSCRIBER_SERVED,
    COMET_SUBSCRIBER_IDLE
} comet_subscriber_state_e;

/** A waiting client.  Tens of thousands of these can exist, so flags are bytes.
 * The fields that are used whenever a subscriber is served lie together. */
struct comet_subscriber_t {
    struct comet_fetch_t *fetch; /* [hub->lock] what it has asked a fetcher
                                  * (hub/fetched.h); NULL: nothing */
    comet_timer_t timer; /* [hub->lock] can be due before timeout_at */
    APR_RING_ENTRY(comet_subscriber_t) link; /* [hub->lock] */
    comet_channel_t *channel; /* [hub->lock] while joined */
    comet_subscriber_state_e state; /* [hub->lock] */
    unsigned reasons; /* [hub->lock] bits of comet_reason_e, for the next
                       * serve */
    int watched_fd; /* [hub->lock] its socket in the hub's epoll; or -1 */
    apr_byte_t retry; /* [hub->lock] not 0: serve it when its timer fires.  The
                       * number grows with each retry in a row, and so does the
                       * delay */
    apr_byte_t asked_to_yield; /* [hub->lock] it is told by COMET_YIELD to
                                * leave */
    apr_byte_t called; /* [hub->lock] comet_hub_call() came before it joined */
    apr_byte_t behind; /* [hub->lock] its messages could not be read yet */

    /* Set before join; then owned by the thread that serves. */
    apr_byte_t resting; /* it has its answer and gets no more messages; after
                         * join the hub owns this field */
    apr_byte_t yields; /* while idle, it gives up its place when asked to */
    apr_byte_t listens; /* own_fd is watched for input while the subscriber is
                         * joined */
    /** Something other than a socket still holds its last answer.  As with
     * blocked_fd, it gets no messages until it is poked with COMET_WRITABLE. */
    apr_byte_t stalled;
    int own_fd; /* its socket; used if `left` or `listens` is set */
    int blocked_fd; /* the socket that accepts no more data; -1: none */
    apr_uint32_t limit; /* the most messages it takes at once; at least 1 */
    apr_uint32_t piece; /* the most bytes it takes at once, except that one
                         * message can be longer; 0: a whole batch */
    comet_serve_cb *serve;
    comet_left_cb *left; /* NULL unless the subscriber owns a socket */
    comet_timestamp_t floor; /* retention had removed messages up to this
                              * timestamp when it joined */
    /** It has seen every message of its channel up to this timestamp. */
    comet_timestamp_t seen;
    /** It gets no message after this timestamp, and is served with
     * COMET_REACHED when it has got all earlier ones; 0: there is no such
     * limit. */
    comet_timestamp_t until;
    /** Set by serve() to make the subscriber read another selection of the same
     * store from its cursor on.  The hub takes over this reference.  If no
     * memory is left, the subscriber is served with COMET_RECHECK. */
    comet_selection_t *moves_to;
    apr_time_t timeout_at; /* when to serve it with COMET_TIMEOUT; 0: never */
    /** [atomic] Non-zero: its permission was revoked; NULL: it cannot be
     * revoked. The subscriber's owner keeps the pointer valid, or sets it to
     * NULL while no other thread reads it. */
    const atomic_int *revoked;
};

#endif /* COMET_SUBSCRIBER_H */
