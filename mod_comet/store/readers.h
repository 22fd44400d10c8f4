/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file store/readers.h
 * The connections through which the workers of a child read one store.  They
 * are opened when needed, kept for the next worker, and never used by two
 * threads at a time.
 */
#ifndef COMET_READERS_H
#define COMET_READERS_H

#include "store/store.h"

typedef struct comet_readers_t comet_readers_t;

/**
 * Create the set of connections, which is empty at first.  Call this in
 * child_init: later nothing is allocated from @a pool.
 * @param keep    how many idle connections stay open at most
 * @param places  how many connections may be in use at a time; at least 1
 */
apr_status_t comet_readers_create(comet_readers_t **readers,
                                  const comet_store_config_t *config,
                                  apr_size_t keep, apr_size_t places,
                                  apr_pool_t *pool);

/**
 * Take a connection to the store that is now at the configured path.  While @a
 * places connections are in use, the caller waits for at most a second.  The
 * caller is refused earlier if no connection was opened or given back for 500
 * ms, because the store then counts as hanging.
 * @param store  OUT: the connection, which the caller owns until
 *               comet_readers_return()
 * @return APR_SUCCESS; COMET_EBUSY: no connection became free in time;
 *         COMET_ESTOPPING: the caller would have to wait, but was dismissed;
 *         otherwise why the store cannot be opened.  Any thread.
 */
apr_status_t comet_readers_take(comet_readers_t *readers,
                                comet_store_t **store);

/**
 * Give a connection back.
 * @param store   NULL: none was taken, and nothing is done
 * @param status  how its use ended; after a failure the connection is closed
 */
void comet_readers_return(comet_readers_t *readers, comet_store_t *store,
                          apr_status_t status);

/**
 * Let nobody wait any more: neither for a connection, nor for another program's
 * lock, nor for a database server.  Any thread; safe in a signal handler.
 */
void comet_readers_dismiss(comet_readers_t *readers);

/** Close the idle connections.  Call this when no thread uses the set any
 * more. */
void comet_readers_close(comet_readers_t *readers);

#endif /* COMET_READERS_H */
