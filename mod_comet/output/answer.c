/* SPDX-License-Identifier: Apache-2.0 */
/* Answers sent as a whole, and the headers that all answers of mod_comet
 * have. */
#include "output/answer.h"

#include <apr_strings.h>

#include "shared/metrics.h"
#include "server/share.h"
#include "request/cors.h"
#include "request/dialect.h"
#include "request/limits.h"
#include "request/reasons.h"
#include "output/cookies.h"
#include "output/outbox.h"
#include "output/upgrade.h"

/* After how long a client that was turned away softly comes back.  Clients must
 * not all come back at once, nor so often that a server at its limit is busy
 * refusing them. */
#define LATER_LEAST_MSEC 1000
#define LATER_MOST_MSEC 4000

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

    /* each answer is made for one request, so a client cannot request a range
     * of it */
    apr_table_unset(r->headers_in, "Range");
    for (i = 0; i < COMMON_COUNT; i++) {
        apr_table_setn(r->err_headers_out, common_headers[i][0],
                       common_headers[i][1]);
    }
    mod_comet_cors_headers(r, r->err_headers_out);
}

/* Whether a table has the common headers and nothing else. */
static int is_common(const apr_table_t *headers)
{
    const apr_array_header_t *fields = apr_table_elts(headers);
    apr_size_t i = 0;

    while (i < COMMON_COUNT && fields->nelts == COMMON_COUNT
           && APR_ARRAY_IDX(fields, i, apr_table_entry_t).val
                  == common_headers[i][1]) {
        i++;
    }
    return i == COMMON_COUNT;
}

/* Take one of the common headers out of the error headers.
 * @return whether it was there */
static int take(apr_table_t *errors, const char *name)
{
    int found = apr_table_get(errors, name) != NULL;

    if (found) {
        apr_table_unset(errors, name);
    }
    return found;
}

void mod_comet_answer_headers(request_rec *r)
{
    apr_table_t *errors = r->err_headers_out;
    int all = is_common(errors);
    apr_size_t i;

    if (apr_is_empty_table(errors)
        && apr_table_get(r->headers_out, common_headers[0][0])) {
        return; /* they are all there already */
    }
    if (all) {
        apr_table_clear(errors); /* cheaper than to take each of them */
    }
    for (i = 0; i < COMMON_COUNT; i++) {
        if (all || take(errors, common_headers[i][0])) {
            apr_table_mergen(r->headers_out, common_headers[i][0],
                             common_headers[i][1]);
        }
    }
    mod_comet_cors_headers(r, r->headers_out);
}

/* Send a body and its end in one brigade.  ap_rwrite() would copy the body, and
 * add a filter for that. */
static void send_whole(request_rec *r, const comet_buffer_t *body)
{
    apr_bucket_alloc_t *list = r->connection->bucket_alloc;
    apr_bucket_brigade *brigade = apr_brigade_create(r->pool, list);

    APR_BRIGADE_INSERT_TAIL(
        brigade, apr_bucket_transient_create(body->data, body->length, list));
    APR_BRIGADE_INSERT_TAIL(brigade, apr_bucket_eos_create(list));
    ap_pass_brigade(r->output_filters, brigade);
    apr_brigade_cleanup(brigade);
}

int mod_comet_answer_body(request_rec *r, int status, const char *content_type,
                          const comet_buffer_t *body)
{
    if (body->failed) {
        return HTTP_INTERNAL_SERVER_ERROR;
    }
    mod_comet_cookies_withhold_late(r);
    mod_comet_answer_headers(r);
    r->status = status;
    ap_set_content_type(r, content_type);
    ap_set_content_length(r, (apr_off_t)body->length);
    if (body->length && !r->header_only) {
        mod_comet_outbox_note(r, body->length);
        send_whole(r, body);
    }
    return OK;
}

int mod_comet_answer_count(request_rec *r, comet_buffer_t *body)
{
    const char *limit = body->length > MOD_COMET_PIECE_BYTES && !r->header_only
                            ? mod_comet_limits_wait(r)
                            : NULL;

    if (!limit) {
        return DECLINED;
    }
    comet_buffer_free(body);
    apr_table_unset(r->headers_out, "ETag");
    return mod_comet_answer_error(r, HTTP_TOO_MANY_REQUESTS, "%s", limit);
}

