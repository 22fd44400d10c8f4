/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file server/pool.h
 * Pools with memory of their own.
 */
#ifndef MOD_COMET_POOL_H
#define MOD_COMET_POOL_H

#include "server/mod_comet.h"

/**
 * Make a pool with an allocator of its own.  The thread that uses it need not
 * be the one that owns @a parent. When the pool is destroyed, its memory goes
 * back to the system: a pool below a connection's would leave the memory to the
 * connection.
 * @param tag  the pool's name, for debugging
 * @return NULL: there is no memory.  Called by the thread that owns @a parent.
 */
apr_pool_t *mod_comet_pool_create(apr_pool_t *parent, const char *tag);

#endif /* MOD_COMET_POOL_H */
