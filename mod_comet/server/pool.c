/* SPDX-License-Identifier: Apache-2.0 */
/* Pools that do not use their parents' memory. */
#include "server/pool.h"

#include <apr_thread_mutex.h>

/* How much memory brief pools may leave for the next ones. */
#define KEPT_BYTES (256 * 1024)

#ifdef __SANITIZE_THREAD__
#include <sanitizer/tsan_interface.h>

/* ThreadSanitizer does not see that APR reuses the memory of a destroyed pool
 * for a pool of another thread. */
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

apr_allocator_t *mod_comet_pool_keep(apr_pool_t *owner)
{
    apr_pool_t *pool = mod_comet_pool_create(owner, "comet_kept");
    apr_allocator_t *allocator = pool ? apr_pool_allocator_get(pool) : NULL;
    apr_thread_mutex_t *mutex;

    if (!pool
        || apr_thread_mutex_create(&mutex, APR_THREAD_MUTEX_DEFAULT, pool)
               != APR_SUCCESS) {
        return NULL;
    }
    apr_allocator_max_free_set(allocator, KEPT_BYTES);
    apr_allocator_mutex_set(allocator, mutex);
    return allocator;
}

apr_pool_t *mod_comet_pool_create_brief(apr_pool_t *parent,
                                        apr_allocator_t *kept, const char *tag)
{
    apr_pool_t *pool;

    if (!kept) {
        return mod_comet_pool_create(parent, tag);
    }
    if (apr_pool_create_ex(&pool, parent, NULL, kept) != APR_SUCCESS) {
        return NULL;
    }
    TAKE_OVER(pool);
    apr_pool_tag(pool, tag);
    return pool;
}