/* Threads that send long answers. */
static mod_comet_share_t writing = { .gauge = COMET_METRIC_writing };

static void leave_if(int is_long)
{
    if (is_long) {
        mod_comet_share_leave(&writing);
    }
}

int mod_comet_answer_may_send(const comet_buffer_t *body)
{
    return body->length <= MOD_COMET_PIECE_BYTES
           || mod_comet_share_enter(&writing);
}

int mod_comet_answer_reader(request_rec *r, const char *content_type,
                            const comet_buffer_t *body)
{
    int is_long = body->length > MOD_COMET_PIECE_BYTES && !r->header_only;
    int rv;

    if (is_long && !mod_comet_share_enter(&writing)) {
        apr_table_unset(r->headers_out, "ETag");
        return mod_comet_answer_error(r, HTTP_SERVICE_UNAVAILABLE,
                                      "too many long answers are being sent; "
                                      "try again in a moment");
    }
    rv = mod_comet_answer_body(r, HTTP_OK, content_type, body);
    leave_if(is_long);
    return rv;
}

int mod_comet_answer_land(request_rec *r, const comet_transport_t *transport,
                          const char *reason, comet_buffer_t *body)
{
    transport->close(body, reason,
                     (int)ap_random_pick(LATER_LEAST_MSEC, LATER_MOST_MSEC));
    if (body->failed) {
        comet_buffer_free(body);
        return 0;
    }
    comet_metrics_add(COMET_METRIC_soft_landings, 1);
    mod_comet_story_end(&mod_comet_request(r)->story, MOD_COMET_END_later);
    if (!r->sent_bodyct) { /* the answer's headers have not been sent */
        mod_comet_answer_prepare(r, transport);
        ap_set_content_length(r, (apr_off_t)body->length);
    }
    mod_comet_outbox_note(r, body->length);
    return 1;
}

int mod_comet_answer_later(request_rec *r, const comet_transport_t *transport,
                           const char *reason, comet_buffer_t *body)
{
    int is_long = body->length > MOD_COMET_PIECE_BYTES;

    if (!mod_comet_answer_land(r, transport, reason, body)) {
        leave_if(is_long);
        return r->sent_bodyct ? OK : HTTP_INTERNAL_SERVER_ERROR;
    }
    ap_rwrite(body->data, (int)body->length, r);
    leave_if(is_long);
    comet_buffer_free(body);
    return OK;
}

int mod_comet_answer_is_for_now(int status)
{
    return status == HTTP_SERVICE_UNAVAILABLE
           || status == HTTP_TOO_MANY_REQUESTS;
}

/* Send an error as the request's dialect words it.
 * @param request  NULL: the request is not one to mod_comet
 * @param body  empty; the caller frees it
 * @return what the handler returns */
static int send_error(request_rec *r, const mod_comet_request_t *request,
                      int status, const char *text, comet_buffer_t *body)
{
    if (request && request->mapping
        && request->mapping->dialect->errors_are_plain) {
        comet_buffer_puts(body, text);
        comet_buffer_puts(body, "\n");
        return mod_comet_answer_body(r, status, "text/plain; charset=utf-8",
                                     body);
    }
    comet_buffer_puts(body, "{\"error\":");
    comet_encode_json(body, comet_text(text));
    comet_buffer_puts(body, "}\n");
    return mod_comet_answer_body(r, status, "application/json; charset=utf-8",
                                 body);
}

