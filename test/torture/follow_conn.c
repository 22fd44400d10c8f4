/* SPDX-License-Identifier: Apache-2.0 */
/* The followers' connections, which are opened again however they end. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "follow.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define EVENTS 512
#define TURN_MS 5
/* Clients that were cut off or refused come back within this time, each at a
 * random moment. */
#define RETURN_US 40000

static int epoll_fd, connecting;
static follower_t *followers;
static size_t follower_count;
static char input[1 << 18];

void follow_loop_init(follower_t *all, size_t count)
{
    struct epoll_event event = { .events = EPOLLIN, .data.ptr = NULL };
    size_t i;

    followers = all;
    follower_count = count;
    for (i = 0; i < count; i++) {
        followers[i].fd = -1;
    }
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (epoll_fd < 0
        || epoll_ctl(epoll_fd, EPOLL_CTL_ADD, STDIN_FILENO, &event) < 0) {
        load_die("epoll: %s", strerror(errno));
    }
}

static void watch(follower_t *follower, uint32_t events, int operation)
{
    struct epoll_event event = { .events = events, .data.ptr = follower };

    if (epoll_ctl(epoll_fd, operation, follower->fd, &event) < 0) {
        load_die("epoll_ctl: %s", strerror(errno));
    }
}

static void disconnect(follower_t *follower)
{
    connecting -= follower->state == FOLLOW_CONNECTING;
    if (follower->fd >= 0) {
        close(follower->fd);
    }
    follower->fd = -1;
    follower->state = FOLLOW_CLOSED;
    follower->awaits = false;
    follower->due_us = follow_now_us() + random() % RETURN_US;
}

