/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file hub/sockets.h
 * Which subscriber a socket in the hub's epoll belongs to.  Guarded by the
 * hub's lock.
 */
#ifndef COMET_SOCKETS_H
#define COMET_SOCKETS_H

#include "hub/subscriber.h"

typedef struct comet_sockets_t {
    int epoll; /* the hub's */
    apr_uint64_t kind; /* above the descriptor, in what epoll tells */
    comet_subscriber_t **owners; /* by descriptor */
    apr_size_t size;
} comet_sockets_t;

/**
 * Have a subscriber's blocked_fd told of once when it takes data again, or
 * nothing told when it has none.  An event that was fetched before it left
 * finds nobody, or at worst another one who then tries to write in vain.
 * @return 0: it could not be
 */
int comet_sockets_watch_blocked(comet_sockets_t *sockets,
                                comet_subscriber_t *subscriber);

/**
 * Have all told of a subscriber's own socket, each time it becomes so (the
 * kernel says "writable" anew only after it took no more).
 * @return APR_SUCCESS, APR_ENOMEM or what epoll_ctl(2) says
 */
apr_status_t comet_sockets_watch_own(comet_sockets_t *sockets,
                                     comet_subscriber_t *subscriber);

/** Nothing is to be told of any more. */
void comet_sockets_unwatch(comet_sockets_t *sockets,
                           comet_subscriber_t *subscriber);

/** Whose socket it is; NULL: nobody's any more. */
comet_subscriber_t *comet_sockets_find(const comet_sockets_t *sockets,
                                       apr_size_t fd);

#endif /* COMET_SOCKETS_H */
