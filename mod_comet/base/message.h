/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file base/message.h
 * A message: one block of memory, counted by reference, immutable once
 * committed.
 */
#ifndef COMET_MESSAGE_H
#define COMET_MESSAGE_H

#include <apr_hash.h>
#include <stdatomic.h>

#include "base/text.h"

typedef struct comet_message_t {
    atomic_uint refs; /* [atomic] */
    apr_uint32_t channel_hash; /* comet_message_hash(channel) */
    /** 0 until the writer has numbered the message; constant once it is
     * committed. */
    comet_timestamp_t timestamp;
    /* These point behind the struct into the same block.  A NUL follows
     * each. */
    comet_text_t channel;
    comet_text_t type;
    comet_text_t author; /* data is NULL if there is no author */
    comet_text_t body;
} comet_message_t;

/** The values a message is made from.  Its texts are copied. */
typedef struct comet_message_fields_t {
    comet_timestamp_t timestamp;
    comet_text_t channel;
    comet_text_t type; /* empty: "message" */
    comet_text_t author; /* data is NULL if there is no author */
    comet_text_t body;
} comet_message_fields_t;

/**
 * Make a message with one reference, which the caller owns.
 * @return NULL if no memory is left.  Any thread.
 */
comet_message_t *comet_message_create(const comet_message_fields_t *fields);

/** Take one more reference.  @return @a message.  Any thread. */
comet_message_t *comet_message_ref(comet_message_t *message);

/** Release a reference; releasing the last one frees the message.  NULL is
 * ignored.  Any thread. */
void comet_message_unref(comet_message_t *message);

/**
 * Hash a channel's name.  Channels are compared by this hash first, and by name
 * only if the hashes are equal.  It is SipHash-2-4 with a random key of this
 * process, so that a client cannot choose names that share a hash.  It differs
 * from process to process: never store it.  Any thread.
 */
apr_uint32_t comet_message_hash(comet_text_t channel);

/** The same for apr_hash_make_custom(): an apr_hashfunc_t for every table
 * whose keys a client chooses.  Any thread. */
unsigned int comet_message_hash_key(const char *key, apr_ssize_t *length);

#endif /* COMET_MESSAGE_H */
