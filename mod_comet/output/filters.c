/* SPDX-License-Identifier: Apache-2.0 */
/* Give bytes to httpd's output filters without ever blocking. */
#include "output/filters.h"

#include <apr_portable.h>

int mod_comet_filters_fd(conn_rec *c)
{
    apr_os_sock_t fd = -1;

    apr_os_sock_get(&fd, ap_get_conn_socket(c));
    return fd;
}

/* --- writing ---------------------------------------------------------- */

/*
 * The push bucket: an empty metadata bucket.  Like a FLUSH it drives the bytes
 * before it through mod_ssl's coalescing filter; unlike a FLUSH it does not
 * block until the client has taken everything.
 */
static apr_status_t push_bucket_read(apr_bucket *bucket, const char **data,
                                     apr_size_t *length, apr_read_type_e block)
{
    *data = NULL;
    *length = 0;
    return APR_SUCCESS;
}

static const apr_bucket_type_t push_bucket_type = {
    "COMET_PUSH",
    5,
    APR_BUCKET_METADATA,
    apr_bucket_destroy_noop,
    push_bucket_read,
    apr_bucket_setaside_noop,
    apr_bucket_split_notimpl,
    apr_bucket_simple_copy,
};

static apr_bucket *push_bucket_create(apr_bucket_alloc_t *list)
{
    apr_bucket *bucket = apr_bucket_alloc(sizeof(*bucket), list);

    APR_BUCKET_INIT(bucket);
    bucket->free = apr_bucket_free;
    bucket->list = list;
    bucket->type = &push_bucket_type;
    bucket->length = 0;
    bucket->start = 0;
    bucket->data = NULL;
    return bucket;
}

apr_status_t mod_comet_filters_push(conn_rec *c)
{
    ap_filter_t *filter = c->output_filters;

    if (c->master) {
        return APR_SUCCESS; /* mod_http2 keeps nothing in its filters, and that
                             * of httpd 2.4.58 and 2.4.59 aborts at the call */
    }
    while (filter->next) {
        filter = filter->next;
    }
    return filter->frec->filter_func.out_func(filter, NULL);
}

/* Pass a brigade to filters.  With a time limit of 0 no filter waits for the
 * client; if one would have to (for mod_ssl's own buffers), the client is
 * lost. */
static apr_status_t pass(conn_rec *c, ap_filter_t *filters,
                         apr_bucket_brigade *brigade)
{
    apr_socket_t *socket = ap_get_conn_socket(c);
    apr_interval_time_t timeout;
    apr_status_t status;

    apr_socket_timeout_get(socket, &timeout);
    apr_socket_timeout_set(socket, 0);
    status = ap_pass_brigade(filters, brigade);
    apr_socket_timeout_set(socket, timeout);
    apr_brigade_cleanup(brigade);
    return c->aborted && status == APR_SUCCESS ? APR_ECONNABORTED : status;
}

apr_status_t mod_comet_filters_write(request_rec *r,
                                     apr_bucket_brigade *brigade,
                                     const char *data, apr_size_t length)
{
    conn_rec *c = r->connection;
    apr_status_t status;

    if (length) {
        /* the filters copy what they keep */
        APR_BRIGADE_INSERT_TAIL(brigade, apr_bucket_transient_create(
                                             data, length, c->bucket_alloc));
    }
    APR_BRIGADE_INSERT_TAIL(brigade, push_bucket_create(c->bucket_alloc));
    status = pass(c, r->output_filters, brigade);
    return status == APR_SUCCESS ? mod_comet_filters_push(c) : status;
}

apr_status_t mod_comet_filters_open(request_rec *r, apr_bucket_brigade *brigade)
{
    return mod_comet_filters_write(r, brigade, NULL, 0);
}

/* End the response after the bytes that the brigade already holds. */
static apr_status_t pass_end(request_rec *r, apr_bucket_brigade *brigade)
{
    conn_rec *c = r->connection;

    APR_BRIGADE_INSERT_TAIL(brigade, apr_bucket_eos_create(c->bucket_alloc));
    return pass(c, r->output_filters, brigade);
}

apr_status_t mod_comet_filters_finish(request_rec *r,
                                      apr_bucket_brigade *brigade)
{
    apr_status_t status = pass_end(r, brigade);

    return status == APR_SUCCESS ? mod_comet_filters_push(r->connection)
                                 : status;
}

apr_status_t mod_comet_filters_end(request_rec *r, apr_bucket_brigade *brigade,
                                   int complete)
{
    conn_rec *c = r->connection;
    apr_status_t status = APR_SUCCESS;

    if (complete) {
        status = pass_end(r, brigade);
    }
    /* if no filter takes the bucket, the brigade's clean-up ends the request */
    APR_BRIGADE_INSERT_TAIL(brigade, ap_bucket_eor_create(c->bucket_alloc, r));
    pass(c, c->output_filters, brigade);
    if (status == APR_SUCCESS && complete) {
        status = mod_comet_filters_push(c);
    }
    return status;
}

apr_status_t mod_comet_filters_whole(request_rec *r,
                                     apr_bucket_brigade *brigade,
                                     comet_buffer_t *bytes)
{
    APR_BRIGADE_INSERT_TAIL(
        brigade, apr_bucket_heap_create(bytes->data, bytes->length, free,
                                        r->connection->bucket_alloc));
    *bytes = (comet_buffer_t){ .data = NULL };
    return mod_comet_filters_end(r, brigade, 1);
}

apr_status_t mod_comet_filters_pass(conn_rec *c, apr_bucket_brigade *brigade)
{
    apr_status_t status = pass(c, c->output_filters, brigade);

    return status == APR_SUCCESS ? mod_comet_filters_push(c) : status;
}

apr_status_t mod_comet_filters_below(conn_rec *c, ap_filter_t *filter,
                                     apr_bucket_brigade *brigade)
{
    apr_status_t status;

    APR_BRIGADE_INSERT_TAIL(brigade, push_bucket_create(c->bucket_alloc));
    status = pass(c, filter->next, brigade);
    return status == APR_SUCCESS ? mod_comet_filters_push(c) : status;
}
