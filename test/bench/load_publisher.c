/* SPDX-License-Identifier: Apache-2.0 */
/* Publishers: messages on a schedule, or as fast as they are acknowledged. */
#include "load.h"

#include <stdio.h>
#include <string.h>

static int64_t wanted; /* messages; 0: until the time is over */
static double rate; /* a second; 0: as fast as acknowledged */
static uint64_t turn; /* the next channel */
static int next_publisher;

void load_publisher_start(int64_t messages, double per_second, double seconds)
{
    int64_t now = load_now_ns();

    wanted = messages;
    rate = per_second;
    load.due_from_ns = now;
    load.until_ns = messages ? INT64_MAX : now + (int64_t)(seconds * 1e9);
    load.publishing = true;
    load_publisher_tick();
}

bool load_publisher_done(void)
{
    return !load.publishing
           && load.totals.acknowledged + load.totals.refused
                  == load.totals.sent;
}

/* The text of the next message of a channel. */
static size_t next_message(int channel, int64_t now_ns, char *to)
{
    load_message_t message = { .run = load.run,
                               .channel = (uint64_t)channel,
                               .sequence = ++load.sent_in[channel],
                               .sent_ns = now_ns };

    return load_message_write(to, load.options.size_bytes, &message);
}

/* A request's body: one message, or a batch of lines. */
static size_t body_of(const load_conn_t *conn, int64_t now_ns, char *body)
{
    size_t length = 0;
    int i;

    if (load.options.batch == 0) {
        return next_message(conn->channel, now_ns, body);
    }
    for (i = 0; i < load.options.batch; i++) {
        memcpy(body + length, "{\"body\":\"", 9);
        length += 9;
        length += next_message(conn->channel, now_ns, body + length);
        memcpy(body + length, "\"}\n", 3);
        length += 3;
    }
    return length;
}

static void publish(load_conn_t *conn)
{
    static char *request;
    char path[1024];
    int batch = load.options.batch ? load.options.batch : 1;
    size_t room = (size_t)batch * (load.options.size_bytes + 32), length;
    char *body;
    int head, place;

    if (!request) {
        request = load_grow(NULL, room + 4096);
    }
    conn->channel = (int)(turn++ % (uint64_t)load.options.channels);
    load_conn_path(conn, path, sizeof(path));
    conn->asked_ns = load_now_ns();
    /* The body first: the head names its length. */
    body = request + 2048;
    length = body_of(conn, conn->asked_ns, body);
    head =
        snprintf(request, 2048,
                 "POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: %s\r\n"
                 "Content-Length: %zu\r\n\r\n",
                 path, load_conn_host(conn), load.options.content_type, length);
    place = 2048 - head;
    memmove(request + place, request, (size_t)head);
    conn->busy = true;
    conn->in_request = batch;
    load.totals.sent += (uint64_t)batch;
    if (load.totals.first_sent_ns == 0) {
        load.totals.first_sent_ns = conn->asked_ns;
    }
    load_conn_write(conn, request + place, (size_t)head + length);
}

/* A publisher that waits for nothing; it opens what is closed. */
static load_conn_t *idle_publisher(void)
{
    int count = load.options.publishers, i;

    for (i = 0; i < count; i++) {
        load_conn_t *conn = &load.publishers[(next_publisher + i) % count];

        if (conn->state == LOAD_CLOSED) {
            load_conn_open(conn);
        }
        if (conn->state == LOAD_OPEN && !conn->busy) {
            next_publisher = (next_publisher + i + 1) % count;
            return conn;
        }
    }
    return NULL;
}

void load_publisher_tick(void)
{
    int64_t now, due;
    load_conn_t *conn;

    while (load.publishing) {
        now = load_now_ns();
        if ((wanted && load.totals.sent >= (uint64_t)wanted)
            || now >= load.until_ns) {
            load.publishing = false;
            return;
        }
        if (rate > 0) {
            due = load.due_from_ns
                  + (int64_t)((double)load.totals.sent * 1e9 / rate);
            if (due > now) {
                load_loop_wake_at(due);
                return;
            }
        }
        conn = idle_publisher();
        if (!conn) {
            return; /* an acknowledgement goes on */
        }
        publish(conn);
    }
}

static void answered(load_conn_t *conn, int64_t now_ns)
{
    uint64_t count = (uint64_t)conn->in_request;

    conn->busy = false;
    if (conn->http.status >= 200 && conn->http.status < 300) {
        load.totals.acknowledged += count;
        load.acknowledged_in[conn->channel] += count;
    }
    else {
        load.totals.refused += count;
        load.totals.last_refusal = conn->http.status;
    }
    load_histogram_add(&load.acknowledge, now_ns - conn->asked_ns);
    load.totals.last_acknowledged_ns = now_ns;
    if (conn->http.closes) {
        load_conn_close(conn, LOAD_CLOSED);
    }
}

void load_publisher_take(load_conn_t *conn, const char *data, size_t length,
                         int64_t now_ns)
{
    load_http_event_e event;
    const char *body;
    size_t body_length;

    while (conn->fd >= 0) {
        event =
            load_http_next(&conn->http, &data, &length, &body, &body_length);
        if (event == LOAD_HTTP_BAD) {
            load_die("an answer to a publisher is not HTTP");
        }
        if (event == LOAD_HTTP_MORE) {
            return;
        }
        if (event == LOAD_HTTP_END) {
            answered(conn, now_ns);
        }
    }
}

void load_publisher_lost(load_conn_t *conn)
{
    if (conn->busy) {
        load.totals.refused += (uint64_t)conn->in_request;
    }
    load_conn_close(conn, LOAD_CLOSED);
}
