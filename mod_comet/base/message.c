/* SPDX-License-Identifier: Apache-2.0 */
/* Messages: one block of memory each, counted by reference. */
#include "base/message.h"

#include <stdlib.h>
#include <string.h>

/* FNV-1a.  The keys are short and the hash needs no secret: a collision costs
 * one comparison of names. */
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
