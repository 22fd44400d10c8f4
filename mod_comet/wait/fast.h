/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file wait/fast.h
 * Requests that the hub answers without httpd: polls (CometFastPoll), and POSTs
 * that publish a message (CometFastPublish).
 *
 * A client polls again and again on its connection, with requests that differ
 * only in the cursor.  httpd authorises the first one and makes the head of its
 * answer.  If another module has added a field to the head, httpd answers more
 * polls, until two answers have had equal heads.  After that the hub recognises
 * further requests by their bytes, and answers them itself.
 *
 * The connection rests in the MPM like any parked one, but its socket is lent to
 * the hub: the MPM polls an eventfd that has taken over the socket's number.
 * The hub looks at the client's bytes without taking them (MSG_PEEK), and takes
 * a request only when it answers it.  So it can give the connection back at any
 * moment: the MPM is woken by the eventfd, the socket gets its number back, and
 * httpd reads the request as if nothing had happened.
 *
 * The socket is lent as soon as the first poll waits, when no head is known yet.
 * httpd's filters then make the answer, one of them keeps it (COMET_FAST), and
 * the hub sends it.  So the second polls of a thousand clients that have just
 * come do not all pass through httpd at once.
 *
 * A publisher sends POSTs that differ in their bodies.  When httpd has accepted
 * one, the child keeps its head and the head of its answer (wait/familiar.h), and
 * the hub publishes what comes with the same head, on any connection of the same
 * client.
 *
 * States of a parked connection; the hub changes them while the park is JOINED
 *   HOME      not lent; the MPM and httpd use the socket
 *   HELD      lent; the request that httpd has parked waits
 *   RESTING   lent; the client has its answer
 *   WAITING   lent; a poll waits, and its request is still in the socket
 *   PUBLISHING  lent; a message is being stored, and its request is still in the
 *             socket
 *   RETURNING lent, but the hub is done with it and has woken the MPM
 */
#ifndef MOD_COMET_FAST_H
#define MOD_COMET_FAST_H

#include "wire/head.h"
#include "hub/subscriber.h"
#include "base/message.h"
#include "request/ask.h"
#include "server/child.h"

typedef struct mod_comet_fast_t mod_comet_fast_t;

/** The request that is parked on a connection. */
typedef struct mod_comet_fast_held_t {
    request_rec *r; /* NULL: no request is parked */
    const mod_comet_ask_t *ask; /* NULL: no request is parked */
    apr_off_t answered; /* OUT: the length of the body with which the request
                         * was answered; its end is left to the caller; -1: it
                         * was not answered */
} mod_comet_fast_held_t;

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
 * @param fast  NULL: no poll was considered yet
 * @param room  COMET_HEAD_MAX bytes for the connection's first request, used
 *              until mod_comet_fast_look_away()
 */
void mod_comet_fast_look(mod_comet_fast_t *fast, conn_rec *c, char *room);

/** httpd has handled the request, or has suspended it. */
void mod_comet_fast_look_away(mod_comet_fast_t *fast, conn_rec *c);

/** Until when the hub may publish what comes in requests like this POST.
 * Called as soon as httpd has decided about it, before its body is read: a body
 * can take any time.
 * @return by comet_monotonic(); 0: it may not */
apr_time_t mod_comet_fast_may_publish(const request_rec *r);

/**
 * The message of a POST is stored, and its answer is about to be made: learn
 * both heads.
 * @param fast  as for mod_comet_fast_consider()
 * @param fields  of the message
 * @param until  from mod_comet_fast_may_publish()
 */
void mod_comet_fast_learn_publish(mod_comet_fast_t **fast, request_rec *r,
                                  const comet_message_fields_t *fields,
                                  apr_time_t until, int fd);

/** If the last request was a POST that the hub knows now, the channel that it
 * has published to.
 * @return a reference; NULL: it was another request, or no memory is left */
comet_selection_t *mod_comet_fast_channel(const mod_comet_fast_t *fast);

/** If the hub has given the connection back only because the MPM's Timeout would
 * have ended, while a message waits to be stored: the message's channel.  The
 * hub can wait for the message again, so that no thread has to.
 * @return a reference; NULL: it has not, or no memory is left */
comet_selection_t *mod_comet_fast_unstored(const mod_comet_fast_t *fast);

/**
 * If the hub has submitted the message of the request that httpd handles now,
 * wait for the outcome.
 * @param fast  or NULL
 * @param status  OUT: as from comet_writer_publish()
 * @param timestamp  OUT, on success
 * @return 0: it has not
 */
int mod_comet_fast_finish_publish(mod_comet_fast_t *fast, apr_status_t *status,
                                  comet_timestamp_t *timestamp);

/** Forget a message that the hub has submitted and nobody waits for, and an
 * answer that is not learnt yet. */
void mod_comet_fast_drop_publish(mod_comet_fast_t *fast);

/** Learn the head of an answer that is about to go to the output filters. */
void mod_comet_fast_watch_answer(mod_comet_fast_t *fast, request_rec *r);

/** The output filter that learns the head, and keeps an answer that the hub
 * sends itself. */
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
apr_status_t mod_comet_fast_send_rest(mod_comet_fast_t *fast, conn_rec *c);

/* Called by the hub's thread while it serves */

/** Serve the connections whose submitted messages the writer has answered.
 * Called before the thread serves. */
void mod_comet_fast_take_answers(const mod_comet_child_t *child);

/** Free what was learnt of polls.  Called by the owner, and by the hub's thread
 * when the child ends: a stop of httpd destroys no connections, so no pool's
 * clean-up would free it.  NULL is ignored. */
void mod_comet_fast_forget(mod_comet_fast_t *fast);

/** Whether the socket is lent to the hub.  Also called by the owner. */
int mod_comet_fast_is_lent(const mod_comet_fast_t *fast);

/**
 * Serve a connection whose socket is lent to the hub.
 */
comet_outcome_e mod_comet_fast_serve(mod_comet_fast_t *fast, conn_rec *c,
                                     comet_subscriber_t *subscriber,
                                     const comet_delivery_t *delivery,
                                     mod_comet_fast_held_t *held);

#endif /* MOD_COMET_FAST_H */
