/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Event streams, as EventSource reads them (WHATWG HTML, section 9.2).  The id
 * of an event is the timestamp of its message.  Its data is the body or, with
 * `json`, the whole message.
 */
#include "transport/transport.h"

/* How long a client waits before it reconnects, by default. */
#define RETRY_MSEC 1000

static void add_id(comet_buffer_t *out, comet_timestamp_t cursor)
{
    comet_buffer_puts(out, "id: ");
    comet_buffer_add_int(out, cursor);
    comet_buffer_puts(out, "\n");
}

static void add_retry(comet_buffer_t *out, int retry_msec)
{
    comet_buffer_puts(out, "retry: ");
    comet_buffer_add_int(out, retry_msec);
    comet_buffer_puts(out, "\n");
}

/* An id without data sets the client's cursor and is no event.  So a client
 * that is cut off before its first message asks for everything after this
 * cursor. */
static void open_stream(comet_buffer_t *out, const comet_answer_t *answer)
{
    add_retry(out, RETRY_MSEC);
    add_id(out, answer->cursor);
    comet_buffer_puts(out, "\n");
    if (comet_transport_has_gap(answer)) {
        comet_buffer_puts(out, "event: gap\ndata: {");
        comet_transport_add_gap(out, answer);
        comet_buffer_puts(out, "}\n\n");
    }
}

static void add_body(comet_buffer_t *out, const comet_message_t *message)
{
    if (!comet_text_equal(message->type, comet_text("message"))) {
        comet_encode_lines(out, "event: ", message->type);
    }
    comet_encode_lines(out, "data: ", message->body);
}

/* The id comes last.  Some clients (npm's fetch-event-source) store the cursor
 * when they read the id's line; if the id came first, they would lose a message
 * that is cut off after its id. */
static void encode(comet_buffer_t *out, const comet_answer_t *answer)
{
    apr_size_t i;

    for (i = 0; i < answer->count; i++) {
        if (answer->format->json) {
            comet_buffer_puts(out, "data: ");
            comet_transport_add_message(out, answer->messages[i],
                                        answer->format);
            comet_buffer_puts(out, "\n");
        }
        else {
            add_body(out, answer->messages[i]);
        }
        add_id(out, answer->messages[i]->timestamp);
        comet_buffer_puts(out, "\n");
    }
}

/* EventSource gives up for good after any HTTP error, but reconnects after a
 * stream has ended.  The reason is sent as a comment, for debugging. */
static void close_stream(comet_buffer_t *out, const char *reason,
                         int retry_msec)
{
    if (reason) {
        comet_encode_lines(out, ": ", comet_text(reason));
    }
    add_retry(out, retry_msec);
    comet_buffer_puts(out, "\n");
}

const comet_transport_t comet_transport_events = {
    .name = "events",
    .gauge = COMET_METRIC_waiting_events,
    .content_type = "text/event-stream",
    .streams = 1,
    .limit = COMET_LIMIT_MAX,
    .open = open_stream,
    .encode = encode,
    .close = close_stream,
    .heartbeat = ":\n\n",
};
