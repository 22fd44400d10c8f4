/* SPDX-License-Identifier: Apache-2.0 */
/* Giving bytes to httpd's output filters without ever blocking on them. */
#include "output/filters.h"

#include <apr_portable.h>
#include <apr_strings.h>
#include <errno.h>
#include <sys/socket.h>

#include "shared/metrics.h"
#include "hub/subscriber.h"
#include "request/cors.h"

static const char *const common_headers[][2] = {
    { "X-Content-Type-Options", "nosniff" },
    { "Cache-Control", "no-store" },
    { "Vary", "Accept, Origin" },
    { "Cross-Origin-Resource-Policy", "same-origin" },
};
#define COMMON_COUNT (sizeof(common_headers) / sizeof(*common_headers))

void mod_comet_answer_claim(request_rec *r)
{
    apr_size_t i;

    /* what is made for one request has no ranges to be taken from it */
    apr_table_unset(r->headers_in, "Range");
    for (i = 0; i < COMMON_COUNT; i++) {
        apr_table_setn(r->err_headers_out, common_headers[i][0],
                       common_headers[i][1]);
    }
    mod_comet_cors_headers(r, r->err_headers_out);
}

void mod_comet_answer_headers(request_rec *r)
{
    apr_size_t i;

    for (i = 0; i < COMMON_COUNT; i++) {
        if (apr_table_get(r->err_headers_out, common_headers[i][0])) {
            apr_table_unset(r->err_headers_out, common_headers[i][0]);
            apr_table_mergen(r->headers_out, common_headers[i][0],
                             common_headers[i][1]);
        }
    }
    mod_comet_cors_headers(r, r->headers_out);
}

/* --- whole answers ---------------------------------------------------------- */

int mod_comet_answer_body(request_rec *r, int status, const char *content_type,
                          const comet_buffer_t *body)
{
    if (body->failed) {
        return HTTP_INTERNAL_SERVER_ERROR;
    }
    mod_comet_answer_headers(r);
    r->status = status;
    ap_set_content_type(r, content_type);
    ap_set_content_length(r, (apr_off_t)body->length);
    if (body->length && !r->header_only) {
        ap_rwrite(body->data, (int)body->length, r);
    }
    return OK;
}

int mod_comet_answer_error(request_rec *r, int status, const char *format, ...)
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
    if ((status == HTTP_SERVICE_UNAVAILABLE || status == HTTP_TOO_MANY_REQUESTS)
        && !apr_table_get(r->headers_out, "Retry-After")) {
        apr_table_setn(r->headers_out, "Retry-After", "1");
    }
    rv = mod_comet_answer_body(r, status, "application/json; charset=utf-8",
                               &body);
    comet_buffer_free(&body);
    return rv;
}

int mod_comet_answer_full(request_rec *r)
{
    comet_metrics_add(COMET_METRIC_turned_away, 1);
    return mod_comet_answer_error(r, HTTP_SERVICE_UNAVAILABLE,
                                  "too many clients are waiting; try again "
                                  "later");
}

int mod_comet_answer_not_allowed(request_rec *r, const char *allow)
{
    apr_table_setn(r->headers_out, "Allow", allow);
    return mod_comet_answer_error(r, HTTP_METHOD_NOT_ALLOWED,
                                  "method %s is not allowed here: use %s",
                                  r->method, allow);
}

int mod_comet_answer_options(request_rec *r, const char *allow)
{
    apr_table_setn(r->headers_out, "Allow", allow);
    mod_comet_answer_headers(r);
    ap_set_content_length(r, 0);
    return OK;
}

/* --- what transports make -------------------------------------------------- */

static comet_answer_t answer_for(const mod_comet_ask_t *ask,
                                 const comet_batch_t *batch)
{
    comet_timestamp_t stands = ask->before ? ask->before : ask->cursor;

    return (comet_answer_t){
        .format = &ask->format,
        .messages = batch->messages,
        .count = batch->count,
        .cursor = batch->count ? batch->messages[batch->count - 1]->timestamp
                               : stands,
        .floor = ask->floor,
        .rest = ask->rest,
    };
}

