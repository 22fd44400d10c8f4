/* SPDX-License-Identifier: Apache-2.0 */
/* Claiming the requests that are mapped, before anything looks at the disk. */
#include "hooks/claim.h"

#include "request/dialect.h"
#include "request/subrequest.h"
#include "output/answer.h"

int mod_comet_claim_translate_name(request_rec *r)
{
    const mod_comet_mapping_t *mapping = mod_comet_request_find_mapping(
        mod_comet_config_server(r->server), r->uri);
    mod_comet_request_t *request;

    if (!mapping) {
        return DECLINED;
    }
    request = mod_comet_request_record(r);
    request->mapping = mapping;
    comet_params_parse(&request->query, comet_text(r->args ? r->args : ""),
                       r->pool);
    request->publishes = mapping->dialect->publishes(r, request);
    if (r->main) {
        mod_comet_subrequest_begin(r);
    }
    mod_comet_answer_claim(r);
    r->filename = mod_comet_request_filename(r);
    return OK;
}

/*
 * Nothing that was claimed is on disk.
 *
 * httpd skips the access checks for a sub-request or an internal redirect
 * whose per-directory configuration equals its parent's. Since a rule may look
 * at the URL itself (Require expr), each channel must be checked: a
 * configuration of its own makes httpd do that.
 */
int mod_comet_claim_map_to_storage(request_rec *r)
{
    if (!mod_comet_request(r)) {
        return DECLINED;
    }
    if (r->main || r->prev) {
        r->per_dir_config = ap_merge_per_dir_configs(
            r->pool, r->per_dir_config, ap_create_per_dir_config(r->pool));
    }
    return OK;
}

int mod_comet_claim_find_type(request_rec *r)
{
    mod_comet_request_t *request = mod_comet_request(r);

    if (!request) {
        return DECLINED;
    }
    request->env = apr_table_copy(r->pool, r->subprocess_env);
    r->handler = "comet";
    return OK;
}

void mod_comet_claim_insert_error_filter(request_rec *r)
{
    /* a 304 keeps the headers that it has */
    if (mod_comet_request(r) && r->status != HTTP_NOT_MODIFIED) {
        mod_comet_answer_claim(r);
    }
}
