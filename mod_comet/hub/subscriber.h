/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file hub/subscriber.h
 * A waiting client as the hub sees it: where it stands in the log, and what
 * to call when there is something for it.
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
 * WAITING is linked in its channel, READY in the hub's queue, IDLE (answered;
 * only its timer or a writable socket matter) among the hub's idle, SERVED
 * nowhere: it is pinned, and the hub's thread alone may touch its connection.
 * In all other states the thread that called join may take it back (leave).
 *
 * One with a socket of its own belongs to the hub from join on: nobody takes
 * it back, and it leaves by itself.
 */
#ifndef COMET_SUBSCRIBER_H
#define COMET_SUBSCRIBER_H

#include "hub/channel.h"
#include "base/wheel.h"

typedef struct comet_subscriber_t comet_subscriber_t;

/** Why a subscriber is served: a set of these. */
typedef enum {
    COMET_NEWS = 1, /* messages after its cursor (perhaps) */
    COMET_TIMEOUT = 2, /* its timer */
    COMET_WRITABLE = 4, /* its socket takes data again */
    COMET_STOPPING = 8, /* the child is ending: finish it */
    COMET_RECHECK = 16, /* what it reads has grown by a channel that nobody
                          * allowed it, or lost what it has not seen: finish it
                          * after the messages; its client is told when it
                          * comes back */
    COMET_READABLE = 32, /* its own socket has input, or its client is gone */
    COMET_GONE = 64 /* of one that listens: its client has closed its side */
} comet_reason_e;

/** What the hub hands over when it serves. */
typedef struct comet_delivery_t {
    unsigned reasons; /* comet_reason_e */
    const comet_batch_t *batch; /* messages, borrowed for the call */
} comet_delivery_t;

/** What the subscriber answers. */
typedef enum {
    COMET_WAIT, /* it goes on waiting for messages */
    COMET_REST, /* it has got its answer */
    COMET_AGAIN, /* it rests, and is served with COMET_READABLE again as soon
                  * as the store has been looked at */
    COMET_LEAVE /* it is over; only for one with a socket of its own */
} comet_outcome_e;

/**
 * Serve a subscriber.  Runs on the hub's thread with the subscriber pinned
 * and no lock held; must not block.  May change subscriber->timeout_at,
 * ->blocked_fd and ->seen.
 */
typedef comet_outcome_e comet_serve_cb(comet_subscriber_t *subscriber,
                                       const comet_delivery_t *delivery);

/**
 * One with a socket of its own has left, after it said so: close and free it.
 * Runs on the hub's thread with no lock held.
 */
typedef void comet_left_cb(comet_subscriber_t *subscriber);

typedef enum {
    COMET_SUBSCRIBER_OUT,
    COMET_SUBSCRIBER_WAITING,
    COMET_SUBSCRIBER_READY,
    COMET_SUBSCRIBER_SERVED,
    COMET_SUBSCRIBER_IDLE
} comet_subscriber_state_e;

struct comet_subscriber_t {
    APR_RING_ENTRY(comet_subscriber_t) link; /* [hub->lock] */
    comet_subscriber_state_e state; /* [hub->lock] */
    comet_channel_t *channel; /* [hub->lock] while joined */
    unsigned reasons; /* [hub->lock] comet_reason_e, collected for serve */
    int watched_fd; /* [hub->lock] in the hub's epoll; or -1 */
    comet_timer_t timer; /* [hub->lock] may be due before timeout_at */
    int retry; /* [hub->lock] serve it when the timer is due */
    int behind; /* [hub->lock] what it missed could not be read yet */

    /* set before join; then of the thread that serves */
    int resting; /* it has got its answer: no more messages; then the hub's */
    comet_serve_cb *serve;
    comet_left_cb *left; /* of one with a socket of its own, else NULL */
    int own_fd; /* that socket; read only where `left` or `listens` is set */
    int listens; /* own_fd is watched for input, too, while it is joined */
    /** Every message of its channel up to here was seen or does not exist. */
    comet_timestamp_t seen;
    comet_timestamp_t floor; /* what retention had removed when it joined */
    apr_size_t limit; /* the most messages it takes at once, at least 1 */
    apr_time_t timeout_at; /* when to serve it with COMET_TIMEOUT; 0: never */
    int blocked_fd; /* the socket that took no more; -1: none */
};

#endif /* COMET_SUBSCRIBER_H */
