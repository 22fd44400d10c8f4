/* SPDX-License-Identifier: Apache-2.0 */
/* Event streams of the Mercure protocol: an event's id is the id of its update,
 * and its data is the body. */
#include "transport/transport.h"
#include "wire/event_id.h"

static void add_retry(comet_buffer_t *out, int retry_msec)
{
    comet_buffer_puts(out, "retry: ");
    comet_buffer_add_int(out, retry_msec);
    comet_buffer_puts(out, "\n");
}

/* An id without data is not an event; it sets the client's cursor.  So a client
 * that is cut off before its first event misses nothing when it returns. */
static void open_stream(comet_buffer_t *out, const comet_answer_t *answer)
{
    char room[COMET_EVENT_ID_BYTES + 1];

    comet_buffer_puts(out, ":\n");
    if (answer->cursor > 0) {
        comet_encode_lines(out,
                           "id: ", comet_event_id_write(answer->cursor, room));
        comet_buffer_puts(out, "\n");
    }
}

/* The id comes last; see transport/events.c. */
static void add_event(comet_buffer_t *out, const comet_message_t *message)
{
    if (!comet_text_equal(message->type, comet_text("message"))) {
        comet_encode_lines(out, "event: ", message->type);
    }
    comet_encode_lines(out, "data: ", message->body);
    if (message->update.retry_msec) {
        add_retry(out, message->update.retry_msec);
    }
    comet_buffer_puts(out, "id: ");
    comet_event_id_add(out, message);
    comet_buffer_puts(out, "\n\n");
}

static void encode(comet_buffer_t *out, const comet_answer_t *answer)
{
    apr_size_t i;

    for (i = 0; i < answer->count; i++) {
        add_event(out, answer->messages[i]);
    }
}

static void close_stream(comet_buffer_t *out, const char *reason,
                         int retry_msec)
{
    if (reason) {
        comet_encode_lines(out, ": ", comet_text(reason));
    }
    add_retry(out, retry_msec);
    comet_buffer_puts(out, "\n");
}

const comet_transport_t comet_transport_mercure = {
    .gauge = COMET_METRIC_waiting_mercure,
    .content_type = "text/event-stream",
    .cache_control =
        "private, no-cache, no-store, must-revalidate, max-age=0, no-transform",
    .streams = 1,
    .limit = COMET_LIMIT_MAX,
    .open = open_stream,
    .encode = encode,
    .close = close_stream,
    .heartbeat = ":\n",
};