static void connect_again(follower_t *follower)
{
    struct sockaddr_in address = { .sin_family = AF_INET };
    int one = 1;

    address.sin_port = htons((uint16_t)follow_options.port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    follower->fd =
        socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (follower->fd < 0) {
        load_die("socket: %s", strerror(errno));
    }
    setsockopt(follower->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    follower->state = FOLLOW_CONNECTING;
    connecting++;
    load_http_reset(&follower->http);
    follow_begin(follower);
    if (connect(follower->fd, (struct sockaddr *)&address, sizeof(address)) < 0
        && errno != EINPROGRESS) {
        follow_totals.refused++;
        disconnect(follower);
        return;
    }
    watch(follower, EPOLLIN | EPOLLOUT, EPOLL_CTL_ADD);
}

static void ask(follower_t *follower)
{
    char request[1024];
    size_t length = follow_request(follower, request, sizeof(request));

    follower->state = FOLLOW_OPEN;
    follower->awaits = true;
    follower->asked_us = follow_now_us();
    follow_totals.requests++;
    /* A request is so small that the socket accepts it whole, unless the
     * connection has ended.  The loop notices that. */
    (void)!write(follower->fd, request, length);
}

static void connected(follower_t *follower)
{
    int error = 0;
    socklen_t length = sizeof(error);

    getsockopt(follower->fd, SOL_SOCKET, SO_ERROR, &error, &length);
    if (error != 0) {
        follow_totals.refused++;
        disconnect(follower);
        return;
    }
    connecting--;
    watch(follower, EPOLLIN, EPOLL_CTL_MOD);
    follower->opened_us = follow_now_us();
    follower->leaves_us = 0;
    if (follow_options.life_seconds > 0) {
        follower->leaves_us = follower->opened_us
                              + (int64_t)(-log(1 - drand48())
                                          * follow_options.life_seconds * 1e6);
    }
    ask(follower);
}

/* A server may close a connection between two answers even if the client has
 * just sent a request (RFC 9112, section 9.3.1). */
static void lost(follower_t *follower)
{
    bool unanswered = load_http_is_unanswered(&follower->http);

    follow_totals.unanswered += follower->awaits && unanswered;
    follow_totals.cut += follower->awaits && !unanswered;
    disconnect(follower);
}

static void answered(follower_t *follower)
{
    follower->awaits = false;
    if (follower->http.status == 200) {
        follow_end(follower);
    }
    if (follower->http.closes || follow_streams(follower)) {
        disconnect(follower);
        return;
    }
    follower->state = FOLLOW_PAUSING;
    follower->due_us = follow_now_us() + 1000 * follow_options.pause_ms;
}

static void refused(const follower_t *follower)
{
    follow_totals.refusals++;
    follow_totals.last_refusal = follower->http.status;
}

static void take(follower_t *follower, const char *data, size_t length)
{
    const char *body;
    size_t body_length;

    while (follower->fd >= 0) {
        switch (load_http_next(&follower->http, &data, &length, &body,
                               &body_length)) {
        case LOAD_HTTP_MORE:
            return;
        case LOAD_HTTP_HEAD:
            if (follower->http.status != 200) {
                refused(follower);
            }
            break;
        case LOAD_HTTP_BODY:
            if (follower->http.status == 200) {
                follow_take(follower, body, body_length);
            }
            break;
        case LOAD_HTTP_END:
            answered(follower);
            break;
        case LOAD_HTTP_BAD:
            follow_fault(&follow_totals.malformed, follower, "no HTTP", 0);
            disconnect(follower);
            break;
        }
    }
}

static void happened(follower_t *follower, uint32_t events)
{
    ssize_t count;

    if (follower->fd < 0) {
        return; /* an earlier event of this turn closed the connection */
    }
    if (follower->state == FOLLOW_CONNECTING) {
        connected(follower);
    }
    else if (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
        count = read(follower->fd, input, sizeof(input));
        if (count > 0) {
            take(follower, input, (size_t)count);
        }
        else if (count == 0 || (errno != EAGAIN && errno != EINTR)) {
            lost(follower);
        }
    }
}

/* Leave, in half of the cases by a reset.  Half of the clients that leave come
 * back as new clients. */
static void leave(follower_t *follower)
{
    struct linger reset = { 1, 0 };

    follow_totals.left++;
    if (random() & 1) {
        setsockopt(follower->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
    }
    if (random() & 1) {
        follow_forget(follower);
    }
    disconnect(follower);
}

static void look_after(follower_t *follower, int64_t now)
{
    if (follower->state == FOLLOW_CLOSED && follower->due_us <= now
        && !follow_options.resting && connecting < follow_options.connects) {
        connect_again(follower);
    }
    else if (follower->state == FOLLOW_PAUSING && follower->due_us <= now) {
        ask(follower);
    }
    else if (follower->state == FOLLOW_OPEN && follow_options.life_seconds > 0
             && follower->leaves_us <= now) {
        leave(follower);
    }
}

bool follow_loop_turn(void)
{
    struct epoll_event events[EVENTS];
    int count = epoll_wait(epoll_fd, events, EVENTS, TURN_MS), i;
    bool commanded = false;
    static int64_t looked_us;
    size_t j;

    for (i = 0; i < count; i++) {
        if (events[i].data.ptr) {
            happened(events[i].data.ptr, events[i].events);
        }
        else {
            commanded = true;
        }
    }
    if (follow_now_us() - looked_us >= 1000 * TURN_MS) {
        looked_us = follow_now_us();
        for (j = 0; j < follower_count; j++) {
            look_after(&followers[j], looked_us);
        }
    }
    return commanded;
}

size_t follow_open_count(void)
{
    size_t i, open = 0;

    for (i = 0; i < follower_count; i++) {
        open += followers[i].state == FOLLOW_PAUSING
                || (followers[i].state == FOLLOW_OPEN
                    && (!follow_streams(&followers[i])
                        || !load_http_is_unanswered(&followers[i].http)));
    }
    return open;
}

void follow_close_all(void)
{
    size_t i;

    for (i = 0; i < follower_count; i++) {
        disconnect(&followers[i]);
        followers[i].due_us = INT64_MAX;
    }
}
