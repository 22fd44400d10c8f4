/* SPDX-License-Identifier: Apache-2.0 */
/* Storing a message for a request. */
#include "mod_comet_publish.h"

#include <apr_strings.h>

#include "mod_comet_access.h"
#include "mod_comet_child.h"
#include "mod_comet_limits.h"
#include "mod_comet_output.h"

/* --- the outcome ------------------------------------------------------------------ */

static int refuse(request_rec *r, int status, const char *reason)
{
    comet_metrics_add(COMET_METRIC_publish_refused, 1);
    return mod_comet_output_error(r, status, "%s", reason);
}

static int refuse_length(request_rec *r)
{
    return refuse(r, HTTP_REQUEST_ENTITY_TOO_LARGE,
                  apr_psprintf(r->pool,
                               "the message is too long: at most "
                               "%" APR_INT64_T_FMT
                               " bytes are allowed (CometMaxMessageSize)",
                               mod_comet_max_message_bytes(r)));
}

static int refuse_by_store(request_rec *r, apr_status_t status)
{
    char buffer[200];
    int code = APR_STATUS_IS_ENOSPC(status) ? HTTP_INSUFFICIENT_STORAGE
               : status == COMET_EINVALID   ? HTTP_BAD_REQUEST
                                            : HTTP_SERVICE_UNAVAILABLE;

    comet_metrics_add(COMET_METRIC_publish_refused, 1);
    return mod_comet_output_error(
        r, code, "%s: %s",
        status == COMET_EUNSURE ? "it is not known whether the message "
                                  "was stored"
                                : "the message was not stored",
        comet_strerror(status, buffer, sizeof(buffer)));
}

/* Who may, by this location and by where the request comes from. */
static const char *refuse_request(const request_rec *r)
{
    return mod_comet_publish(r) ? mod_comet_refuse_publish(r)
                                : "publishing is off here (CometPublish)";
}

/*
 * Store a message whose texts were checked, except the body.
 * @return OK when it is stored; else the answer was made, in *answered
 */
static int store(request_rec *r, comet_message_fields_t *fields,
                 comet_timestamp_t *timestamp, int *answered)
{
    const char *wrong = comet_params_check_body(fields->body);
    mod_comet_child_t *child = mod_comet_child();
    comet_message_t *message;
    apr_status_t status;

    if (fields->body.length > (apr_size_t)mod_comet_max_message_bytes(r)) {
        *answered = refuse_length(r);
        return DONE;
    }
    if (wrong) {
        *answered = refuse(r, HTTP_BAD_REQUEST, wrong);
        return DONE;
    }
    fields->author = comet_text(r->user);
    if (fields->author.length > COMET_AUTHOR_MAX_BYTES
        || !comet_utf8_valid(fields->author)) {
        *answered = refuse(r, HTTP_BAD_REQUEST,
                           "author: a user's name that is stored must be "
                           "UTF-8 of at most 255 bytes");
        return DONE;
    }
    wrong = mod_comet_limits_publish(r, 1);
    if (wrong) {
        *answered = refuse(r, HTTP_TOO_MANY_REQUESTS, wrong);
        return DONE;
    }
    message = comet_message_create(fields);
    status =
        message ? comet_writer_publish(
            child->stores[mod_comet_server_config(r->server)->store].writer,
            &(comet_store_group_t){ .messages = &message, .count = 1 },
            mod_comet_publish_timeout(r))
                : APR_ENOMEM;
    if (status == APR_SUCCESS) {
        *timestamp = message->timestamp;
        comet_metrics_add(COMET_METRIC_published, 1);
    }
    else {
        *answered = refuse_by_store(r, status);
    }
    comet_message_unref(message);
    return status == APR_SUCCESS ? OK : DONE;
}

/* --- the classic chat --------------------------------------------------------------- */

int mod_comet_publish_classic(request_rec *r,
                              const mod_comet_request_t *request,
                              comet_text_t channel)
{
    comet_message_fields_t fields = { .channel = channel };
    comet_buffer_t nothing = { .data = NULL };
    const char *refusal = refuse_request(r);
    comet_timestamp_t timestamp;
    int answered;

    if (refusal) {
        return refuse(r, HTTP_FORBIDDEN, refusal);
    }
    comet_params_get(&request->query, "msg", &fields.body);
    if (store(r, &fields, &timestamp, &answered) != OK) {
        return answered;
    }
    return mod_comet_output_body(r, HTTP_OK, "text/html; charset=UTF-8",
                                 &nothing);
}

/* --- the endpoint ---------------------------------------------------------------------- */

/*
 * Read the whole body, as long as it is allowed to be.
 * @return OK, or an HTTP status
 */
