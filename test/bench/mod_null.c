/* SPDX-License-Identifier: Apache-2.0 */
/* A handler that does nothing: it shows what httpd's own request cycle costs.
 *
 * `SetHandler bench-null` reads the request's body, if any, and answers with a
 * constant text.  That text is about as long as mod_comet's answer with a
 * message. */
#include <httpd.h>
#include <http_config.h>
#include <http_protocol.h>
#include <http_request.h>

#include <string.h>

static const char ANSWER[] =
    "{\"messages\":[{\"timestamp\":1700000000000000,\"channel\":\"0\","
    "\"type\":\"message\",\"author\":null,\"body\":\""
    "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
    "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\"}],"
    "\"timestamp\":1700000000000000,\"gap\":false}\n";

static int answer(request_rec *r)
{
    int status;

    if (!r->handler || strcmp(r->handler, "bench-null") != 0) {
        return DECLINED;
    }
    status = ap_discard_request_body(r);
    if (status != OK) {
        return status;
    }
    ap_set_content_type(r, "application/json");
    ap_set_content_length(r, (apr_off_t)sizeof(ANSWER) - 1);
    ap_rwrite(ANSWER, (int)sizeof(ANSWER) - 1, r);
    return OK;
}

/* Skip httpd's directory walk, as mod_comet does, since the URL stands for no
 * file. */
static int no_file(request_rec *r)
{
    return strncmp(r->uri, "/null/", 6) == 0 ? OK : DECLINED;
}

static void hooks(apr_pool_t *pool)
{
    ap_hook_translate_name(no_file, NULL, NULL, APR_HOOK_FIRST);
    ap_hook_map_to_storage(no_file, NULL, NULL, APR_HOOK_FIRST);
    ap_hook_handler(answer, NULL, NULL, APR_HOOK_MIDDLE);
}

module AP_MODULE_DECLARE_DATA comet_bench_null_module = {
    STANDARD20_MODULE_STUFF, NULL, NULL, NULL, NULL, NULL, hooks,
    AP_MODULE_FLAG_NONE
};
