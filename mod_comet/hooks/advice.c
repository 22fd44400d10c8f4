/* SPDX-License-Identifier: Apache-2.0 */
/* Warnings about a configuration that does not do what was meant. */
#include "hooks/advice.h"

#include <apr_lib.h>
#include <apr_strings.h>
#include <limits.h>
#include <stdlib.h>

#include "server/mpm.h"
#include "server/tree.h"
#include "hooks/advice_access.h"
#include "hooks/advice_urls.h"
#include "hooks/site.h"
#include "hooks/value.h"

/* --- names ---------------------------------------------------------------- */

static void check_handler(mod_comet_warnings_t *warnings,
                          const mod_comet_line_t *line)
{
    const char *name = mod_comet_scene_word(line->node, 0, warnings->pool);

    if ((mod_comet_scene_is(line, "SetHandler")
         || mod_comet_scene_is(line, "AddHandler"))
        && mod_comet_tree_begins(name, "comet")
        && strcmp(name, "comet-status") != 0) {
        mod_comet_warning_say(warnings, "COMET0159", line->node,
                              "%s %s: there is no such handler; write %s "
                              "comet-status for the counters (the URLs of "
                              "messages need none, CometEndpoint maps them)",
                              line->node->directive, name,
                              line->node->directive);
    }
}

/* Directives that do nothing without another one, or without either of two. */
static const struct {
    const char *name, *other, *or_this;
} needs[] = {
    { "CometTokenCookie", "CometTokenKey", NULL },
    { "CometTokenParameter", "CometTokenKey", NULL },
    { "CometTokenSkew", "CometTokenKey", NULL },
    { "CometPresenceGrace", "CometPresence", NULL },
    { "CometMercureAnonymous", "CometMercure", NULL },
    { "CometMercure", "CometTokenKey", "CometMercureAnonymous" },
    { "CometEscape", "CometClassic", NULL },
    { "CometTick", "CometClock", NULL },
};

static int is_written(const char *name)
{
    return name && mod_comet_tree_find(ap_conftree, name, NULL) != NULL;
}

static void check_needs(mod_comet_warnings_t *warnings)
{
    apr_size_t i;

    for (i = 0; i < sizeof(needs) / sizeof(*needs); i++) {
        const ap_directive_t *line =
            mod_comet_tree_find(ap_conftree, needs[i].name, NULL);

        if (line && !is_written(needs[i].other)
            && !is_written(needs[i].or_this)) {
            mod_comet_warning_say(
                warnings, "COMET0160", line,
                "%s does nothing without %s; add %s, or remove "
                "this line",
                needs[i].name, needs[i].other, needs[i].other);
        }
    }
}

/* --- values that httpd's own settings bound ------------------------------- */

/* A parked poll waits for at most four fifths of Timeout. */
static void check_poll(mod_comet_warnings_t *warnings,
                       const mod_comet_scene_t *scene,
                       const mod_comet_line_t *line)
{
    const char *value = mod_comet_scene_word(line->node, 0, scene->pool);
    apr_interval_time_t most = scene->server->timeout * 4 / 5;
    apr_interval_time_t wanted;

    if (mod_comet_value_read_duration(value, &wanted) && wanted > most) {
        mod_comet_warning_say(
            warnings, "COMET0161", line->node,
            "CometPollTimeout %s: Timeout %" APR_TIME_T_FMT " allows %s at "
            "most; raise Timeout to %" APR_TIME_T_FMT ", or lower this",
            value, apr_time_sec(scene->server->timeout),
            mod_comet_value_show_duration(most, scene->pool),
            apr_time_sec(wanted * 5 / 4 + APR_USEC_PER_SEC - 1));
    }
}

