/* SPDX-License-Identifier: Apache-2.0 */
/* The lines of the configuration that concern one server. */
#include "hooks/scene.h"

#include <apr_fnmatch.h>
#include <apr_strings.h>

#include "request/dialect.h"
#include "server/tree.h"

const char *mod_comet_scene_word(const ap_directive_t *node, int number,
                                 apr_pool_t *p)
{
    const char *rest = node->args;
    const char *word = "";
    int i;

    for (i = 0; i <= number; i++) {
        word = ap_getword_conf(p, &rest);
    }
    return word;
}

int mod_comet_scene_is(const mod_comet_line_t *line, const char *directive)
{
    return strcasecmp(line->node->directive, directive) == 0;
}

/* --- collecting ----------------------------------------------------------- */

/* Read "<Location ~ REGEX>", "<Location PATH>" or "<LocationMatch REGEX>". */
static const mod_comet_section_t *read_section(const ap_directive_t *node,
                                               apr_pool_t *p)
{
    mod_comet_section_t *section = apr_pcalloc(p, sizeof(*section));
    const char *end = strrchr(node->args, '>');
    const char *rest =
        end ? apr_pstrmemdup(p, node->args, (apr_size_t)(end - node->args))
            : node->args;
    int is_regex = strcasecmp(node->directive, "<LocationMatch") == 0;

    section->node = node;
    section->path = ap_getword_conf(p, &rest);
    if (!is_regex && strcmp(section->path, "~") == 0) {
        is_regex = 1;
        section->path = ap_getword_conf(p, &rest);
    }
    section->is_pattern = !is_regex && apr_fnmatch_test(section->path);
    if (is_regex) {
        section->regex = ap_pregcomp(p, section->path, AP_REG_EXTENDED);
    }
    return section;
}

static void add_lines(apr_array_header_t *lines, const ap_directive_t *node,
                      mod_comet_line_t around)
{
    for (; node; node = node->next) {
        mod_comet_line_t line = around;

        line.node = node;
        if (!node->first_child) {
            APR_ARRAY_PUSH(lines, mod_comet_line_t) = line;
        }
        else if (!mod_comet_tree_is_elsewhere(node)) {
            if (mod_comet_tree_begins(node->directive, "<Location")) {
                line.section = read_section(node, lines->pool);
            }
            line.is_limited |= strcasecmp(node->directive, "<Limit") == 0;
            add_lines(lines, node->first_child, line);
        }
    }
}

mod_comet_scene_t *mod_comet_scene_make(server_rec *s,
                                        const mod_comet_scene_t *main,
                                        apr_pool_t *p)
{
    static const mod_comet_line_t nothing = { .node = NULL };
    mod_comet_scene_t *scene = apr_pcalloc(p, sizeof(*scene));
    const ap_directive_t *host = mod_comet_tree_host(s);
    apr_array_header_t *lines =
        main ? apr_array_copy(p, main->lines)
             : apr_array_make(p, 64, sizeof(mod_comet_line_t));

    if (!main) {
        add_lines(lines, ap_conftree, nothing);
    }
    else if (host) {
        add_lines(lines, host->first_child, nothing);
    }
    *scene = (mod_comet_scene_t){ s, mod_comet_config_server(s), lines, p };
    return scene;
}

/* --- which protocols ------------------------------------------------------ */

int mod_comet_scene_has_tls(const mod_comet_scene_t *scene)
{
    int i, has = 0;

    for (i = 0; i < scene->lines->nelts; i++) {
        const mod_comet_line_t *line =
            &APR_ARRAY_IDX(scene->lines, i, mod_comet_line_t);

        if (mod_comet_scene_is(line, "SSLEngine")) {
            has = strcasecmp(line->node->args, "off") != 0;
        }
    }
    return has;
}

int mod_comet_scene_speaks(const mod_comet_scene_t *scene, const char *protocol)
{
    const core_server_config *core =
        ap_get_core_module_config(scene->server->module_config);
    int i = 0, count = core->protocols ? core->protocols->nelts : 0;

    while (i < count
           && strcmp(APR_ARRAY_IDX(core->protocols, i, const char *), protocol)
                  != 0) {
        i++;
    }
    return i < count;
}

/* --- which URLs ----------------------------------------------------------- */

/* Whether a path equals a URL or lies below it. */
static int is_within(const char *path, const char *url)
{
    apr_size_t length = strlen(url);

    return strncmp(path, url, length) == 0
           && (path[length] == '/' || path[length] == '\0'
               || (length && url[length - 1] == '/'));
}

int mod_comet_scene_maps(const mod_comet_mapping_t *mapping, const char *url)
{
    return mapping->dialect->subtree ? is_within(url, mapping->url)
                                     : strcmp(url, mapping->url) == 0;
}

int mod_comet_scene_is_plain(const mod_comet_section_t *section)
{
    return !section->regex && !section->is_pattern;
}

int mod_comet_scene_applies(const mod_comet_section_t *section, const char *url)
{
    if (!section) {
        return 1;
    }
    if (section->regex) {
        return ap_regexec(section->regex, url, 0, NULL, 0) == 0;
    }
    return section->is_pattern
               ? apr_fnmatch(section->path, url, APR_FNM_PATHNAME)
                     == APR_SUCCESS
               : is_within(url, section->path);
}

int mod_comet_scene_concerns(const mod_comet_section_t *section,
                             const mod_comet_mapping_t *mapping, apr_pool_t *p)
{
    if (mod_comet_scene_applies(section, mapping->url)) {
        return 1;
    }
    if (!mapping->dialect->subtree) {
        return 0;
    }
    return mod_comet_scene_is_plain(section)
               ? is_within(section->path, mapping->url)
               : mod_comet_scene_applies(
                   section, apr_pstrcat(p, mapping->url, "/x", NULL));
}

int mod_comet_scene_concerns_any(const mod_comet_section_t *section,
                                 const mod_comet_scene_t *scene)
{
    const apr_array_header_t *mappings = scene->config->mappings;
    int i = 0;

    while (i < mappings->nelts
           && !mod_comet_scene_concerns(
               section, &APR_ARRAY_IDX(mappings, i, mod_comet_mapping_t),
               scene->pool)) {
        i++;
    }
    return i < mappings->nelts;
}

int mod_comet_scene_overlap(const mod_comet_section_t *a,
                            const mod_comet_section_t *b)
{
    if (!a || !b) {
        return 1;
    }
    if (mod_comet_scene_is_plain(a)) {
        return mod_comet_scene_applies(b, a->path)
               || !mod_comet_scene_is_plain(b) || is_within(b->path, a->path);
    }
    return 1;
}
