/* SPDX-License-Identifier: Apache-2.0 */
/* The configuration as it is written. */
#include "server/tree.h"

#include <apr_strings.h>

int mod_comet_tree_begins(const char *text, const char *beginning)
{
    return strncasecmp(text, beginning, strlen(beginning)) == 0;
}

const ap_directive_t *mod_comet_tree_host(const server_rec *s)
{
    const ap_directive_t *directive = s->is_virtual ? ap_conftree : NULL;

    while (directive
           && !(mod_comet_tree_begins(directive->directive, "<VirtualHost")
                && directive->line_num == (int)s->defn_line_number
                && strcmp(directive->filename, s->defn_name) == 0)) {
        directive = directive->next;
    }
    return directive;
}

int mod_comet_tree_is_elsewhere(const ap_directive_t *section)
{
    static const char *const sections[] = { "<Directory", "<Files", "<Proxy",
                                            "<VirtualHost" };
    apr_size_t i = 0;

    while (i < sizeof(sections) / sizeof(*sections)
           && !mod_comet_tree_begins(section->directive, sections[i])) {
        i++;
    }
    return i < sizeof(sections) / sizeof(*sections);
}

const ap_directive_t *mod_comet_tree_find(const ap_directive_t *tree,
                                          const char *name, const char *value)
{
    const ap_directive_t *found = NULL;

    for (; tree && !found; tree = tree->next) {
        found = strcasecmp(tree->directive, name) == 0
                        && (!value || strcasecmp(tree->args, value) == 0)
                    ? tree
                    : mod_comet_tree_find(tree->first_child, name, value);
    }
    return found;
}

const char *mod_comet_tree_place(const ap_directive_t *directive, apr_pool_t *p)
{
    return apr_psprintf(p, "%s line %d", directive->filename,
                        directive->line_num);
}
