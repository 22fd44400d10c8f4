/* SPDX-License-Identifier: Apache-2.0 */
/* Warnings about who may use the mapped URLs. */
#include "hooks/advice_access.h"

#include <apr_strings.h>

#include "request/dialect.h"

/* The directives that give a request a user, as the warnings name them. */
#define A_LOGIN "AuthType Basic, AuthName and AuthUserFile, or CometTokenKey"

static const mod_comet_mapping_t *mapping_at(const mod_comet_scene_t *scene,
                                             int i)
{
    return &APR_ARRAY_IDX(scene->config->mappings, i, mod_comet_mapping_t);
}

static const mod_comet_line_t *line_at(const mod_comet_scene_t *scene, int i)
{
    return &APR_ARRAY_IDX(scene->lines, i, mod_comet_line_t);
}

/* @return whether a line of the configuration is of the wanted kind */
typedef int test_t(const mod_comet_line_t *line, apr_pool_t *p);

/* Whether a line of the wanted kind can apply to a URL of a section. */
static int has_beside(const mod_comet_scene_t *scene,
                      const mod_comet_section_t *section, test_t *is_wanted)
{
    int i;

    for (i = 0; i < scene->lines->nelts; i++) {
        const mod_comet_line_t *line = line_at(scene, i);

        if (is_wanted(line, scene->pool)
            && mod_comet_scene_overlap(section, line->section)) {
            return 1;
        }
    }
    return 0;
}

/* --- what lines are ------------------------------------------------------- */

static int is_word(const mod_comet_line_t *line, int number, const char *word,
                   apr_pool_t *p)
{
    return strcasecmp(mod_comet_scene_word(line->node, number, p), word) == 0;
}

static int is_rule(const mod_comet_line_t *line, apr_pool_t *p)
{
    return mod_comet_scene_is(line, "Require")
           || mod_comet_scene_is(line, "Deny")
           || mod_comet_scene_is(line, "SSLRequire");
}

static int is_rule_of_all_methods(const mod_comet_line_t *line, apr_pool_t *p)
{
    return is_rule(line, p) && !line->is_limited;
}

static int is_login(const mod_comet_line_t *line, apr_pool_t *p)
{
    return mod_comet_scene_is(line, "AuthType") && !is_word(line, 0, "None", p);
}

static int is_key(const mod_comet_line_t *line, apr_pool_t *p)
{
    return mod_comet_scene_is(line, "CometTokenKey");
}

static int is_name(const mod_comet_line_t *line, apr_pool_t *p)
{
    return mod_comet_scene_is(line, "AuthName");
}

static int is_password_store(const mod_comet_line_t *line, apr_pool_t *p)
{
    return mod_comet_scene_is(line, "AuthUserFile")
           || mod_comet_scene_is(line, "AuthBasicProvider");
}

/* Whether a line can give a request a user. */
static int is_identity(const mod_comet_line_t *line, apr_pool_t *p)
{
    return is_login(line, p) || is_key(line, p)
           || mod_comet_scene_is(line, "SSLUserName")
           || (mod_comet_scene_is(line, "Require")
               && is_word(line, 0, "comet-request", p));
}

/* Whether a line is a rule that only an authenticated user can satisfy. */
static int wants_user(const mod_comet_line_t *line, apr_pool_t *p)
{
    int first = is_word(line, 0, "comet-publish", p);

    return mod_comet_scene_is(line, "Require")
           && (is_word(line, first, "valid-user", p)
               || is_word(line, first, "user", p)
               || is_word(line, first, "group", p));
}

/* --- checks --------------------------------------------------------------- */

/* Whether a mapping needs no `Require`, because it is a Mercure hub, and tokens
 * (CometTokenKey) decide who may use it. */
static int is_by_token(const mod_comet_scene_t *scene,
                       const mod_comet_mapping_t *mapping)
{
    int i;

    for (i = 0; mapping->dialect->by_mercure && i < scene->lines->nelts; i++) {
        const mod_comet_line_t *line = line_at(scene, i);

        if (is_key(line, scene->pool)
            && mod_comet_scene_concerns(line->section, mapping, scene->pool)) {
            return 1;
        }
    }
    return 0;
}

/* Warn if no rule protects a mapping.  A mapped URL has no directory, so a
 * `Require` in <Directory> does not protect it. */
