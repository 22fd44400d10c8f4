/* SPDX-License-Identifier: Apache-2.0 */
/* The soft landing of a stream that a rule of the site or another module refuses
 * for a while. */
#include "hooks/landing.h"

#include <http_core.h>
#include <http_protocol.h>
#include <string.h>

#include "request/ask.h"
#include "request/dialect.h"
#include "request/reasons.h"
#include "output/answer.h"
#include "output/cookies.h"

/* Whether a client may be an EventSource.  This is cheap: other requests need not
 * be looked at further. */
static int accepts_events(const request_rec *r)
{
    const char *accept = apr_table_get(r->headers_in, "Accept");

    return r->method_number == M_GET && !r->main && accept
           && ap_strcasestr(accept, "text/event-stream");
}

/* The statuses that are landed softly. */
static const int statuses[] = { HTTP_SERVICE_UNAVAILABLE,
                                HTTP_TOO_MANY_REQUESTS };

/* Replace the site's ErrorDocument for these statuses. */
static void replace_pages(request_rec *r)
{
    apr_size_t i;

    for (i = 0; i < sizeof(statuses) / sizeof(*statuses); i++) {
        ap_custom_response(r, statuses[i], MOD_COMET_LANDING_REASON);
    }
}

/* Give the site its ErrorDocument back. */
static void restore_pages(request_rec *r)
{
    core_request_config *config = ap_get_core_module_config(r->request_config);
    apr_size_t i;

    for (i = 0; i < sizeof(statuses) / sizeof(*statuses); i++) {
        char **page =
            &config->response_code_strings[ap_index_of_response(statuses[i])];

        if (*page && strcmp(*page, "\"" MOD_COMET_LANDING_REASON) == 0) {
            *page = NULL; /* else another module has set it since */
        }
    }
}

void mod_comet_landing_prepare(request_rec *r, mod_comet_request_t *request,
                               const mod_comet_mapping_t *mapping)
{
    const comet_transport_t *transport =
        accepts_events(r) ? mapping->dialect->find_transport(r, request) : NULL;

    if (request->softly) {
        restore_pages(r);
        request->softly = NULL;
    }
    if (transport && !transport->upgrades
        && mod_comet_ask_is_deaf(r, transport)) {
        request->softly = transport;
        replace_pages(r);
    }
}

/* Whether httpd may map a request to another path than the one it names
 * ("/comet/../other"). */
static int may_move(const char *path)
{
    return strstr(path, "/.") || strstr(path, "//")
           || ap_strcasestr(path, "%2e") || ap_strcasestr(path, "%2f");
}

int mod_comet_landing_post_read_request(request_rec *r)
{
    const mod_comet_mapping_t *mapping =
        accepts_events(r) && !may_move(r->uri) ? mod_comet_request_find_mapping(
            mod_comet_config_server(r->server), r->uri)
                                               : NULL;
    mod_comet_request_t *request;

    if (mapping) {
        request = mod_comet_request_record(r);
        comet_params_parse(&request->query, comet_text(r->args ? r->args : ""),
                           r->pool);
        mod_comet_landing_prepare(r, request, mapping);
    }
    return DECLINED;
}

void mod_comet_landing_insert_error_filter(request_rec *r)
{
    mod_comet_request_t *request =
        ap_get_module_config(r->request_config, &comet_module);

    if (!request || !request->softly
        || !mod_comet_answer_is_for_now(r->status)) {
        return;
    }
    if (!request->mapping) { /* refused before mod_comet could claim it */
        request->mapping = mod_comet_request_find_mapping(
            mod_comet_config_server(r->server), r->uri);
        if (!request->mapping) { /* that module has changed the URL */
            return;
        }
        mod_comet_answer_claim(r);
    }
    mod_comet_reasons_log(r, r->status, MOD_COMET_LANDING_REASON);
    mod_comet_cookies_leave_session(r);
    ap_add_output_filter("COMET_LANDING", NULL, r, r->connection);
}

apr_status_t mod_comet_landing_filter(ap_filter_t *filter,
                                      apr_bucket_brigade *brigade)
{
    request_rec *r = filter->r;
    comet_buffer_t body = { .data = NULL };

    apr_brigade_cleanup(brigade);
    if (filter->ctx) { /* more of httpd's error page */
        return APR_SUCCESS;
    }
    filter->ctx = r;
    r->status = HTTP_OK;
    r->status_line = NULL;
    if (!mod_comet_answer_land(r, mod_comet_request(r)->softly,
                               MOD_COMET_LANDING_REASON, &body)) {
        return APR_ENOMEM;
    }
    APR_BRIGADE_INSERT_TAIL(
        brigade, apr_bucket_heap_create(body.data, body.length, free,
                                        r->connection->bucket_alloc));
    APR_BRIGADE_INSERT_TAIL(brigade,
                            apr_bucket_eos_create(r->connection->bucket_alloc));
    return ap_pass_brigade(filter->next, brigade);
}
