/* SPDX-License-Identifier: Apache-2.0 */
/* The connections by which the workers of a child read one store. */
#include "comet_readers.h"

#include <pthread.h>

struct comet_readers_t {
    const comet_store_config_t *config;
    pthread_mutex_t lock;
    apr_size_t keep;
    apr_size_t count; /* [lock] */
    comet_store_t *idle[]; /* [lock] the last one was used last */
};

apr_status_t comet_readers_create(comet_readers_t **readers,
                                  const comet_store_config_t *config,
                                  apr_size_t keep, apr_pool_t *pool)
{
    comet_readers_t *made =
        apr_pcalloc(pool, sizeof(*made) + keep * sizeof(*made->idle));

    made->config = config;
    made->keep = keep;
    *readers = made;
    return pthread_mutex_init(&made->lock, NULL);
}

/* @return NULL: none is idle */
static comet_store_t *pop(comet_readers_t *readers)
{
    comet_store_t *store = NULL;

    pthread_mutex_lock(&readers->lock);
    if (readers->count) {
        store = readers->idle[--readers->count];
    }
    pthread_mutex_unlock(&readers->lock);
    return store;
}

apr_status_t comet_readers_take(comet_readers_t *readers, comet_store_t **store)
{
    *store = pop(readers);
    while (*store && comet_store_moved(*store)) {
        comet_store_close(*store);
        *store = pop(readers);
    }
    return *store ? APR_SUCCESS
                  : comet_store_open(store, readers->config, COMET_STORE_READ,
                                     NULL);
}

void comet_readers_return(comet_readers_t *readers, comet_store_t *store,
                          apr_status_t status)
{
    if (status == APR_SUCCESS && !comet_store_is_read_only(store)) {
        pthread_mutex_lock(&readers->lock);
        if (readers->count < readers->keep) {
            readers->idle[readers->count++] = store;
            store = NULL;
        }
        pthread_mutex_unlock(&readers->lock);
    }
    comet_store_close(store);
}

void comet_readers_close(comet_readers_t *readers)
{
    while (readers->count) {
        comet_store_close(readers->idle[--readers->count]);
    }
}
