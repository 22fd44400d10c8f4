/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file base/message.h
 * A message: immutable once committed, counted by reference, one block.
 */
#ifndef COMET_MESSAGE_H
#define COMET_MESSAGE_H

#include <stdatomic.h>

#include "base/text.h"

typedef struct comet_message_t {
    atomic_uint refs; /* [atomic] */
    apr_uint32_t channel_hash; /* comet_message_hash(channel) */
    /** 0 until the writer has numbered it; fixed from the commit on. */
    comet_timestamp_t timestamp;
    /* all of these point behind the struct, in the same block, and each is
     * followed by a NUL */
    comet_text_t channel;
    comet_text_t type;
    comet_text_t author; /* data is NULL: nobody */
    comet_text_t body;
} comet_message_t;

/** What a message is made of; the texts are copied. */
typedef struct comet_message_fields_t {
    comet_timestamp_t timestamp;
    comet_text_t channel;
    comet_text_t type; /* empty: "message" */
    comet_text_t author; /* data NULL: nobody */
    comet_text_t body;
} comet_message_fields_t;

/**
 * Make a message with one reference, which the caller owns.
 * @return NULL when there is no memory.  Any thread.
 */
comet_message_t *comet_message_create(const comet_message_fields_t *fields);

/** Take one more reference. @return @a message.  Any thread. */
comet_message_t *comet_message_ref(comet_message_t *message);

/** Give one reference back; the last frees.  NULL is ignored.  Any thread. */
void comet_message_unref(comet_message_t *message);

/** The hash by which channels are compared before their names are. */
apr_uint32_t comet_message_hash(comet_text_t channel);

#endif /* COMET_MESSAGE_H */
