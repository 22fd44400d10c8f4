/* SPDX-License-Identifier: Apache-2.0 */
/* The load generator's sockets, and the loop over their events. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "load.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#ifndef IP_BIND_ADDRESS_NO_PORT
#define IP_BIND_ADDRESS_NO_PORT 24
#endif

#define EVENTS 512
/* Subscribers use the addresses 127.0.0.1 to 127.0.0.8, so that there are
 * enough ports. */
#define ADDRESSES 8
#define READS_IN_A_ROW 8

typedef struct target_t {
    struct sockaddr_in address;
    char host[64];
    const char *path;
    bool websocket;
} target_t;

static target_t targets[2]; /* by load_conn_t.publisher */
static int epoll_fd, timer_fd;
static char input[1 << 18];

void load_loop_init(void)
{
    struct epoll_event event = { .events = EPOLLIN, .data.ptr = NULL };

    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (epoll_fd < 0 || timer_fd < 0
        || epoll_ctl(epoll_fd, EPOLL_CTL_ADD, timer_fd, &event) < 0) {
        load_die("epoll: %s", strerror(errno));
    }
}

void load_target(bool publisher, const char *url)
{
    target_t *target = &targets[publisher];
    size_t scheme = strncmp(url, "ws://", 5) == 0 ? 5 : strlen("http://");
    const char *start = url + scheme, *colon, *slash;
    char address[16] = "";

    if ((scheme != 5 && strncmp(url, "http://", scheme) != 0)
        || !(colon = strchr(start, ':')) || !(slash = strchr(colon, '/'))
        || (size_t)(colon - start) >= sizeof(address)
        || (size_t)(slash - start) >= sizeof(target->host)) {
        load_die("not http://ADDRESS:PORT/PATH or ws://…: %s", url);
    }
    target->websocket = scheme == 5;
    memcpy(address, start, (size_t)(colon - start));
    memcpy(target->host, start, (size_t)(slash - start));
    target->path = slash;
    target->address.sin_family = AF_INET;
    target->address.sin_port = htons((uint16_t)strtoul(colon + 1, NULL, 10));
    if (inet_pton(AF_INET, address, &target->address.sin_addr) != 1) {
        load_die("not an IPv4 address: %s", address);
    }
}

bool load_conn_is_websocket(const load_conn_t *conn)
{
    return targets[conn->publisher].websocket;
}

const char *load_conn_host(const load_conn_t *conn)
{
    return targets[conn->publisher].host;
}

void load_conn_path(const load_conn_t *conn, char *path, size_t room)
{
    const char *from = targets[conn->publisher].path;
    size_t length = 0, step;
    int written;

    while (*from && length + 1 < room) {
        step = 1;
        written = 1;
        if (strncmp(from, "{channel}", 9) == 0) {
            written =
                snprintf(path + length, room - length, "%d", conn->channel);
            step = 9;
        }
        else if (strncmp(from, "{cursor}", 8) == 0) {
            written = snprintf(path + length, room - length, "%s",
                               conn->cursor ? conn->cursor : "");
            step = 8;
        }
        else {
            path[length] = *from;
        }
        from += step;
        length += (size_t)written;
    }
    if (length + 1 >= room) {
        load_die("a URL is too long");
    }
    path[length] = '\0';
}

static void watch(load_conn_t *conn, uint32_t events, int operation)
{
    struct epoll_event event = { .events = events, .data.ptr = conn };

    if (epoll_ctl(epoll_fd, operation, conn->fd, &event) < 0) {
        load_die("epoll_ctl: %s", strerror(errno));
    }
}

static void bind_somewhere(int fd)
{
    static uint32_t turn;
    int one = 1;
    struct sockaddr_in address = { .sin_family = AF_INET };

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK + turn++ % ADDRESSES);
    setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one));
    if (bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
        load_die("bind: %s", strerror(errno));
    }
}

