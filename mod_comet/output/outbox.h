/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file output/outbox.h
 * Bytes on their way to one client, as it takes them; nothing here blocks.
 */
#ifndef MOD_COMET_OUTBOX_H
#define MOD_COMET_OUTBOX_H

#include "wire/encode.h"
#include "server/mod_comet.h"

/**
 * Bytes on their way to one client, given to the filters, or to a socket,
 * piece by piece as the client takes them.  Zero-initialised is empty.  Owned
 * by whoever owns the request, or the socket.
 */
typedef struct mod_comet_outbox_t {
    comet_buffer_t bytes;
    apr_size_t sent; /* given to them */
} mod_comet_outbox_t;

/** The most that is given to the filters at a time: beyond 64 KB core blocks
 * whoever gives it (FlushMaxThreshold). */
#define MOD_COMET_PIECE_BYTES (32 * 1024)

/** Whether all was given to them. */
int mod_comet_outbox_is_empty(const mod_comet_outbox_t *outbox);

/** Drop what it holds. */
void mod_comet_outbox_clear(mod_comet_outbox_t *outbox);

/**
 * Send what the client takes now; never blocks.  What stays in the filters
 * (c->data_in_output_filters) is sent by mod_comet_filters_push(), what stays
 * in the outbox by the next call.
 * @return APR_SUCCESS, or why the client is lost
 */
apr_status_t mod_comet_outbox_send(mod_comet_outbox_t *outbox, request_rec *r,
                                   apr_bucket_brigade *brigade);

/**
 * Send bytes to a socket, behind what the outbox holds, and keep what it does
 * not take; never blocks.
 * @return how many bytes it took; -1: the client is lost, or there is no
 *         memory for what is left
 */
apr_ssize_t mod_comet_outbox_write(mod_comet_outbox_t *outbox, int fd,
                                   comet_text_t bytes);

/** Send what the outbox holds; as mod_comet_outbox_write(). */
apr_ssize_t mod_comet_outbox_flush(mod_comet_outbox_t *outbox, int fd);

#endif /* MOD_COMET_OUTBOX_H */
