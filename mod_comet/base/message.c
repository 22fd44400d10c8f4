/* SPDX-License-Identifier: Apache-2.0 */
/* Messages: one block of memory each, counted by reference. */
#include "base/message.h"

#include <apr_general.h>
#include <apr_siphash.h>
#include <stdlib.h>
#include <string.h>

/* The key of comet_message_hash(). */
static pthread_once_t secret_once = PTHREAD_ONCE_INIT;
static unsigned char secret[APR_SIPHASH_KSIZE]; /* [secret_once] */

/* Make a random key.  If the system has no random bytes, the time and an
 * address on the stack replace them: a client would have to guess both. */
static void make_secret(void)
{
    if (apr_generate_random_bytes(secret, sizeof(secret)) != APR_SUCCESS) {
        apr_time_t now = apr_time_now();
        const void *address = &now;

        memcpy(secret, &now, sizeof(now));
        memcpy(secret + sizeof(now), &address, sizeof(address));
    }
}

apr_uint32_t comet_message_hash(comet_text_t channel)
{
    pthread_once(&secret_once, make_secret);
    return (apr_uint32_t)apr_siphash24(channel.data, channel.length, secret);
}

unsigned int comet_message_hash_key(const char *key, apr_ssize_t *length)
{
    if (*length == APR_HASH_KEY_STRING) {
        *length = (apr_ssize_t)strlen(key);
    }
    return comet_message_hash((comet_text_t){ key, (apr_size_t)*length });
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
    comet_message_t *message = malloc(
        sizeof(*message) + fields->channel.length + type.length
        + fields->author.length + fields->body.length
        + fields->update.event.length + fields->update.alternates.length + 6);
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
    message->update = fields->update;
    message->update.event = place(&end, fields->update.event);
    message->update.alternates = place(&end, fields->update.alternates);
    message->channel_hash = comet_message_hash(message->channel);
    message->keep_sec = fields->keep_sec;
    message->expires = fields->expires;
    return message;
}

int comet_message_time_is_over(int keep_sec, apr_time_t expires, apr_time_t now)
{
    return keep_sec > 0
           && (expires <= now
               || expires > now + 2 * apr_time_from_sec(keep_sec));
}

int comet_message_is_over(const comet_message_t *message)
{
    return message->keep_sec
           && comet_message_time_is_over(message->keep_sec, message->expires,
                                         apr_time_now());
}

int comet_message_next_name(comet_text_t *rest, comet_text_t *name)
{
    const char *end =
        rest->length ? memchr(rest->data, '\n', rest->length) : NULL;

    *name = *rest;
    if (!rest->length) {
        return 0;
    }
    if (end) {
        name->length = (apr_size_t)(end - rest->data);
    }
    rest->data += name->length + (end != NULL);
    rest->length -= name->length + (end != NULL);
    return 1;
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
