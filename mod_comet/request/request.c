/* SPDX-License-Identifier: Apache-2.0 */
/* What mod_comet knows about a request. */
#include "request/request.h"

#include <apr_strings.h>
#include <mod_ssl.h>

#include "request/dialect.h"

mod_comet_request_t *mod_comet_request(const request_rec *r)
{
    mod_comet_request_t *request =
        ap_get_module_config(r->request_config, &comet_module);

    return request && request->mapping ? request : NULL;
}

mod_comet_request_t *mod_comet_request_record(request_rec *r)
{
    mod_comet_request_t *request =
        ap_get_module_config(r->request_config, &comet_module);

    if (!request) {
        request = apr_pcalloc(r->pool, sizeof(*request));
        ap_set_module_config(r->request_config, &comet_module, request);
    }
    return request;
}

const server_rec *mod_comet_request_timeout_server(const request_rec *r)
{
    return r->server->keep_alive_timeout_set ? r->server
                                             : r->connection->base_server;
}

const char *mod_comet_request_channel(const request_rec *r)
{
    const mod_comet_mapping_t *mapping = mod_comet_request(r)->mapping;
    const char *below = r->uri + mapping->url_length;

    if (!mapping->dialect->subtree) {
        return mapping->channel;
    }
    return *below ? below + 1 : NULL;
}

void mod_comet_request_grant(mod_comet_request_t *request, apr_time_t until)
{
    request->is_personal = 1;
    if (until && (!request->granted_until || until < request->granted_until)) {
        request->granted_until = until;
    }
}

char *mod_comet_request_filename(const request_rec *r)
{
    return apr_pstrcat(r->pool, "comet:", r->uri, NULL);
}

const char *mod_comet_request_certificate(request_rec *r)
{
    static const char variable[] = "SSL_CLIENT_CERT";
    APR_OPTIONAL_FN_TYPE(ssl_var_lookup) *look_up =
        APR_RETRIEVE_OPTIONAL_FN(ssl_var_lookup);

    return look_up
               ? look_up(r->pool, r->server, r->connection, r, (char *)variable)
               : NULL;
}

const mod_comet_mapping_t *mod_comet_request_find_mapping(
    const mod_comet_server_config_t *config, const char *path)
{
    const mod_comet_mapping_t *best = NULL;
    int i,
        count = mod_comet_config_serves(config) ? config->mappings->nelts : 0;

    for (i = 0; i < count; i++) {
        const mod_comet_mapping_t *mapping =
            &APR_ARRAY_IDX(config->mappings, i, mod_comet_mapping_t);
        const char *rest = path + mapping->url_length;

        if (strncmp(path, mapping->url, mapping->url_length) == 0
            && (*rest == '\0' || (*rest == '/' && mapping->dialect->subtree))
            && (!best || mapping->url_length > best->url_length)) {
            best = mapping;
        }
    }
    return best;
}
