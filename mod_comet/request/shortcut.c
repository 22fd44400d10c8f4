/* SPDX-License-Identifier: Apache-2.0 */
/* Judge a channel by the request's token alone. */
#include "request/shortcut.h"

#include <apr_fnmatch.h>
#include <apr_strings.h>
#include <http_config.h>
#include <http_core.h>
#include <http_request.h>

#include "token/grant.h"
#include "server/tree.h"
#include "request/token.h"

/* The longest URL of an endpoint for which the shortcut is used. */
#define URL_MAX 512

/* --- the server's rules --------------------------------------------------- */

/* Whether a directive can treat two URLs of one section differently.  With
 * AuthMerging another section's Require, which can depend on the URL, may be
 * combined with a `Require comet-token` that stands alone in its own. */
static int is_rule(const char *name)
{
    static const char *const rules[] = {
        "Rewrite", "Redirect", "Lua",        "Deny",       "Allow",
        "Order",   "Satisfy",  "SSLRequire", "AuthMerging"
    };
    apr_size_t i = 0;

    while (i < sizeof(rules) / sizeof(*rules)
           && !mod_comet_tree_begins(name, rules[i])) {
        i++;
    }
    return i < sizeof(rules) / sizeof(*rules);
}

static int has_rules(const ap_directive_t *directive)
{
    for (; directive; directive = directive->next) {
        if (is_rule(directive->directive)
            || (directive->first_child
                && !mod_comet_tree_is_elsewhere(directive)
                && has_rules(directive->first_child))) {
            return 1;
        }
    }
    return 0;
}

void mod_comet_shortcut_prepare(server_rec *main)
{
    int everywhere = has_rules(ap_conftree);
    server_rec *s;

    for (s = main; s; s = s->next) {
        const ap_directive_t *section = mod_comet_tree_host(s);

        mod_comet_config_server(s)->has_rules =
            everywhere || (s->is_virtual && !section)
            || (section && has_rules(section->first_child));
    }
}

/* --- other modules -------------------------------------------------------- */

/* Whether a module decides on access by what its section says, or by the
 * credentials, and not by the URL. */
static int is_known(const char *module)
{
    static const char *const known[] = {
        "core.c",           "mod_access_compat.c", "mod_auth_basic.c",
        "mod_auth_form.c",  "mod_auth_digest.c",   "mod_authn_core.c",
        "mod_authz_core.c", "mod_comet.c",         "mod_ssl.c",
    };
    apr_size_t i = 0;

    while (i < sizeof(known) / sizeof(*known)
           && strcmp(module, known[i]) != 0) {
        i++;
    }
    return i < sizeof(known) / sizeof(*known);
}