/* An administrator who forgets the unit means days, but gets seconds. */
static void check_retention(mod_comet_warnings_t *warnings,
                            const mod_comet_scene_t *scene,
                            const mod_comet_line_t *line)
{
    int i;

    for (i = 0; i < 2; i++) {
        const char *word = mod_comet_scene_word(line->node, i, scene->pool);

        if (mod_comet_tree_begins(word, "age=")
            && apr_isdigit(word[strlen(word) - 1])) {
            mod_comet_warning_say(warnings, "COMET0166", line->node,
                                  "CometRetain %s: without a unit these are "
                                  "seconds; write %ss, or for days %sd",
                                  word, word, word);
        }
    }
}

static void check_body(mod_comet_warnings_t *warnings,
                       const mod_comet_scene_t *scene,
                       const mod_comet_line_t *line)
{
    apr_int64_t most = mod_comet_config_max_message_bytes(scene->server);
    apr_int64_t limit =
        apr_atoi64(mod_comet_scene_word(line->node, 0, scene->pool));

    if (limit > 0 && limit < most) {
        mod_comet_warning_say(
            warnings, "COMET0162", line->node,
            "LimitRequestBody %" APR_INT64_T_FMT ": longer messages are "
            "refused, although CometMaxMessageSize is %" APR_INT64_T_FMT
            "; raise this to at least that, or lower CometMaxMessageSize",
            limit, most);
    }
}

/* Output filters under which a waiting stream holds a thread, or is refused
 * (test_500_beside.py tries more of them). */
static const struct {
    const char *effect;
    const char *name;
} keepers[] = {
    { "holds a thread for each stream", "RATE_LIMIT" },
    { "holds a thread for each stream", "BUFFER" },
    { "keeps all bytes back, so streams are refused", "SED" },
};

static void check_filters(mod_comet_warnings_t *warnings,
                          const mod_comet_scene_t *scene,
                          const mod_comet_line_t *line)
{
    char *rest = apr_pstrdup(scene->pool, line->node->args), *state = NULL;
    const char *name = apr_strtok(rest, "; \t\"", &state);
    apr_size_t i;

    for (; name; name = apr_strtok(NULL, "; \t\"", &state)) {
        for (i = 0; i < sizeof(keepers) / sizeof(*keepers); i++) {
            if (strcasecmp(name, keepers[i].name) == 0) {
                mod_comet_warning_say(
                    warnings, "COMET0163", line->node,
                    "%s: %s %s (see the manual, \"Other modules\"); take it "
                    "off these URLs",
                    line->node->directive, name, keepers[i].effect);
            }
        }
    }
}

/* --- secrets -------------------------------------------------------------- */

/* The other algorithms' keys are public. */
static void check_secret(mod_comet_warnings_t *warnings,
                         const mod_comet_scene_t *scene,
                         const mod_comet_line_t *line)
{
    const char *file = ap_server_root_relative(
        scene->pool, mod_comet_scene_word(line->node, 1, scene->pool));
    comet_site_t site;
    const char *folder;
    char key[PATH_MAX];

    if (!mod_comet_tree_begins(line->node->args, "HS") || !file
        || !realpath(file, key)) {
        return;
    }
    site = mod_comet_site(warnings->main, scene->pool);
    folder = comet_site_publishes(&site, key, scene->pool);
    if (folder) {
        mod_comet_warning_say(warnings, "COMET0169", line->node,
                              "CometTokenKey: %s lies below the DocumentRoot "
                              "or Alias %s: the secret could be downloaded; "
                              "make a new one elsewhere",
                              key, folder);
    }
}

/* --- lines ---------------------------------------------------------------- */

static void check_values(mod_comet_warnings_t *warnings,
                         const mod_comet_scene_t *scene)
{
    int i;

    for (i = 0; i < scene->lines->nelts; i++) {
        const mod_comet_line_t *line =
            &APR_ARRAY_IDX(scene->lines, i, mod_comet_line_t);

        check_handler(warnings, line);
        if (!mod_comet_scene_concerns_any(line->section, scene)) {
            continue;
        }
        if (mod_comet_scene_is(line, "CometPollTimeout")) {
            check_poll(warnings, scene, line);
        }
        else if (mod_comet_scene_is(line, "CometRetain")) {
            check_retention(warnings, scene, line);
        }
        else if (mod_comet_scene_is(line, "LimitRequestBody")) {
            check_body(warnings, scene, line);
        }
        else if (mod_comet_scene_is(line, "SetOutputFilter")) {
            check_filters(warnings, scene, line);
        }
        else if (mod_comet_scene_is(line, "CometTokenKey")) {
            check_secret(warnings, scene, line);
        }
    }
}

