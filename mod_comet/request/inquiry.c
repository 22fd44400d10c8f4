/* SPDX-License-Identifier: Apache-2.0 */
/* Ask the site's application whether a client may use a channel. */
#include "request/inquiry.h"

#include <apr_lib.h>
#include <apr_strings.h>
#include <http_core.h>
#include <http_request.h>
#include <util_filter.h>

#include "server/child.h"
#include "server/share.h"
#include "request/decisions.h"
#include "request/reasons.h"

/* The most bytes that the body of an answer may have. The body is discarded. */
#define BODY_MAX_BYTES 65536

/* The longest time that a decision may be kept, in seconds. */
#define LIFETIME_MAX 86400

static const char SWALLOW[] = "COMET_SWALLOW";
static const char NO_BODY[] = "COMET_NO_BODY";

/* Only a share of the threads may ask at the same time.  Otherwise an
 * application that requests the same URL again while it answers would take all
 * threads. */
static mod_comet_share_t asking = { .gauge = COMET_METRIC_asking };

/* --- filters -------------------------------------------------------------- */

/* The state of the filter that discards an answer's body. */
typedef struct swallow_t {
    apr_off_t left; /* how many more bytes the body may have */
    int has_text; /* the body has more than white space */
    apr_time_t ends_at; /* by comet_monotonic() */
    const char *wrong; /* why the body was cut off; NULL: it was not */
} swallow_t;

static apr_status_t look_at(swallow_t *swallow, apr_bucket *bucket)
{
    const char *data;
    apr_size_t length, i;
    apr_status_t status;

    if (APR_BUCKET_IS_METADATA(bucket)) {
        return APR_SUCCESS;
    }
    status = apr_bucket_read(bucket, &data, &length, APR_BLOCK_READ);
    if (status == APR_SUCCESS) {
        swallow->left -= (apr_off_t)length;
        for (i = 0; i < length && !swallow->has_text; i++) {
            swallow->has_text = !apr_isspace(data[i]);
        }
    }
    return status;
}

/* An output filter that runs before all others and discards everything. */
static apr_status_t swallow_body(ap_filter_t *filter,
                                 apr_bucket_brigade *brigade)
{
    swallow_t *swallow = filter->ctx;
    apr_status_t status = APR_SUCCESS;

    while (!APR_BRIGADE_EMPTY(brigade) && !swallow->wrong) {
        apr_bucket *bucket = APR_BRIGADE_FIRST(brigade);

        status = look_at(swallow, bucket);
        apr_bucket_delete(bucket);
        if (status != APR_SUCCESS) {
            swallow->wrong = "its answer ended early";
        }
        else if (swallow->left < 0) {
            swallow->wrong = "it answered with more than 64 KB";
        }
        else if (comet_monotonic() >= swallow->ends_at) {
            swallow->wrong = "it did not answer in time";
        }
    }
    apr_brigade_cleanup(brigade);
    return swallow->wrong ? APR_ECONNABORTED : APR_SUCCESS;
}

/* An input filter that runs before all others.  It keeps the client's body, and
 * the client's next request, from the application. */
static apr_status_t give_no_body(ap_filter_t *filter,
                                 apr_bucket_brigade *brigade,
                                 ap_input_mode_t mode, apr_read_type_e block,
                                 apr_off_t bytes)
{
    APR_BRIGADE_INSERT_TAIL(brigade,
                            apr_bucket_eos_create(filter->c->bucket_alloc));
    return APR_SUCCESS;
}

void mod_comet_inquiry_register(void)
{
    ap_register_output_filter(SWALLOW, swallow_body, NULL,
                              AP_FTYPE_RESOURCE - 1);
    ap_register_input_filter(NO_BODY, give_no_body, NULL,
                             AP_FTYPE_RESOURCE - 1);
}

/* --- nesting -------------------------------------------------------------- */