#define ARE_ALL_KNOWN(hook) \
    static int are_known_in_##hook(void) \
    { \
        const apr_array_header_t *hooks = ap_hook_get_##hook(); \
        int i = 0; \
\
        while ( \
            hooks && i < hooks->nelts \
            && is_known(APR_ARRAY_IDX(hooks, i, ap_LINK_##hook##_t).szName)) { \
            i++; \
        } \
        return !hooks || i == hooks->nelts; \
    }

ARE_ALL_KNOWN(access_checker)
ARE_ALL_KNOWN(access_checker_ex)
ARE_ALL_KNOWN(check_user_id)
ARE_ALL_KNOWN(auth_checker)

/* --- sections ------------------------------------------------------------- */

static const core_dir_config *core_of(const ap_conf_vector_t *config)
{
    return ap_get_core_module_config(config);
}

/* Whether a section applies to a path, as ap_location_walk() decides. */
static int applies(const core_dir_config *section, const char *path)
{
    apr_size_t length = section->d ? strlen(section->d) : 0;

    if (section->r) {
        return ap_regexec(section->r, path, 0, NULL, 0) == 0;
    }
    if (section->d_is_fnmatch) {
        return apr_fnmatch(section->d, path, APR_FNM_PATHNAME) == APR_SUCCESS;
    }
    return length && strncmp(section->d, path, length) == 0
           && (section->d[length - 1] == '/' || path[length] == '/'
               || path[length] == '\0');
}

/* A section that can apply to one channel of an endpoint and not to another. */
typedef struct section_t {
    const core_dir_config *rule;
    int applies; /* to the request's own URL */
} section_t;

struct mod_comet_shortcut_t {
    int is_open;
    apr_array_header_t *sections; /* of section_t */
};

/* Whether a section applies either to all URLs below an endpoint or to none of
 * them.  Only the section's path decides that: a path that is no longer than
 * the endpoint's URL cannot tell one channel from another. */
static int is_alike(const core_dir_config *section,
                    const mod_comet_mapping_t *mapping)
{
    return !section->r && !section->d_is_fnmatch
           && (!section->d || strlen(section->d) <= mapping->url_length);
}

static apr_array_header_t *find_sections(const request_rec *r,
                                         const mod_comet_mapping_t *mapping)
{
    const core_server_config *core =
        ap_get_core_module_config(r->server->module_config);
    apr_array_header_t *found =
        apr_array_make(r->pool, 0, (int)sizeof(section_t));
    int i;

    for (i = 0; i < core->sec_url->nelts; i++) {
        const core_dir_config *rule =
            core_of(APR_ARRAY_IDX(core->sec_url, i, const ap_conf_vector_t *));

        if (!is_alike(rule, mapping)) {
            APR_ARRAY_PUSH(found, section_t) =
                (section_t){ rule, applies(rule, r->uri) };
        }
    }
    return found;
}

static int have_same_sections(const apr_array_header_t *sections,
                              const char *path)
{
    int i = 0;

    while (i < sections->nelts
           && applies(APR_ARRAY_IDX(sections, i, section_t).rule, path)
                  == APR_ARRAY_IDX(sections, i, section_t).applies) {
        i++;
    }
    return i == sections->nelts;
}

static int has_conditions(const request_rec *r)
{
    const core_dir_config *core = core_of(r->per_dir_config);

    return core->sec_if && core->sec_if->nelts;
}

/* --- a channel ------------------------------------------------------------ */

static int is_open(const request_rec *r, const mod_comet_request_t *request)
{
    return request->is_by_token_alone
           && !mod_comet_config_server(r->server)->has_rules
           && !has_conditions(r) && are_known_in_access_checker()
           && are_known_in_access_checker_ex() && are_known_in_check_user_id()
           && are_known_in_auth_checker();
}

/* Find out what holds for all channels that a request names.  This is done only
 * once in a request. */
static const mod_comet_shortcut_t *shortcut_of(
    const request_rec *r, const mod_comet_mapping_t *mapping)
{
    mod_comet_request_t *request = mod_comet_request(r);

    if (!request->shortcut) {
        mod_comet_shortcut_t *found = apr_pcalloc(r->pool, sizeof(*found));

        found->is_open = mapping->url_length <= URL_MAX && is_open(r, request);
        if (found->is_open) {
            found->sections = find_sections(r, mapping);
        }
        request->shortcut = found;
    }
    return request->shortcut;
}

int mod_comet_shortcut_grants(const request_rec *r,
                              const mod_comet_mapping_t *mapping,
                              comet_text_t channel)
{
    const mod_comet_request_t *request = mod_comet_request(r);
    const mod_comet_shortcut_t *shortcut = shortcut_of(r, mapping);
    char path[URL_MAX + 1 + COMET_CHANNEL_MAX_BYTES + 1], *end = path;

    if (!shortcut->is_open || channel.length > COMET_CHANNEL_MAX_BYTES) {
        return 0;
    }
    memcpy(end, mapping->url, mapping->url_length);
    end += mapping->url_length;
    *end++ = '/';
    memcpy(end, channel.data, channel.length);
    end[channel.length] = '\0';
    return comet_grant_covers(request->publishes ? request->token->claims.write
                                                 : request->token->claims.read,
                              end)
           && mod_comet_request_find_mapping(mod_comet_config_server(r->server),
                                             path)
                  == mapping
           && have_same_sections(shortcut->sections, path);
}
