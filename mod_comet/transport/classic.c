/* SPDX-License-Identifier: Apache-2.0 */
/* The answer of the original chat: one message, and the cursor after it. */
#include "transport/transport.h"

/* The page inserts the body as HTML, so the body must be escaped as HTML. */
static void encode_escaped(comet_buffer_t *out, comet_text_t body)
{
    comet_buffer_t html = { 0 };

    comet_encode_html(&html, body);
    if (html.failed) {
        out->failed = 1;
    }
    else {
        comet_encode_json(out, (comet_text_t){ html.data, html.length });
    }
    comet_buffer_free(&html);
}

static void encode(comet_buffer_t *out, const comet_answer_t *answer)
{
    comet_timestamp_t timestamp = answer->cursor;

    comet_buffer_puts(out, "{\"msg\":");
    if (answer->count == 0) {
        comet_buffer_puts(out, "\"\"");
    }
    else {
        const comet_message_t *message = answer->messages[0];

        if (answer->format->escape) {
            encode_escaped(out, message->body);
        }
        else {
            comet_encode_json(out, message->body);
        }
        /* the message's own timestamp, so that a page never skips a message it
         * was not given */
        timestamp = message->timestamp;
    }
    comet_buffer_puts(out, ",\"timestamp\":");
    comet_buffer_add_int(out, timestamp);
    comet_buffer_puts(out, "}");
}

const comet_transport_t comet_transport_classic = {
    .gauge = COMET_METRIC_waiting_classic,
    .content_type = "application/json; charset=utf-8",
    .streams = 0,
    .limit = 1,
    .open = NULL,
    .encode = encode,
};
