/* SPDX-License-Identifier: Apache-2.0 */
/* The environment and the request line of a channel's sub-request. */
#include "request/subrequest.h"

#include <ap_expr.h>
#include <apr_strings.h>
#include <http_config.h>
#include <http_protocol.h>

#include "request/request.h"

static const char SETENVIF[] = "mod_setenvif.c";

/* --- what mod_setenvif and the rules change in a request ----------------- */

/* A variable that mod_setenvif or a rule set, unset or replaced. */
typedef struct change_t {
    const char *name;
    const char *before, *after; /* NULL: not set */
} change_t;

/* The copy of an empty environment.  Most environments are empty. */
static const apr_table_t *nothing;

void mod_comet_subrequest_register(apr_pool_t *p)
{
    nothing = apr_table_make(p, 1);
}

const apr_table_t *mod_comet_subrequest_copy_env(const request_rec *r)
{
    return apr_is_empty_table(r->subprocess_env)
               ? nothing
               : apr_table_copy(r->pool, r->subprocess_env);
}

static int is_same(const char *a, const char *b)
{
    return a == b || (a && b && strcmp(a, b) == 0);
}

static void begin_watching(request_rec *r)
{
    mod_comet_request_record(r)->env_before = mod_comet_subrequest_copy_env(r);
}

static int note_change(void *baton, const char *name, const char *value)
{
    request_rec *r = baton;
    mod_comet_request_t *request = mod_comet_request_record(r);
    const char *before = apr_table_get(request->env_before, name);
    const char *after = apr_table_get(r->subprocess_env, name);

    if (is_same(before, after)) {
        return 1;
    }
    if (!request->env_changes) {
        request->env_changes = apr_array_make(r->pool, 4, sizeof(change_t));
    }
    *(change_t *)apr_array_push(request->env_changes) =
        (change_t){ .name = name, .before = before, .after = after };
    return 1;
}

static void end_watching(request_rec *r)
{
    mod_comet_request_t *request = mod_comet_request_record(r);

    if (request->env_before
        && (request->env_before != nothing
            || !apr_is_empty_table(r->subprocess_env))) {
        apr_table_do(note_change, r, r->subprocess_env, NULL);
        apr_table_do(note_change, r, request->env_before, NULL);
    }
    request->env_before = NULL;
}

/* Whether the request may make sub-requests to channels. */
static int is_watched(const request_rec *r)
{
    return !r->main
           && mod_comet_config_serves(mod_comet_config_server(r->server));
}

void mod_comet_subrequest_watch(request_rec *r)
{
    if (is_watched(r)) {
        begin_watching(r);
    }
}

void mod_comet_subrequest_unwatch(request_rec *r)
{
    if (is_watched(r)) {
        end_watching(r);
    }
}

int mod_comet_subrequest_before_setenvif(request_rec *r)
{
    mod_comet_subrequest_watch(r);
    return DECLINED;
}

int mod_comet_subrequest_after_setenvif(request_rec *r)
{
    mod_comet_subrequest_unwatch(r);
    return DECLINED;
}

/* --- the sub-request's environment --------------------------------------- */

/* Undo changes, the last one first. A variable that another module has set
 * since keeps its value. */
static void take_back(apr_table_t *env, const apr_array_header_t *changes)
{
    int i;

    for (i = changes ? changes->nelts - 1 : -1; i >= 0; i--) {
        const change_t *change = &APR_ARRAY_IDX(changes, i, change_t);

        if (!is_same(apr_table_get(env, change->name), change->after)) {
            continue;
        }
        if (change->before) {
            apr_table_setn(env, change->name, change->before);
        }
        else {
            apr_table_unset(env, change->name);
        }
    }
}

/* Give a sub-request the environment that its main request was authorised
 * with, without what mod_setenvif and the site's rules derived from the main
 * request's URL. */
static void inherit(request_rec *r)
{
    const mod_comet_request_t *main = mod_comet_request_record(r->main);

    if (main->env_before) { /* SetEnvIfExpr -U made this sub-request */
        r->subprocess_env = apr_table_copy(r->pool, main->env_before);
    }
    else if (main->env) {
        r->subprocess_env = apr_table_copy(r->pool, main->env);
    }
    take_back(r->subprocess_env, main->env_changes);
}

/* Whether SetEnvIfExpr -U made this sub-request for another sub-request.
 * SetEnvIf is then not applied to it.  Otherwise two expressions that name each
 * other's URL would never end. */
