/* SPDX-License-Identifier: Apache-2.0 */
/* Pools with memory of their own. */
#include "server/pool.h"

#ifdef __SANITIZE_THREAD__
#include <sanitizer/tsan_interface.h>

/* APR gives memory back to the system and gets it again for another thread,
 * which ThreadSanitizer does not see. */
static char handed_on;

static apr_status_t hand_on(void *nothing)
{
    __tsan_release(&handed_on);
    return APR_SUCCESS;
}

#define TAKE_OVER(pool) \
    (__tsan_acquire(&handed_on), \
     apr_pool_cleanup_register(pool, NULL, hand_on, apr_pool_cleanup_null))
#else
#define TAKE_OVER(pool)
#endif

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
    TAKE_OVER(pool);
    apr_allocator_owner_set(allocator, pool);
    apr_pool_tag(pool, tag);
    return pool;
}
