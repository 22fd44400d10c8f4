/* SPDX-License-Identifier: Apache-2.0 */
/* The directives that map URLs. */
#include "hooks/mapping.h"

#include <apr_strings.h>

#include "wire/params.h"
#include "server/config.h"
#include "request/dialect.h"
#include "hooks/value.h"

/* @return NULL, or the error */
static const char *check_url(cmd_parms *cmd, const char *url, apr_size_t length)
{
    /* httpd removes empty and dot segments before it compares paths, so a URL
     * with them would never match; without its first slash a valid URL has the
     * form of a channel's name */
    if (url[0] != '/' || length == 0 || strpbrk(url, "?#%*")
        || comet_params_check_channel((comet_text_t){ url + 1, length - 1 })) {
        return mod_comet_value_wrong(
            cmd, url,
            "a URL path such as /comet, without an empty, . or .. segment");
    }
    return NULL;
}

/* Add a mapping to the server.  Of two mappings of one URL the optional one is
 * dropped. */
static const char *add_mapping(cmd_parms *cmd,
                               const mod_comet_mapping_t *mapping)
{
    apr_array_header_t *mappings =
        mod_comet_config_server(cmd->server)->mappings;
    mod_comet_mapping_t *other = (mod_comet_mapping_t *)mappings->elts;
    int i = 0;

    while (i < mappings->nelts && strcmp(other[i].url, mapping->url) != 0) {
        i++;
    }
    if (i == mappings->nelts) {
        APR_ARRAY_PUSH(mappings, mod_comet_mapping_t) = *mapping;
    }
    else if (!mapping->optional) {
        if (!other[i].optional) {
            return apr_psprintf(cmd->pool, "%s: \"%s\" is already taken by %s",
                                cmd->cmd->name, mapping->url,
                                other[i].directive);
        }
        other[i] = *mapping;
    }
    return NULL;
}

const char *mod_comet_mapping_set(cmd_parms *cmd, void *dir, const char *url,
                                  const char *word, const char *last)
{
    const mod_comet_dialect_t *dialect = cmd->info;
    mod_comet_mapping_t mapping = { .dialect = dialect,
                                    .directive = cmd->cmd->name,
                                    .line = cmd->directive };
    const char *argument = word, *expected, *error;
    apr_size_t length = strlen(url);

    error = ap_check_cmd_context(cmd, NOT_IN_DIR_LOC_FILE | NOT_IN_HTACCESS);
    if (error) {
        return error;
    }
    if (word && !last && dialect->takes != MOD_COMET_ARGUMENT
        && strcasecmp(word, "optional") == 0) {
        argument = NULL;
        last = word;
    }
    if ((argument ? dialect->takes == MOD_COMET_NO_ARGUMENT
                  : dialect->takes == MOD_COMET_ARGUMENT)
        || (last && strcasecmp(last, "optional") != 0)) {
        return apr_psprintf(cmd->pool, "%s takes the arguments %s",
                            cmd->cmd->name, dialect->usage);
    }
    mapping.optional = last != NULL;
    expected = dialect->map(&mapping, argument, cmd->pool);
    if (expected) {
        return mod_comet_value_wrong(cmd, argument, expected);
    }
    if (dialect->subtree && length && url[length - 1] == '/') {
        length--;
    }
    error = check_url(cmd, url, length);
    mapping.url = apr_pstrmemdup(cmd->pool, url, length);
    mapping.url_length = length;
    return error ? error : add_mapping(cmd, &mapping);
}
