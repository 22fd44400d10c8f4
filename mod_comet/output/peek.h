/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file output/peek.h
 * Look at what a client has sent, without consuming it.
 */
#ifndef MOD_COMET_PEEK_H
#define MOD_COMET_PEEK_H

#include "server/mod_comet.h"

typedef enum {
    MOD_COMET_PEEK_NOTHING, /* the client waits */
    MOD_COMET_PEEK_DATA, /* it has sent its next request, or part of it */
    MOD_COMET_PEEK_GONE /* it has closed its side, or the connection broke */
} mod_comet_peek_e;

/**
 * Find out whether a client has sent something or has left.  Never blocks.
 * Called by the thread that owns the connection.
 * @param brigade  empty, and empty again afterwards
 */
mod_comet_peek_e mod_comet_peek(conn_rec *c, apr_bucket_brigade *brigade);

/**
 * Copy as much of what the client has sent as one read returns, without
 * consuming it.  Otherwise like mod_comet_peek().
 * @return how many bytes were copied
 */
apr_size_t mod_comet_peek_bytes(conn_rec *c, apr_bucket_brigade *brigade,
                                char *bytes, apr_size_t size);

/** Whether the socket has bytes that have not been read.  Any thread. */
int mod_comet_peek_socket(int fd);

#endif /* MOD_COMET_PEEK_H */
