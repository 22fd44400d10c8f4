/* SPDX-License-Identifier: Apache-2.0 */
/* CORS: what pages of other sites may do here, and the headers that say so. */
#include "request/cors.h"

#include <apr_strings.h>
#include <mod_ssl.h>

#include "wire/origin.h"
#include "request/dialect.h"

/* --- who asks ------------------------------------------------------------ */

/* Find the entry of CometAllowOrigin that allows the request's Origin: that
 * origin, or "*" for any; NULL: none does. */
static const char *find_allowed(const request_rec *r)
{
    const apr_array_header_t *origins = mod_comet_config_origins(r);
    const char *origin = apr_table_get(r->headers_in, "Origin");
    int i;

    for (i = 0; origin && origins && i < origins->nelts; i++) {
        const char *allowed = APR_ARRAY_IDX(origins, i, const char *);

        if (strcmp(allowed, COMET_ORIGIN_ANY) == 0
            || strcasecmp(allowed, origin) == 0) {
            return allowed;
        }
    }
    return NULL;
}

static int has_certificate(const request_rec *r)
{
    static const char variable[] = "SSL_CLIENT_VERIFY";
    APR_OPTIONAL_FN_TYPE(ssl_var_lookup) *look_up =
        APR_RETRIEVE_OPTIONAL_FN(ssl_var_lookup);
    const char *verified = NULL;

    if (look_up) {
        verified = look_up(r->pool, r->server, r->connection, (request_rec *)r,
                           (char *)variable);
    }
    return verified && *verified && strcmp(verified, "NONE") != 0;
}

/* Whether the request carries credentials.  A browser adds them by itself,
 * whichever page makes it send the request. */
static int has_credentials(const request_rec *r)
{
    return r->user || apr_table_get(r->headers_in, "Cookie")
           || apr_table_get(r->headers_in, "Authorization")
           || has_certificate(r);
}

int mod_comet_cors_may_publish(const request_rec *r)
{
    const char *allowed = find_allowed(r);

    return allowed
           && (strcmp(allowed, COMET_ORIGIN_ANY) != 0 || !has_credentials(r));
}

int mod_comet_cors_permits(const request_rec *sub)
{
    const char *told = find_allowed(sub->main), *own = find_allowed(sub);

    /* "*" allows reading without credentials only; the name of an origin also
     * allows reading with credentials */
    return !told
           || (own
               && (strcmp(own, COMET_ORIGIN_ANY) != 0
                   || strcmp(told, COMET_ORIGIN_ANY) == 0
                   || !has_credentials(sub)));
}

/* --- the headers of answers ---------------------------------------------- */

static void drop(apr_table_t *headers)
{
    if (!apr_is_empty_table(headers)) {
        apr_table_unset(headers, "Access-Control-Allow-Origin");
        apr_table_unset(headers, "Access-Control-Allow-Credentials");
        apr_table_unset(headers, "Access-Control-Expose-Headers");
    }
}

void mod_comet_cors_headers(request_rec *r, apr_table_t *headers)
{
    const char *allowed = find_allowed(r);

    drop(r->err_headers_out);
    drop(r->headers_out);
    if (!allowed) {
        return;
    }
    apr_table_setn(headers, "Access-Control-Allow-Origin", allowed);
    if (strcmp(allowed, COMET_ORIGIN_ANY) != 0) {
        apr_table_setn(headers, "Access-Control-Allow-Credentials", "true");
    }
    apr_table_setn(headers, "Access-Control-Expose-Headers",
                   "ETag, Last-Event-ID, Mercure-Last-Event-ID, Retry-After");
    apr_table_setn(headers, "Cross-Origin-Resource-Policy", "cross-origin");
}

static int is_preflight(const request_rec *r)
{
    return r->method_number == M_OPTIONS
           && apr_table_get(r->headers_in, "Access-Control-Request-Method");
}

int mod_comet_cors_parse_headers(request_rec *r)
{
    const mod_comet_request_t *request = mod_comet_request(r);
    apr_table_t *headers = r->err_headers_out;

    if (!request || !is_preflight(r) || !find_allowed(r)) {
        return DECLINED; /* the other CORS headers are set with the answer */
    }
    apr_table_setn(headers, "Access-Control-Allow-Methods",
                   request->mapping->dialect->methods);
    apr_table_setn(headers, "Access-Control-Allow-Headers",
                   "Content-Type, Idempotency-Key, Last-Event-ID, "
                   "Cache-Control, X-Requested-With, Authorization");
    apr_table_setn(headers, "Access-Control-Max-Age", "600");
    return HTTP_NO_CONTENT;
}
