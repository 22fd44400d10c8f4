/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file output/slice.h
 * A message that is too long to be kept for a client that reads slowly, cut
 * into pieces.  Only the place where the client stands is kept: the message is
 * read and encoded again for the next piece.
 */
#ifndef MOD_COMET_SLICE_H
#define MOD_COMET_SLICE_H

#include "base/batch.h"
#include "output/outbox.h"

/** Where in an encoded message a stream stands, which was too long to be sent
 * at once; zero-initialised: at no message's beginning but the next one's. */
typedef struct mod_comet_slice_t {
    comet_timestamp_t of; /* the message; 0: none */
    apr_size_t offset; /* of what comes next */
} mod_comet_slice_t;

/**
 * Whether a slice's message is the first of a batch, or no message was begun.
 * If not, its rest is gone: the client is to come back by its cursor.
 */
int mod_comet_slice_fits(const mod_comet_slice_t *slice,
                         const comet_batch_t *batch);

/**
 * Cut the next piece of a message.
 * @param body  the message, encoded
 * @param seen  OUT: the subscriber's cursor: before the message, until the
 *              last piece was cut
 */
comet_text_t mod_comet_slice_cut(mod_comet_slice_t *slice,
                                 const comet_message_t *message,
                                 comet_text_t body, comet_timestamp_t *seen);

#endif /* MOD_COMET_SLICE_H */
