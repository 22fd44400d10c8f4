/* SPDX-License-Identifier: Apache-2.0 */
/* Publishers: messages on a schedule, or as fast as they are acknowledged. */
#include "load.h"

#include <stdio.h>
#include <string.h>

static int64_t wanted; /* how many messages; 0: as many as fit into the time */
static double rate; /* messages a second; 0: as fast as acknowledged */
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

size_t load_publisher_text(const load_conn_t *conn, uint64_t sequence, char *to)
{
    load_message_t message = { .run = load.run,
                               .channel = (uint64_t)conn->channel,
                               .sequence = sequence,
                               .sent_ns = conn->asked_ns };

    return load_message_write(to, load.options.size_bytes, &message);
}

/* Write a request's body: one message, or a batch with one on each line. */
static size_t body_of(const load_conn_t *conn, char *body)
{
    size_t length = 0;
    int i;

    if (load.options.batch == 0) {
        return load_publisher_text(conn, conn->first_sequence, body);
    }
    for (i = 0; i < load.options.batch; i++) {
        memcpy(body + length, "{\"body\":\"", 9);
        length += 9;
        length += load_publisher_text(conn, conn->first_sequence + (uint64_t)i,
                                      body + length);
        memcpy(body + length, "\"}\n", 3);
        length += 3;
    }
    return length;
}

uint64_t load_publisher_number(load_conn_t *conn, int count)
{
    uint64_t first = load.sent_in[conn->channel] + 1;

    conn->asked_ns = load_now_ns();
    load.sent_in[conn->channel] += (uint64_t)count;
    load.totals.sent += (uint64_t)count;
    if (load.totals.first_sent_ns == 0) {
        load.totals.first_sent_ns = conn->asked_ns;
    }
    return first;
}

/* Number the messages of a connection's next request. */
static void take_messages(load_conn_t *conn)
{
    conn->channel = (int)(turn++ % (uint64_t)load.options.channels);
    conn->in_request = load.options.batch ? load.options.batch : 1;
    conn->first_sequence = load_publisher_number(conn, conn->in_request);
}

void load_publisher_opened(load_conn_t *conn)
{
    if (load_conn_is_websocket(conn)) {
        load_pipeline_open(conn);
    }
    else if (conn->again) {
        load_publisher_send(conn);
    }
}

void load_publisher_send(load_conn_t *conn)
{
    static char *request;
    char path[1024];
    size_t batch = load.options.batch ? (size_t)load.options.batch : 1;
    size_t room = batch * (load.options.size_bytes + 32), length;
    char *body;
    int head, place;

    if (load_conn_is_websocket(conn)) {
        load_pipeline_send(conn);
        return;
    }
    if (!request) {
        request = load_grow(NULL, room + 4096);
    }
    if (!conn->again) {
        take_messages(conn);
    }
    conn->again = false;
    load_conn_path(conn, path, sizeof(path));
    /* The body is written first, because the head contains its length. */
    body = request + 2048;
    length = body_of(conn, body);
    head =
        snprintf(request, 2048,
                 "POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: %s\r\n"
                 "Content-Length: %zu\r\n\r\n",
                 path, load_conn_host(conn), load.options.content_type, length);
    place = 2048 - head;
    memmove(request + place, request, (size_t)head);
    conn->busy = true;
    load_conn_write(conn, request + place, (size_t)head + length);
}

/* Find an idle publisher, and open closed connections on the way. */
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
            return; /* publishing continues when an answer comes */
        }
        load_publisher_send(conn);
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
        if (load_conn_is_websocket(conn)) {
            load_pipeline_take(
                conn, body, event == LOAD_HTTP_BODY ? body_length : 0, now_ns);
        }
        else if (event == LOAD_HTTP_END) {
            answered(conn, now_ns);
        }
    }
}

/* Send an unanswered request again, on a new connection.  If the server had
 * stored its messages after all, subscribers count the second copies as
 * duplicates. */
void load_publisher_lost(load_conn_t *conn)
{
    if (load_conn_is_websocket(conn)) {
        load_pipeline_lost(conn);
        return;
    }
    conn->again = conn->busy && load_http_is_unanswered(&conn->http);
    load.totals.reopened += conn->again;
    if (conn->busy && !conn->again) {
        load.totals.refused += (uint64_t)conn->in_request;
    }
    load_conn_close(conn, LOAD_CLOSED);
    if (conn->again) {
        load_conn_open(conn);
    }
}
