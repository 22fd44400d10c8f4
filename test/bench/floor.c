/* SPDX-License-Identifier: Apache-2.0 */
/* A server that does the least possible: one thread, epoll, one write(2) a
 * delivery.
 *
 * It is not a product: it keeps the last messages of each channel in memory,
 * parses only what the generator sends, and trusts the generator.
 *
 * usage: floor PORT
 *
 *   GET  /stream/CH       an event stream, until the client leaves
 *   GET  /history/CH      the messages that are kept, then the same stream
 *   GET  /poll/CH?c=SEQ   the oldest message after SEQ, once there is one;
 *                         X-Seq has its number, the next cursor
 *   GET  /get/CH          the newest message, at once
 *   POST /publish/CH      the body is the message */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define KEPT 1024 /* messages kept for each channel */
#define CHANNELS 4096
#define CONNS 65536 /* the highest file descriptor is below this */
#define REQUEST_MAX 65536
#define OUTPUT_MAX (1 << 20)

typedef enum { ASKING, STREAM, POLL, KINDS } kind_e;

typedef struct conn_t {
    char *input; /* an incomplete request */
    char *unsent;
    size_t input_length, unsent_length, unsent_offset;
    int next, previous; /* neighbours in the list of clients that wait in the
                         * same channel in the same way; 0: none */
    int channel;
    kind_e kind;
} conn_t;

typedef struct text_t {
    char *bytes;
    size_t length;
} text_t;

typedef struct channel_t {
    int first[KINDS]; /* the first client that waits, by kind */
    uint64_t count; /* how many messages were published; also the number of the
                     * newest message */
    text_t *kept; /* message n is at n % KEPT */
} channel_t;

static conn_t conns[CONNS];
static channel_t channels[CHANNELS];
static int epoll_fd;
static char output[OUTPUT_MAX];

static const char STREAM_HEAD[] =
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
    "Cache-Control: no-store\r\n\r\n";

static void *grow(void *memory, size_t bytes)
{
    void *grown = realloc(memory, bytes);

    if (!grown) {
        abort();
    }
    return grown;
}

static void watch(int fd, uint32_t events, int operation)
{
    struct epoll_event event = { .events = events, .data.fd = fd };

    epoll_ctl(epoll_fd, operation, fd, &event);
}

/* --- Waiting clients ------------------------------------------------------ */

static void wait_for(int fd, int channel, kind_e kind)
{
    conn_t *conn = &conns[fd];
    int *first = &channels[channel].first[kind];

    conn->kind = kind;
    conn->channel = channel;
    conn->previous = 0;
    conn->next = *first;
    if (conn->next) {
        conns[conn->next].previous = fd;
    }
    *first = fd;
}

static void wait_no_more(int fd)
{
    conn_t *conn = &conns[fd];

    if (conn->kind == ASKING) {
        return;
    }
    if (conn->previous) {
        conns[conn->previous].next = conn->next;
    }
    else {
        channels[conn->channel].first[conn->kind] = conn->next;
    }
    if (conn->next) {
        conns[conn->next].previous = conn->previous;
    }
    conn->kind = ASKING;
}

static void end(int fd)
{
    wait_no_more(fd);
    free(conns[fd].input);
    free(conns[fd].unsent);
    conns[fd] = (conn_t){ .kind = ASKING };
    close(fd);
}

/* --- Output --------------------------------------------------------------- */

static void put(int fd, const char *bytes, size_t length)
{
    conn_t *conn = &conns[fd];
    ssize_t written = 0;

    if (conn->unsent_length == 0) {
        written = write(fd, bytes, length);
        if (written < 0 && errno != EAGAIN) {
            return; /* the loop notices the error */
        }
        written = written < 0 ? 0 : written;
        if ((size_t)written == length) {
            return;
        }
        watch(fd, EPOLLIN | EPOLLOUT, EPOLL_CTL_MOD);
    }
    length -= (size_t)written;
    conn->unsent = grow(conn->unsent, conn->unsent_length + length);
    memcpy(conn->unsent + conn->unsent_length, bytes + written, length);
    conn->unsent_length += length;
}

