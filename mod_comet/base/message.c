/* SPDX-License-Identifier: Apache-2.0 */
/* Messages: one block each, counted by reference. */
#include "base/message.h"

#include <stdlib.h>
#include <string.h>

comet_text_t comet_text(const char *string)
{
    return (comet_text_t){ string, string ? strlen(string) : 0 };
}

int comet_text_equal(comet_text_t a, comet_text_t b)
{
    return a.length == b.length
           && (a.length == 0 || memcmp(a.data, b.data, a.length) == 0);
}

/* FNV-1a: short keys, no secret; a collision costs one comparison. */
apr_uint32_t comet_message_hash(comet_text_t channel)
{
    apr_uint32_t hash = 2166136261u;
    apr_size_t i;

    for (i = 0; i < channel.length; i++) {
        hash = (hash ^ (unsigned char)channel.data[i]) * 16777619u;
    }
    return hash;
}

static comet_text_t place(char **end, comet_text_t text)
{
    comet_text_t placed = { NULL, text.length };

    if (text.data) {
        placed.data = *end;
        if (text.length) {
            memcpy(*end, text.data, text.length);
        }
        (*end)[text.length] = '\0';
        *end += text.length + 1;
    }
    return placed;
}

comet_message_t *comet_message_create(const comet_message_fields_t *fields)
{
    comet_text_t type =
        fields->type.length ? fields->type : comet_text("message");
    comet_message_t *message =
        malloc(sizeof(*message) + fields->channel.length + type.length
               + fields->author.length + fields->body.length + 4);
    char *end;

    if (!message) {
        return NULL;
    }
    end = (char *)(message + 1);
    atomic_init(&message->refs, 1);
    message->timestamp = fields->timestamp;
    message->channel = place(&end, fields->channel);
    message->type = place(&end, type);
    message->author = place(&end, fields->author);
    message->body = place(&end, fields->body);
    message->channel_hash = comet_message_hash(message->channel);
    return message;
}

comet_message_t *comet_message_ref(comet_message_t *message)
{
    atomic_fetch_add_explicit(&message->refs, 1, memory_order_relaxed);
    return message;
}

void comet_message_unref(comet_message_t *message)
{
    if (message
        && atomic_fetch_sub_explicit(&message->refs, 1, memory_order_acq_rel)
               == 1) {
        free(message);
    }
}

int comet_batch_is_full(const comet_batch_t *batch)
{
    return batch->count >= batch->size || batch->bytes >= COMET_BATCH_BYTES;
}

int comet_batch_add(void *baton, comet_message_t *message)
{
    comet_batch_t *batch = baton;

    batch->messages[batch->count++] = message;
    batch->bytes += message->body.length;
    return !comet_batch_is_full(batch);
}

void comet_batch_clear(comet_batch_t *batch)
{
    while (batch->count) {
        comet_message_unref(batch->messages[--batch->count]);
    }
    batch->bytes = 0;
}
