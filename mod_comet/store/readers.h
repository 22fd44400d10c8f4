/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file store/readers.h
 * The connections by which the workers of a child read one store: opened
 * when needed, kept for the next, never shared by two threads at a time.
 */
#ifndef COMET_READERS_H
#define COMET_READERS_H

#include "store/store.h"

typedef struct comet_readers_t comet_readers_t;

/**
 * Called in child_init; opens nothing; allocates from @a pool then only.
 * @param keep  how many idle connections are kept open
 * @param places  how many may be in use at a time; at least 1
 */
apr_status_t comet_readers_create(comet_readers_t **readers,
                                  const comet_store_config_t *config,
                                  apr_size_t keep, apr_size_t places,
                                  apr_pool_t *pool);

/**
 * Take a connection to the file that is at the path now.  While all places are
 * taken the caller waits; but not for a store that hangs: when nobody has given
 * a connection back for 50 ms the caller is refused.
 * @param store  set; the caller's until it is returned
 * @return APR_SUCCESS; COMET_EBUSY: all places are taken and none becomes
 *         free; or why the store cannot be opened.  Any thread.
 */
apr_status_t comet_readers_take(comet_readers_t *readers,
                                comet_store_t **store);

/**
 * Give a connection back.
 * @param store  NULL: none was taken; nothing is done
 * @param status  how its use ended: after a failure it is closed.
 */
void comet_readers_return(comet_readers_t *readers, comet_store_t *store,
                          apr_status_t status);

/** Close the idle ones, once nobody takes any more. */
void comet_readers_close(comet_readers_t *readers);

#endif /* COMET_READERS_H */