int mod_comet_inquiry_is_nested(const request_rec *r)
{
    const mod_comet_request_t *request;

    do {
        r = r->main ? r->main : r->prev;
        request =
            r ? ap_get_module_config(r->request_config, &comet_module) : NULL;
    } while (r && !(request && request->is_asking));
    return r != NULL;
}

/* --- the sub-request ------------------------------------------------------ */

/* Whether an application may take a client's field for one of ours.  A server of
 * applications turns "Comet-Channel" into HTTP_COMET_CHANNEL; many servers do the
 * same with "Comet_Channel". */
static int is_like_ours(const char *name)
{
    static const char *const ours[] = { "Comet-Action", "Comet-Channel",
                                        "Comet-Lifetime", "Comet-User" };
    apr_size_t i, k;

    for (i = 0; i < sizeof(ours) / sizeof(*ours); i++) {
        for (k = 0; name[k]
                    && (apr_isalnum(name[k])
                            ? apr_tolower(name[k]) == apr_tolower(ours[i][k])
                            : ours[i][k] == '-');
             k++) {
        }
        if (!name[k] && !ours[i][k]) {
            return 1;
        }
    }
    return 0;
}

/* Copy the client's header fields.  Leave out those that describe its body or
 * the answer that it wants, and add those that describe the question. */
static apr_table_t *make_headers(const request_rec *r, apr_pool_t *p,
                                 const char *channel)
{
    static const char *const unwanted[] = {
        "Accept",           "Accept-Encoding", "Connection",
        "Content-Encoding", "Content-Length",  "Content-Type",
        "Expect",           "If-Match",        "If-Modified-Since",
        "If-None-Match",    "If-Range",        "If-Unmodified-Since",
        "Last-Event-ID",    "Range",           "Transfer-Encoding",
        "Upgrade",
    };
    const apr_array_header_t *given = apr_table_elts(r->headers_in);
    apr_table_t *fields = apr_table_make(p, given->nelts + 2);
    apr_size_t i;
    int k;

    for (k = 0; k < given->nelts; k++) {
        const apr_table_entry_t *field =
            &APR_ARRAY_IDX(given, k, apr_table_entry_t);

        if (!is_like_ours(field->key)) {
            apr_table_addn(fields, field->key, field->val);
        }
    }
    for (i = 0; i < sizeof(unwanted) / sizeof(*unwanted); i++) {
        apr_table_unset(fields, unwanted[i]);
    }
    apr_table_setn(fields, "Comet-Channel", channel);
    apr_table_setn(fields, "Comet-Action",
                   mod_comet_request(r)->publishes ? "publish" : "read");
    return fields;
}

/* Make the sub-request look like a request of its own, with its URL in the
 * request line.  Its copy of the server record has the target's timeout if that
 * is shorter than Timeout, so that servers behind this one may not take longer
 * either. */
static void dress(request_rec *sub, const request_rec *r,
                  const mod_comet_inquiry_target_t *target, const char *channel,
                  swallow_t *swallow)
{
    server_rec *server = apr_pmemdup(sub->pool, sub->server, sizeof(*server));

    if (server->timeout > target->timeout) {
        server->timeout = target->timeout;
    }
    sub->server = server;
    sub->the_request =
        apr_pstrcat(sub->pool, "GET ", target->url, " HTTP/1.1", NULL);
    sub->headers_in = make_headers(r, sub->pool, channel);
    ap_add_output_filter(SWALLOW, swallow, sub, sub->connection);
    ap_add_input_filter(NO_BODY, NULL, sub, sub->connection);
}

static const char *answered(const request_rec *sub, const char *name)
{
    const char *value = apr_table_get(sub->headers_out, name);

    return value ? value : apr_table_get(sub->err_headers_out, name);
}

/* Whether the application sends the client elsewhere.  A script's local
 * redirect (RFC 3875, section 6.2.2) has the status of the URL that it leads
 * to. */
static int is_redirected(const request_rec *sub)
{
    while (sub && !answered(sub, "Location")) {
        sub = sub->next;
    }
    return sub != NULL;
}