void mod_comet_news_encode(const mod_comet_ask_t *ask,
                           const comet_batch_t *batch, comet_buffer_t *out)
{
    comet_answer_t answer = answer_for(ask, batch);

    ask->transport->encode(out, &answer);
    comet_metrics_add(batch->count ? COMET_METRIC_delivered
                                   : COMET_METRIC_unanswered,
                      batch->count ? (apr_int64_t)batch->count : 1);
}

void mod_comet_news_encode_opening(const mod_comet_ask_t *ask,
                                   comet_buffer_t *out)
{
    static const comet_batch_t nothing = { .count = 0 };
    comet_answer_t answer = answer_for(ask, &nothing);

    if (ask->transport->open) {
        ask->transport->open(out, &answer);
    }
}

/* All at once would be too many; those that are only to be judged anew come
 * back soon. */
int mod_comet_news_retry(unsigned reasons, apr_time_t ends_at)
{
    if ((reasons & COMET_STOPPING)
        || (ends_at && comet_monotonic() >= ends_at)) {
        return 2000;
    }
    return reasons & COMET_RECHECK ? 100 : 0;
}

apr_time_t mod_comet_news_due(apr_time_t ends_at, apr_interval_time_t wait)
{
    apr_time_t due = comet_monotonic() + wait;

    return ends_at && ends_at < due ? ends_at : due;
}

int mod_comet_filters_fd(conn_rec *c)
{
    apr_os_sock_t fd = -1;

    apr_os_sock_get(&fd, ap_get_conn_socket(c));
    return fd;
}

void mod_comet_news_encode_next(const mod_comet_ask_t *ask,
                                const comet_batch_t *batch, int retry_msec,
                                int silent, comet_buffer_t *out)
{
    if (batch->count || !ask->transport->streams) {
        mod_comet_news_encode(ask, batch, out);
    }
    else if (silent && !retry_msec) {
        comet_buffer_puts(out, ask->transport->heartbeat);
    }
    mod_comet_news_encode_closing(ask->transport, retry_msec, out);
}

void mod_comet_news_encode_closing(const comet_transport_t *transport,
                                   int retry_msec, comet_buffer_t *out)
{
    if (retry_msec && transport->close) {
        transport->close(out, (int)ap_random_pick((apr_uint32_t)retry_msec / 20,
                                                  (apr_uint32_t)retry_msec));
    }
}

/* --- streams ------------------------------------------------------------------ */

#define COMPRESSORS \
    "deflate", "brotli_compress", "bytype:deflate", "bytype:brotli_compress"

static int is_one_of(const char *name, const char *const *names)
{
    while (*names && strcasecmp(name, *names) != 0) {
        names++;
    }
    return *names != NULL;
}

/* Compressors are told to stand aside (no-gzip), mod_headers is quick. */
#define HARMLESS \
    "old_write", COMPRESSORS, "fixup_headers_out", "fixup_headers_err", \
        "logio_ttfb_out", "comet_cookies"

