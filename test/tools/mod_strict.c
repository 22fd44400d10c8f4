/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A module that makes HTTP/2 as strict as in httpd 2.4.58 and 2.4.59: there a
 * child aborts if the last output filter of an HTTP/2 stream is called without a
 * brigade.
 */
#include <httpd.h>
#include <http_config.h>
#include <http_connection.h>
#include <util_filter.h>

#include <stdlib.h>

static ap_filter_rec_t *last_filter;

/* The filter before this one passes nothing on, so nobody calls this one in the
 * usual way. */
static apr_status_t refuse(ap_filter_t *filter, apr_bucket_brigade *brigade)
{
    abort();
}

static int add_filter(conn_rec *c, void *socket)
{
    if (c->master) {
        ap_add_output_filter_handle(last_filter, NULL, NULL, c);
    }
    return OK;
}

static void hooks(apr_pool_t *pool)
{
    last_filter = ap_register_output_filter("COMET_STRICT", refuse, NULL,
                                            AP_FTYPE_NETWORK + 9);
    ap_hook_pre_connection(add_filter, NULL, NULL, APR_HOOK_LAST);
}

module AP_MODULE_DECLARE_DATA comet_strict_module = {
    STANDARD20_MODULE_STUFF,
    .register_hooks = hooks,
};
