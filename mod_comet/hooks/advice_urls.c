/* SPDX-License-Identifier: Apache-2.0 */
/* Warnings about lines that name the wrong URL. */
#include "hooks/advice_urls.h"

#include <apr_strings.h>

#include "request/dialect.h"
#include "server/tree.h"

/* How many mapped URLs a message lists at most. */
#define URLS_MOST 5

static int is_listed(const mod_comet_line_t *line,
                     const char *const directives[])
{
    int i;

    for (i = 0; directives[i] && !mod_comet_scene_is(line, directives[i]);
         i++) {
    }
    return directives[i] != NULL;
}

/* --- lines that meet a mapping -------------------------------------------- */

/* Whether a directive takes a regular expression in place of a URL. */
static int is_by_regex(const mod_comet_line_t *line)
{
    apr_size_t length = strlen(line->node->directive);

    return !line->section && length > 5
           && strcasecmp(line->node->directive + length - 5, "Match") == 0;
}

/* Find the URL that a directive such as Alias or Redirect is about, or the
 * regular expression of AliasMatch.  This is the first argument that is a URL
 * path, or an expression with a slash.  In a section it is the section's path.
 * @return NULL: the URL is not known */
static const char *url_of(const mod_comet_line_t *line, apr_pool_t *p)
{
    const char *word;
    int i;

    if (line->section) {
        return mod_comet_scene_is_plain(line->section) ? line->section->path
                                                       : NULL;
    }
    for (i = 0; i < 2; i++) {
        word = mod_comet_scene_word(line->node, i, p);
        if (is_by_regex(line) ? strchr(word, '/') != NULL : word[0] == '/') {
            return word;
        }
    }
    return NULL;
}

/* Whether a regular expression matches a mapping's URL or the URLs below it,
 * but not every URL. */
static int matches(const char *text, const mod_comet_mapping_t *mapping,
                   apr_pool_t *p)
{
    const ap_regex_t *regex = ap_pregcomp(p, text, AP_REG_EXTENDED);
    const char *below = apr_pstrcat(p, mapping->url, "/x", NULL);

    return regex && ap_regexec(regex, "/", 0, NULL, 0)
           && ap_regexec(regex, "/-/-", 0, NULL, 0)
           && (!ap_regexec(regex, mapping->url, 0, NULL, 0)
               || (mapping->dialect->subtree
                   && !ap_regexec(regex, below, 0, NULL, 0)));
}

/* Whether a directive such as Alias or Redirect names a URL that a mapping
 * serves.
 * @param url  the URL or regular expression that the directive names */
static int meets(const mod_comet_line_t *line, const char *url,
                 const mod_comet_mapping_t *mapping, apr_pool_t *p)
{
    return is_by_regex(line) ? matches(url, mapping, p)
                             : mod_comet_scene_maps(mapping, url);
}

/* Whether a directive such as Redirect names all URLs that a mapping serves, and
 * not only one channel. */
static int covers(const mod_comet_line_t *line, const char *url,
                  const mod_comet_mapping_t *mapping, apr_pool_t *p)
{
    apr_size_t length = strlen(url);

    length -= length > 1 && url[length - 1] == '/';
    return is_by_regex(line) ? matches(url, mapping, p)
                             : strlen(mapping->url) == length
                                   && strncmp(mapping->url, url, length) == 0;
}

/* Whether a directive would let another module answer a URL. */
static int would_answer(const mod_comet_line_t *line, apr_pool_t *p)
{
    static const char *const directives[] = { "Alias",
                                              "AliasMatch",
                                              "ScriptAlias",
                                              "ScriptAliasMatch",
                                              "WSGIScriptAlias",
                                              "WSGIScriptAliasMatch",
                                              "ProxyPass",
                                              "ProxyPassMatch",
                                              NULL };

    if (mod_comet_scene_is(line, "SetHandler")) {
        return line->section
               && strcasecmp(mod_comet_scene_word(line->node, 0, p), "none")
                      != 0;
    }
    return is_listed(line, directives)
           && strcmp(mod_comet_scene_word(line->node, !line->section, p), "!")
                  != 0;
}