static int read_body(request_rec *r, apr_size_t limit, comet_buffer_t *body)
{
    apr_bucket_brigade *brigade =
        apr_brigade_create(r->pool, r->connection->bucket_alloc);
    int ended = 0, rv = OK;

    while (!ended && rv == OK) {
        apr_bucket *bucket;
        apr_status_t status =
            ap_get_brigade(r->input_filters, brigade, AP_MODE_READBYTES,
                           APR_BLOCK_READ, HUGE_STRING_LEN);

        if (status != APR_SUCCESS) {
            rv = ap_map_http_request_error(status, HTTP_BAD_REQUEST);
            break;
        }
        for (bucket = APR_BRIGADE_FIRST(brigade);
             bucket != APR_BRIGADE_SENTINEL(brigade) && rv == OK;
             bucket = APR_BUCKET_NEXT(bucket)) {
            const char *data;
            apr_size_t length;

            ended |= APR_BUCKET_IS_EOS(bucket);
            if (APR_BUCKET_IS_METADATA(bucket)) {
                continue;
            }
            if (apr_bucket_read(bucket, &data, &length, APR_BLOCK_READ)
                != APR_SUCCESS) {
                rv = HTTP_BAD_REQUEST;
            }
            else if (body->length + length > limit) {
                rv = HTTP_REQUEST_ENTITY_TOO_LARGE;
            }
            else {
                comet_buffer_add(body, data, length);
            }
        }
        apr_brigade_cleanup(brigade);
    }
    return rv == OK && body->failed ? HTTP_INTERNAL_SERVER_ERROR : rv;
}

static apr_status_t free_body(void *body)
{
    comet_buffer_free(body);
    return APR_SUCCESS;
}

/* The media type without its parameters, in lower case; "" for none. */
static const char *media_type(const request_rec *r)
{
    const char *value = apr_table_get(r->headers_in, "Content-Type");
    char *type = apr_pstrdup(r->pool, value ? value : "");

    type[strcspn(type, "; \t")] = '\0';
    ap_str_tolower(type);
    return type;
}

#define FORM "application/x-www-form-urlencoded"

static int is_text(const char *type)
{
    return !*type || strncmp(type, "text/", 5) == 0
           || strcmp(type, "application/json") == 0
           || strcmp(type, "application/xml") == 0;
}

/* A message in UTF-8; another charset would be stored as something else. */
static int is_utf8(const request_rec *r)
{
    const char *value = apr_table_get(r->headers_in, "Content-Type");
    const char *charset = value ? ap_strcasestr(value, "charset") : NULL;
    apr_size_t length;

    if (!charset) {
        return 1;
    }
    charset += sizeof("charset") - 1;
    charset += strspn(charset, " \t=\"");
    length = strcspn(charset, "; \t\"");
    return (length == 5 && strncasecmp(charset, "utf-8", 5) == 0)
           || (length == 8 && strncasecmp(charset, "us-ascii", 8) == 0);
}

/* Take the message out of the body; a form has it in msg=. */
static const char *find_message(request_rec *r,
                                const mod_comet_request_t *request,
                                const char *media, comet_text_t body,
                                comet_message_fields_t *fields)
{
    comet_params_t form = { .count = 0 };

    fields->body = body;
    if (strcmp(media, FORM) == 0) {
        comet_params_parse(&form, body, r->pool);
        if (!comet_params_get(&form, "msg", &fields->body)) {
            return "the form has no field msg";
        }
    }
    if (comet_params_get(&request->query, "type", &fields->type)
        || comet_params_get(&form, "type", &fields->type)) {
        return comet_params_check_type(fields->type);
    }
    return NULL;
}

static int created(request_rec *r, const comet_message_fields_t *fields,
                   comet_timestamp_t timestamp)
{
    comet_buffer_t body = { .data = NULL };
    int rv;

    comet_buffer_puts(&body, "{\"timestamp\": ");
    comet_buffer_add_int(&body, timestamp);
    comet_buffer_puts(&body, ", \"channel\": ");
    comet_encode_json(&body, fields->channel);
    comet_buffer_puts(&body, "}\n");
    rv = mod_comet_output_body(r, HTTP_CREATED,
                               "application/json; charset=utf-8", &body);
    comet_buffer_free(&body);
    return rv;
}

int mod_comet_publish_body(request_rec *r, const mod_comet_request_t *request,
                           comet_text_t channel)
{
    comet_message_fields_t fields = { .channel = channel };
    comet_buffer_t *body = apr_pcalloc(r->pool, sizeof(*body));
    /* a form is longer than its message: %XX for each byte, and names */
    apr_size_t limit = (apr_size_t)mod_comet_max_message_bytes(r);
    const char *media = media_type(r), *wrong = refuse_request(r);
    comet_timestamp_t timestamp;
    int answered, rv;

    if (wrong) {
        return refuse(r, HTTP_FORBIDDEN, wrong);
    }
    if ((strcmp(media, FORM) != 0 && !is_text(media)) || !is_utf8(r)) {
        return refuse(r, HTTP_UNSUPPORTED_MEDIA_TYPE,
                      "Content-Type: expected text/* or application/json in "
                      "UTF-8, or " FORM);
    }
    apr_pool_cleanup_register(r->pool, body, free_body, apr_pool_cleanup_null);
    rv =
        read_body(r, strcmp(media, FORM) == 0 ? limit * 3 + 4096 : limit, body);
    if (rv == HTTP_REQUEST_ENTITY_TOO_LARGE) {
        return refuse_length(r);
    }
    if (rv != OK) {
        return rv == AP_FILTER_ERROR
                   ? rv /* its answer is made already */
                   : refuse(r, rv, "the request's body could not be read");
    }
    wrong = find_message(r, request, media,
                         (comet_text_t){ body->data, body->length }, &fields);
    if (wrong) {
        return refuse(r, HTTP_BAD_REQUEST, wrong);
    }
    return store(r, &fields, &timestamp, &answered) == OK
               ? created(r, &fields, timestamp)
               : answered;
}
