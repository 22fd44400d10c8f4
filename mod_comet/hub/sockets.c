/* SPDX-License-Identifier: Apache-2.0 */
/* The sockets in the hub's epoll, and the subscribers they belong to. */
#include "hub/sockets.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>

#define FIRST_SIZE 1024

static int has_room(comet_sockets_t *sockets, int fd)
{
    apr_size_t size = sockets->size ? sockets->size : FIRST_SIZE, i;
    comet_subscriber_t **owners;

    while (size <= (apr_size_t)fd) {
        size *= 2;
    }
    if (size == sockets->size) {
        return 1;
    }
    owners = realloc(sockets->owners, size * sizeof(*owners));
    if (!owners) {
        return 0;
    }
    for (i = sockets->size; i < size; i++) {
        owners[i] = NULL;
    }
    sockets->owners = owners;
    sockets->size = size;
    return 1;
}

static apr_status_t watch(comet_sockets_t *sockets,
                          comet_subscriber_t *subscriber, int fd,
                          apr_uint32_t events)
{
    struct epoll_event event = { .events = events,
                                 .data.u64 = sockets->kind | (apr_uint32_t)fd };

    if (!has_room(sockets, fd)) {
        return APR_ENOMEM;
    }
    if (epoll_ctl(sockets->epoll,
                  subscriber->watched_fd == fd ? EPOLL_CTL_MOD : EPOLL_CTL_ADD,
                  fd, &event)
        != 0) {
        return errno;
    }
    sockets->owners[fd] = subscriber;
    subscriber->watched_fd = fd;
    return APR_SUCCESS;
}

int comet_sockets_watch_blocked(comet_sockets_t *sockets,
                                comet_subscriber_t *subscriber)
{
    int fd = subscriber->blocked_fd;

    if (subscriber->watched_fd != fd) {
        comet_sockets_unwatch(sockets, subscriber);
    }
    return fd < 0
           || watch(sockets, subscriber, fd, EPOLLOUT | EPOLLONESHOT)
                  == APR_SUCCESS;
}

apr_status_t comet_sockets_watch_own(comet_sockets_t *sockets,
                                     comet_subscriber_t *subscriber)
{
    return watch(sockets, subscriber, subscriber->own_fd,
                 EPOLLIN | EPOLLRDHUP | EPOLLOUT | EPOLLET);
}

void comet_sockets_unwatch(comet_sockets_t *sockets,
                           comet_subscriber_t *subscriber)
{
    if (subscriber->watched_fd >= 0) {
        epoll_ctl(sockets->epoll, EPOLL_CTL_DEL, subscriber->watched_fd, NULL);
        sockets->owners[subscriber->watched_fd] = NULL;
        subscriber->watched_fd = -1;
    }
}

comet_subscriber_t *comet_sockets_find(const comet_sockets_t *sockets,
                                       apr_size_t fd)
{
    return fd < sockets->size ? sockets->owners[fd] : NULL;
}
