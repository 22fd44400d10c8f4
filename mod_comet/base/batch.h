/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file base/batch.h
 * Messages gathered in order, as many as one answer carries.
 */
#ifndef COMET_BATCH_H
#define COMET_BATCH_H

#include "base/message.h"

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

#endif /* COMET_BATCH_H */
