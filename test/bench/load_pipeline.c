/* SPDX-License-Identifier: Apache-2.0 */
/* Publishing on a WebSocket: a message is sent before earlier ones are
 * answered. */
#include "load.h"

#include <stdio.h>
#include <string.h>

/* mod_comet expects a message inside JSON; nchan expects the bare text. */
static const char BEFORE[] = "{\"publish\":{\"body\":\"", AFTER[] = "\"}}";

static bool is_json(void)
{
    return strcmp(load.options.content_type, "application/json") == 0;
}

void load_pipeline_open(load_conn_t *conn)
{
    char path[1024], request[2048];
    int length;

    conn->channel = conn->index % load.options.channels;
    conn->sent_at_ns =
        load_grow(conn->sent_at_ns, LOAD_PIPELINE_MAX * sizeof(int64_t));
    conn->piped = conn->answered = 0;
    conn->socket = (load_websocket_t){ .left = 0 };
    conn->busy = true;
    load_conn_path(conn, path, sizeof(path));
    length =
        snprintf(request, sizeof(request),
                 "GET %s HTTP/1.1\r\nHost: %s\r\n" LOAD_WEBSOCKET_FIELDS "\r\n",
                 path, load_conn_host(conn));
    load_conn_write(conn, request, (size_t)length);
}

/* Mark a connection as busy while it may send fewer than LOAD_PIPELINE_STEP
 * messages. */
static void note_room(load_conn_t *conn)
{
    conn->busy =
        conn->piped - conn->answered + LOAD_PIPELINE_STEP > LOAD_PIPELINE_MAX;
}

static size_t write_text(const load_conn_t *conn, uint64_t sequence, char *to)
{
    size_t length = 0;

    if (is_json()) {
        memcpy(to, BEFORE, sizeof(BEFORE) - 1);
        length = sizeof(BEFORE) - 1;
    }
    length += load_publisher_text(conn, sequence, to + length);
    if (is_json()) {
        memcpy(to + length, AFTER, sizeof(AFTER) - 1);
        length += sizeof(AFTER) - 1;
    }
    return length;
}

void load_pipeline_send(load_conn_t *conn)
{
    static char *frames, *text;
    size_t room = load.options.size_bytes + sizeof(BEFORE) + sizeof(AFTER)
                  + LOAD_WEBSOCKET_AROUND;
    size_t length = 0;
    uint64_t first = load_publisher_number(conn, LOAD_PIPELINE_STEP), i;

    if (!frames) {
        frames = load_grow(NULL, LOAD_PIPELINE_STEP * room);
        text = load_grow(NULL, room);
    }
    for (i = 0; i < LOAD_PIPELINE_STEP; i++) {
        length += load_websocket_frame(frames + length, text,
                                       write_text(conn, first + i, text));
        conn->sent_at_ns[conn->piped++ % LOAD_PIPELINE_MAX] = conn->asked_ns;
    }
    note_room(conn);
    load_conn_write(conn, frames, length);
}

static void take_answer(load_conn_t *conn, int64_t now_ns)
{
    if (is_json() && strncmp(conn->socket.start, "{\"stored", 8) != 0
        && strncmp(conn->socket.start, "{\"error\"", 8) != 0) {
        return; /* not an answer, but a cursor or a message: mod_comet sends
                 * these on a WebSocket, too */
    }
    if (conn->answered == conn->piped) {
        load_die("an answer to nothing: %s", conn->socket.start);
    }
    if (strncmp(conn->socket.start, "{\"error\"", 8) == 0) {
        load.totals.refused++;
    }
    else {
        load.totals.acknowledged++;
        load.acknowledged_in[conn->channel]++;
    }
    load_histogram_add(
        &load.acknowledge,
        now_ns - conn->sent_at_ns[conn->answered++ % LOAD_PIPELINE_MAX]);
    load.totals.last_acknowledged_ns = now_ns;
}

void load_pipeline_take(load_conn_t *conn, const char *data, size_t length,
                        int64_t now_ns)
{
    if (conn->http.status != 101) {
        load_die("a WebSocket is refused: status %d", conn->http.status);
    }
    while (load_websocket_next(&conn->socket, &data, &length)) {
        take_answer(conn, now_ns);
    }
    note_room(conn);
}

void load_pipeline_lost(load_conn_t *conn)
{
    load.totals.closed++;
    load.totals.refused += conn->piped - conn->answered;
    load_conn_close(conn, LOAD_DEAD);
}
