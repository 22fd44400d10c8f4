/* SPDX-License-Identifier: Apache-2.0 */
/* The entry point for httpd: the module record and the hooks. */
#include "server/mod_comet.h"

#include <apr_optional_hooks.h>
#include <http_connection.h>
#include <mpm_common.h>

#include "hooks/lifecycle.h"
#include "server/child.h"
#include "server/config.h"
#include "output/cookies.h"
#include "output/opening.h"
#include "hooks/directives.h"
#include "hooks/engines.h"
#include "request/authenticate.h"
#include "request/cors.h"
#include "wait/adopt.h"
#include "wait/connection.h"
#include "wait/fast.h"
#include "wait/h2.h"
#include "hooks/handler.h"
#include "output/log.h"
#include "wait/park_hooks.h"
#include "hooks/claim.h"
#include "hooks/landing.h"
#include "request/inquiry.h"
#include "request/require.h"
#include "request/require_request.h"
#include "request/require_token.h"
#include "hooks/status.h"
#include "hooks/stores.h"
#include "request/subrequest.h"
#include "request/token.h"

/* The hooks for the life of a server and of its children. */
static void register_process_hooks(void)
{
    ap_hook_check_config(mod_comet_stores_check_config, NULL, NULL,
                         APR_HOOK_MIDDLE);
    ap_hook_post_config(mod_comet_lifecycle_post_config, NULL, NULL,
                        APR_HOOK_MIDDLE);
    ap_hook_child_init(mod_comet_lifecycle_child_init, NULL, NULL,
                       APR_HOOK_MIDDLE);
    ap_hook_child_stopping(mod_comet_lifecycle_child_stopping, NULL, NULL,
                           APR_HOOK_MIDDLE);
}

/* From mod_ssl_openssl.h, which not every package of httpd's headers has. */
typedef int ssl_HOOK_pre_handshake_t(conn_rec *c, mod_comet_tls_t *tls,
                                     int is_proxy);

/* The hooks that run when a connection is made, parked in the MPM and given
 * back. */
static void register_connection_hooks(void)
{
    static const char *const ssl[] = { "mod_ssl.c", NULL };
    static const char *const http2[] = { "mod_http2.c", NULL };

    ap_hook_protocol_switch(mod_comet_h2_switch, NULL, http2, APR_HOOK_FIRST);
    ap_hook_process_connection(mod_comet_h2_prepare, ssl, http2, APR_HOOK_LAST);
    ap_hook_process_connection(mod_comet_h2_decline, http2, NULL,
                               APR_HOOK_LAST);
    ap_hook_pre_connection(mod_comet_connection_make, NULL, NULL,
                           APR_HOOK_REALLY_FIRST);
    ap_hook_pre_connection(mod_comet_adopt_watch, NULL, NULL,
                           APR_HOOK_REALLY_FIRST);
    APR_OPTIONAL_HOOK(ssl, pre_handshake, mod_comet_adopt_pre_handshake, NULL,
                      NULL, APR_HOOK_MIDDLE);
    ap_hook_process_connection(mod_comet_park_hooks_process_connection, NULL,
                               NULL, APR_HOOK_REALLY_FIRST);
    ap_hook_suspend_connection(mod_comet_park_hooks_suspend, NULL, NULL,
                               APR_HOOK_REALLY_LAST);
    ap_hook_resume_connection(mod_comet_park_hooks_resume, NULL, NULL,
                              APR_HOOK_REALLY_FIRST);
}

/* The hooks that claim requests by their URLs, before any module checks
 * them. */
