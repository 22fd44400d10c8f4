/* SPDX-License-Identifier: Apache-2.0 */
/* Giving bytes to httpd's output filters without ever blocking on them. */
#include "mod_comet_output.h"

#include <apr_portable.h>
#include <apr_strings.h>
#include <sys/mman.h>
#include <unistd.h>

void mod_comet_output_headers(request_rec *r)
{
    apr_table_setn(r->headers_out, "X-Content-Type-Options", "nosniff");
    apr_table_setn(r->headers_out, "Cache-Control", "no-store");
    apr_table_mergen(r->headers_out, "Vary", "Accept, Origin");
    apr_table_setn(r->headers_out, "Cross-Origin-Resource-Policy",
                   "same-origin");
    /* what is made for one request has no ranges to be taken from it */
    apr_table_unset(r->headers_in, "Range");
}

/* --- bytes ----------------------------------------------------------------- */

/* Core blocks its caller while it holds more than 64 KB of memory
 * (FlushMaxThreshold), but sends a file as the client takes it. */
#define LARGE_BYTES (32 * 1024)

static apr_status_t close_fd(void *fd)
{
    close((int)(intptr_t)fd);
    return APR_SUCCESS;
}

/* Bytes as a file without a name; NULL when there is none to be had. */
static apr_bucket *file_bucket(request_rec *r, const char *data,
                               apr_size_t length)
{
    int fd = memfd_create("mod_comet", MFD_CLOEXEC);
    apr_file_t *file;

    if (fd < 0) {
        return NULL;
    }
    apr_pool_cleanup_register(r->pool, (void *)(intptr_t)fd, close_fd,
                              apr_pool_cleanup_null);
    if (write(fd, data, length) != (ssize_t)length
        || apr_os_file_put(&file, &fd, APR_FOPEN_READ, r->pool)
               != APR_SUCCESS) {
        return NULL;
    }
    return apr_bucket_file_create(file, 0, length, r->pool,
                                  r->connection->bucket_alloc);
}

static apr_bucket *body_bucket(request_rec *r, const char *data,
                               apr_size_t length)
{
    apr_bucket *bucket =
        length > LARGE_BYTES ? file_bucket(r, data, length) : NULL;

    return bucket ? bucket
                  : apr_bucket_transient_create(
                        data, length, r->connection->bucket_alloc);
}

/* --- whole answers ---------------------------------------------------------- */

int mod_comet_output_body(request_rec *r, int status, const char *content_type,
                          const comet_buffer_t *body)
{
    if (body->failed) {
        return HTTP_INTERNAL_SERVER_ERROR;
    }
    mod_comet_output_headers(r);
    r->status = status;
    ap_set_content_type(r, content_type);
    ap_set_content_length(r, (apr_off_t)body->length);
    if (body->length && !r->header_only) {
        apr_bucket_brigade *brigade =
            apr_brigade_create(r->pool, r->connection->bucket_alloc);

        APR_BRIGADE_INSERT_TAIL(brigade,
                                body_bucket(r, body->data, body->length));
        ap_pass_brigade(r->output_filters, brigade); /* or c->aborted is set */
    }
    return OK;
}

int mod_comet_output_error(request_rec *r, int status, const char *format, ...)
{
    comet_buffer_t body = { .data = NULL };
    va_list arguments;
    int rv;

    va_start(arguments, format);
    comet_buffer_puts(&body, "{\"error\":");
    comet_encode_json(&body,
                      comet_text(apr_pvsprintf(r->pool, format, arguments)));
    comet_buffer_puts(&body, "}\n");
    va_end(arguments);
    if (status == HTTP_SERVICE_UNAVAILABLE
        || status == HTTP_TOO_MANY_REQUESTS) {
        apr_table_setn(r->headers_out, "Retry-After", "1");
    }
    rv = mod_comet_output_body(r, status, "application/json; charset=utf-8",
                               &body);
    comet_buffer_free(&body);
    return rv;
}

int mod_comet_output_not_allowed(request_rec *r, const char *allow)
{
    apr_table_setn(r->headers_out, "Allow", allow);
    return mod_comet_output_error(r, HTTP_METHOD_NOT_ALLOWED,
                                  "method %s is not allowed here: use %s",
                                  r->method, allow);
}

