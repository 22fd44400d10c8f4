/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file wait/fast_priv.h
 * Shared by fast.c, which serves polls on lent sockets, and fast_learn.c, which
 * learns what such polls look like.
 */
#ifndef MOD_COMET_FAST_PRIV_H
#define MOD_COMET_FAST_PRIV_H

#include "wire/head.h"
#include "server/child.h"
#include "output/outlet.h"
#include "wait/fast.h"

typedef enum { HOME, HELD, RESTING, WAITING, RETURNING } state_e;

/* The state of one connection, in the connection's pool.  It belongs to the
 * connection's owner. */
struct mod_comet_fast_t {
    const mod_comet_child_t *child;
    state_e state;
    int fd; /* the connection's descriptor; while lent, an eventfd has this
             * number */
    int real; /* the socket's descriptor while it is lent; else -1 */

    /* what was learnt */
    comet_head_t head; /* the head of the request that httpd reads, or has read
                        * last */
    int same; /* whether the request being read is like the one before */
    comet_timestamp_t asked; /* the cursor of the request being read; -1: none
                              * was found */
    comet_head_answer_t answer; /* the head of the last answer to such a
                                 * request */
    int answers; /* how many equal heads were seen: 2 are enough */
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

#endif /* MOD_COMET_FAST_PRIV_H */
