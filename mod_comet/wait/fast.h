/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file wait/fast.h
 * Polls that the hub answers by itself (CometFastPoll).
 *
 * A client polls again and again on its connection, by requests that differ
 * in nothing but the cursor.  httpd decides on one of them and answers two;
 * from then on the hub can tell the next ones by their bytes, and knows what
 * an answer looks like.  While the connection rests in the MPM as any parked
 * one does, its socket is with the hub: the MPM polls an eventfd that stands
 * in its place, under its number.  The hub looks at what the client sends
 * without taking it (MSG_PEEK), and takes a request only together with
 * answering it.  So it can give the connection back at any moment: it puts
 * the socket back and wakes the MPM by the eventfd, and httpd reads what is
 * there as if nothing had happened.
 *
 * States (of a connection in the park; the hub's while the park is JOINED)
 *   HOME      the socket is in its place; the MPM and httpd use it
 *   HELD      with the hub; the request that httpd parked waits
 *   RESTING   with the hub; the client has its answer
 *   WAITING   with the hub; a poll waits, its request still in the socket
 *   RETURNING with the hub, which will not touch it any more: the MPM was woken
 */
#ifndef MOD_COMET_FAST_H
#define MOD_COMET_FAST_H

#include "hub/subscriber.h"
#include "request/ask.h"

typedef struct mod_comet_fast_t mod_comet_fast_t;

/* By the thread that owns the connection */

/**
 * A poll is about to be parked: whether the next ones may be the hub's.
 * @param fast  OUT: NULL at first; lives as long as the connection
 * @param fd    the connection's
 */
void mod_comet_fast_consider(mod_comet_fast_t **fast, request_rec *r,
                             const mod_comet_ask_t *ask, int fd);

/**
 * The connection has a request for httpd to read: keep its bytes, if they may
 * be those of a poll like the last one.
 * @param brigade  empty, and empty again afterwards
 */
void mod_comet_fast_look(mod_comet_fast_t *fast, conn_rec *c,
                         apr_bucket_brigade *brigade);

/** An answer is about to be given to the filters: learn its head. */
void mod_comet_fast_watch_answer(mod_comet_fast_t *fast, request_rec *r);

/** The output filter by which it does. */
apr_status_t mod_comet_fast_filter(ap_filter_t *filter,
                                   apr_bucket_brigade *brigade);

/**
 * The connection is about to be the MPM's: give its socket to the hub instead,
 * if it may have it.
 * @param subscriber  about to join: ->own_fd and ->listens are set
 * @param holds  whether a request is parked
 */
void mod_comet_fast_lend(mod_comet_fast_t *fast, conn_rec *c,
                         comet_subscriber_t *subscriber, int holds);

/** Put the socket back where it belongs; the hub knows of it no more.
 * @return whether the hub has had it */
int mod_comet_fast_restore(mod_comet_fast_t *fast, conn_rec *c,
                           comet_subscriber_t *subscriber);

/** Give what the hub could not send yet to the filters. */
apr_status_t mod_comet_fast_send_rest(mod_comet_fast_t *fast, conn_rec *c,
                                      apr_bucket_brigade *brigade);

/* By the hub's thread while it serves */

/** The child ends: what was learnt is of no use any more, and a stop of httpd
 * destroys no connection.  NULL is ignored. */
void mod_comet_fast_forget(mod_comet_fast_t *fast);

/** Whether the socket is with the hub. Also by the owner. */
int mod_comet_fast_is_lent(const mod_comet_fast_t *fast);

/**
 * Serve a connection whose socket is with the hub.
 * @param ask  of the request that is parked; NULL: none is
 * @param answered  OUT: how many bytes of a body were sent to that request,
 *                  which is over; -1: it is as it was
 */
comet_outcome_e mod_comet_fast_serve(mod_comet_fast_t *fast, conn_rec *c,
                                     comet_subscriber_t *subscriber,
                                     const comet_delivery_t *delivery,
                                     const mod_comet_ask_t *ask,
                                     apr_off_t *answered);

#endif /* MOD_COMET_FAST_H */
