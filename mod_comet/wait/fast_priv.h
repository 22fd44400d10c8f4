/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file wait/fast_priv.h
 * Shared by the files of the hub's fast ways: what they keep for a connection
 * (fast_state.c), what they learn of polls and of POSTs (fast_learn.c,
 * fast_lesson.c), how the hub serves a lent socket (fast.c), publishes
 * (fast_publish.c) and answers (fast_answer.c).
 */
#ifndef MOD_COMET_FAST_PRIV_H
#define MOD_COMET_FAST_PRIV_H

#include "server/child.h"
#include "output/outlet.h"
#include "wait/familiar.h"
#include "wait/fast.h"
#include "wait/sample.h"

typedef enum { HOME, HELD, RESTING, WAITING, PUBLISHING, RETURNING } state_e;

/* The state of one connection, in the connection's pool.  It belongs to the
 * connection's owner. */
struct mod_comet_fast_t {
    const mod_comet_child_t *child;
    apr_bucket_brigade *brigade; /* empty between two calls */
    state_e state;
    int fd; /* the connection's descriptor; while lent, an eventfd has this
             * number */
    int real; /* the socket's descriptor while it is lent; else -1 */

    /* what was learnt */
    comet_head_t head; /* the head of the request that httpd reads, or has read
                        * last */
    comet_timestamp_t asked; /* the cursor of the request being read; -1: none
                              * was found */
    mod_comet_sample_t answer; /* of the answers to such requests */

    /* what httpd has decided, for requests like the last one */
    int allowed;
    comet_seat_t *seat; /* the seat of the connection's client, who stays
                         * present while the connection rests; NULL: none */
    int fresh; /* httpd has set `allowed`, and the socket has not been lent
                * since */
    int early; /* how often the socket was lent before the answer's head was
                * known */
    comet_buffer_t *kept; /* where the filter puts the answer that is being
                           * made; NULL: the answer goes to the client */
    apr_size_t store;
    const comet_transport_t *transport;
    comet_format_t format;
    apr_interval_time_t hold;
    apr_interval_time_t keep_alive;
    apr_time_t until; /* after this time httpd decides again */
    apr_interval_time_t lendable; /* how long the socket may be lent: less than
                                   * the MPM's Timeout */
    apr_time_t lent_until;
    apr_int64_t cap; /* CometMaxSubscribers */
    int keep_alive_max;

    /* publishing */
    comet_text_t peer; /* where the client is; data NULL: nothing was published
                        * yet */
    comet_text_t own_peer; /* the same for this connection alone: a field that
                            * another module adds to the answer may depend on
                            * the connection */
    mod_comet_familiar_t *lesson; /* the POST that is being answered; NULL:
                                   * nothing is learnt */
    int publishes; /* the last request was a POST, and the hub knows it */
    comet_writer_t *writer; /* who has `job` */
    comet_writer_job_t *job; /* the message of the request that is in the
                              * socket; NULL: none */
    apr_time_t publish_until; /* when the message must be stored */
    TAILQ_ENTRY(mod_comet_fast_t) link; /* [answered_lock] */
    int is_answered; /* [answered_lock] whether it is in the child's list of
                      * answered connections */

    /* [hub thread] while lent */
    mod_comet_familiar_t *familiar; /* the head of the POST that came last;
                                     * NULL: none, or it has been answered */
    comet_subscriber_t *publisher; /* the connection's subscriber */
    int heard; /* more bytes came while the message was being stored, or the
                * client closed its side */
    int leaves; /* the subscriber was told to leave meanwhile */
    int gone; /* the client has closed its side; this is told only once */
    comet_timestamp_t cursor; /* the cursor of the poll that waits */
    apr_size_t pending; /* the length of the request, which is still in the
                         * socket */
    int looks; /* how many times in a row the store was looked at for this
                * poll */
    apr_time_t rest_until; /* when the connection's keep-alive time ends;
                            * APR_INT64_MAX: a part of a request has come, see
                            * mod_comet_fast_await_remainder() */
    mod_comet_outlet_t outlet; /* the way to the client */
};

