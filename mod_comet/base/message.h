/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file base/message.h
 * A message: immutable once committed, counted by reference, one block.
 */
#ifndef COMET_MESSAGE_H
#define COMET_MESSAGE_H

#include <stdatomic.h>

#include "base/comet.h"

/** Text by address and length: may contain any byte, need not end in NUL. */
typedef struct comet_text_t {
    const char *data;
    apr_size_t length;
} comet_text_t;

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

/** With so many bytes of messages a batch is full: what one client asked
 * for must not fill the memory. */
#define COMET_BATCH_BYTES (256 * 1024)

/** Messages gathered in order; each is a reference that the batch owns. */
typedef struct comet_batch_t {
    comet_message_t **messages; /* room for @a size, of the batch's owner */
    apr_size_t size;
    apr_size_t count;
    apr_size_t bytes; /* of their bodies */
} comet_batch_t;

/** Whether it takes no more: there may be more messages then. */
int comet_batch_is_full(const comet_batch_t *batch);

/**
 * Add a message to a batch; a comet_store_cb.
 * @param baton    the comet_batch_t
 * @param message  the batch takes the reference over
 * @return whether there is room for another
 */
int comet_batch_add(void *baton, comet_message_t *message);

/** Give all references back; the batch is empty again. */
void comet_batch_clear(comet_batch_t *batch);

/** Whether two texts hold the same bytes. */
int comet_text_equal(comet_text_t a, comet_text_t b);

/** The text of a NUL-terminated string; NULL gives {NULL, 0}. */
comet_text_t comet_text(const char *string);

#endif /* COMET_MESSAGE_H */
