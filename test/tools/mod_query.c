/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A module that adds a header to each answer, made from the request's query.
 * It does so without a filter, unlike mod_headers.
 */
#include <httpd.h>
#include <http_config.h>
#include <http_request.h>

static int add_header(request_rec *r)
{
    apr_table_setn(r->headers_out, "X-Query", r->args ? r->args : "");
    return DECLINED;
}

static void hooks(apr_pool_t *pool)
{
    ap_hook_fixups(add_header, NULL, NULL, APR_HOOK_MIDDLE);
}

module AP_MODULE_DECLARE_DATA comet_query_module = {
    STANDARD20_MODULE_STUFF,
    .register_hooks = hooks,
};