static void register_claiming_hooks(void)
{
    static const char *const rewrite[] = { "mod_rewrite.c", NULL };
    static const char *const setenvif[] = { "mod_setenvif.c", NULL };

    /* these run before mod_rewrite, mod_alias and mod_proxy look at the path */
    ap_hook_pre_translate_name(mod_comet_claim_pre_translate_name, NULL, NULL,
                               APR_HOOK_REALLY_FIRST);
    ap_hook_translate_name(mod_comet_claim_translate_name, NULL, NULL,
                           APR_HOOK_REALLY_FIRST);
    /* this claims a path that mod_rewrite has passed on ([PT]) */
    ap_hook_translate_name(mod_comet_claim_passed_through, rewrite, NULL,
                           APR_HOOK_FIRST);
    ap_hook_map_to_storage(mod_comet_claim_map_to_storage, NULL, NULL,
                           APR_HOOK_REALLY_FIRST);
    /* this runs before modules that may refuse the request at once, such as
     * mod_security2 */
    ap_hook_post_read_request(mod_comet_landing_post_read_request, NULL, NULL,
                              APR_HOOK_REALLY_FIRST - 1);
    /* mod_setenvif runs in two phases; these hooks run before and after it */
    ap_hook_post_read_request(mod_comet_subrequest_before_setenvif, NULL,
                              setenvif, APR_HOOK_MIDDLE);
    ap_hook_post_read_request(mod_comet_subrequest_after_setenvif, setenvif,
                              NULL, APR_HOOK_REALLY_FIRST);
    ap_hook_header_parser(mod_comet_subrequest_before_setenvif, NULL, setenvif,
                          APR_HOOK_MIDDLE);
    ap_hook_header_parser(mod_comet_subrequest_after_setenvif, setenvif, NULL,
                          APR_HOOK_REALLY_FIRST);
    /* this runs after httpd has found a sub-request's sections, and before any
     * module checks the sub-request */
    ap_hook_post_perdir_config(mod_comet_subrequest_enter, NULL, NULL,
                               APR_HOOK_REALLY_FIRST);
    ap_hook_post_perdir_config(mod_comet_claim_post_perdir_config, NULL, NULL,
                               APR_HOOK_REALLY_FIRST);
    ap_hook_post_perdir_config(mod_comet_token_hide, NULL, NULL,
                               APR_HOOK_FIRST);
    /* a channel's sub-request takes over the user of its model
     * (request/authenticate.h) */
    ap_hook_check_authn(mod_comet_authenticate_again, NULL, NULL,
                        APR_HOOK_REALLY_FIRST, AP_AUTH_INTERNAL_PER_CONF);
    /* this runs before the modules of AuthType, which would refuse a Bearer
     * token */
    ap_hook_check_authn(mod_comet_token_authenticate, NULL, NULL,
                        APR_HOOK_FIRST, AP_AUTH_INTERNAL_PER_CONF);
    ap_hook_check_authn(mod_comet_inquiry_authenticate, NULL, NULL,
                        APR_HOOK_FIRST, AP_AUTH_INTERNAL_PER_CONF);
    ap_hook_check_authz(mod_comet_authenticate_note, NULL, NULL,
                        APR_HOOK_REALLY_FIRST, AP_AUTH_INTERNAL_PER_CONF);
    /* this runs with the location's settings, but before authentication */
    ap_hook_header_parser(mod_comet_cors_parse_headers, NULL, NULL,
                          APR_HOOK_REALLY_FIRST);
    ap_hook_fixups(mod_comet_subrequest_before_rewrite, NULL, rewrite,
                   APR_HOOK_FIRST);
    ap_hook_fixups(mod_comet_subrequest_after_rewrite, rewrite, NULL,
                   APR_HOOK_FIRST);
    ap_hook_expr_lookup(mod_comet_subrequest_look_up_variable, NULL, NULL,
                        APR_HOOK_FIRST);
    ap_hook_type_checker(mod_comet_claim_find_type, NULL, NULL,
                         APR_HOOK_REALLY_FIRST);
}

/* The hooks and filters that answer and log requests. */
static void register_answering_hooks(void)
{
    ap_hook_insert_error_filter(mod_comet_claim_insert_error_filter, NULL, NULL,
                                APR_HOOK_MIDDLE);
    ap_hook_insert_error_filter(mod_comet_landing_insert_error_filter, NULL,
                                NULL, APR_HOOK_REALLY_LAST);
    ap_hook_handler(mod_comet_handler, NULL, NULL, APR_HOOK_REALLY_FIRST);
    ap_hook_handler(mod_comet_status_handler, NULL, NULL, APR_HOOK_MIDDLE);

    /* these filters run after mod_headers and all others that set headers */
    ap_register_output_filter("COMET_OPENING", mod_comet_opening_filter, NULL,
                              AP_FTYPE_PROTOCOL - 1);
    ap_register_output_filter("COMET_COOKIES", mod_comet_cookies_filter, NULL,
                              AP_FTYPE_PROTOCOL - 1);
    ap_register_output_filter("COMET_LANDING", mod_comet_landing_filter, NULL,
                              AP_FTYPE_PROTOCOL - 1);
    ap_register_output_filter("COMET_FAST", mod_comet_fast_filter, NULL,
                              AP_FTYPE_TRANSCODE + 1);

    /* these filters are between mod_ssl's and mod_http2 */
    ap_register_input_filter("COMET_H2_PREFACE", mod_comet_h2_filter_preface,
                             NULL, AP_FTYPE_CONNECTION + 3);
    ap_register_input_filter("COMET_H2_IN", mod_comet_h2_filter_in, NULL,
                             AP_FTYPE_CONNECTION + 3);
    ap_register_output_filter("COMET_H2_OUT", mod_comet_h2_filter_out, NULL,
                              AP_FTYPE_CONNECTION + 3);

    /* this runs before any module logs a request whose stream goes on */
    ap_hook_log_transaction(mod_comet_log_transaction, NULL, NULL,
                            APR_HOOK_REALLY_FIRST);
}

static void register_hooks(apr_pool_t *p)
{
    register_process_hooks();
    register_connection_hooks();
    register_claiming_hooks();
    register_answering_hooks();
    mod_comet_engines_register(p);
    mod_comet_subrequest_register(p);
    mod_comet_require_register(p);
    mod_comet_require_token_register(p);
    mod_comet_require_request_register(p);
    mod_comet_inquiry_register();
    mod_comet_status_register(p);
}

module AP_MODULE_DECLARE_DATA comet_module = {
    STANDARD20_MODULE_STUFF,
    .create_dir_config = mod_comet_config_create_dir,
    .merge_dir_config = mod_comet_config_merge_dir,
    .create_server_config = mod_comet_config_create_server,
    .merge_server_config = mod_comet_config_merge_server,
    .cmds = mod_comet_directives,
    .register_hooks = register_hooks,
};
