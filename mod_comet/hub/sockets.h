/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file hub/sockets.h
 * The sockets in the hub's epoll, and the subscribers they belong to.  Guarded
 * by the hub's lock.
 */
#ifndef COMET_SOCKETS_H
#define COMET_SOCKETS_H

#include "hub/subscriber.h"

typedef struct comet_sockets_t {
    int epoll; /* the hub's */
    apr_uint64_t kind; /* the upper half of an event's data, above the
                        * descriptor */
    comet_subscriber_t **owners; /* indexed by descriptor */
    apr_size_t size;
} comet_sockets_t;

/**
 * Watch a subscriber's blocked_fd for one event: its socket accepts data again.
 * If blocked_fd is -1, nothing is watched.  An event might have been fetched
 * before the subscriber left.  Then comet_sockets_find() finds no subscriber
 * or, at worst, another one that has the descriptor now and tries to write in
 * vain.
 * @return 0 if the socket cannot be watched
 */
int comet_sockets_watch_blocked(comet_sockets_t *sockets,
                                comet_subscriber_t *subscriber);

/**
 * Watch the socket that a subscriber owns for all events.  Each event is
 * reported once, when it begins: the kernel reports "writable" again only after
 * the socket has refused data.
 * @return APR_SUCCESS, APR_ENOMEM, or the error of epoll_ctl(2)
 */
apr_status_t comet_sockets_watch_own(comet_sockets_t *sockets,
                                     comet_subscriber_t *subscriber);

/** Stop watching a subscriber's socket. */
void comet_sockets_unwatch(comet_sockets_t *sockets,
                           comet_subscriber_t *subscriber);

/** The subscriber that a socket belongs to; NULL: there is no longer one. */
comet_subscriber_t *comet_sockets_find(const comet_sockets_t *sockets,
                                       apr_size_t fd);

#endif /* COMET_SOCKETS_H */
