/* SPDX-License-Identifier: Apache-2.0 */
/* The configuration of a server and of a location: made, merged and read. */
#include "server/config.h"

#include "transport/transport.h"

#define UNSET MOD_COMET_UNSET

/* --- create, merge, get ----------------------------------------------- */

void *mod_comet_config_create_server(apr_pool_t *p, server_rec *s)
{
    mod_comet_server_config_t *config = apr_pcalloc(p, sizeof(*config));

    config->mappings = apr_array_make(p, 4, sizeof(mod_comet_mapping_t));
    config->store = UNSET;
#define SERVER_VALUE(field, fallback) config->field = UNSET;
#include "tables/directives.def"
    return config;
}

void *mod_comet_config_merge_server(apr_pool_t *p, void *base_config,
                                    void *add_config)
{
    const mod_comet_server_config_t *base = base_config, *add = add_config;
    mod_comet_server_config_t *config = apr_pcalloc(p, sizeof(*config));

    /* a virtual host's own mappings come first, so they win over equal ones of
     * the main server */
    config->mappings = apr_array_append(p, add->mappings, base->mappings);
    config->place = add->place.engine ? add->place : base->place;
    config->store = UNSET;
#define SERVER_VALUE(field, fallback) \
    config->field = add->field != UNSET ? add->field : base->field;
#include "tables/directives.def"
    return config;
}

void *mod_comet_config_create_dir(apr_pool_t *p, char *dir)
{
    mod_comet_dir_config_t *config = apr_pcalloc(p, sizeof(*config));

#define LOCATION_VALUE(field, fallback) config->field = UNSET;
#include "tables/directives.def"
    return config;
}

void *mod_comet_config_merge_dir(apr_pool_t *p, void *base_config,
                                 void *add_config)
{
    const mod_comet_dir_config_t *base = base_config, *add = add_config;
    mod_comet_dir_config_t *config = apr_pcalloc(p, sizeof(*config));

#define LOCATION_VALUE(field, fallback) \
    config->field = add->field != UNSET ? add->field : base->field;
#define LOCATION_POINTER(type, field, fallback) \
    config->field = add->field ? add->field : base->field;
#include "tables/directives.def"
    return config;
}

mod_comet_server_config_t *mod_comet_config_server(const server_rec *s)
{
    return ap_get_module_config(s->module_config, &comet_module);
}

int mod_comet_config_serves(const mod_comet_server_config_t *config)
{
    return config->mappings->nelts && config->store != UNSET;
}

static const mod_comet_dir_config_t *dir_config(const request_rec *r)
{
    return ap_get_module_config(r->per_dir_config, &comet_module);
}

#define SERVER_VALUE(field, fallback) \
    apr_int64_t mod_comet_config_##field(const server_rec *s) \
    { \
        apr_int64_t value = mod_comet_config_server(s)->field; \
\
        return value != UNSET ? value : (fallback); \
    }
#define LOCATION_VALUE(field, fallback) \
    apr_int64_t mod_comet_config_##field(const request_rec *r) \
    { \
        apr_int64_t value = dir_config(r)->field; \
\
        return value != UNSET ? value : (fallback); \
    }
#define LOCATION_POINTER(type, field, fallback) \
    type mod_comet_config_##field(const request_rec *r) \
    { \
        type value = dir_config(r)->field; \
\
        return value ? value : (fallback); \
    }
#include "tables/directives.def"

const char *mod_comet_config_last_directive(const char *name)
{
    const ap_directive_t *directive;
    const char *found = NULL;

    for (directive = ap_conftree; directive; directive = directive->next) {
        if (strcasecmp(directive->directive, name) == 0) {
            found = directive->args;
        }
    }
    return found;
}
