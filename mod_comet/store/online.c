/* SPDX-License-Identifier: Apache-2.0 */
/* The rows of presence in the store: each function calls the engine of its
 * connection. */
#include "store/online.h"

#include "store/engine.h"

apr_status_t comet_online_write(comet_store_t *store,
                                const comet_holder_t *holder, int is_new,
                                const comet_online_change_t *changes,
                                apr_size_t count)
{
    return store->engine->online->write(store, holder, is_new, changes, count);
}

apr_status_t comet_online_sweep(comet_store_t *store, apr_int64_t holder,
                                int *more)
{
    return store->engine->online->sweep(store, holder, more);
}

apr_status_t comet_online_publish(comet_store_t *store, int *count)
{
    return store->engine->online->publish(store, count);
}

apr_status_t comet_online_holders(comet_store_t *store,
                                  comet_online_holder_cb *callback, void *baton)
{
    return store->engine->online->holders(store, callback, baton);
}

apr_status_t comet_online_rows(comet_store_t *store, apr_int64_t holder,
                               comet_online_member_cb *callback, void *baton)
{
    return store->engine->online->rows(store, holder, callback, baton);
}

apr_status_t comet_online_list(comet_store_t *store, comet_text_t channel,
                               comet_text_t after, apr_size_t limit,
                               comet_online_member_cb *callback, void *baton,
                               comet_online_totals_t *totals)
{
    return store->engine->online->list(store, channel, after, limit, callback,
                                       baton, totals);
}

apr_status_t comet_online_unread(comet_store_t *store, comet_text_t channel,
                                 comet_text_t member, apr_size_t limit,
                                 comet_timestamp_t *read_at, apr_int64_t *count)
{
    return store->engine->online->unread(store, channel, member, limit, read_at,
                                         count);
}
