/* SPDX-License-Identifier: Apache-2.0 */
/* Pools with memory of their own. */
#include "server/pool.h"

apr_pool_t *mod_comet_pool_create(apr_pool_t *parent, const char *tag)
{
    apr_allocator_t *allocator;
    apr_pool_t *pool;

    if (apr_allocator_create(&allocator) != APR_SUCCESS) {
        return NULL;
    }
    if (apr_pool_create_ex(&pool, parent, NULL, allocator) != APR_SUCCESS) {
        apr_allocator_destroy(allocator);
        return NULL;
    }
    apr_allocator_owner_set(allocator, pool);
    apr_pool_tag(pool, tag);
    return pool;
}
