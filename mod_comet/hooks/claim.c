/* SPDX-License-Identifier: Apache-2.0 */
/* Claim mapped requests before any module looks at the disk. */
#include "hooks/claim.h"

#include <apr_strings.h>
#include <string.h>

#include "request/dialect.h"
#include "request/subrequest.h"
#include "request/token.h"
#include "output/answer.h"
#include "hooks/landing.h"

/* --- the site's own rules ------------------------------------------------ */

/* A translate_name hook. */
typedef int hook_t(request_rec *r);

/* Whether a module's translate_name hook redirects or refuses requests as the
 * administrator says (RewriteRule with [R], [F], [G], or a status; Redirect; a
 * Lua script).  Other modules only map the path to a file or to another
 * server. */
static int has_rules(const char *module)
{
    static const char *const modules[] = { "mod_rewrite.c", "mod_alias.c",
                                           "mod_lua.c" };
    apr_size_t i = 0;

    while (i < sizeof(modules) / sizeof(*modules)
           && strcmp(module, modules[i]) != 0) {
        i++;
    }
    return i < sizeof(modules) / sizeof(*modules);
}

/*
 * Run the rules that httpd would run after the calling hook of mod_comet, in
 * httpd's order.
 * @return DECLINED or OK, perhaps with a file name set: nothing forbids the
 *         request; else what httpd should answer
 */
static int ask_rules(request_rec *r, hook_t *ours)
{
    const apr_array_header_t *hooks = ap_hook_get_translate_name();
    int i, passed = 0, verdict = DECLINED;

    for (i = 0; hooks && i < hooks->nelts && verdict == DECLINED; i++) {
        const ap_LINK_translate_name_t *hook =
            &APR_ARRAY_IDX(hooks, i, ap_LINK_translate_name_t);

        if (passed && has_rules(hook->szName)) {
            mod_comet_subrequest_stand_alone(r);
            verdict = hook->pFunc(r);
            mod_comet_subrequest_rejoin(r);
        }
        passed |= hook->pFunc == ours;
    }
    return verdict;
}

/*
 * Let the site's rules redirect or refuse the request, as they would if its URL
 * belonged to a file.  Rules that lead the request to a file, a script or
 * another server (a front controller) are not followed.
 * @return OK, or what httpd should answer
 */
static int obey_rules(request_rec *r, hook_t *ours)
{
    const request_rec before = *r;
    int verdict;

    mod_comet_subrequest_watch(r);
    verdict = ask_rules(r, ours);
    mod_comet_subrequest_unwatch(r);
    if (verdict != OK && verdict != DECLINED) {
        return verdict;
    }
    r->uri = before.uri;
    r->args = before.args;
    r->filename = before.filename;
    r->canonical_filename = before.canonical_filename;
    r->path_info = before.path_info;
    r->handler = before.handler;
    r->proxyreq = before.proxyreq;
    r->status = before.status;
    return OK;
}

/* --- claiming ------------------------------------------------------------ */

/* Find the mapping of a request whose path is not decoded yet.  An encoded slash
 * stays encoded: whether it parts names is a matter of AllowEncodedSlashes. */
static const mod_comet_mapping_t *find_before_decoding(request_rec *r)
{
    const mod_comet_server_config_t *config =
        mod_comet_config_server(r->server);
    char *path = r->uri;

    if (mod_comet_config_serves(config) && strchr(path, '%')) {
        path = apr_pstrdup(r->pool, path);
        ap_unescape_url_keep2f(path, 0); /* (httpd refuses a wrong escape) */
    }
    return mod_comet_request_find_mapping(config, path);
}

/* Run the pre_translate_name hooks behind ours, except mod_proxy's. Any of them
 * may refuse the request, or decode nothing (DONE), which does not suit us. */
static int ask_others(request_rec *r)
{
    const apr_array_header_t *hooks = ap_hook_get_pre_translate_name();
    int i, passed = 0, verdict = DECLINED;

    for (i = 0; hooks && i < hooks->nelts && verdict == DECLINED; i++) {
        const ap_LINK_pre_translate_name_t *hook =
            &APR_ARRAY_IDX(hooks, i, ap_LINK_pre_translate_name_t);

        if (passed && strcmp(hook->szName, "mod_proxy.c") != 0) {
            verdict = hook->pFunc(r);
        }
        passed |= hook->pFunc == mod_comet_claim_pre_translate_name;
    }
    return verdict == DECLINED || verdict == DONE ? OK : verdict;
}

int mod_comet_claim_pre_translate_name(request_rec *r)
{
    return find_before_decoding(r) ? ask_others(r) : DECLINED;
}

/* @param ours  the hook that claims */
static int claim(request_rec *r, hook_t *ours)
{
    const mod_comet_mapping_t *mapping = mod_comet_request_find_mapping(
        mod_comet_config_server(r->server), r->uri);
    mod_comet_request_t *request;
    int verdict;

    if (!mapping) {
        return DECLINED;
    }
    request = mod_comet_request_record(r);
    if (r->main) {
        request->mapping = mapping;
        mod_comet_subrequest_begin(r);
    }
    verdict = obey_rules(r, ours);
    if (!mod_comet_subrequest_judges(r)) { /* else the query is for rules only:
                                            * "read" would make a POST a reader */
        comet_params_parse(&request->query, comet_text(r->args ? r->args : ""),
                           r->pool);
    }
    mod_comet_landing_prepare(r, request, mapping);
    if (verdict != OK
        && !(request->softly && mod_comet_answer_is_for_now(verdict))) {
        return verdict;
    }
    /* a client that would give up for good is told to come back, but only if
     * it may read here: the handler does this */
    request->obstacle = verdict == OK ? NULL : MOD_COMET_LANDING_REASON;
    request->mapping = mapping;
    request->publishes = mapping->dialect->publishes(r, request);
    mod_comet_answer_claim(r);
    r->filename = mod_comet_request_filename(r);
    return OK;
}

int mod_comet_claim_translate_name(request_rec *r)
{
    return claim(r, mod_comet_claim_translate_name);
}

int mod_comet_claim_passed_through(request_rec *r)
{
    return claim(r, mod_comet_claim_passed_through);
}

/* A claimed URL names no file. */
int mod_comet_claim_map_to_storage(request_rec *r)
{
    return mod_comet_request(r) ? OK : DECLINED;
}

/*
 * httpd skips the access checks for a sub-request or an internal redirect whose
 * per-directory configuration equals its parent's.  Since a rule can depend on
 * the URL itself (Require expr), each channel must be checked.  A copy of the
 * configuration makes httpd check it.  The copy refers to the same settings, so
 * that mod_comet_authenticate_again() sees that the same sections apply.
 */
int mod_comet_claim_post_perdir_config(request_rec *r)
{
    if (mod_comet_request(r) && (r->main || r->prev)) {
        r->per_dir_config = ap_merge_per_dir_configs(
            r->pool, r->per_dir_config, ap_create_per_dir_config(r->pool));
    }
    return DECLINED;
}

int mod_comet_claim_find_type(request_rec *r)
{
    mod_comet_request_t *request = mod_comet_request(r);

    if (!request) {
        return DECLINED;
    }
    mod_comet_token_untell(r);
    request->env = mod_comet_subrequest_copy_env(r);
    r->handler = "comet";
    return OK;
}

void mod_comet_claim_insert_error_filter(request_rec *r)
{
    /* a 304 already has the headers of mod_comet's own answer */
    if (mod_comet_request(r) && r->status != HTTP_NOT_MODIFIED) {
        mod_comet_answer_claim(r);
    }
}