int mod_comet_output_options(request_rec *r, const char *allow)
{
    apr_table_setn(r->headers_out, "Allow", allow);
    mod_comet_output_headers(r);
    ap_set_content_length(r, 0);
    return OK;
}

/* --- streams ------------------------------------------------------------------ */

void mod_comet_output_prepare(request_rec *r,
                              const comet_transport_t *transport)
{
    mod_comet_output_headers(r);
    ap_set_content_type(r, transport->content_type);
    /* a compressor would keep the bytes until it has enough, and 200 KB */
    apr_table_setn(r->subprocess_env, "no-gzip", "1");
    apr_table_setn(r->subprocess_env, "no-brotli", "1");
    if (transport->streams) {
        apr_table_setn(r->headers_out, "Cache-Control",
                       "no-cache, must-revalidate, no-transform");
        apr_table_setn(r->headers_out, "Expires",
                       "Mon, 26 Jul 1997 05:00:00 GMT");
        apr_table_setn(r->headers_out, "X-Accel-Buffering", "no");
    }
}

/*
 * The nudge: an empty metadata bucket.  It drives what stands before it
 * through mod_ssl's coalescing filter, as a FLUSH does, but unlike a FLUSH
 * it does not block until the client has taken everything.
 */
static apr_status_t nudge_read(apr_bucket *bucket, const char **data,
                               apr_size_t *length, apr_read_type_e block)
{
    *data = NULL;
    *length = 0;
    return APR_SUCCESS;
}

static const apr_bucket_type_t nudge_type = {
    "COMET_NUDGE",
    5,
    APR_BUCKET_METADATA,
    apr_bucket_destroy_noop,
    nudge_read,
    apr_bucket_setaside_noop,
    apr_bucket_split_notimpl,
    apr_bucket_simple_copy,
};

static apr_bucket *nudge_create(apr_bucket_alloc_t *list)
{
    apr_bucket *bucket = apr_bucket_alloc(sizeof(*bucket), list);

    APR_BUCKET_INIT(bucket);
    bucket->free = apr_bucket_free;
    bucket->list = list;
    bucket->type = &nudge_type;
    bucket->length = 0;
    bucket->start = 0;
    bucket->data = NULL;
    return bucket;
}

apr_status_t mod_comet_output_push(conn_rec *c)
{
    ap_filter_t *filter = c->output_filters;

    while (filter->next) {
        filter = filter->next;
    }
    return filter->frec->filter_func.out_func(filter, NULL);
}

apr_status_t mod_comet_output_write(request_rec *r, apr_bucket_brigade *brigade,
                                    const char *data, apr_size_t length)
{
    conn_rec *c = r->connection;
    apr_socket_t *socket = ap_get_conn_socket(c);
    apr_interval_time_t timeout;
    apr_status_t status;

    if (length) {
        APR_BRIGADE_INSERT_TAIL(brigade, body_bucket(r, data, length));
    }
    APR_BRIGADE_INSERT_TAIL(brigade, nudge_create(c->bucket_alloc));
    apr_socket_timeout_get(socket, &timeout);
    apr_socket_timeout_set(socket, 0);
    status = ap_pass_brigade(r->output_filters, brigade);
    apr_socket_timeout_set(socket, timeout);
    apr_brigade_cleanup(brigade);
    if (status == APR_SUCCESS) {
        status = mod_comet_output_push(c);
    }
    return c->aborted && status == APR_SUCCESS ? APR_ECONNABORTED : status;
}

apr_status_t mod_comet_output_end(request_rec *r, apr_bucket_brigade *brigade,
                                  int complete)
{
    conn_rec *c = r->connection;
    apr_status_t status = APR_SUCCESS;

    if (complete) {
        APR_BRIGADE_INSERT_TAIL(brigade,
                                apr_bucket_eos_create(c->bucket_alloc));
        status = ap_pass_brigade(r->output_filters, brigade);
        apr_brigade_cleanup(brigade);
    }
    APR_BRIGADE_INSERT_TAIL(brigade, ap_bucket_eor_create(c->bucket_alloc, r));
    ap_pass_brigade(c->output_filters, brigade);
    apr_brigade_cleanup(brigade); /* what no filter took: it ends r now */
    if (status == APR_SUCCESS && complete) {
        status = mod_comet_output_push(c);
    }
    return status;
}