static void check_mapping(mod_comet_warnings_t *warnings,
                          const mod_comet_scene_t *scene,
                          const mod_comet_mapping_t *mapping)
{
    int i, limited = 0;

    for (i = 0; i < scene->lines->nelts; i++) {
        const mod_comet_line_t *line = line_at(scene, i);

        if (is_rule(line, scene->pool)
            && (!line->section || !mod_comet_scene_is_plain(line->section)
                || mod_comet_scene_concerns(line->section, mapping,
                                            scene->pool))) {
            if (!line->is_limited) {
                return;
            }
            limited = 1;
        }
    }
    if (is_by_token(scene, mapping)) {
        return;
    }
    mod_comet_warning_say(
        warnings, "COMET0150", mapping->line,
        "%s: no Require applies to %s%s, so everybody may use it; write "
        "<Location \"%s\"> and in it Require comet-publish local, or another "
        "rule of the manual's \"Who may do what\"; if everybody is meant, "
        "Require all granted",
        mapping->directive, mapping->url,
        limited ? " with every method (remove <Limit>)" : "", mapping->url);
}

/* Whether a line may close something to readers. */
static int closes(const mod_comet_line_t *line, apr_pool_t *p)
{
    return mod_comet_scene_is(line, "Require") && !line->is_limited
           && !is_word(line, 0, "comet-publish", p)
           && !(is_word(line, 0, "all", p) && is_word(line, 1, "granted", p));
}

/* Find a line that may close a mapping's URL, or one below it, to readers.
 * @return NULL: there is none */
static const mod_comet_line_t *find_closing(const mod_comet_scene_t *scene,
                                            const mod_comet_mapping_t *mapping)
{
    int i;

    for (i = 0; i < scene->lines->nelts; i++) {
        const mod_comet_line_t *line = line_at(scene, i);

        if (line->section && closes(line, scene->pool)
            && mod_comet_scene_concerns(line->section, mapping, scene->pool)) {
            return line;
        }
    }
    return NULL;
}

/* Whether two mappings show the same channels, at least in part. */
static int are_shared(const mod_comet_mapping_t *hub,
                      const mod_comet_mapping_t *other)
{
    apr_size_t shorter = strlen(hub->channel), length = strlen(other->channel);

    return !other->dialect->by_mercure
           && (other->dialect->subtree || length) /* else it is a clock */
           && strncmp(hub->channel, other->channel,
                      shorter < length ? shorter : length)
                  == 0;
}

/* Warn if a hub without any rule shows the channels of a mapping with a rule for
 * its readers: the hub shows each subscriber all that is public. */
static void check_hub(mod_comet_warnings_t *warnings,
                      const mod_comet_scene_t *scene,
                      const mod_comet_mapping_t *hub)
{
    int i;

    if (!hub->dialect->by_mercure || find_closing(scene, hub)) {
        return;
    }
    for (i = 0; i < scene->config->mappings->nelts; i++) {
        const mod_comet_mapping_t *other = mapping_at(scene, i);
        const mod_comet_line_t *line =
            are_shared(hub, other) ? find_closing(scene, other) : NULL;

        if (line) {
            mod_comet_warning_say(
                warnings, "COMET0170", hub->line,
                "%s: its subscribers may read every channel of %s %s, "
                "whatever the Require in <Location \"%s\"> says; write %s %s "
                "PREFIX/, with a prefix that these channels do not have",
                hub->directive, other->directive, other->url,
                line->section->path, hub->directive, hub->url);
            return;
        }
    }
}

static void check_status(mod_comet_warnings_t *warnings,
                         const mod_comet_scene_t *scene,
                         const mod_comet_line_t *line)
{
    if (line->section && mod_comet_scene_is(line, "SetHandler")
        && is_word(line, 0, "comet-status", scene->pool)
        && !has_beside(scene, line->section, is_rule_of_all_methods)) {
        mod_comet_warning_say(warnings, "COMET0151", line->node,
                              "SetHandler comet-status: no Require applies to "
                              "%s, so everybody may read the counters and the "
                              "names of the databases; add Require local",
                              line->section->path);
    }
}