static int is_made_by_setenvif(const request_rec *r)
{
    for (r = r->main; r && r->main; r = r->main) {
        const mod_comet_request_t *request = mod_comet_request(r);

        if (request && request->env_before) {
            return 1;
        }
    }
    return 0;
}

int mod_comet_subrequest_judges(const request_rec *r)
{
    const mod_comet_request_t *main =
        r->main ? mod_comet_request(r->main) : NULL;

    return main && main->model;
}

/* Give a sub-request the protocol and, if it judges a channel, the query of the
 * client's request. httpd gives it the protocol "INCLUDED" and no query. */
static void take_request_line(request_rec *r)
{
    const request_rec *main = r->main;

    r->protocol = main->protocol;
    r->proto_num = main->proto_num;
    if (mod_comet_subrequest_judges(r) && main->args) {
        r->args = main->args;
        r->unparsed_uri =
            apr_pstrcat(r->pool, r->unparsed_uri, "?", r->args, NULL);
    }
    r->the_request = apr_pstrcat(r->pool, r->method, " ", r->unparsed_uri, " ",
                                 r->protocol, NULL);
}

void mod_comet_subrequest_begin(request_rec *r)
{
    const apr_array_header_t *hooks = ap_hook_get_post_read_request();
    mod_comet_request_t *request = mod_comet_request(r);
    int i;

    take_request_line(r);
    request->has_own_env = !is_made_by_setenvif(r);
    if (!request->has_own_env) {
        return;
    }
    inherit(r);
    begin_watching(r);
    for (i = 0; hooks && i < hooks->nelts; i++) {
        const ap_LINK_post_read_request_t *hook =
            &APR_ARRAY_IDX(hooks, i, ap_LINK_post_read_request_t);

        if (strcmp(hook->szName, SETENVIF) == 0) {
            hook->pFunc(r);
        }
    }
    end_watching(r);
}

int mod_comet_subrequest_enter(request_rec *r)
{
    const apr_array_header_t *hooks = ap_hook_get_header_parser();
    const mod_comet_request_t *request = r->main ? mod_comet_request(r) : NULL;
    int i;

    if (!request || !request->has_own_env) {
        return DECLINED;
    }
    begin_watching(r);
    for (i = 0; hooks && i < hooks->nelts; i++) {
        const ap_LINK_header_parser_t *hook =
            &APR_ARRAY_IDX(hooks, i, ap_LINK_header_parser_t);

        if (strcmp(hook->szName, SETENVIF) == 0) {
            hook->pFunc(r);
        }
    }
    end_watching(r);
    return DECLINED;
}

/* --- rules that do not act in sub-requests ---------------------------------- */

void mod_comet_subrequest_stand_alone(request_rec *r)
{
    if (mod_comet_subrequest_judges(r)) {
        mod_comet_request_record(r)->outer = r->main;
        r->main = NULL;
    }
}

void mod_comet_subrequest_rejoin(request_rec *r)
{
    mod_comet_request_t *request = mod_comet_request_record(r);

    if (request->outer) {
        r->main = request->outer;
        request->outer = NULL;
    }
}

int mod_comet_subrequest_before_rewrite(request_rec *r)
{
    if (mod_comet_request(r)) {
        mod_comet_subrequest_stand_alone(r);
    }
    return DECLINED;
}

int mod_comet_subrequest_after_rewrite(request_rec *r)
{
    if (mod_comet_request(r)) {
        mod_comet_subrequest_rejoin(r);
    }
    return DECLINED;
}

/* The value of %{IS_SUBREQ}, which httpd uses in place of its own.  It is false
 * for a sub-request that judges a channel: the client has named the channel, and
 * no page of the site has included it. */
static const char *is_subrequest(ap_expr_eval_ctx_t *context, const void *data)
{
    const request_rec *r = context->r;

    return !r                                           ? ""
           : r->main && !mod_comet_subrequest_judges(r) ? "true"
                                                        : "false";
}

int mod_comet_subrequest_look_up_variable(ap_expr_lookup_parms *asked)
{
    if (asked->type != AP_EXPR_FUNC_VAR
        || strcasecmp(asked->name, "IS_SUBREQ") != 0) {
        return DECLINED;
    }
    *asked->func = (const void *)is_subrequest;
    *asked->data = NULL;
    return OK;
}
