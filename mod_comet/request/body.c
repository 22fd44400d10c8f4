/* SPDX-License-Identifier: Apache-2.0 */
/* The body of a request: its declared type, and its bytes. */
#include "request/body.h"

#include <apr_strings.h>

static apr_status_t free_body(void *body)
{
    comet_buffer_free(body);
    return APR_SUCCESS;
}

/* Whether the body is still compressed or otherwise encoded.  An input filter
 * that undoes a coding (mod_deflate's) takes that coding out of the header when
 * the body is read. */
static int is_encoded(const request_rec *r)
{
    const char *codings = apr_table_get(r->headers_in, "Content-Encoding");
    char *rest = apr_pstrdup(r->pool, codings ? codings : "");
    const char *coding;

    while ((coding = apr_strtok(rest, ", \t", &rest)) != NULL) {
        if (ap_cstr_casecmp(coding, "identity") != 0) {
            return 1;
        }
    }
    return 0;
}

int mod_comet_body_read(request_rec *r, apr_size_t limit, comet_text_t *text)
{
    comet_buffer_t *body = apr_pcalloc(r->pool, sizeof(*body));
    apr_bucket_brigade *brigade =
        apr_brigade_create(r->pool, r->connection->bucket_alloc);
    int ended = 0, rv = OK;

    apr_pool_cleanup_register(r->pool, body, free_body, apr_pool_cleanup_null);
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
    *text = (comet_text_t){ body->length ? body->data : "", body->length };
    if (rv == OK && body->failed) {
        return HTTP_SERVICE_UNAVAILABLE;
    }
    return rv == OK && is_encoded(r) ? HTTP_UNSUPPORTED_MEDIA_TYPE : rv;
}

const char *mod_comet_body_type(const request_rec *r)
{
    const char *value = apr_table_get(r->headers_in, "Content-Type");
    char *type = apr_pstrdup(r->pool, value ? value : "");

    type[strcspn(type, "; \t")] = '\0';
    ap_str_tolower(type);
    return type;
}

int mod_comet_body_is_utf8(const request_rec *r)
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
           || (length == 4 && strncasecmp(charset, "utf8", 4) == 0)
           || (length == 8 && strncasecmp(charset, "us-ascii", 8) == 0);
}
