/* SPDX-License-Identifier: Apache-2.0 */
/* Subscribers: their requests, and how they read the answers. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "load.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ERRORS_MAX 20

static bool streams(void)
{
    return load.options.mode == LOAD_STREAM || load.options.mode == LOAD_PARK
           || load.options.mode == LOAD_HISTORY;
}

static void ready(load_conn_t *conn)
{
    if (!conn->ready) {
        conn->ready = true;
        load.totals.ready++;
    }
}

void load_subscriber_ask(load_conn_t *conn)
{
    char path[1024], request[4096];
    size_t length;

    load_conn_path(conn, path, sizeof(path));
    length = (size_t)snprintf(
        request, sizeof(request),
        "GET %s HTTP/1.1\r\nHost: %s\r\n%s%s%s%s%s%s%s"
        "\r\n",
        path, load_conn_host(conn),
        load_conn_is_websocket(conn) ? LOAD_WEBSOCKET_FIELDS
        : streams()                  ? "Accept: text/event-stream\r\n"
                                     : "",
        conn->etag ? "If-None-Match: " : "", conn->etag ? conn->etag : "",
        conn->etag ? "\r\n" : "", conn->modified ? "If-Modified-Since: " : "",
        conn->modified ? conn->modified : "", conn->modified ? "\r\n" : "");
    if (length >= sizeof(request)) {
        load_die("a request is too long");
    }
    conn->busy = true;
    conn->body_length = 0;
    conn->asked_ns = load_now_ns();
    load.totals.requests++;
    load_conn_write(conn, request, length);
    if (load.options.mode == LOAD_POLL) {
        ready(conn);
    }
}

/* --- Cursors -------------------------------------------------------------- */

static void keep(char **to, const char *text, size_t length)
{
    *to = load_grow(*to, length + 1);
    memcpy(*to, text, length);
    (*to)[length] = '\0';
}

static void keep_field(const load_conn_t *conn, const char *name, char **to)
{
    size_t length;
    const char *value = load_http_field(&conn->http, name, &length);

    if (value) {
        keep(to, value, length);
    }
}

static void cursor_of_head(load_conn_t *conn)
{
    if (load.options.cursor == LOAD_CURSOR_ETAG) {
        keep_field(conn, "ETag", &conn->etag);
        keep_field(conn, "Last-Modified", &conn->modified);
    }
    else if (load.options.cursor == LOAD_CURSOR_HEADER) {
        keep_field(conn, load.options.cursor_name, &conn->cursor);
    }
}

static void keep_body(load_conn_t *conn, const char *data, size_t length)
{
    load_append(&conn->body, &conn->body_length, &conn->body_room, data,
                length);
}

static void cursor_of_body(load_conn_t *conn)
{
    char member[64];
    const char *found = NULL, *at = conn->body;

    if (load.options.cursor != LOAD_CURSOR_JSON || conn->body_length == 0) {
        return;
    }
    snprintf(member, sizeof(member), "\"%s\":", load.options.cursor_name);
    while ((at = strstr(at, member)) != NULL) {
        at += strlen(member);
        found = at;
    }
    if (found) {
        found += strspn(found, " ");
        keep(&conn->cursor, found, strspn(found, "0123456789"));
    }
}

/* --- Answers -------------------------------------------------------------- */

static void deliver(load_conn_t *conn, const load_message_t *message,
                    int64_t now_ns)
{
    load_totals_t *totals = &load.totals;

    if (load.options.mode == LOAD_GET) {
        totals->delivered++;
        return;
    }
    if (message->run != load.run
        || message->channel != (uint64_t)conn->channel) {
        totals->strangers++;
        return;
    }
    switch (load_seen_add(&conn->seen, message->sequence)) {
    case LOAD_SEEN_AGAIN:
        totals->duplicates++;
        return;
    case LOAD_SEEN_LATE:
        totals->disordered++;
        break;
    case LOAD_SEEN_NEW:
        break;
    }
    totals->delivered++;
    totals->last_delivered_ns = now_ns;
    if (load.options.mode != LOAD_HISTORY) {
        load_histogram_add(&load.latency, now_ns - message->sent_ns);
    }
}

