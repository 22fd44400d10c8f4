/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The answer to a poll: {"messages": […], "timestamp": N, "gap": false}.  A
 * page of history also has "before": N if messages older than N have not been
 * searched yet.
 */
#include "transport/transport.h"

/* Bodies are not escaped, because current pages insert them as text. */
static void encode(comet_buffer_t *out, const comet_answer_t *answer)
{
    apr_size_t i;

    comet_buffer_puts(out, "{\"messages\":[");
    for (i = 0; i < answer->count; i++) {
        if (i) {
            comet_buffer_puts(out, ",");
        }
        comet_transport_add_message(out, answer->messages[i], answer->format);
    }
    comet_buffer_puts(out, "],\"timestamp\":");
    comet_buffer_add_int(out, answer->cursor);
    comet_buffer_puts(out, ",\"gap\":");
    comet_buffer_puts(out, comet_transport_has_gap(answer) ? "true" : "false");
    if (answer->rest) {
        comet_buffer_puts(out, ",\"before\":");
        comet_buffer_add_int(out, answer->rest);
    }
    comet_buffer_puts(out, "}");
}

const comet_transport_t comet_transport_poll = {
    .name = "poll",
    .gauge = COMET_METRIC_waiting_poll,
    .content_type = "application/json; charset=utf-8",
    .streams = 0,
    .whole = 1,
    .limit = 0,
    .open = NULL,
    .encode = encode,
};
