/* SPDX-License-Identifier: Apache-2.0 */
/* Check a password only once in a request, not once for each channel. */
#include "request/authenticate.h"

#include <http_config.h>
#include <http_core.h>
#include <http_request.h>

#include "request/request.h"
#include "request/subrequest.h"

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

/* Whether each module has the same settings in both configurations.  The
 * settings are the same object if the same sections apply to both requests. */
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

/* Whether a sub-request and its model are asked for the same credentials and
 * have the same ones.  The directives' values are compared, because AuthName
 * may have an expression that depends on the URL. */
static int is_asked_alike(request_rec *r, request_rec *model)
{
    return is_same(ap_auth_type(r), ap_auth_type(model))
           && is_same(ap_auth_name(r), ap_auth_name(model))
           && is_same(apr_table_get(r->headers_in, "Authorization"),
                      apr_table_get(model->headers_in, "Authorization"));
}

int mod_comet_authenticate_note(request_rec *r)
{
    mod_comet_request_t *request = mod_comet_request(r);

    if (request && r->user) {
        request->authenticated_as = r->user;
        request->authenticated_in = r->per_dir_config;
    }
    return DECLINED;
}

int mod_comet_authenticate_again(request_rec *r)
{
    mod_comet_request_t *request = r->main ? mod_comet_request(r) : NULL;
    const mod_comet_request_t *main =
        request ? mod_comet_request(r->main) : NULL;
    request_rec *model = main ? main->model : NULL;
    const mod_comet_request_t *as = model ? mod_comet_request(model) : NULL;

    if (!as || !as->authenticated_as || r->server != model->server
        || !are_same_sections(r->per_dir_config, as->authenticated_in)
        || !is_asked_alike(r, model) || !are_all_known()) {
        return DECLINED;
    }
    r->user = as->authenticated_as;
    r->ap_auth_type = model->ap_auth_type;
    request->is_like_model = 1;
    return OK;
}

/* --- the models ----------------------------------------------------------- */

static apr_size_t common_length(const char *a, const char *b)
{
    apr_size_t length = 0;

    while (a[length] && a[length] == b[length]) {
        length++;
    }
    return length;
}

/* Choose the model for a new sub-request: the model whose path shares the
 * longest beginning with the new path, since the same sections probably apply
 * to both.  Among equals, the newest is chosen.  If there is none, the request
 * itself is the model. */
static request_rec *choose_model(request_rec *r, const char *url)
{
    request_rec *chosen = r, *sub = mod_comet_request(r)->newest_model;

    for (; sub; sub = mod_comet_request(sub)->older_model) {
        if (chosen == r
            || common_length(sub->uri, url) > common_length(chosen->uri, url)) {
            chosen = sub;
        }
    }
    return chosen;
}

/* The walks through sections that can apply to a channel's URL: <Location>, and
 * <If>. */
static const apr_size_t walks[] = { AP_NOTE_LOCATION_WALK, AP_NOTE_IF_WALK };
#define WALKS (sizeof(walks) / sizeof(*walks))

request_rec *mod_comet_authenticate_look_up(request_rec *r, const char *method,
                                            const char *path, const char *url)
{
    mod_comet_request_t *request = mod_comet_request(r);
    void *own[WALKS];
    request_rec *sub;
    apr_size_t i;

    request->model = choose_model(r, path);
    for (i = 0; i < WALKS; i++) {
        void **walk = ap_get_request_note(r, walks[i]);

        own[i] = *walk;
        *walk = *ap_get_request_note(request->model, walks[i]);
    }
    sub = ap_sub_req_method_uri(method, url, r, NULL);
    mod_comet_subrequest_rejoin(sub);
    for (i = 0; i < WALKS; i++) {
        *ap_get_request_note(r, walks[i]) = own[i];
    }
    request->model = NULL;
    return sub;
}

void mod_comet_authenticate_release(request_rec *sub)
{
    mod_comet_request_t *main = mod_comet_request(sub->main);
    mod_comet_request_t *request = mod_comet_request(sub);

    if (!request || !request->authenticated_as || request->is_like_model
        || !are_all_known()) {
        ap_destroy_sub_req(sub);
        return;
    }
    request->older_model = main->newest_model;
    main->newest_model = sub;
}

apr_status_t mod_comet_authenticate_forget(void *r)
{
    mod_comet_request_t *request = mod_comet_request(r);

    while (request->newest_model) {
        request_rec *sub = request->newest_model;

        request->newest_model = mod_comet_request(sub)->older_model;
        ap_destroy_sub_req(sub);
    }
    return APR_SUCCESS;
}
