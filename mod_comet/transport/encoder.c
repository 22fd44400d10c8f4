/* SPDX-License-Identifier: Apache-2.0 */
/* Encodes messages once for all streams that get the same messages. */
#include "transport/encoder.h"

#include <stdio.h>
#include <string.h>

/* Room for the size line of the chunk, which is written last: 8 hex digits and
 * CRLF. */
#define HEAD_BYTES 10

typedef struct comet_encoder_slot_t slot_t;

static int is_format(const comet_format_t *a, const comet_format_t *b)
{
    return a->escape == b->escape && a->json == b->json
           && a->callback == b->callback && a->hidden_bytes == b->hidden_bytes;
}

static slot_t *find(comet_encoder_t *encoder,
                    const comet_transport_t *transport,
                    const comet_format_t *format, const comet_batch_t *batch)
{
    int i;

    for (i = 0; i < COMET_ENCODER_SLOTS; i++) {
        slot_t *slot = &encoder->slots[i];

        if (slot->count == batch->count && slot->transport == transport
            && memcmp(slot->messages, batch->messages,
                      slot->count * sizeof(*slot->messages))
                   == 0
            && is_format(&slot->format, format)) {
            return slot;
        }
    }
    return NULL;
}

static void forget(slot_t *slot)
{
    while (slot->count) {
        comet_message_unref(slot->messages[--slot->count]);
    }
    comet_buffer_clear(&slot->bytes);
}

/* Keep the messages of a short batch, so that its encoding is found again.
 * Long batches are rare. */
static void remember(slot_t *slot, const comet_batch_t *batch)
{
    if (batch->count <= COMET_ENCODER_MESSAGES) {
        for (; slot->count < batch->count; slot->count++) {
            slot->messages[slot->count] =
                comet_message_ref(batch->messages[slot->count]);
        }
    }
}

/*
 * Write the size line so that it ends where the body begins.
 * @return the offset of the line's beginning
 */
static apr_size_t write_size(char *head, apr_size_t length)
{
    char line[HEAD_BYTES + 1];
    int bytes = snprintf(line, sizeof(line), "%x\r\n", (unsigned)length);
    apr_size_t start = HEAD_BYTES - (apr_size_t)bytes;

    memcpy(head + start, line, (apr_size_t)bytes);
    return start;
}

static void frame(slot_t *slot)
{
    apr_size_t length = slot->bytes.length - HEAD_BYTES, start;

    comet_buffer_puts(&slot->bytes, "\r\n");
    if (slot->bytes.failed) {
        return;
    }
    start = write_size(slot->bytes.data, length);
    slot->encoding.body =
        (comet_text_t){ slot->bytes.data + HEAD_BYTES, length };
    slot->encoding.chunk =
        (comet_text_t){ slot->bytes.data + start, slot->bytes.length - start };
}

const comet_encoding_t *comet_encoder_encode(comet_encoder_t *encoder,
                                             const comet_transport_t *transport,
                                             const comet_format_t *format,
                                             const comet_batch_t *batch)
{
    comet_answer_t answer = {
        .format = format,
        .messages = batch->messages,
        .count = batch->count,
        .cursor = batch->messages[batch->count - 1]->timestamp,
    };
    slot_t *slot = find(encoder, transport, format, batch);

    if (slot) {
        return &slot->encoding;
    }
    slot = &encoder->slots[encoder->next++ % COMET_ENCODER_SLOTS];
    forget(slot);
    slot->transport = transport;
    slot->format = *format;
    comet_buffer_add(&slot->bytes, "----------", HEAD_BYTES);
    transport->encode(&slot->bytes, &answer);
    frame(slot);
    if (slot->bytes.failed) {
        comet_buffer_free(&slot->bytes);
        return NULL;
    }
    remember(slot, batch);
    return &slot->encoding;
}

void comet_encoder_clear(comet_encoder_t *encoder)
{
    int i;

    for (i = 0; i < COMET_ENCODER_SLOTS; i++) {
        forget(&encoder->slots[i]);
        comet_buffer_free(&encoder->slots[i].bytes);
    }
}

void comet_encoder_add_chunk(comet_buffer_t *out, comet_text_t body)
{
    char head[HEAD_BYTES];
    apr_size_t start;

    if (body.length) {
        start = write_size(head, body.length);
        comet_buffer_add(out, head + start, HEAD_BYTES - start);
        comet_buffer_add(out, body.data, body.length);
        comet_buffer_puts(out, "\r\n");
    }
}