static void check_rule(mod_comet_warnings_t *warnings,
                       const mod_comet_scene_t *scene,
                       const mod_comet_line_t *line)
{
    if (wants_user(line, scene->pool)
        && !has_beside(scene, line->section, is_identity)) {
        mod_comet_warning_say(
            warnings, "COMET0152", line->node,
            "Require %s: no AuthType applies here, so nobody "
            "can log in and every request fails; add " A_LOGIN,
            line->node->args);
    }
    if (mod_comet_scene_is(line, "Require")
        && is_word(line, 0, "comet-token", scene->pool)
        && !has_beside(scene, line->section, is_key)) {
        mod_comet_warning_say(
            warnings, "COMET0153", line->node,
            "Require comet-token: no CometTokenKey applies here, so every "
            "request is refused; add CometTokenKey HS256 FILE");
    }
}

/* Warn if `Require comet-request` asks a URL that a mapping answers. */
static void check_asked(mod_comet_warnings_t *warnings,
                        const mod_comet_scene_t *scene,
                        const mod_comet_line_t *line)
{
    int first = is_word(line, 0, "comet-publish", scene->pool), i;
    const char *rest = mod_comet_scene_word(line->node, first + 1, scene->pool);
    const char *url = apr_pstrmemdup(scene->pool, rest, strcspn(rest, "?"));

    if (!mod_comet_scene_is(line, "Require")
        || !is_word(line, first, "comet-request", scene->pool)) {
        return;
    }
    for (i = 0; i < scene->config->mappings->nelts; i++) {
        const mod_comet_mapping_t *mapping = mapping_at(scene, i);

        if (mod_comet_scene_maps(mapping, url)) {
            mod_comet_warning_say(
                warnings, "COMET0165", line->node,
                "Require %s: %s %s answers there, so that every request is "
                "refused; write the URL of a script that decides",
                line->node->args, mapping->directive, mapping->url);
        }
    }
}

/* @return the module that an AuthType needs, without "mod_"; NULL: the type is
 * not known */
static const char *module_of(const char *type)
{
    return strcasecmp(type, "Basic") == 0    ? "auth_basic"
           : strcasecmp(type, "Digest") == 0 ? "auth_digest"
           : strcasecmp(type, "form") == 0   ? "auth_form"
                                             : NULL;
}

static void check_login(mod_comet_warnings_t *warnings,
                        const mod_comet_scene_t *scene,
                        const mod_comet_line_t *line)
{
    const char *type = mod_comet_scene_word(line->node, 0, scene->pool);
    const char *module = module_of(type);
    const char *missing = NULL;

    if (!is_login(line, scene->pool) || !module) {
        return;
    }
    if (!ap_find_linked_module(
            apr_pstrcat(scene->pool, "mod_", module, ".c", NULL))) {
        missing = apr_pstrcat(scene->pool, "mod_", module,
                              " is not loaded; run a2enmod ", module, NULL);
    }
    else if (!has_beside(scene, line->section, is_name)) {
        missing = "no AuthName applies here; add AuthName \"comet\"";
    }
    else if (strcasecmp(type, "Basic") == 0
             && !has_beside(scene, line->section, is_password_store)) {
        missing = "no passwords are named here; add AuthUserFile FILE";
    }
    if (missing) {
        mod_comet_warning_say(warnings, "COMET0154", line->node,
                              "AuthType %s: nobody can log in, since %s", type,
                              missing);
    }
}

static void check_limit(mod_comet_warnings_t *warnings,
                        const mod_comet_scene_t *scene,
                        const mod_comet_line_t *line)
{
    if ((mod_comet_scene_is(line, "CometLimitPublish")
         || mod_comet_scene_is(line, "CometLimitSubscribers"))
        && ap_strcasestr(line->node->args, "user=")
        && !has_beside(scene, line->section, is_identity)) {
        mod_comet_warning_say(warnings, "COMET0155", line->node,
                              "%s %s: clients have no user here, so user= "
                              "limits nobody; write address=, or add " A_LOGIN,
                              line->node->directive, line->node->args);
    }
}

void mod_comet_advice_access_check(mod_comet_warnings_t *warnings,
                                   const mod_comet_scene_t *scene)
{
    int i;

    for (i = 0; i < scene->config->mappings->nelts; i++) {
        check_mapping(warnings, scene, mapping_at(scene, i));
        check_hub(warnings, scene, mapping_at(scene, i));
    }
    for (i = 0; i < scene->lines->nelts; i++) {
        const mod_comet_line_t *line = line_at(scene, i);

        check_status(warnings, scene, line);
        if (mod_comet_scene_concerns_any(line->section, scene)) {
            check_rule(warnings, scene, line);
            check_asked(warnings, scene, line);
            check_login(warnings, scene, line);
            check_limit(warnings, scene, line);
        }
    }
}
