/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file wait/fast.h
 * Polls that the hub answers without httpd (CometFastPoll).
 *
 * A client polls again and again on its connection, with requests that differ
 * only in the cursor.  httpd authorises and answers the first few of them,
 * until two answers have had equal heads.  After that the hub recognises
 * further requests by their bytes, and answers them itself.  The connection
 * rests in the MPM like any parked one, but its socket is lent to the hub: the
 * MPM polls an eventfd that has taken over the socket's number.  The hub looks
 * at the client's bytes without taking them (MSG_PEEK), and takes a request
 * only when it answers it.  So it can give the connection back at any moment:
 * the MPM is woken by the eventfd, the socket gets its number back, and httpd
 * reads the request as if nothing had happened.
 *
 * States of a parked connection; the hub changes them while the park is JOINED
 *   HOME      not lent; the MPM and httpd use the socket
 *   HELD      lent; the request that httpd has parked waits
 *   RESTING   lent; the client has its answer
 *   WAITING   lent; a poll waits, and its request is still in the socket
 *   RETURNING lent, but the hub is done with it and has woken the MPM
 */
#ifndef MOD_COMET_FAST_H
#define MOD_COMET_FAST_H

#include "hub/subscriber.h"
#include "request/ask.h"

typedef struct mod_comet_fast_t mod_comet_fast_t;

/* Called by the thread that owns the connection */

/**
 * A poll is about to be parked: decide whether the hub may answer the next
 * ones.
 * @param fast  IN and OUT: NULL at first; lives as long as the connection
 * @param fd    the connection's socket
 */
void mod_comet_fast_consider(mod_comet_fast_t **fast, request_rec *r,
                             const mod_comet_ask_t *ask, int fd);

/**
 * The connection has a request for httpd to read: learn its bytes, or note that
 * they are those of a poll like the last one.
 * @param brigade  empty, and empty again afterwards
 */
void mod_comet_fast_look(mod_comet_fast_t *fast, conn_rec *c,
                         apr_bucket_brigade *brigade);

/** Learn the head of an answer that is about to go to the output filters. */
void mod_comet_fast_watch_answer(mod_comet_fast_t *fast, request_rec *r);

/** The output filter that learns the head. */
apr_status_t mod_comet_fast_filter(ap_filter_t *filter,
                                   apr_bucket_brigade *brigade);

/**
 * The connection is about to be handed to the MPM: lend its socket to the hub,
 * if that is allowed.
 * @param subscriber  about to join; if the socket is lent, this sets ->own_fd
 *                    and ->listens
 * @param holds  whether a request is parked
 */
void mod_comet_fast_lend(mod_comet_fast_t *fast, conn_rec *c,
                         comet_subscriber_t *subscriber, int holds);

/** Give the socket its number back.  The subscriber has left the hub.
 * @return whether the socket was lent */
int mod_comet_fast_restore(mod_comet_fast_t *fast, conn_rec *c,
                           comet_subscriber_t *subscriber);

/** Let the filters send the bytes that the hub could not send.
 * @return APR_SUCCESS, or why the client is lost */
apr_status_t mod_comet_fast_send_rest(mod_comet_fast_t *fast, conn_rec *c,
                                      apr_bucket_brigade *brigade);

/* Called by the hub's thread while it serves */

/** Free what was learnt.  Called when the child ends: a stop of httpd destroys
 * no connections, so no pool's clean-up would free it.  NULL is ignored. */
void mod_comet_fast_forget(mod_comet_fast_t *fast);

/** Whether the socket is lent to the hub.  Also called by the owner. */
int mod_comet_fast_is_lent(const mod_comet_fast_t *fast);

/**
 * Serve a connection whose socket is lent to the hub.
 * @param ask  what the parked request asks for; NULL: no request is parked
 * @param answered  OUT: the length of the body with which the parked request
 *                  was answered and ended; -1: it was not answered
 */
comet_outcome_e mod_comet_fast_serve(mod_comet_fast_t *fast, conn_rec *c,
                                     comet_subscriber_t *subscriber,
                                     const comet_delivery_t *delivery,
                                     const mod_comet_ask_t *ask,
                                     apr_off_t *answered);

#endif /* MOD_COMET_FAST_H */