static int redirects(const mod_comet_line_t *line)
{
    static const char *const directives[] = { "Redirect", "RedirectMatch",
                                              "RedirectPermanent",
                                              "RedirectTemp", NULL };

    return is_listed(line, directives);
}

void mod_comet_advice_urls_check(mod_comet_warnings_t *warnings,
                                 const mod_comet_scene_t *scene)
{
    int i, k;

    for (i = 0; i < scene->lines->nelts; i++) {
        const mod_comet_line_t *line =
            &APR_ARRAY_IDX(scene->lines, i, mod_comet_line_t);
        int answers = would_answer(line, scene->pool);
        const char *url =
            answers || redirects(line) ? url_of(line, scene->pool) : NULL;

        for (k = 0; url && k < scene->config->mappings->nelts; k++) {
            const mod_comet_mapping_t *mapping =
                &APR_ARRAY_IDX(scene->config->mappings, k, mod_comet_mapping_t);

            if (answers ? meets(line, url, mapping, scene->pool)
                        : covers(line, url, mapping, scene->pool)) {
                mod_comet_warning_say(
                    warnings, "COMET0156", line->node,
                    answers ? "%s has no effect for %s, since %s %s (%s) "
                              "answers there; give one of them another path"
                            : "%s sends everybody away from %s, so that %s %s "
                              "(%s) answers nobody; give one of them another "
                              "path",
                    line->node->directive, url, mapping->directive,
                    mapping->url,
                    mod_comet_tree_place(mapping->line, scene->pool));
            }
        }
    }
}

/* --- sections that meet none ---------------------------------------------- */

mod_comet_uses_t *mod_comet_advice_urls_begin(apr_pool_t *p)
{
    mod_comet_uses_t *uses = apr_pcalloc(p, sizeof(*uses));

    uses->lines = apr_array_make(p, 8, sizeof(mod_comet_line_t));
    uses->known = apr_hash_make(p);
    uses->used = apr_hash_make(p);
    uses->misspelt = apr_hash_make(p);
    uses->urls = "";
    return uses;
}

/* Whether a directive has an effect only at a mapped URL.  All directives of
 * this module are such, except those for tokens: a token can also protect other
 * URLs. */
static int is_ours(const mod_comet_line_t *line)
{
    return mod_comet_tree_begins(line->node->directive, "Comet")
           && !mod_comet_tree_begins(line->node->directive, "CometToken");
}

/* Whether a section's path lacks its leading slash: "<Location comet>". */
static int is_relative(const mod_comet_section_t *section)
{
    return section->path[0] != '/' && !strstr(section->path, "://")
           && strcmp(section->path, "*") != 0;
}

/*
 * Find the path that the author of a section has meant: "<Location comet>" lacks
 * its slash, and httpd compares "<Location /comet/a%20b>" with decoded URLs.
 * @return NULL: the path is right
 */
static const char *find_meant(const mod_comet_section_t *section, apr_pool_t *p)
{
    char *decoded;

    if (is_relative(section)) {
        return apr_pstrcat(p, "/", section->path, NULL);
    }
    decoded = apr_pstrdup(p, section->path);
    return ap_unescape_url_keep2f(decoded, 0) == OK
                   && strcmp(decoded, section->path) != 0
               ? decoded
               : NULL;
}

/* Whether a section would concern a mapping if its path were right. */
static int is_misspelt(const mod_comet_section_t *section,
                       const mod_comet_scene_t *scene)
{
    mod_comet_section_t meant = *section;

    meant.path = find_meant(section, scene->pool);
    return meant.path && mod_comet_scene_concerns_any(&meant, scene);
}

/* Whether a section with this line is meant for this module: for its messages
 * or for its counters. */