/* Read Comet-Lifetime.  @return 0: there is none, or it is invalid */
static apr_interval_time_t read_lifetime(const request_rec *sub)
{
    const char *text = answered(sub, "Comet-Lifetime");
    apr_int64_t seconds = 0;

    if (text
        && comet_params_int(comet_text(text), "Comet-Lifetime", 0, LIFETIME_MAX,
                            &seconds, sub->pool)) {
        ap_log_rerror(
            APLOG_MARK, APLOG_WARNING, 0, sub,
            "COMET0141: Require comet-request: Comet-Lifetime must be a number "
            "of seconds from 0 to %d",
            LIFETIME_MAX);
    }
    return apr_time_from_sec(seconds);
}

static void read_grant(mod_comet_inquiry_t *inquiry, const request_rec *sub,
                       apr_pool_t *p)
{
    const char *user = answered(sub, "Comet-User");

    inquiry->user = user && *user ? apr_pstrdup(p, user) : NULL;
    if (inquiry->user && comet_params_check_user(comet_text(user))) {
        inquiry->status = HTTP_SERVICE_UNAVAILABLE;
        inquiry->wrong = "its Comet-User is not a valid user name";
    }
}

/* @param status  what the handler returned or, if the URL was refused before
 *                that, the status of the sub-request */
static void read_answer(mod_comet_inquiry_t *inquiry, const request_rec *sub,
                        int status, const swallow_t *swallow, apr_pool_t *p)
{
    const request_rec *last = sub;
    apr_interval_time_t lifetime;

    while (last->next) {
        last = last->next;
    }
    status = ap_is_HTTP_VALID_RESPONSE(status) ? status : last->status;
    lifetime = read_lifetime(last);
    inquiry->until = lifetime ? comet_monotonic() + lifetime : 0;
    inquiry->status = status;
    if (swallow->wrong || comet_monotonic() >= swallow->ends_at) {
        inquiry->status = HTTP_SERVICE_UNAVAILABLE;
        inquiry->wrong =
            swallow->wrong ? swallow->wrong : "it did not answer in time";
    }
    else if (ap_is_HTTP_SERVER_ERROR(status)) {
        inquiry->status = HTTP_SERVICE_UNAVAILABLE;
        inquiry->wrong = apr_psprintf(p, "it answered %d", status);
    }
    else if (status == HTTP_UNAUTHORIZED) {
        const char *challenge = answered(last, "WWW-Authenticate");

        inquiry->wrong = "it answered 401";
        inquiry->challenge = challenge ? apr_pstrdup(p, challenge) : NULL;
    }
    else if (!ap_is_HTTP_SUCCESS(status) || is_redirected(sub)) {
        inquiry->status = HTTP_FORBIDDEN;
        inquiry->wrong = is_redirected(sub)
                             ? "it redirected"
                             : apr_psprintf(p, "it answered %d", status);
    }
    else if (swallow->has_text) {
        /* PHP with display_errors prints an error with status 200 */
        inquiry->status = HTTP_SERVICE_UNAVAILABLE;
        inquiry->wrong =
            "it granted access, but sent text, as a failing script "
            "may: it must answer 204 and print nothing";
    }
    else {
        read_grant(inquiry, last, p);
    }
}

static void run(mod_comet_inquiry_t *inquiry, request_rec *r,
                const char *channel)
{
    const mod_comet_inquiry_target_t *target = inquiry->target;
    mod_comet_request_t *request = mod_comet_request(r);
    swallow_t swallow = { .left = BODY_MAX_BYTES,
                          .ends_at = comet_monotonic() + target->timeout };
    request_rec *sub;
    int status;

    request->is_asking = 1;
    sub = ap_sub_req_method_uri("GET", target->url, r, NULL);
    status = sub->status;
    if (status == HTTP_OK) {
        dress(sub, r, target, channel, &swallow);
        status = ap_run_sub_req(sub);
    }
    request->is_asking = 0;
    read_answer(inquiry, sub, status, &swallow, r->pool);
    ap_destroy_sub_req(sub);
}

