/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file transport/encoder.h
 * Encodes messages once for all streams that get the same messages by the same
 * transport in the same format.  The bytes are framed as a chunk of HTTP/1.1
 * (RFC 9112, section 7.1), so that each stream needs just one send().
 */
#ifndef COMET_ENCODER_H
#define COMET_ENCODER_H

#include "base/batch.h"
#include "transport/transport.h"

/** Encoded messages, owned by the encoder and valid until the encoder's next
 * use. */
typedef struct comet_encoding_t {
    comet_text_t chunk; /* the bytes, framed as a chunk */
    comet_text_t body; /* the bytes without the frame: a part of the chunk */
} comet_encoding_t;

/** How many encodings are remembered, and how many messages each may hold. */
#define COMET_ENCODER_SLOTS 4
#define COMET_ENCODER_MESSAGES 16

/** The encodings that one thread made last.  Zero-initialised, it is empty. */
typedef struct comet_encoder_t {
    struct comet_encoder_slot_t {
        const comet_transport_t *transport;
        comet_format_t format;
        /** each is a reference */
        comet_message_t *messages[COMET_ENCODER_MESSAGES];
        apr_size_t count; /* 0 if this encoding is never reused */
        comet_buffer_t bytes;
        comet_encoding_t encoding;
    } slots[COMET_ENCODER_SLOTS];
    unsigned next; /* the slot to overwrite next */
} comet_encoder_t;

/**
 * Encode messages, or find their encoding.  Always the same thread.
 * @param batch  borrowed; it has at least one message.  The encoder may keep
 *               references to its messages
 * @return NULL if no memory is left
 */
const comet_encoding_t *comet_encoder_encode(comet_encoder_t *encoder,
                                             const comet_transport_t *transport,
                                             const comet_format_t *format,
                                             const comet_batch_t *batch);

/** Release everything the encoder holds. */
void comet_encoder_clear(comet_encoder_t *encoder);

/** Append bytes as a chunk.  Appends nothing if there are none, since an empty
 * chunk would end the body. */
void comet_encoder_add_chunk(comet_buffer_t *out, comet_text_t body);

/** The end of a chunked body. */
#define COMET_LAST_CHUNK "0\r\n\r\n"

#endif /* COMET_ENCODER_H */