static int is_noted(const mod_comet_line_t *line,
                    const mod_comet_scene_t *scene)
{
    return is_ours(line)
           || (mod_comet_scene_is(line, "SetHandler")
               && mod_comet_tree_begins(
                   mod_comet_scene_word(line->node, 0, scene->pool), "comet"));
}

static void add_url(mod_comet_uses_t *uses, const char *url)
{
    apr_pool_t *p = uses->lines->pool;

    if (uses->count < URLS_MOST && !strstr(uses->urls, url)) {
        uses->urls =
            apr_pstrcat(p, uses->urls, uses->count ? ", " : "", url, NULL);
        uses->count++;
    }
}

/* Whether a hash whose keys are pointers to directives has a directive. */
static int has_key(apr_hash_t *hash, const ap_directive_t *const *node)
{
    return apr_hash_get(hash, node, sizeof(*node)) != NULL;
}

/* Add a directive to such a hash. */
static void add_key(apr_hash_t *hash, const ap_directive_t *const *node)
{
    if (!has_key(hash, node)) {
        apr_hash_set(hash,
                     apr_pmemdup(apr_hash_pool_get(hash), node, sizeof(*node)),
                     sizeof(*node), "");
    }
}

static void note_line(mod_comet_uses_t *uses, const mod_comet_line_t *line)
{
    apr_pool_t *p = uses->lines->pool;
    mod_comet_line_t *kept;
    mod_comet_section_t *section;

    if (apr_hash_get(uses->known, &line->node, sizeof(line->node))) {
        return;
    }
    add_key(uses->known, &line->node);
    section = apr_pmemdup(p, line->section, sizeof(*section));
    section->path = apr_pstrdup(p, section->path);
    kept = apr_array_push(uses->lines);
    *kept = *line;
    kept->section = section;
}

void mod_comet_advice_urls_note(mod_comet_uses_t *uses,
                                const mod_comet_scene_t *scene)
{
    const apr_array_header_t *mappings = scene->config->mappings;
    int i, k;

    for (k = 0; k < mappings->nelts; k++) {
        add_url(uses, APR_ARRAY_IDX(mappings, k, mod_comet_mapping_t).url);
    }
    for (i = 0; i < scene->lines->nelts; i++) {
        const mod_comet_line_t *line =
            &APR_ARRAY_IDX(scene->lines, i, mod_comet_line_t);
        int misspelt;

        if (!line->section || !mod_comet_scene_is_plain(line->section)) {
            continue;
        }
        misspelt = is_misspelt(line->section, scene);
        if (!misspelt && !is_noted(line, scene)) {
            continue;
        }
        note_line(uses, line);
        if (mod_comet_scene_concerns_any(line->section, scene)) {
            add_key(uses->used, &line->section->node);
        }
        if (misspelt) {
            add_key(uses->misspelt, &line->section->node);
        }
    }
}

void mod_comet_advice_urls_end(mod_comet_warnings_t *warnings,
                               const mod_comet_uses_t *uses)
{
    int i;

    for (i = 0; i < uses->lines->nelts; i++) {
        const mod_comet_line_t *line =
            &APR_ARRAY_IDX(uses->lines, i, mod_comet_line_t);
        const mod_comet_section_t *section = line->section;

        if (is_relative(section) || has_key(uses->misspelt, &section->node)) {
            mod_comet_warning_say(
                warnings, "COMET0157", section->node,
                "<Location \"%s\"> %s; write <Location \"%s\">", section->path,
                is_relative(section) ? "applies to no URL"
                                     : "is compared with decoded URLs",
                find_meant(section, warnings->pool));
        }
        else if (is_ours(line) && !has_key(uses->used, &section->node)) {
            mod_comet_warning_say(
                warnings, "COMET0158", line->node,
                "%s has no effect in <Location \"%s\">, since %s there; %s%s",
                line->node->directive, section->path,
                "nothing of mod_comet is mapped",
                uses->count ? "mapped URLs: " : "add a CometEndpoint",
                uses->urls);
        }
    }
}
