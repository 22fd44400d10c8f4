/* SPDX-License-Identifier: Apache-2.0 */
/* Messages as WebSocket frames: one text frame of JSON for each. */
#include "wire/websocket.h"

#include <apr_strings.h>

#include "transport/transport.h"

/* Append {"open": T}, and {"gap": …} if the client may have missed messages. */
static void open_stream(comet_buffer_t *out, const comet_answer_t *answer)
{
    apr_size_t begun = comet_websocket_begin_text(out);

    comet_buffer_puts(out, "{\"open\":");
    comet_buffer_add_int(out, answer->cursor);
    comet_buffer_puts(out, "}");
    comet_websocket_end_text(out, begun);
    if (comet_transport_has_gap(answer)) {
        begun = comet_websocket_begin_text(out);
        comet_buffer_puts(out, "{\"gap\":{");
        comet_transport_add_gap(out, answer);
        comet_buffer_puts(out, "}}");
        comet_websocket_end_text(out, begun);
    }
}

static void encode(comet_buffer_t *out, const comet_answer_t *answer)
{
    apr_size_t i;

    for (i = 0; i < answer->count; i++) {
        apr_size_t begun = comet_websocket_begin_text(out);

        comet_transport_add_message(out, answer->messages[i], answer->format);
        comet_websocket_end_text(out, begun);
    }
}

/* The reason begins with "retry=N", the milliseconds after which the client
 * should come back. */
static void close_stream(comet_buffer_t *out, const char *reason,
                         int retry_msec)
{
    char text[128];

    apr_snprintf(text, sizeof(text), "retry=%d%s%s", retry_msec,
                 reason ? " " : "", reason ? reason : "");
    comet_websocket_add_close(
        out, reason ? COMET_WEBSOCKET_TRY_AGAIN : COMET_WEBSOCKET_GOING_AWAY,
        text);
}

const comet_transport_t comet_transport_websocket = {
    .name = "websocket",
    .gauge = COMET_METRIC_waiting_websocket,
    .upgrades = "websocket",
    .streams = 1,
    .limit = COMET_LIMIT_MAX,
    .open = open_stream,
    .encode = encode,
    .close = close_stream,
    .heartbeat = COMET_WEBSOCKET_PING,
};
