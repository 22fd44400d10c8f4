/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file output/outbox.h
 * Bytes that wait until their client takes them; nothing here blocks.
 */
#ifndef MOD_COMET_OUTBOX_H
#define MOD_COMET_OUTBOX_H

#include "wire/encode.h"
#include "server/mod_comet.h"

/**
 * Bytes for one client.  They are given to the filters or to a socket
 * (output/outlet.h) piece by piece, as the client takes them. Zero-initialised,
 * it is empty. The owner of the request or of the socket owns it.
 */
typedef struct mod_comet_outbox_t {
    comet_buffer_t bytes;
    apr_size_t sent; /* how many of these bytes were passed on */
    apr_size_t counted; /* how many bytes the gauge and the child's sum count
                         * for this outbox */
} mod_comet_outbox_t;

/** If the outboxes of a child hold this many bytes, each stream that is behind
 * is sent smaller pieces, and each answer has fewer messages.  So the sum stays
 * below this limit plus MOD_COMET_SLICE_MIN for each stream, and plus
 * MOD_COMET_PIECE_BYTES of messages, or one message, for each answer. */
#define MOD_COMET_BUFFERED_BYTES (16 * 1024 * 1024)
#define MOD_COMET_SLICE_MIN (4 * 1024)

/** How many bytes of messages a stream gets at a time.  Encoding turns one byte
 * into at most seven, so the encoded messages fit into two pieces. */
#define MOD_COMET_STREAM_BYTES (8 * 1024)

/** The most bytes of messages that a stream gets at a time on a socket that the
 * hub owns.  The amount grows up to this value while the client takes
 * everything at once, so that a long history costs few system calls. */
#define MOD_COMET_STREAM_BYTES_MOST (4 * MOD_COMET_STREAM_BYTES)

/**
 * Count bytes that are kept for a client outside an outbox.
 * @param counted  IN OUT: how many bytes were counted for this client
 * @param now  how many bytes are kept now.  Any thread
 */
void mod_comet_outbox_count(apr_size_t *counted, apr_size_t now);

/** The most bytes that a stream's client is sent at a time now.  Any thread. */
apr_size_t mod_comet_outbox_share(void);

/** How many bytes of messages an answer may have now, for
 * comet_batch_t.most_bytes: 0 is the usual number.  Any thread. */
apr_size_t mod_comet_outbox_most(void);

/** Count a long answer until its request ends.  mod_http2 keeps the whole answer
 * until the client has read it, and one connection may have a hundred. */
void mod_comet_outbox_note(request_rec *r, apr_size_t bytes);

/** The most bytes that are given to the filters at a time.  Beyond 64 KB,
 * httpd's core blocks the calling thread (FlushMaxThreshold). */
#define MOD_COMET_PIECE_BYTES (32 * 1024)

/** Whether all bytes were passed on. */
int mod_comet_outbox_is_empty(const mod_comet_outbox_t *outbox);

/** Drop the bytes. */
void mod_comet_outbox_clear(mod_comet_outbox_t *outbox);

/**
 * Send to a request's client what it takes now; never blocks.  Bytes that stay
 * in the filters (c->data_in_output_filters) are sent by
 * mod_comet_filters_push(), those that stay in the outbox by the next call.
 * @return APR_SUCCESS, or why the client is lost
 */
apr_status_t mod_comet_outbox_send(mod_comet_outbox_t *outbox, request_rec *r,
                                   apr_bucket_brigade *brigade);

#endif /* MOD_COMET_OUTBOX_H */
