/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes that are kept until their client takes them. */
#include "output/outbox.h"

#include <stdatomic.h>

#include "shared/metrics.h"
#include "output/filters.h"

static atomic_size_t buffered; /* [atomic] how many bytes this child's outboxes
                                * hold */

void mod_comet_outbox_count(apr_size_t *counted, apr_size_t now)
{
    if (now != *counted) {
        /* unsigned arithmetic wraps, so this can also subtract */
        atomic_fetch_add(&buffered, now - *counted);
        comet_metrics_add(COMET_METRIC_buffered_bytes,
                          (apr_int64_t)now - (apr_int64_t)*counted);
        *counted = now;
    }
}

/* Keep the sum and the gauge in step with an outbox that has changed. */
static void count(mod_comet_outbox_t *outbox)
{
    mod_comet_outbox_count(&outbox->counted, outbox->bytes.length);
}

apr_size_t mod_comet_outbox_share(void)
{
    return atomic_load(&buffered) < MOD_COMET_BUFFERED_BYTES
               ? MOD_COMET_PIECE_BYTES
               : MOD_COMET_SLICE_MIN;
}

apr_size_t mod_comet_outbox_most(void)
{
    return atomic_load(&buffered) < MOD_COMET_BUFFERED_BYTES
               ? 0
               : MOD_COMET_PIECE_BYTES;
}

static apr_status_t forget(void *counted)
{
    mod_comet_outbox_count(counted, 0);
    return APR_SUCCESS;
}

void mod_comet_outbox_note(request_rec *r, apr_size_t bytes)
{
    apr_size_t *counted;

    if (bytes > MOD_COMET_PIECE_BYTES) {
        counted = apr_pcalloc(r->pool, sizeof(*counted));
        mod_comet_outbox_count(counted, bytes);
        apr_pool_cleanup_register(r->pool, counted, forget,
                                  apr_pool_cleanup_null);
    }
}

int mod_comet_outbox_is_empty(const mod_comet_outbox_t *outbox)
{
    return outbox->sent == outbox->bytes.length;
}

void mod_comet_outbox_clear(mod_comet_outbox_t *outbox)
{
    comet_buffer_free(&outbox->bytes);
    outbox->sent = 0;
    count(outbox);
}

apr_status_t mod_comet_outbox_send(mod_comet_outbox_t *outbox, request_rec *r,
                                   apr_bucket_brigade *brigade)
{
    apr_status_t status = APR_SUCCESS;

    while (status == APR_SUCCESS && !mod_comet_outbox_is_empty(outbox)
           && !r->connection->data_in_output_filters) {
        apr_size_t length = outbox->bytes.length - outbox->sent;

        if (length > MOD_COMET_PIECE_BYTES) {
            length = MOD_COMET_PIECE_BYTES;
        }
        status = mod_comet_filters_write(
            r, brigade, outbox->bytes.data + outbox->sent, length);
        outbox->sent += length;
    }
    if (mod_comet_outbox_is_empty(outbox)) {
        mod_comet_outbox_clear(outbox);
    }
    count(outbox);
    return status;
}
