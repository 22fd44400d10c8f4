/* SPDX-License-Identifier: Apache-2.0 */
/* Warn if another module holds a resource for a request while it waits. */
#include "wait/held.h"

#include <stdatomic.h>

void mod_comet_held_tell(const request_rec *r)
{
    static atomic_flag told = ATOMIC_FLAG_INIT;
    const module *dbd = ap_find_linked_module("mod_dbd.c");

    /* mod_dbd notes its connection in r->request_config, and gives it back when
     * the request's pool is destroyed; no function gives it back earlier */
    if (!dbd || !ap_get_module_config(r->request_config, dbd)
        || atomic_flag_test_and_set(&told)) {
        return;
    }
    ap_log_rerror(APLOG_MARK, APLOG_WARNING, 0, r,
                  "COMET0133: each request that waits at %s keeps a database "
                  "connection of mod_dbd (DBDMax); have mod_authn_socache "
                  "remember users (see the recipes, \"Database connections of "
                  "mod_dbd\")",
                  r->uri);
}
