/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file wait/block_place.h
 * Give places to threads that wait.  Only a part of a child's threads may wait
 * at a time, and only a few of the threads that serve one HTTP/2 connection.
 */
#ifndef MOD_COMET_BLOCK_PLACE_H
#define MOD_COMET_BLOCK_PLACE_H

#include "wait/wait_priv.h"

/**
 * Take a place for the calling thread.
 * @param block  ->child and ->master are set; the call links it into the list
 *               of waiting threads
 * @param p  for the text of the reason
 * @return NULL; or why there is no place
 */
const char *mod_comet_block_place_take(mod_comet_blocked_t *block,
                                       apr_pool_t *p);

/** Give the place back.  Called by the thread that has taken it. */
void mod_comet_block_place_give(mod_comet_blocked_t *block);

#endif /* MOD_COMET_BLOCK_PLACE_H */