/* --- asking --------------------------------------------------------------- */

/* Make a key of everything that a decision can depend on.  @return whether the
 * key was made */
static int make_key(request_rec *r, const mod_comet_inquiry_target_t *target,
                    const char *channel, unsigned char *key)
{
    const comet_text_t parts[] = {
        comet_text(target->url),
        { (const char *)&r->server, sizeof(r->server) },
        comet_text(r->hostname),
        comet_text(channel),
        comet_text(mod_comet_request(r)->publishes ? "publish" : "read"),
        comet_text(r->useragent_ip),
        comet_text(mod_comet_request_certificate(r)),
        comet_text(apr_table_get(r->headers_in, "Cookie")),
        comet_text(apr_table_get(r->headers_in, "Authorization")),
    };

    return comet_digest(parts, sizeof(parts) / sizeof(*parts), key);
}

static void take_over(mod_comet_inquiry_t *inquiry,
                      const mod_comet_decision_t *decision, apr_pool_t *p)
{
    inquiry->status = decision->status;
    inquiry->until = decision->until;
    inquiry->user = *decision->user ? apr_pstrdup(p, decision->user) : NULL;
    inquiry->wrong = ap_is_HTTP_SUCCESS(decision->status)
                         ? NULL
                         : "the application has refused this before";
}

static void keep(const mod_comet_inquiry_t *inquiry, const unsigned char *key)
{
    mod_comet_decision_t decision = { .status = inquiry->status,
                                      .until = inquiry->until };

    apr_cpystrn(decision.user, inquiry->user ? inquiry->user : "",
                sizeof(decision.user));
    mod_comet_decisions_keep(key, &decision);
}

static void ask(mod_comet_inquiry_t *inquiry, request_rec *r,
                const char *channel)
{
    unsigned char key[COMET_DIGEST_BYTES];
    mod_comet_decision_t decision;
    int has_key = make_key(r, inquiry->target, channel, key);

    if (has_key && mod_comet_decisions_find(key, &decision)) {
        take_over(inquiry, &decision, r->pool);
        return;
    }
    if (!mod_comet_share_enter(&asking)) {
        inquiry->status = HTTP_SERVICE_UNAVAILABLE;
        inquiry->wrong = "too many requests are asking it now";
        return;
    }
    run(inquiry, r, channel);
    mod_comet_share_leave(&asking);
    if (has_key && inquiry->until
        && inquiry->status != HTTP_SERVICE_UNAVAILABLE) {
        keep(inquiry, key);
    }
}

const mod_comet_inquiry_t *mod_comet_inquiry_make(
    request_rec *r, const mod_comet_inquiry_target_t *target,
    const char *channel)
{
    mod_comet_request_t *request = mod_comet_request(r);
    mod_comet_inquiry_t *inquiry;

    if (request->inquiry && request->inquiry->target == target) {
        return request->inquiry;
    }
    inquiry = apr_pcalloc(r->pool, sizeof(*inquiry));
    inquiry->target = target;
    ask(inquiry, r, channel);
    request->inquiry = inquiry;
    return inquiry;
}

int mod_comet_inquiry_authenticate(request_rec *r)
{
    const mod_comet_request_t *request = mod_comet_request(r);

    if (!request || !request->inquiry
        || request->inquiry->status != HTTP_UNAUTHORIZED || ap_auth_type(r)) {
        return DECLINED;
    }
    if (request->inquiry->challenge) {
        apr_table_setn(r->err_headers_out, "WWW-Authenticate",
                       request->inquiry->challenge);
    }
    if (!r->main) {
        mod_comet_reasons_log(r, HTTP_UNAUTHORIZED,
                              apr_pstrcat(r->pool, "the site's application: ",
                                          request->inquiry->wrong, NULL));
    }
    return HTTP_UNAUTHORIZED;
}
