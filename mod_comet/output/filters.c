/* SPDX-License-Identifier: Apache-2.0 */
/* Giving bytes to httpd's output filters without ever blocking on them. */
#include "output/filters.h"

#include <apr_portable.h>

/* --- the chain -------------------------------------------------------- */

int mod_comet_filters_fd(conn_rec *c)
{
    apr_os_sock_t fd = -1;

    apr_os_sock_get(&fd, ap_get_conn_socket(c));
    return fd;
}

#define COMPRESSORS \
    "deflate", "brotli_compress", "bytype:deflate", "bytype:brotli_compress"

static int is_one_of(const char *name, const char *const *names)
{
    while (*names && strcasecmp(name, *names) != 0) {
        names++;
    }
    return *names != NULL;
}

/* Filters that delay nothing: no-gzip turns the compressors off, and the others
 * are quick. */
#define HARMLESS \
    "old_write", COMPRESSORS, "fixup_headers_out", "fixup_headers_err", \
        "logio_ttfb_out", "comet_cookies"

int mod_comet_filters_is_plain(const request_rec *r)
{
    /* httpd's own filters, which frame the answer or write it to the socket */
    static const char *const known[] = {
        HARMLESS, "content_length", "http_header", "http_outerror", "byterange",
        "chunk",  "reqtimeout",     "core",        "comet_fast",    NULL,
    };
    const ap_filter_t *filter = r->output_filters;

    while (filter && is_one_of(filter->frec->name, known)) {
        filter = filter->next;
    }
    return filter == NULL;
}

int mod_comet_filters_is_direct(const request_rec *r)
{
    static const char *const harmless[] = { HARMLESS, NULL };
    /* mod_ratelimit's filter sleeps; its place is among httpd's own */
    static const char *const sleepers[] = { "rate_limit", NULL };
    const ap_filter_t *filter;

    for (filter = r->output_filters; filter; filter = filter->next) {
        const char *name = filter->frec->name;
        int is_httpds_own = filter->frec->ftype >= AP_FTYPE_PROTOCOL;

        if (is_httpds_own ? is_one_of(name, sleepers)
                          : !is_one_of(name, harmless)) {
            return 0;
        }
    }
    return 1;
}

static int has_filter(const request_rec *r, const char *const *names)
{
    const ap_filter_t *filter = r->output_filters;

    while (filter && !is_one_of(filter->frec->name, names)) {
        filter = filter->next;
    }
    return filter != NULL;
}

int mod_comet_filters_has_computed(const request_rec *r)
{
    static const char *const computing[] = { "fixup_headers_out", NULL };

    return has_filter(r, computing);
}

int mod_comet_filters_is_compressed(const request_rec *r)
{
    static const char *const compressors[] = { COMPRESSORS, NULL };

    return has_filter(r, compressors)
           && apr_table_get(r->headers_in, "Accept-Encoding");
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

    while (filter->next) {
        filter = filter->next;
    }
    return filter->frec->filter_func.out_func(filter, NULL);
}

/* With a time limit of 0 no filter waits for the client; if one would have to
 * (for mod_ssl's own buffers), the client is lost. */
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

apr_status_t mod_comet_filters_end(request_rec *r, apr_bucket_brigade *brigade,
                                   int complete)
{
    conn_rec *c = r->connection;
    apr_status_t status = APR_SUCCESS;

    if (complete) {
        APR_BRIGADE_INSERT_TAIL(brigade,
                                apr_bucket_eos_create(c->bucket_alloc));
        status = pass(c, r->output_filters, brigade);
    }
    /* if no filter takes the bucket, the brigade's clean-up ends r */
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