static void put_unsent(int fd)
{
    conn_t *conn = &conns[fd];
    ssize_t written = write(fd, conn->unsent + conn->unsent_offset,
                            conn->unsent_length - conn->unsent_offset);

    if (written > 0) {
        conn->unsent_offset += (size_t)written;
    }
    if (conn->unsent_offset == conn->unsent_length) {
        conn->unsent_offset = conn->unsent_length = 0;
        watch(fd, EPOLLIN, EPOLL_CTL_MOD);
    }
}

/* Write a message into `to`, as an event of a stream. */
static size_t event_of(const text_t *message, char *to)
{
    memcpy(to, "data: ", 6);
    memcpy(to + 6, message->bytes, message->length);
    memcpy(to + 6 + message->length, "\n\n", 2);
    return message->length + 8;
}

/* Write a message as the answer to a poll. */
static size_t answer_of(const text_t *message, uint64_t number, char *to)
{
    int head = snprintf(to, 128,
                        "HTTP/1.1 200 OK\r\nX-Seq: %llu\r\n"
                        "Content-Length: %zu\r\n\r\n",
                        (unsigned long long)number, message->length);

    memcpy(to + head, message->bytes, message->length);
    return (size_t)head + message->length;
}

static uint64_t oldest(const channel_t *channel)
{
    return channel->count < KEPT ? 1 : channel->count - KEPT + 1;
}

static void put_message(int fd, const channel_t *channel, uint64_t number)
{
    size_t length = answer_of(&channel->kept[number % KEPT], number, output);

    put(fd, output, length);
}

static void put_history(int fd, const channel_t *channel)
{
    size_t length = sizeof(STREAM_HEAD) - 1;
    uint64_t number;

    memcpy(output, STREAM_HEAD, length);
    for (number = oldest(channel); number <= channel->count; number++) {
        const text_t *message = &channel->kept[number % KEPT];

        if (length + message->length + 8 > sizeof(output)) {
            put(fd, output, length);
            length = 0;
        }
        length += event_of(message, output + length);
    }
    put(fd, output, length);
}

/* --- Requests ------------------------------------------------------------- */

static void publish(int number, const char *body, size_t length)
{
    channel_t *channel = &channels[number];
    text_t *message;
    size_t written;
    int fd, next;

    if (!channel->kept) {
        channel->kept = grow(NULL, KEPT * sizeof(*channel->kept));
        memset(channel->kept, 0, KEPT * sizeof(*channel->kept));
    }
    message = &channel->kept[++channel->count % KEPT];
    message->bytes = grow(message->bytes, length + 1);
    memcpy(message->bytes, body, length);
    message->length = length;
    written = event_of(message, output);
    for (fd = channel->first[STREAM]; fd; fd = conns[fd].next) {
        put(fd, output, written);
    }
    written = answer_of(message, channel->count, output);
    for (fd = channel->first[POLL]; fd; fd = next) {
        next = conns[fd].next;
        wait_no_more(fd);
        put(fd, output, written);
    }
}

static void get(int fd, const char *path, int number)
{
    channel_t *channel = &channels[number];
    const char *query = strstr(path, "?c=");
    char *after;
    uint64_t cursor = query ? strtoull(query + 3, &after, 10) : channel->count;

    if (query && after == query + 3) {
        cursor = channel->count; /* the first poll has no cursor */
    }
    if (strncmp(path, "/stream/", 8) == 0) {
        put(fd, STREAM_HEAD, sizeof(STREAM_HEAD) - 1);
        wait_for(fd, number, STREAM);
        free(conns[fd].input);
        conns[fd].input = NULL;
    }
    else if (strncmp(path, "/history/", 9) == 0) {
        put_history(fd, channel);
        wait_for(fd, number, STREAM);
    }
    else if (strncmp(path, "/get/", 5) == 0 && channel->count > 0) {
        put_message(fd, channel, channel->count);
    }
    else if (cursor < channel->count) {
        put_message(fd, channel,
                    cursor + 1 < oldest(channel) ? oldest(channel)
                                                 : cursor + 1);
    }
    else {
        wait_for(fd, number, POLL);
    }
}

