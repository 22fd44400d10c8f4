/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file server/pool.h
 * Pools with memory of their own.
 */
#ifndef MOD_COMET_POOL_H
#define MOD_COMET_POOL_H

#include "server/mod_comet.h"

/**
 * Make a pool with an allocator of its own.  Another thread than its parent's
 * may use it, and its memory goes back to the system when it is destroyed,
 * while a connection keeps what its own pools have used.
 * @param tag  the pool's name, for debugging
 * @return NULL: there is no memory.  The thread that owns @a parent.
 */
apr_pool_t *mod_comet_pool_create(apr_pool_t *parent, const char *tag);

#endif /* MOD_COMET_POOL_H */
