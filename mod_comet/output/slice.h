/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file output/slice.h
 * Cut a message into pieces if it is too long to be kept for a client that
 * reads slowly.  Only the client's position in the message is kept.  The
 * message is read and encoded again for each piece.
 */
#ifndef MOD_COMET_SLICE_H
#define MOD_COMET_SLICE_H

#include "base/batch.h"
#include "output/outbox.h"
#include "request/ask.h"

/** How much a stream has sent of an encoded message that is too long to be sent
 * at once.  Zero-initialised: no message is half sent. */
typedef struct mod_comet_slice_t {
    comet_timestamp_t of; /* the timestamp of the message; 0: none */
    apr_size_t offset; /* where in the encoded message its next piece begins */
} mod_comet_slice_t;

/**
 * Whether a slice's message is the first of a batch, or no message is half
 * sent.  If not, the rest of the message is gone, and the client must come back
 * with its cursor.
 */
int mod_comet_slice_fits(const mod_comet_slice_t *slice,
                         const comet_batch_t *batch);

/**
 * Cut the next piece of a message.
 * @param body  the message, encoded
 * @param seen  OUT: the subscriber's cursor, which stays before the message
 *              until the last piece is cut
 */
comet_text_t mod_comet_slice_cut(mod_comet_slice_t *slice,
                                 const comet_message_t *message,
                                 comet_text_t body, comet_timestamp_t *seen);

/**
 * Encode the next piece of a batch's first message, which is long.
 * @param seen  OUT: the subscriber's cursor, as for mod_comet_slice_cut()
 * @param out  the piece is appended to it; it is marked as failed if memory
 *             runs out
 */
void mod_comet_slice_encode(mod_comet_slice_t *slice,
                            const mod_comet_ask_t *ask,
                            const comet_batch_t *batch, comet_timestamp_t *seen,
                            comet_buffer_t *out);

/**
 * Encode what is sent to a stream's client next, as
 * mod_comet_news_encode_next() does.  Of a long message, encode only the next
 * piece.
 * @param seen  IN OUT: the subscriber's cursor
 * @return APR_SUCCESS; APR_EGENERAL: only a part of a message was sent, and the
 *         rest is gone, or the stream has to end
 */
apr_status_t mod_comet_slice_encode_next(mod_comet_slice_t *slice,
                                         const mod_comet_ask_t *ask,
                                         const comet_batch_t *batch,
                                         int retry_msec, int silent,
                                         comet_timestamp_t *seen,
                                         comet_buffer_t *out);

#endif /* MOD_COMET_SLICE_H */
