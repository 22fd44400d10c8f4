/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file server/pool.h
 * Pools that do not use their parents' memory.
 */
#ifndef MOD_COMET_POOL_H
#define MOD_COMET_POOL_H

#include "server/mod_comet.h"

/**
 * Make a pool with an allocator of its own.  The thread that uses it need not
 * be the one that owns @a parent. When the pool is destroyed, its memory goes
 * back to the system.  An ordinary child pool of a connection would leave the
 * memory to the connection.
 * @param tag  the pool's name, for debugging
 * @return NULL: there is no memory.  Called by the thread that owns @a parent.
 */
apr_pool_t *mod_comet_pool_create(apr_pool_t *parent, const char *tag);

/**
 * Make the allocator of this child's brief pools.  The allocator keeps a little
 * of the memory that the pools give back, because getting memory from the
 * system and returning it costs more than most of the work done in such a pool.
 * @return NULL: there is no memory.  The allocator lives as long as @a owner.
 */
apr_allocator_t *mod_comet_pool_keep(apr_pool_t *owner);

/**
 * Make a pool that is destroyed before its thread waits for anything.
 * @param kept  from mod_comet_pool_keep(); NULL: like mod_comet_pool_create()
 * @return NULL: there is no memory.  Called by the thread that owns @a parent.
 */
apr_pool_t *mod_comet_pool_create_brief(apr_pool_t *parent,
                                        apr_allocator_t *kept, const char *tag);

#endif /* MOD_COMET_POOL_H */
