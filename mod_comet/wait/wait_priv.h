/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file wait/wait_priv.h
 * The data that the waiting clients of a child share, for the files of this
 * folder.
 */
#ifndef MOD_COMET_WAIT_PRIV_H
#define MOD_COMET_WAIT_PRIV_H

#include <apr_ring.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/queue.h>

#include "base/pulse.h"
#include "server/child.h"
#include "output/outbox.h"
#include "transport/encoder.h"
#include "wait/familiar.h"

/**
 * A thread that waits (wait/block.c).  The hub hands messages to it, and the
 * thread writes them.  The hub's thread takes the lock while it holds no other.
 */
typedef struct mod_comet_blocked_t mod_comet_blocked_t;
struct mod_comet_blocked_t {
    comet_subscriber_t subscriber; /* first, because serve() casts its address
                                    * to this struct */
    APR_RING_ENTRY(mod_comet_blocked_t) link; /* [waiting->lock] */
    mod_comet_child_t *child;
    conn_rec *master; /* the HTTP/2 connection of the client's stream; NULL: the
                       * client uses HTTP/1.1 */
    pthread_mutex_t lock;
    pthread_cond_t handed; /* the thread waits for it, with `lock` */
    unsigned reasons; /* [lock] bits of comet_reason_e that the thread has not
                       * taken yet */
    int has_place; /* [owner thread] */
    int is_over; /* [owner thread] the client no longer waits */
    int woken; /* [lock] the thread must check at once whether to go on */
    comet_batch_t batch; /* the messages; owned by the hub's thread while
                          * joined, then by the thread that waits */
    int fd; /* the client's socket */
    struct mod_comet_talk_t *talk; /* of a WebSocket; or NULL */
    int hears; /* input ends the wait, since the talk has room for it */
    comet_pulse_t pulse; /* [owner thread] only of a stream */
};

APR_RING_HEAD(mod_comet_blocked_ring_t, mod_comet_blocked_t);

/** The shared data.  It is made when the child starts, in the child's pool. */
struct mod_comet_waiting_t {
    comet_encoder_t streams; /* [hub thread] encodes for adopted streams */
    comet_encoder_t polls; /* [hub thread] encodes for lent sockets */
    comet_buffer_t answer; /* [hub thread] the answer to the request that is
                            * being served */
    char date[APR_RFC822_DATE_LEN]; /* [hub thread] the Date header for
                                     * `second` */
    apr_time_t second; /* [hub thread] the time of `date`, in seconds since
                        * 1970; 0: no date yet */
    struct mod_comet_speakers_t *speakers; /* wait/speaker.h; NULL: the child
                                            * has not started */
    struct mod_comet_incoming_t *incoming; /* wait/incoming.h */
    int descriptors_max; /* a socket is lent only if its second descriptor is
                          * below this number */
    atomic_int more_descriptors; /* [atomic] how many descriptors clients hold
                                  * besides one each: for lent sockets, and for
                                  * connections of HTTP/2 */

    atomic_int has_fast; /* [atomic] whether the child has had a request that
                          * CometFastPoll or CometFastPublish allows */
    mod_comet_familiars_t *familiars; /* the POSTs that the child knows */
    pthread_mutex_t answered_lock;
    /* [answered_lock] connections whose messages the writer has answered */
    TAILQ_HEAD(, mod_comet_fast_t) answered;
    char request[MOD_COMET_PIECE_BYTES]; /* [hub thread] what a client has
                                          * sent */

    pthread_mutex_t lock;
    struct mod_comet_blocked_ring_t blocked; /* [lock] threads that wait */
};

#endif /* MOD_COMET_WAIT_PRIV_H */
