/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file wait/h2.h
 * HTTP/2 connections whose streams wait without a thread (*ghosts*,
 * wire/h2_session.h).  When mod_http2 believes that all streams are closed, it
 * gives the connection (c1) back to the MPM, where c1 is parked like a
 * connection of HTTP/1.1.
 *
 *   HELD: a worker has c1, and runs mod_http2.  Frames of ghosts go out when
 *         mod_http2 reads or writes.  mod_http2 polls an epoll that it takes
 *         for the socket; an eventfd in this epoll makes it read.
 *   PARKED: the MPM has c1; the hub writes, through one subscriber, the
 *         carrier.
 *   LOST: c1 is being closed.
 *
 * Locks: h2->lock before the hub's.  Nothing blocks under it, and nothing is
 * passed to a filter.
 */
#ifndef MOD_COMET_H2_H
#define MOD_COMET_H2_H

#include "request/ask.h"

typedef struct mod_comet_h2_t mod_comet_h2_t;

/** protocol_switch hook, before mod_http2's: make the record of a
 * connection. */
int mod_comet_h2_switch(conn_rec *c, request_rec *r, server_rec *s,
                        const char *protocol);

/** process_connection hook, between mod_ssl's and mod_http2's: c1 gets its
 * socket back.  A new connection without TLS gets a filter that notices whether
 * its client speaks HTTP/2, since no hook announces that. */
int mod_comet_h2_prepare(conn_rec *c);

/** process_connection hook, after mod_http2's.  mod_http2 has not taken the
 * connection, so remove that filter.  (It must not be removed once a request
 * exists: the request's list of filters would begin with it.) */
int mod_comet_h2_decline(conn_rec *c);

/** The MPM has given c1 to a worker.  Called before mod_http2 runs. */
void mod_comet_h2_resume(conn_rec *c);

/** Whether mod_http2 has given c1 back because too little window was left, and
 * more can be lent to it now.  If so, mod_http2 must run again; it receives the
 * window when it reads.
 * @param can_wait  as for mod_comet_h2_is_waiting() */
int mod_comet_h2_has_window(conn_rec *c, int can_wait);

/** Let the connection of a request over HTTP/2 end when all its requests have
 * their answers.  Called by the thread that has the request.
 * @param c  the request's connection; nothing happens if it is not HTTP/2 */
void mod_comet_h2_leave(const conn_rec *c);

/** Whether the client of a request over HTTP/2 has left before it had sent all
 * of the request's body.  If the client resets the stream, mod_http2 first
 * reports the end of the body, and only then that the client is gone.  A client
 * that leaves after it has sent all is none of these.  Called by the thread that
 * has the request, after it has read the body.
 * @return 0: the body is complete, or nobody knows and the client is there */
int mod_comet_h2_is_cut(const request_rec *r);

/** Decide what happens to c1, which mod_http2 has given back.
 * @param can_wait  whether c1 is in a state in which it may be parked
 * @return whether c1 has ghosts, and must be parked in the MPM */
int mod_comet_h2_is_waiting(conn_rec *c, int can_wait);

/** The MPM is about to own c1, which was found to be waiting
 * (mod_comet_h2_is_waiting()). */
void mod_comet_h2_suspend(conn_rec *c);

/** The MPM gives c1 to a worker.
 * @param closing  whether the worker will close it */
void mod_comet_h2_unpark(conn_rec *c, int closing);

/** The filters between mod_http2 and mod_ssl. */
apr_status_t mod_comet_h2_filter_in(ap_filter_t *f, apr_bucket_brigade *bb,
                                    ap_input_mode_t mode, apr_read_type_e block,
                                    apr_off_t length);
apr_status_t mod_comet_h2_filter_out(ap_filter_t *f, apr_bucket_brigade *bb);

/** The filter of a new connection without TLS: when mod_http2 peeks at the
 * client's first bytes and they begin HTTP/2, make the record of the
 * connection.  mod_http2 takes the connection's socket after that. */
apr_status_t mod_comet_h2_filter_preface(ap_filter_t *f, apr_bucket_brigade *bb,
                                         ap_input_mode_t mode,
                                         apr_read_type_e block,
                                         apr_off_t length);

#endif /* MOD_COMET_H2_H */
