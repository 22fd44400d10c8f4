/* SPDX-License-Identifier: Apache-2.0 */
/* Check a password only once in a request, not once for each channel. */
#include "request/authenticate.h"

#include <http_config.h>
#include <http_request.h>

#include "request/request.h"

int mod_comet_authenticate_note(request_rec *r)
{
    mod_comet_request_t *request = mod_comet_request(r);

    if (request && !r->main && r->user) {
        request->authenticated_as = r->user;
        request->authenticated_in = r->per_dir_config;
    }
    return DECLINED;
}

/* Whether a module identifies a user by the credentials and the configuration
 * alone. */
static int is_known(const char *module)
{
    static const char *const known[] = {
        "mod_auth_basic.c", "mod_auth_digest.c", "mod_auth_form.c",
        "mod_authn_core.c", "mod_ssl.c",         "mod_comet.c"
    };
    apr_size_t i;

    for (i = 0; i < sizeof(known) / sizeof(*known); i++) {
        if (strcmp(module, known[i]) == 0) {
            return 1;
        }
    }
    return 0;
}

static int are_all_known(void)
{
    const apr_array_header_t *hooks = ap_hook_get_check_user_id();
    int i;

    for (i = 0; hooks && i < hooks->nelts; i++) {
        if (!is_known(
                APR_ARRAY_IDX(hooks, i, ap_LINK_check_user_id_t).szName)) {
            return 0;
        }
    }
    return 1;
}

/* Whether each module has the same settings in both configurations. They are
 * one object if the same sections apply to both requests. */
static int are_same_sections(const ap_conf_vector_t *a,
                             const ap_conf_vector_t *b)
{
    const module *m;

    for (m = ap_top_module; m; m = m->next) {
        if (ap_get_module_config(a, m) != ap_get_module_config(b, m)) {
            return 0;
        }
    }
    return 1;
}

static int is_same(const char *a, const char *b)
{
    return a == b || (a && b && strcmp(a, b) == 0);
}

/* Whether the sub-request is asked for the same credentials as its request.
 * The values are compared, because AuthName may be an expression that looks at
 * the URL. */
static int is_asked_alike(request_rec *r)
{
    return is_same(ap_auth_type(r), ap_auth_type(r->main))
           && is_same(ap_auth_name(r), ap_auth_name(r->main))
           && is_same(apr_table_get(r->headers_in, "Authorization"),
                      apr_table_get(r->main->headers_in, "Authorization"));
}

int mod_comet_authenticate_again(request_rec *r)
{
    const mod_comet_request_t *main =
        r->main && mod_comet_request(r) ? mod_comet_request(r->main) : NULL;

    if (!main || !main->authenticated_as || r->server != r->main->server
        || !are_same_sections(r->per_dir_config, main->authenticated_in)
        || !is_asked_alike(r) || !are_all_known()) {
        return DECLINED;
    }
    r->user = main->authenticated_as;
    r->ap_auth_type = r->main->ap_auth_type;
    return OK;
}
