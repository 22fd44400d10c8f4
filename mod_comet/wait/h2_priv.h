/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file wait/h2_priv.h
 * What the files about HTTP/2 streams without a thread share.
 */
#ifndef MOD_COMET_H2_PRIV_H
#define MOD_COMET_H2_PRIV_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/pulse.h"
#include "hub/subscriber.h"
#include "server/child.h"
#include "wait/ack.h"
#include "wait/h2.h"
#include "wire/h2_session.h"

typedef enum {
    MOD_COMET_H2_HELD,
    MOD_COMET_H2_PARKED,
    MOD_COMET_H2_LOST
} mod_comet_h2_place_e;

/** Of one connection; malloc'd, since ghosts outlive c1. */
struct mod_comet_h2_t {
    comet_subscriber_t carrier; /* first: serve() gets its address */
    atomic_int references; /* [atomic] c1 and each ghost */
    pthread_mutex_t lock;
    comet_h2_session_t session; /* [lock]; its scanners: c1's owner */
    mod_comet_h2_place_e place; /* [lock] */
    comet_selection_t *selection; /* [lock] a reference: what it rests on */
    int store; /* [lock] */
    int event; /* [lock] eventfd; -1: closed */

    mod_comet_child_t *child;
    /* the rest: c1's owner, which is the hub's thread while the carrier is
     * served */
    conn_rec *c;
    int fd, epoll; /* the client's socket; what mod_http2 polls */
    apr_socket_t *real, *stand_in;
    ap_filter_t *in, *out;
    apr_bucket_brigade *in_bb, *out_bb;
    int parking; /* it goes to the MPM to be parked */
    mod_comet_ack_t ack;
    comet_pulse_t pulse;
    apr_interval_time_t heartbeat, keep_alive;
    apr_time_t born;
    int trimmed; /* its spare memory was returned to the system */
    apr_time_t stops_at; /* the child ends: the limit for the rest; 0: no */
};

/** Of a connection; NULL: it has none. */
mod_comet_h2_t *mod_comet_h2_find(const conn_rec *c);

void mod_comet_h2_unref(mod_comet_h2_t *h2);

/** There are frames to be sent: have whoever has c1 send them.  The caller
 * holds the lock. */
void mod_comet_h2_wake_locked(mod_comet_h2_t *h2);

/** When the connection's streams with this heartbeat send it next: all of them
 * at the same moment, so that it is woken once.  Any thread.
 * @return by comet_monotonic(); at most @a every from now */
apr_time_t mod_comet_h2_next_beat(const mod_comet_h2_t *h2,
                                  apr_interval_time_t every);

/** Have mod_http2 return the memory of a request of c1 to the system when the
 * request ends.  The thread of the request.
 * @param c2  the request's connection */
void mod_comet_h2_trim(const conn_rec *c2);

/** A comet_h2_told_cb: have the hub serve the subscriber that owns the ghost.
 * @param baton  the connection's, whose lock is held */
void mod_comet_h2_tell(void *baton, comet_h2_ghost_t *ghost);

#endif /* MOD_COMET_H2_PRIV_H */
