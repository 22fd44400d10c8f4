/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file wait/fast_priv.h
 * What fast.c, which serves polls on lent sockets, and fast_learn.c share.
 */
#ifndef MOD_COMET_FAST_PRIV_H
#define MOD_COMET_FAST_PRIV_H

#include "wire/head.h"
#include "server/child.h"
#include "output/outbox.h"
#include "wait/fast.h"

typedef enum { HOME, HELD, RESTING, WAITING, RETURNING } state_e;

/* Of one connection, in its pool; owned as the park is. */
struct mod_comet_fast_t {
    const mod_comet_child_t *child;
    state_e state;
    int fd; /* the connection's; while lent, an eventfd of that number */
    int real; /* while lent, the socket */

    /* what was learnt */
    comet_head_t head; /* of the request that httpd reads or has read */
    int same; /* it is like the one before */
    comet_timestamp_t asked; /* its cursor; -1: none was found */
    comet_head_answer_t answer; /* of the last answer to a request like it */
    int answers; /* so many were equal: 2 are enough */
    comet_timestamp_t counted; /* the cursor of the last one that counted */
    apr_time_t counted_at;
    int computed; /* another module computes headers for each answer */

    /* what httpd has decided; for requests like the last one */
    int allowed;
    int fresh; /* and the socket was not lent for it yet */
    apr_size_t store;
    comet_format_t format;
    apr_interval_time_t hold;
    apr_interval_time_t keep_alive;
    apr_time_t until; /* by then httpd decides anew */
    apr_int64_t cap; /* CometMaxSubscribers */
    int keep_alive_max;

    /* while lent: the hub's */
    comet_timestamp_t cursor; /* of the poll that waits */
    apr_size_t pending; /* bytes of its request, in the socket */
    int looks;
    apr_time_t rest_until;
    mod_comet_outbox_t outbox; /* of an answer that the socket did not take */
};

#endif /* MOD_COMET_FAST_PRIV_H */