bool load_conn_open(load_conn_t *conn)
{
    const target_t *target = &targets[conn->publisher];
    int one = 1;

    conn->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (conn->fd < 0) {
        load_die("socket: %s", strerror(errno));
    }
    setsockopt(conn->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    if (!conn->publisher) {
        bind_somewhere(conn->fd);
    }
    load_http_reset(&conn->http);
    conn->scan.carried = 0;
    conn->unsent_length = conn->unsent_offset = 0;
    conn->busy = false;
    conn->opened_ns = load_now_ns();
    conn->state = LOAD_CONNECTING;
    load.totals.connecting++;
    if (connect(conn->fd, (const struct sockaddr *)&target->address,
                sizeof(target->address))
            < 0
        && errno != EINPROGRESS) {
        load.totals.connect_errors++;
        load_conn_close(conn, LOAD_CLOSED);
        return false;
    }
    watch(conn, EPOLLIN | EPOLLOUT, EPOLL_CTL_ADD);
    return true;
}

void load_conn_close(load_conn_t *conn, load_state_e state)
{
    if (conn->state == LOAD_CONNECTING) {
        load.totals.connecting--;
    }
    if (conn->fd >= 0) {
        close(conn->fd);
    }
    conn->fd = -1;
    conn->busy = false;
    conn->state = state;
}

void load_conn_write(load_conn_t *conn, const char *data, size_t length)
{
    ssize_t written = 0;

    if (conn->unsent_length == 0) {
        written = write(conn->fd, data, length);
        if (written < 0 && errno != EAGAIN) {
            return; /* the loop notices the error */
        }
        written = written < 0 ? 0 : written;
        if ((size_t)written == length) {
            return;
        }
    }
    data += written;
    length -= (size_t)written;
    conn->unsent = load_grow(conn->unsent, conn->unsent_length + length);
    memcpy(conn->unsent + conn->unsent_length, data, length);
    conn->unsent_length += length;
    watch(conn, EPOLLIN | EPOLLOUT, EPOLL_CTL_MOD);
}

static void write_unsent(load_conn_t *conn)
{
    ssize_t written = write(conn->fd, conn->unsent + conn->unsent_offset,
                            conn->unsent_length - conn->unsent_offset);

    if (written > 0) {
        conn->unsent_offset += (size_t)written;
    }
    if (conn->unsent_offset == conn->unsent_length) {
        conn->unsent_offset = conn->unsent_length = 0;
        watch(conn, EPOLLIN, EPOLL_CTL_MOD);
    }
}

static void connected(load_conn_t *conn, uint32_t events)
{
    int error = 0;
    socklen_t length = sizeof(error);

    getsockopt(conn->fd, SOL_SOCKET, SO_ERROR, &error, &length);
    if (error != 0) {
        load_conn_close(conn, LOAD_CLOSED);
        if (++load.totals.connect_errors > 1000) {
            load_die("too many connect errors: %s", strerror(error));
        }
    }
    else if (events & EPOLLOUT) {
        conn->state = LOAD_OPEN;
        load.totals.connecting--;
        watch(conn, EPOLLIN, EPOLL_CTL_MOD);
        if (!conn->publisher) {
            load_subscriber_ask(conn);
        }
        else {
            load_publisher_opened(conn);
        }
    }
}

static void take_input(load_conn_t *conn)
{
    ssize_t count;
    int i;

    for (i = 0; i < READS_IN_A_ROW && conn->fd >= 0; i++) {
        count = read(conn->fd, input, sizeof(input));
        if (count < 0 && (errno == EAGAIN || errno == EINTR)) {
            return;
        }
        if (count <= 0 && conn->publisher) {
            load_publisher_lost(conn);
            return;
        }
        if (count <= 0) {
            load_subscriber_lost(conn, load_now_ns());
            return;
        }
        if (conn->publisher) {
            load_publisher_take(conn, input, (size_t)count, load_now_ns());
        }
        else {
            load_subscriber_take(conn, input, (size_t)count, load_now_ns());
        }
        if ((size_t)count < sizeof(input)) {
            return;
        }
    }
}

static void happened(load_conn_t *conn, uint32_t events)
{
    if (conn->fd < 0) {
        return; /* an earlier event of this turn closed the connection */
    }
    if (conn->state == LOAD_CONNECTING) {
        connected(conn, events);
        return;
    }
    if ((events & EPOLLOUT) && conn->unsent_length > 0) {
        write_unsent(conn);
    }
    if (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
        take_input(conn);
    }
}

void load_loop_wake_at(int64_t time_ns)
{
    struct itimerspec when = { .it_value = { time_ns / 1000000000,
                                             time_ns % 1000000000 } };

    timerfd_settime(timer_fd, TFD_TIMER_ABSTIME, &when, NULL);
}

void load_loop_turn(int timeout_ms)
{
    struct epoll_event events[EVENTS];
    int count = epoll_wait(epoll_fd, events, EVENTS, timeout_ms), i;
    uint64_t expired;

    for (i = 0; i < count; i++) {
        load_conn_t *conn = events[i].data.ptr;

        if (!conn) {
            (void)!read(timer_fd, &expired, sizeof(expired));
            continue;
        }
        happened(conn, events[i].events);
        /* even among many deliveries, the next message is published on time */
        if (load.publishing && (i % 32 == 31 || conn->publisher)) {
            load_publisher_tick();
        }
    }
    if (load.publishing) {
        load_publisher_tick();
    }
    if (load.asking) {
        load_subscriber_tick();
    }
}

void load_loop_for(double seconds)
{
    int64_t end = load_now_ns() + (int64_t)(seconds * 1e9), left;

    while ((left = end - load_now_ns()) > 0) {
        left = left / 1000000 + 1;
        load_loop_turn(left > 100 ? 100 : (int)left);
    }
}
