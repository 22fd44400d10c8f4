/* SPDX-License-Identifier: Apache-2.0 */
/* What a sub-request must not have from the request that made it. */
#include "mod_comet_subrequest.h"

#include <apr_strings.h>
#include <http_config.h>
#include <http_protocol.h>

#include "mod_comet_request.h"

/*
 * A sub-request gets a copy of the environment that another URL has by now:
 * it shall have what that URL was judged by.
 *
 * mod_setenvif looks at requests in phases that sub-requests do not have.  Its
 * function looks at the server's directives when it is first called for a
 * request, and at those of the request's sections when it is called again.
 */
static ap_HOOK_post_read_request_t *find_setenvif(void)
{
    const apr_array_header_t *hooks = ap_hook_get_post_read_request();
    int i;

    for (i = 0; hooks && i < hooks->nelts; i++) {
        const ap_LINK_post_read_request_t *link =
            &APR_ARRAY_IDX(hooks, i, ap_LINK_post_read_request_t);

        if (strcmp(link->szName, "mod_setenvif.c") == 0) {
            return link->pFunc;
        }
    }
    return NULL;
}

static int forget(void *baton, const char *name, const char *value)
{
    apr_table_unset(baton, name);
    return 1;
}

/* Take what it has set for the other URL out of the copy. */
static void forget_main(request_rec *r, ap_HOOK_post_read_request_t *setenvif)
{
    request_rec probe = *r->main;

    probe.pool = r->pool;
    if (probe.parsed_uri.path) { /* as it was before mod_rewrite */
        probe.uri = probe.parsed_uri.path;
    }
    probe.request_config = ap_create_request_config(r->pool);
    probe.subprocess_env = apr_table_make(r->pool, 8);
    setenvif(&probe);
    setenvif(&probe);
    apr_table_do(forget, r->subprocess_env, probe.subprocess_env, NULL);
}

void mod_comet_subrequest_begin(request_rec *r)
{
    ap_HOOK_post_read_request_t *setenvif = find_setenvif();
    const mod_comet_request_t *main = mod_comet_request(r->main);

    if (main && main->env) {
        r->subprocess_env = apr_table_copy(r->pool, main->env);
    }
    r->the_request = apr_pstrcat(r->pool, r->method, " ", r->unparsed_uri, " ",
                                 r->main->protocol, NULL);
    if (setenvif) {
        forget_main(r, setenvif);
        setenvif(r);
    }
}

int mod_comet_subrequest_enter(request_rec *r)
{
    ap_HOOK_post_read_request_t *setenvif = find_setenvif();

    if (r->main && setenvif && mod_comet_request(r)) {
        setenvif(r);
    }
    return DECLINED;
}
