/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file wait/h2_priv.h
 * Shared by the files about HTTP/2 streams that wait without a thread.
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

/** The record of one connection.  It is malloc'd, because ghosts outlive c1. */
struct mod_comet_h2_t {
    comet_subscriber_t carrier; /* first, because serve() casts its address to
                                 * this struct */
    atomic_int references; /* [atomic] c1 holds one, and so does each ghost */
    atomic_int leaves; /* [atomic] the connection ends when its requests have
                        * their answers */
    pthread_mutex_t lock;
    comet_h2_session_t session; /* [lock]; its scanners belong to c1's owner */
    mod_comet_h2_place_e place; /* [lock] */
    comet_selection_t *selection; /* [lock] a reference: the selection with
                                   * which the carrier joins the hub */
    int store; /* [lock] the index of the store that the carrier waits for */
    int event; /* [lock] an eventfd in `epoll`; -1: closed */

    mod_comet_child_t *child;
    /* the fields below belong to c1's owner: the hub's thread while the carrier
     * is served */
    conn_rec *c;
    int fd, epoll; /* the client's socket; what mod_http2 polls in its place */
    apr_socket_t *real, *stand_in;
    ap_filter_t *in, *out;
    apr_bucket_brigade *in_bb, *out_bb;
    int parking; /* c1 is about to be parked in the MPM */
    mod_comet_ack_t ack;
    comet_pulse_t pulse;
    apr_interval_time_t heartbeat, keep_alive;
    apr_time_t born; /* heartbeats are sent a whole number of intervals after
                      * this time */
    int trimmed; /* the spare memory of `c` was returned to the system */
    apr_time_t stops_at; /* [the hub's thread] when all frames must be sent,
                          * once the child ends; 0: it does not end */
    apr_interval_time_t lingered; /* [the owner of `c`] the last wait for the
                                   * client to take the end; 0: none */
};

/** Find the record of a connection; NULL: it has none. */
mod_comet_h2_t *mod_comet_h2_find(const conn_rec *c);

/** Make the record of a connection that is about to speak HTTP/2, if it may
 * have one.  mod_http2 takes the connection's socket next; after that,
 * mod_comet_h2_restore() must be called.
 * @param s  the host that decides whether requests wait without a thread */
void mod_comet_h2_begin(conn_rec *c, const server_rec *s);

/** Give the connection its socket back. */
void mod_comet_h2_restore(mod_comet_h2_t *h2);

void mod_comet_h2_unref(mod_comet_h2_t *h2);

/** Let the thread that owns c1 send frames of ghosts.  The caller holds the
 * lock. */
void mod_comet_h2_wake_locked(mod_comet_h2_t *h2);

/** The child stops, and a client takes the rest of a poll's answer: give the
 * connection more time.  The hub's thread.
 * @return until when, by comet_monotonic() */
apr_time_t mod_comet_h2_extend(mod_comet_h2_t *h2);

/** When those streams of the connection that send a heartbeat at this interval
 * send the next one.  All of them do so at the same moment, so that the
 * connection is woken once.  Any thread.
 * @return by comet_monotonic(); at most @a every from now */
apr_time_t mod_comet_h2_next_beat(const mod_comet_h2_t *h2,
                                  apr_interval_time_t every);

/** Limit the bytes that the kernel takes but cannot send yet, since messages
 * wait behind them.  mod_http2 then waits until the kernel takes more, as it
 * does if the client reads slowly.  Any thread. */
void mod_comet_h2_keep_short(const mod_comet_h2_t *h2);

/** The stream of a request over HTTP/2; 0: none is known. */
apr_uint32_t mod_comet_h2_stream(const request_rec *r);

/** Make mod_http2 return the memory of a request to the system when the request
 * ends.  Called by the thread of the request.
 * @param c2  the request's connection */
void mod_comet_h2_trim(const conn_rec *c2);

/** A comet_h2_told_cb: let the hub serve the subscriber that owns the ghost.
 * @param baton  the mod_comet_h2_t, whose lock is held */
void mod_comet_h2_tell(void *baton, comet_h2_ghost_t *ghost);

#endif /* MOD_COMET_H2_PRIV_H */
