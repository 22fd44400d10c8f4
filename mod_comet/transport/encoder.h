/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file transport/encoder.h
 * Messages made bytes once for all streams that get the same: by the same
 * transport, in the same format.  The bytes are framed as a chunk of HTTP/1.1
 * (RFC 9112, section 7.1), so that one send() is all that is left to do.
 */
#ifndef COMET_ENCODER_H
#define COMET_ENCODER_H

#include "base/batch.h"
#include "transport/transport.h"

/** Owned by the encoder; good until its next call. */
typedef struct comet_encoding_t {
    comet_text_t chunk; /* the bytes, framed */
    comet_text_t body; /* the bytes alone: a part of the chunk */
} comet_encoding_t;

/** So many encodings are remembered, of so many messages each. */
#define COMET_ENCODER_SLOTS 4
#define COMET_ENCODER_MESSAGES 16

/** What one thread has encoded last.  Zero-initialised is empty. */
typedef struct comet_encoder_t {
    struct comet_encoder_slot_t {
        const comet_transport_t *transport;
        comet_format_t format;
        comet_message_t *messages[COMET_ENCODER_MESSAGES]; /* references */
        apr_size_t count; /* 0: it is like no other */
        comet_buffer_t bytes;
        comet_encoding_t encoding;
    } slots[COMET_ENCODER_SLOTS];
    unsigned next; /* to be written over */
} comet_encoder_t;

/**
 * Encode messages, or find them encoded.  One thread.
 * @param batch  borrowed; at least one message, which the encoder may keep a
 *               reference to
 * @return NULL: no memory
 */
const comet_encoding_t *comet_encoder_encode(comet_encoder_t *encoder,
                                             const comet_transport_t *transport,
                                             const comet_format_t *format,
                                             const comet_batch_t *batch);

/** Give all back that it holds. */
void comet_encoder_clear(comet_encoder_t *encoder);

/** Append bytes as a chunk of their own; none of them: nothing, for an empty
 * chunk would be the last. */
void comet_encoder_add_chunk(comet_buffer_t *out, comet_text_t body);

/** What ends a body in chunks. */
#define COMET_LAST_CHUNK "0\r\n\r\n"

#endif /* COMET_ENCODER_H */
