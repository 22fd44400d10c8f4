/* SPDX-License-Identifier: Apache-2.0 */
/* What the current transports share: a message and a gap as JSON. */
#include "transport/transport.h"

void comet_transport_add_message(comet_buffer_t *out,
                                 const comet_message_t *message,
                                 const comet_format_t *format)
{
    comet_text_t channel = message->channel;

    channel.data += format->hidden_bytes;
    channel.length -= format->hidden_bytes;
    comet_buffer_puts(out, "{\"timestamp\":");
    comet_buffer_add_int(out, message->timestamp);
    comet_buffer_puts(out, ",\"channel\":");
    comet_encode_json(out, channel);
    comet_buffer_puts(out, ",\"type\":");
    comet_encode_json(out, message->type);
    comet_buffer_puts(out, ",\"author\":");
    if (message->author.data) {
        comet_encode_json(out, message->author);
    }
    else {
        comet_buffer_puts(out, "null");
    }
    comet_buffer_puts(out, ",\"body\":");
    comet_encode_json(out, message->body);
    if (message->keep_sec) {
        comet_buffer_puts(out, ",\"keep\":");
        comet_buffer_add_int(out, message->keep_sec);
    }
    comet_buffer_puts(out, "}");
}

int comet_transport_has_gap(const comet_answer_t *answer)
{
    return answer->floor || answer->is_unknown;
}

void comet_transport_add_gap(comet_buffer_t *out, const comet_answer_t *answer)
{
    comet_buffer_puts(out, "\"since\":");
    if (answer->is_unknown) {
        comet_buffer_puts(out, "null");
    }
    else {
        comet_buffer_add_int(out, answer->cursor);
    }
    comet_buffer_puts(out, ",\"floor\":");
    comet_buffer_add_int(out,
                         answer->is_unknown ? answer->cursor : answer->floor);
}