int mod_comet_answer_error(request_rec *r, int status, const char *format, ...)
{
    const mod_comet_request_t *request = mod_comet_request(r);
    comet_buffer_t body = { .data = NULL };
    const char *text;
    va_list arguments;
    int rv;

    va_start(arguments, format);
    text = apr_pvsprintf(r->pool, format, arguments);
    va_end(arguments);
    mod_comet_reasons_log(r, status, text);
    if (mod_comet_answer_is_for_now(status) && r->method_number == M_GET) {
        /* a reader comes back by itself, so nobody may be there */
        mod_comet_cookies_leave_session(r);
    }
    if (mod_comet_answer_is_for_now(status) && request && request->softly) {
        return mod_comet_answer_later(r, request->softly, text, &body);
    }
    if (mod_comet_answer_is_for_now(status)
        && !apr_table_get(r->headers_out, "Retry-After")) {
        apr_table_setn(r->headers_out, "Retry-After", "1");
    }
    rv = send_error(r, request, status, text, &body);
    comet_buffer_free(&body);
    return rv;
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

/* Remove the suffixes that compressors add to an answer's ETag, and that the
 * client sends back.
 * @return a copy in @a pool */
static char *without_suffixes(const char *sent, apr_pool_t *pool)
{
    static const char *const suffixes[] = { "-gzip\"", "-br\"" };
    char *tags = apr_pstrdup(pool, sent);
    apr_size_t i;

    for (i = 0; i < sizeof(suffixes) / sizeof(*suffixes); i++) {
        char *found;

        while ((found = strstr(tags, suffixes[i])) != NULL) {
            char *rest = found + strlen(suffixes[i]) - 1;

            memmove(found, rest, strlen(rest) + 1);
        }
    }
    return tags;
}

int mod_comet_answer_conditions(request_rec *r)
{
    const char *none = apr_table_get(r->headers_in, "If-None-Match");

    if (!none && !apr_table_get(r->headers_in, "If-Match")) {
        return OK;
    }
    if (none) {
        apr_table_setn(r->headers_in, "If-None-Match",
                       without_suffixes(none, r->pool));
    }
    /* these conditions are only for a resource with a modification date (RFC
     * 9110, 13.1.3 and 13.1.4); httpd would compare them with the current
     * time */
    apr_table_unset(r->headers_in, "If-Modified-Since");
    apr_table_unset(r->headers_in, "If-Unmodified-Since");
    return ap_meets_conditions(r);
}

void mod_comet_answer_prepare(request_rec *r,
                              const comet_transport_t *transport)
{
    if (transport->upgrades) {
        mod_comet_upgrade_accept(r);
        return;
    }
    mod_comet_answer_headers(r);
    ap_set_content_type(r, transport->content_type);
    if (transport->policy) {
        apr_table_setn(r->headers_out, "Content-Security-Policy",
                       transport->policy);
        apr_table_setn(r->headers_out, "X-Frame-Options", "SAMEORIGIN");
    }
    /* a compressor would delay bytes, and take 200 KB of memory */
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

/* Whether each field of one table is in the other one, with the same value.
 * Content-Length is passed over, as its value differs. */
static int has_all(const apr_table_t *table, const apr_table_t *wanted)
{
    const apr_array_header_t *fields = apr_table_elts(wanted);
    int i;

    for (i = 0; i < fields->nelts; i++) {
        const apr_table_entry_t *field =
            &APR_ARRAY_IDX(fields, i, apr_table_entry_t);
        const char *value = apr_table_get(table, field->key);

        if (strcasecmp(field->key, "Content-Length") != 0
            && (!value || strcmp(value, field->val) != 0)) {
            return 0;
        }
    }
    return 1;
}

static int are_equal(const apr_table_t *a, const apr_table_t *b)
{
    return has_all(a, b) && has_all(b, a);
}

int mod_comet_answer_is_ours(request_rec *r, const comet_transport_t *transport)
{
    request_rec ours = *r; /* lives until this function returns */

    ours.headers_out = apr_table_make(r->pool, 10);
    ours.err_headers_out = apr_table_make(r->pool, 10);
    ours.content_type = NULL;
    mod_comet_answer_claim(&ours);
    if (transport) {
        mod_comet_answer_prepare(&ours, transport);
    }
    return are_equal(r->headers_out, ours.headers_out)
           && are_equal(r->err_headers_out, ours.err_headers_out)
           && (!transport
               || (r->content_type && ours.content_type
                   && strcmp(r->content_type, ours.content_type) == 0))
           && !r->content_languages && !r->content_encoding && !r->no_cache;
}
