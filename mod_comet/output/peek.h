/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file output/peek.h
 * Looking at what a client has sent without taking it.
 */
#ifndef MOD_COMET_PEEK_H
#define MOD_COMET_PEEK_H

#include "server/mod_comet.h"

typedef enum {
    MOD_COMET_PEEK_NOTHING, /* the client waits */
    MOD_COMET_PEEK_DATA, /* its next request, or part of it */
    MOD_COMET_PEEK_GONE /* it has closed its side, or the connection broke */
} mod_comet_peek_e;

/**
 * Whether a client has sent something or has left. Never blocks. Called by the
 * thread that owns the connection.
 * @param brigade  empty, and empty again afterwards
 */
mod_comet_peek_e mod_comet_peek(conn_rec *c, apr_bucket_brigade *brigade);

/**
 * Like mod_comet_peek(), but also copy as much of what the client has sent as
 * one read returns.
 * @return how many bytes were copied
 */
apr_size_t mod_comet_peek_bytes(conn_rec *c, apr_bucket_brigade *brigade,
                                char *bytes, apr_size_t size);

/** Whether the socket has bytes that were not read.  Any thread. */
int mod_comet_peek_socket(int fd);

#endif /* MOD_COMET_PEEK_H */