/* Serve the request at the start of `text`, which ends in NUL.  Returns the
 * request's length, or 0 if it is still incomplete. */
static size_t serve(int fd, char *text, size_t length)
{
    static const char accepted[] = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n"
                                   "\r\n";
    char *body = strstr(text, "\r\n\r\n"), *path, *field, *slash;
    size_t counted = 0, head;
    int channel;

    if (!body) {
        return 0;
    }
    body += 4;
    head = (size_t)(body - text);
    field = strcasestr(text, "\r\nContent-Length:");
    if (field && field < body) {
        counted = strtoul(field + strlen("\r\nContent-Length:"), NULL, 10);
    }
    if (counted > length - head) {
        return 0;
    }
    path = strchr(text, ' ');
    slash = path ? strchr(path + 2, '/') : NULL;
    channel = slash ? (int)(strtoul(slash + 1, NULL, 10) % CHANNELS) : 0;
    if (text[0] == 'P') {
        publish(channel, body, counted);
        put(fd, accepted, sizeof(accepted) - 1);
    }
    else if (path) {
        body[-4] = '\0';
        get(fd, path + 1, channel);
    }
    return head + counted;
}

/* --- The loop ------------------------------------------------------------- */

static void take_input(int fd)
{
    static char text[2 * REQUEST_MAX + 1];
    conn_t *conn = &conns[fd];
    size_t length = conn->input_length, at = 0, used;
    ssize_t count;

    memcpy(text, conn->input ? conn->input : "", length);
    count = read(fd, text + length, REQUEST_MAX);
    if (count < 0 && errno == EAGAIN) {
        return;
    }
    if (count <= 0) {
        end(fd);
        return;
    }
    if (conn->kind == STREAM) {
        return;
    }
    length += (size_t)count;
    text[length] = '\0';
    while (at < length && (used = serve(fd, text + at, length - at)) > 0) {
        at += used;
    }
    conn->input_length = length - at;
    if (conn->input_length > REQUEST_MAX) {
        end(fd);
    }
    else if (conn->input_length > 0) {
        conn->input = grow(conn->input, conn->input_length);
        memcpy(conn->input, text + at, conn->input_length);
    }
}

static void take_conns(int listener)
{
    int one = 1, fd;

    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        if (fd >= CONNS) {
            close(fd);
            continue;
        }
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
        watch(fd, EPOLLIN, EPOLL_CTL_ADD);
    }
}

static int listen_at(const char *port)
{
    struct sockaddr_in address = { .sin_family = AF_INET };
    int one = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);

    address.sin_port = htons((uint16_t)strtoul(port, NULL, 10));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0
        || listen(fd, 4096) < 0) {
        perror("floor");
        exit(1);
    }
    return fd;
}

int main(int argc, char **argv)
{
    struct epoll_event events[512];
    struct rlimit limit;
    int listener, count, i;

    if (argc != 2) {
        fprintf(stderr, "usage: floor PORT\n");
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
    listener = listen_at(argv[1]);
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    watch(listener, EPOLLIN, EPOLL_CTL_ADD);
    for (;;) {
        count = epoll_wait(epoll_fd, events, 512, -1);
        for (i = 0; i < count; i++) {
            int fd = events[i].data.fd;

            if (fd == listener) {
                take_conns(listener);
                continue;
            }
            if ((events[i].events & EPOLLOUT) && conns[fd].unsent_length) {
                put_unsent(fd);
            }
            if (events[i].events & ~(uint32_t)EPOLLOUT) {
                take_input(fd);
            }
        }
    }
}