int mod_comet_filters_is_plain(const request_rec *r)
{
    /* httpd's own: they frame the answer, or hand it to the socket */
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
    /* among httpd's own, next to the network: mod_ratelimit sleeps */
    static const char *const sleepers[] = { "rate_limit", NULL };
    const ap_filter_t *filter;

    for (filter = r->output_filters; filter; filter = filter->next) {
        const char *name = filter->frec->name;

        if (filter->frec->ftype < AP_FTYPE_PROTOCOL
                ? !is_one_of(name, harmless)
                : is_one_of(name, sleepers)) {
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

int mod_comet_output_has_computed_headers(const request_rec *r)
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

/* A compressor marks the ETag of what it has compressed, and the client sends
 * it back so marked: it is ours all the same. */
void mod_comet_answer_tidy_conditions(request_rec *r)
{
    static const char *const suffixes[] = { "-gzip\"", "-br\"" };
    const char *sent = apr_table_get(r->headers_in, "If-None-Match");
    char *tags = sent ? apr_pstrdup(r->pool, sent) : NULL;
    apr_size_t i;

    for (i = 0; tags && i < sizeof(suffixes) / sizeof(*suffixes); i++) {
        char *found;

        while ((found = strstr(tags, suffixes[i])) != NULL) {
            char *rest = found + strlen(suffixes[i]) - 1;

            memmove(found, rest, strlen(rest) + 1);
        }
    }
    if (tags) {
        apr_table_setn(r->headers_in, "If-None-Match", tags);
    }
    /* RFC 9110, 13.1.3 and 13.1.4: for what has a date; httpd takes now */
    apr_table_unset(r->headers_in, "If-Modified-Since");
    apr_table_unset(r->headers_in, "If-Unmodified-Since");
}

void mod_comet_answer_prepare(request_rec *r,
                              const comet_transport_t *transport)
{
    mod_comet_answer_headers(r);
    ap_set_content_type(r, transport->content_type);
    if (transport->policy) {
        apr_table_setn(r->headers_out, "Content-Security-Policy",
                       transport->policy);
        apr_table_setn(r->headers_out, "X-Frame-Options", "SAMEORIGIN");
    }
    /* a compressor would keep the bytes until it has enough, and 200 KB */
    apr_table_setn(r->subprocess_env, "no-gzip", "1");
    apr_table_setn(r->subprocess_env, "no-brotli", "1");
    if (transport->streams) {
        apr_table_setn(r->headers_out, "Cache-Control",
                       "no-store, no-transform");
        apr_table_setn(r->headers_out, "X-Accel-Buffering", "no");
    }
    if (transport->cache_control) {
        apr_table_setn(r->headers_out, "Cache-Control",
                       transport->cache_control);
    }
    if (transport->expires) {
        apr_table_setn(r->headers_out, "Expires", transport->expires);
    }
}

/*
 * The push bucket: an empty metadata bucket.  It drives what stands before it
 * through mod_ssl's coalescing filter, as a FLUSH does, but unlike a FLUSH
 * it does not block until the client has taken everything.
 */
static apr_status_t push_bucket_read(apr_bucket *bucket, const char **data,
                                     apr_size_t *length, apr_read_type_e block)
{
    *data = NULL;
    *length = 0;
    return APR_SUCCESS;
}

static const apr_bucket_type_t push_bucket_type = {
    "COMET_NUDGE",
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

/* With a time limit of 0 no filter waits for the client: should one have to
 * (mod_ssl's own buffers), the client is lost. */
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

static apr_status_t write_piece(request_rec *r, apr_bucket_brigade *brigade,
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
    return write_piece(r, brigade, NULL, 0);
}

int mod_comet_outbox_is_empty(const mod_comet_outbox_t *outbox)
{
    return outbox->sent == outbox->bytes.length;
}

void mod_comet_outbox_clear(mod_comet_outbox_t *outbox)
{
    comet_buffer_free(&outbox->bytes);
    outbox->sent = 0;
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
        status =
            write_piece(r, brigade, outbox->bytes.data + outbox->sent, length);
        outbox->sent += length;
    }
    if (mod_comet_outbox_is_empty(outbox)) {
        mod_comet_outbox_clear(outbox);
    }
    return status;
}

/* @return what the socket took; -1: the client is gone */
static apr_ssize_t send_now(int fd, comet_text_t bytes)
{
    ssize_t sent;

    do {
        sent = send(fd, bytes.data, bytes.length, MSG_DONTWAIT | MSG_NOSIGNAL);
    } while (sent < 0 && errno == EINTR);
    return sent < 0 && (errno == EAGAIN || errno == ENOBUFS || errno == ENOMEM)
               ? 0
               : sent;
}

apr_ssize_t mod_comet_outbox_write(mod_comet_outbox_t *outbox, int fd,
                                   comet_text_t bytes)
{
    apr_ssize_t sent =
        mod_comet_outbox_is_empty(outbox) ? send_now(fd, bytes) : 0;

    if (sent >= 0) {
        comet_buffer_add(&outbox->bytes, bytes.data + sent,
                         bytes.length - (apr_size_t)sent);
    }
    return outbox->bytes.failed ? -1 : sent;
}

apr_ssize_t mod_comet_outbox_flush(mod_comet_outbox_t *outbox, int fd)
{
    apr_ssize_t sent =
        send_now(fd, (comet_text_t){ outbox->bytes.data + outbox->sent,
                                     outbox->bytes.length - outbox->sent });

    if (sent > 0) {
        outbox->sent += (apr_size_t)sent;
    }
    if (mod_comet_outbox_is_empty(outbox)) {
        mod_comet_outbox_clear(outbox);
    }
    return sent;
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
    /* what no filter takes ends r in the brigade's clean-up */
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
