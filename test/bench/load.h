/* SPDX-License-Identifier: Apache-2.0 */
/* The load generator: its options, its connections, its totals. */
#ifndef LOAD_H
#define LOAD_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "load_base.h"
#include "load_histogram.h"
#include "load_http.h"
#include "load_message.h"
#include "load_websocket.h"

/* One thread of one process holds all subscribers and all publishers, so that
 * one monotonic clock times both ends of a delivery. */

typedef enum {
    LOAD_PARK, /* open streams and hold them, to measure the memory and CPU of
                * an idle server */
    LOAD_STREAM, /* event streams, with publishing */
    LOAD_POLL, /* long polls, with publishing */
    LOAD_GET, /* requests that are answered at once, on kept-alive
               * connections */
    LOAD_PUBLISH, /* publishing without subscribers */
    LOAD_HISTORY /* store messages, then read them all on new streams */
} load_mode_e;

/* Where a long poll finds the cursor for its next request. */
typedef enum {
    LOAD_CURSOR_NONE,
    LOAD_CURSOR_ETAG, /* ETag and Last-Modified, sent back as conditions */
    LOAD_CURSOR_HEADER, /* the answer's header field called `cursor_name` */
    LOAD_CURSOR_JSON /* the body's last member called `cursor_name` */
} load_cursor_e;

typedef struct load_options_t {
    load_mode_e mode;
    const char *url; /* for subscribers; may contain {channel}, {cursor} */
    const char *publish_url; /* may contain {channel} */
    load_cursor_e cursor;
    const char *cursor_name;
    const char *content_type;
    int subscribers;
    int channels; /* subscriber i reads channel i % channels */
    int publishers;
    int batch; /* messages in a request, as NDJSON; 0: one message, as text */
    size_t size_bytes; /* size of a message */
    int64_t messages; /* how many to publish; 0: publish for `seconds` */
    double rate; /* messages a second; 0: as fast as they are acknowledged */
    double seconds; /* how long to publish, request or hold */
    double settle_seconds; /* time between the last connect and the first
                            * message */
    double limit_seconds; /* how long the whole run may take */
    pid_t server; /* the root of the server's process tree */
} load_options_t;

typedef enum {
    LOAD_CLOSED,
    LOAD_CONNECTING,
    LOAD_OPEN,
    LOAD_DEAD /* must not be opened again */
} load_state_e;

typedef struct load_conn_t {
    int fd;
    int index;
    int channel;
    bool publisher;
    bool ready; /* a stream: its answer has begun; a poll: its first request is
                 * sent */
    bool busy; /* waits for an answer */
    load_state_e state;
    int errors;
    load_http_t http;
    char *unsent; /* bytes that the socket has not accepted yet */
    size_t unsent_length, unsent_offset;
    int64_t opened_ns, asked_ns;

    /* for a subscriber */
    load_scan_t scan;
    load_seen_t seen;
    char *cursor, *etag, *modified;
    char *body; /* the answer's body, if the cursor is in it */
    size_t body_length, body_room;

    /* a publisher: the messages of the request that is being sent */
    int in_request;
    uint64_t first_sequence;
    bool again; /* the request got no answer, so it must be sent again */

    /* a publisher's WebSocket, and the messages on it that have no answer
     * yet */
    load_websocket_t socket;
    int64_t *sent_at_ns; /* when each message was sent: a ring of
                          * LOAD_PIPELINE_MAX */
    uint64_t piped, answered; /* how many messages this connection has sent, and
                               * how many of them were answered */
} load_conn_t;

typedef struct load_totals_t {
    int ready, connecting;
    uint64_t connect_errors, http_errors, closed;
    uint64_t reopened; /* connections that the server closed between two
                        * requests */
    uint64_t delivered, duplicates, disordered, strangers, malformed;
    uint64_t sent, acknowledged, refused, answers, requests;
    int last_refusal; /* the status of the last refusal */
    int64_t first_sent_ns, last_acknowledged_ns, last_delivered_ns;
} load_totals_t;

typedef struct load_t {
    load_options_t options;
    load_totals_t totals;
    load_conn_t *subscribers, *publishers;
    uint64_t *sent_in, *acknowledged_in; /* how many messages, by channel */
    uint64_t run; /* marks the messages of this run */
    load_histogram_t latency, acknowledge, request;
    bool publishing, asking, stopping;
    int64_t due_from_ns, until_ns; /* when publishing or requesting begins and
                                    * ends */
} load_t;

extern load_t load;

/* load_conn.c: sockets and the loop over their events */

void load_loop_init(void);
/* Wait for events, for this time at most, and handle them. */
void load_loop_turn(int timeout_ms);
void load_loop_for(double seconds);
/* Wake the loop at this time of the monotonic clock. */
void load_loop_wake_at(int64_t time_ns);
/* Set where publishers or subscribers connect.  @param url  http:// or ws:// */
void load_target(bool publisher, const char *url);
bool load_conn_is_websocket(const load_conn_t *conn);
bool load_conn_open(load_conn_t *conn);
void load_conn_close(load_conn_t *conn, load_state_e state);
void load_conn_write(load_conn_t *conn, const char *data, size_t length);
/* Write the path of a connection's requests, with {channel} and {cursor} filled
 * in. */
void load_conn_path(const load_conn_t *conn, char *path, size_t room);
const char *load_conn_host(const load_conn_t *conn);

/* load_subscriber.c */

void load_subscriber_ask(load_conn_t *conn);
void load_subscriber_take(load_conn_t *conn, const char *data, size_t length,
                          int64_t now_ns);
void load_subscriber_lost(load_conn_t *conn, int64_t now_ns);
/* LOAD_GET: send a new request on each idle connection. */
void load_subscriber_tick(void);

/* load_publisher.c */

/* Called when a publisher's connection is open. */
void load_publisher_opened(load_conn_t *conn);

void load_publisher_start(int64_t messages, double rate, double seconds);
void load_publisher_tick(void);
void load_publisher_take(load_conn_t *conn, const char *data, size_t length,
                         int64_t now_ns);
void load_publisher_lost(load_conn_t *conn);
/* On an idle connection, send the next messages.  If the last ones got no
 * answer, send those again. */
void load_publisher_send(load_conn_t *conn);
/* Whether all requests have been answered. */
bool load_publisher_done(void);

/* Number the next `count` messages of a connection's channel; return the first
 * number. */
uint64_t load_publisher_number(load_conn_t *conn, int count);

/* Write a message that a connection sends; return its length. */
size_t load_publisher_text(const load_conn_t *conn, uint64_t sequence,
                           char *to);

/* load_pipeline.c: publishing on a WebSocket, without waiting for each
 * answer */

#define LOAD_PIPELINE_MAX 512 /* the most messages without an answer */
#define LOAD_PIPELINE_STEP 64 /* messages in one write */

void load_pipeline_open(load_conn_t *conn);
void load_pipeline_send(load_conn_t *conn);
void load_pipeline_take(load_conn_t *conn, const char *data, size_t length,
                        int64_t now_ns);
void load_pipeline_lost(load_conn_t *conn);

/* load_run.c */

/* Make the run that the options describe, and print the result as one line of
 * JSON. */
void load_run(void);

#endif