static void take_body(load_conn_t *conn, const char *data, size_t length,
                      int64_t now_ns)
{
    load_message_t message;

    if (load.options.mode == LOAD_POLL
        && load.options.cursor == LOAD_CURSOR_JSON) {
        keep_body(conn, data, length);
    }
    while (load_scan_next(&conn->scan, &data, &length, load.options.size_bytes,
                          &message, &load.totals.malformed)) {
        deliver(conn, &message, now_ns);
    }
}

static void take_head(load_conn_t *conn)
{
    if (conn->http.status == 200 || conn->http.status == 101) {
        cursor_of_head(conn);
        if (streams()) {
            ready(conn);
        }
    }
    else if (conn->http.status != 304 && conn->http.status != 204) {
        load.totals.http_errors++;
        load.totals.last_refusal = conn->http.status;
        conn->errors++;
    }
    if (streams()) {
        load_http_trim(&conn->http);
    }
}

/* Let a long poll send its next request. */
static void poll_again(load_conn_t *conn, bool closes)
{
    if (conn->errors > ERRORS_MAX || load.stopping) {
        load_conn_close(conn, LOAD_DEAD);
    }
    else if (closes) {
        load_conn_close(conn, LOAD_CLOSED);
        load_conn_open(conn);
    }
    else {
        load_subscriber_ask(conn);
    }
}

static void answered(load_conn_t *conn, int64_t now_ns)
{
    bool closes = conn->http.closes;

    conn->busy = false;
    load.totals.answers++;
    if (load.options.mode == LOAD_POLL) {
        cursor_of_body(conn);
        poll_again(conn, closes);
    }
    else if (load.options.mode == LOAD_GET) {
        load_histogram_add(&load.request, now_ns - conn->asked_ns);
        load.totals.last_delivered_ns = now_ns;
        if (closes) {
            load_conn_close(conn, LOAD_CLOSED);
        }
    }
    else { /* a stream must not end */
        load.totals.closed++;
        load_conn_close(conn, LOAD_DEAD);
    }
}

void load_subscriber_take(load_conn_t *conn, const char *data, size_t length,
                          int64_t now_ns)
{
    const char *body;
    size_t body_length;

    while (conn->fd >= 0) {
        switch (
            load_http_next(&conn->http, &data, &length, &body, &body_length)) {
        case LOAD_HTTP_MORE:
            return;
        case LOAD_HTTP_HEAD:
            take_head(conn);
            break;
        case LOAD_HTTP_BODY:
            take_body(conn, body, body_length, now_ns);
            break;
        case LOAD_HTTP_END:
            answered(conn, now_ns);
            break;
        case LOAD_HTTP_BAD:
            load_die("an answer is not HTTP");
        }
    }
}

/* Handle a lost connection.  A server may close it between two requests even if
 * the client has just sent one (RFC 9112, section 9.3.1).  The client then
 * sends the request again. */
void load_subscriber_lost(load_conn_t *conn, int64_t now_ns)
{
    bool cut = conn->busy && !load_http_is_unanswered(&conn->http);
    bool lasting = streams();

    if (conn->http.part == LOAD_PART_OPEN) {
        answered(conn, now_ns);
        return;
    }
    load.totals.reopened += conn->busy && !cut && !lasting;
    load.totals.closed += cut || lasting;
    conn->errors += cut;
    load_conn_close(conn, lasting ? LOAD_DEAD : LOAD_CLOSED);
    if (load.options.mode == LOAD_POLL) {
        poll_again(conn, true);
    }
}

void load_subscriber_tick(void)
{
    int i;

    for (i = 0; i < load.options.subscribers; i++) {
        load_conn_t *conn = &load.subscribers[i];

        if (load_now_ns() >= load.until_ns) {
            return;
        }
        if (conn->state == LOAD_CLOSED) {
            load_conn_open(conn);
        }
        else if (conn->state == LOAD_OPEN && !conn->busy) {
            load_subscriber_ask(conn);
        }
    }
}