/**
 * Let httpd's filters make the answer to the parked request, without sending
 * it.  Its head is learnt.  Called by the hub's thread while it serves.
 * @param body  the answer's body
 * @param answer  OUT: head and body are appended
 * @return APR_SUCCESS, or why there is no answer
 */
apr_status_t mod_comet_fast_make_answer(mod_comet_fast_t *fast,
                                        const mod_comet_fast_held_t *held,
                                        comet_text_t body,
                                        comet_buffer_t *answer);

/** Make the state of a connection, in its pool. */
mod_comet_fast_t *mod_comet_fast_make(conn_rec *c, int fd);

/** How long httpd's decision about a request lasts: less than the MPM's
 * Timeout. */
apr_interval_time_t mod_comet_fast_lasts(const request_rec *r);

/** Note what httpd's configuration says about the connection. */
void mod_comet_fast_note_connection(mod_comet_fast_t *fast,
                                    const request_rec *r);

/** Call nobody back for the submitted message, if there is one, and take the
 * connection out of the child's list.  Called by the owner, or by the hub's
 * thread while it serves. */
void mod_comet_fast_mute(mod_comet_fast_t *fast);

/** When the hub must give the connection back although its message is not
 * stored. */
apr_time_t mod_comet_fast_publish_end(const mod_comet_fast_t *fast);

/** The head of the answer to a POST has passed: learn it. */
void mod_comet_fast_end_lesson(mod_comet_fast_t *fast, comet_text_t head);

/* The functions below are called by the hub's thread while it serves. */

/** How many more requests the connection may take (MaxKeepAliveRequests).  Also
 * called by the owner. */
int mod_comet_fast_left(const mod_comet_fast_t *fast, const conn_rec *c);

/** Wake the MPM, so that one of its threads takes the connection back. */
comet_outcome_e mod_comet_fast_give_back(mod_comet_fast_t *fast,
                                         comet_subscriber_t *subscriber);

/** Wait for the rest of a request; if it has not come by @a until, give the
 * connection back. */
comet_outcome_e mod_comet_fast_await_remainder(mod_comet_fast_t *fast,
                                               comet_subscriber_t *subscriber,
                                               apr_time_t until);

/** Close the connection of a client that rests: make httpd see the end of the
 * input.  If the client has not acknowledged all of its answer, the connection is
 * only given back, and httpd closes it in its own way (wait/parked_limit.h). */
comet_outcome_e mod_comet_fast_end(mod_comet_fast_t *fast,
                                   comet_subscriber_t *subscriber);

/** The client is lost: let httpd close the connection. */
comet_outcome_e mod_comet_fast_lose(mod_comet_fast_t *fast, conn_rec *c,
                                    comet_subscriber_t *subscriber);

/** The client has its answer or is taking it: wait for its next request. */
comet_outcome_e mod_comet_fast_rest(mod_comet_fast_t *fast,
                                    comet_subscriber_t *subscriber);

/** The poll no longer waits, if one does: do not count it any more.  Also
 * called by the owner. */
void mod_comet_fast_leave(const mod_comet_fast_t *fast);

/** Send the answer that is in waiting->answer, with one send(). */
comet_outcome_e mod_comet_fast_send(mod_comet_fast_t *fast, conn_rec *c,
                                    comet_subscriber_t *subscriber);

/** Answer with a head like that of @a sample. */
comet_outcome_e mod_comet_fast_respond(mod_comet_fast_t *fast, conn_rec *c,
                                       comet_subscriber_t *subscriber,
                                       const mod_comet_sample_t *sample,
                                       comet_text_t body);

/** The client has sent bytes that are no poll like the last one. */
comet_outcome_e mod_comet_fast_hear_publish(mod_comet_fast_t *fast, conn_rec *c,
                                            comet_subscriber_t *subscriber,
                                            comet_text_t bytes);

/** Serve a connection in the state PUBLISHING. */
comet_outcome_e mod_comet_fast_serve_publish(mod_comet_fast_t *fast,
                                             conn_rec *c,
                                             comet_subscriber_t *subscriber,
                                             unsigned reasons);

#endif /* MOD_COMET_FAST_PRIV_H */
