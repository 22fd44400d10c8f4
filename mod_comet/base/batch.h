/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file base/batch.h
 * A batch: messages in order, as many as fit into one answer.
 */
#ifndef COMET_BATCH_H
#define COMET_BATCH_H

#include "base/message.h"

/** A batch that holds this many bytes of bodies is full, so that no client's
 * request can exhaust the memory. */
#define COMET_BATCH_BYTES (256 * 1024)

/** A batch counts only the bodies of its messages or, if most_bytes is set, all
 * their texts.  In the latter case each message adds this many bytes more, for
 * its timestamp and the names of its fields. */
#define COMET_BATCH_OVERHEAD 64

/** Messages in order.  The batch owns one reference to each. */
typedef struct comet_batch_t {
    comet_message_t **messages; /* room for `size` pointers; the batch's
                                 * owner allocates it */
    apr_size_t size;
    apr_size_t count;
    apr_size_t bytes; /* the total length of the bodies; if most_bytes is set,
                       * of all texts, plus COMET_BATCH_OVERHEAD for each
                       * message */
    apr_size_t most_bytes; /* the batch is full when `bytes` reaches this; 0:
                            * COMET_BATCH_BYTES */
} comet_batch_t;

/** Whether a batch takes no further message.  If so, the store might have more
 * messages. */
int comet_batch_is_full(const comet_batch_t *batch);

/**
 * Add a message to a batch.  This is a comet_store_cb.
 * @param baton  the comet_batch_t
 * @param message  its reference passes to the batch
 * @return whether there is room for another message
 */
int comet_batch_add(void *baton, comet_message_t *message);

/** Release all references; the batch is empty again. */
void comet_batch_clear(comet_batch_t *batch);

#endif /* COMET_BATCH_H */
