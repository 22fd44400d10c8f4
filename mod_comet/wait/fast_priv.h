/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file wait/fast_priv.h
 * Shared by fast.c, which serves polls on lent sockets, and fast_learn.c, which
 * learns what such polls look like.
 */
#ifndef MOD_COMET_FAST_PRIV_H
#define MOD_COMET_FAST_PRIV_H

#include "server/child.h"
#include "output/outlet.h"
#include "wait/fast.h"

typedef enum { HOME, HELD, RESTING, WAITING, RETURNING } state_e;

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
    comet_head_answer_t answer; /* the head of the last answer to such a
                                 * request */
    int answers; /* how many equal heads were seen */
    int enough; /* how many are needed: 1 if all fields of the head are
                 * mod_comet's or httpd's own, else 2 */
    comet_timestamp_t counted; /* the cursor of the last answer that was
                                * counted */
    apr_time_t counted_at;
    int computed; /* another module computes headers for each answer */

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
    apr_int64_t cap; /* CometMaxSubscribers */
    int keep_alive_max;

    /* [hub thread] while lent */
    comet_timestamp_t cursor; /* the cursor of the poll that waits */
    apr_size_t pending; /* the length of the poll's request, which is still in
                         * the socket */
    int looks; /* how many times in a row the store was looked at for this
                * poll */
    apr_time_t rest_until; /* when the connection's keep-alive time ends */
    mod_comet_outlet_t outlet; /* the way to the client */
};

/** Whether the hub may repeat the head of the last answer. */
int mod_comet_fast_knows_answer(const mod_comet_fast_t *fast);

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

#endif /* MOD_COMET_FAST_PRIV_H */