/* --- what is left out ----------------------------------------------------- */

/* If a server's mappings are left out, all of them are optional, and one reason
 * applies to all. */
static void check_omitted(mod_comet_warnings_t *warnings,
                          const mod_comet_scene_t *scene)
{
    const mod_comet_mapping_t *first =
        (mod_comet_mapping_t *)scene->config->mappings->elts;

    if (scene->config->omitted) {
        mod_comet_warning_say(warnings, "COMET0167", first->line,
                              "%s %s and all other optional mappings of this "
                              "server are left out, since %s",
                              first->directive, first->url,
                              scene->config->omitted);
    }
}

/* --- HTTP/2 --------------------------------------------------------------- */

/* Find out why CometParkHTTP2 has no effect.
 * @param served  whether a server on which the directive is on speaks HTTP/2
 * @return the reason, and what to do; NULL: it has an effect */
static const char *find_h2_obstacle(int served)
{
    if (!mod_comet_mpm_is_async()) {
        return "this MPM cannot park connections; run a2enmod mpm_event";
    }
    if (!mod_comet_mpm_parks_http2()) {
        return "it needs httpd 2.4.58 or a later 2.4 release";
    }
    if (!ap_find_linked_module("mod_http2.c")) {
        return "mod_http2 is not loaded; run a2enmod http2";
    }
    return served ? NULL
                  : "none of the hosts on which it is on speaks HTTP/2; add "
                    "Protocols h2 http/1.1 to them (without TLS, h2c in place "
                    "of h2)";
}

static void check_http2(mod_comet_warnings_t *warnings, int wanted, int served)
{
    const ap_directive_t *line =
        mod_comet_tree_find(ap_conftree, "CometParkHTTP2", "on");
    const char *obstacle = wanted && line ? find_h2_obstacle(served) : NULL;

    if (obstacle) {
        mod_comet_warning_say(warnings, "COMET0164", line,
                              "CometParkHTTP2 on has no effect, since %s",
                              obstacle);
    }
}

/* --- all of it ------------------------------------------------------------ */

void mod_comet_advice_give(server_rec *main, apr_pool_t *parent)
{
    apr_pool_t *p, *scratch;
    mod_comet_warnings_t warnings = { .main = main };
    const mod_comet_scene_t *outer;
    mod_comet_uses_t *uses;
    server_rec *s;
    int wanted = 0, served = 0;

    apr_pool_create(&p, parent);
    apr_pool_create(&scratch, p);
    warnings.pool = p;
    warnings.said = apr_hash_make(p);
    outer = mod_comet_scene_make(main, NULL, p);
    uses = mod_comet_advice_urls_begin(p);
    check_needs(&warnings);
    for (s = main; s; s = s->next) {
        const mod_comet_scene_t *scene =
            s == main ? outer : mod_comet_scene_make(s, outer, scratch);

        check_values(&warnings, scene);
        mod_comet_advice_access_check(&warnings, scene);
        mod_comet_advice_urls_check(&warnings, scene);
        mod_comet_advice_urls_note(uses, scene);
        check_omitted(&warnings, scene);
        if (mod_comet_config_serves(scene->config)
            && mod_comet_config_park_http2(s)) {
            wanted = 1;
            served |= mod_comet_scene_speaks(
                scene, mod_comet_scene_has_tls(scene) ? "h2" : "h2c");
        }
        apr_pool_clear(scratch);
    }
    mod_comet_advice_urls_end(&warnings, uses);
    check_http2(&warnings, wanted, served);
    apr_pool_destroy(p);
}
