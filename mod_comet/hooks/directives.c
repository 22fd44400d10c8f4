/* SPDX-License-Identifier: Apache-2.0 */
/* Read and check the directives that the administrator wrote. */
#include "hooks/directives.h"

#include <apr_lib.h>
#include <apr_strings.h>
#include <http_main.h>
#include <stddef.h>

#include "wire/origin.h"
#include "transport/transport.h"
#include "server/config.h"
#include "server/limit_rule.h"
#include "server/token_key.h"
#include "request/presence.h"
#include "dialect/dialects.h"
#include "hooks/engines.h"
#include "hooks/fickle.h"
#include "hooks/mapping.h"
#include "hooks/value.h"

#define UNSET MOD_COMET_UNSET

/* --- where a directive may stand ----------------------------------------- */

/* Allow a directive only in the main server and in virtual hosts. */
#define SERVER_ONLY(cmd) \
    ap_check_cmd_context(cmd, NOT_IN_DIR_LOC_FILE | NOT_IN_HTACCESS)

#ifndef NOT_IN_PROXY
#define NOT_IN_PROXY 0 /* older versions of httpd cannot tell */
#endif

/* Refuse a directive in a directory or in <Proxy>, where it would do nothing: a
 * mapped URL has no directory, and no other server answers it. */
#define NO_DIRECTORY(cmd) \
    ap_check_cmd_context(cmd, NOT_IN_DIRECTORY | NOT_IN_FILES \
                                  | NOT_IN_HTACCESS | NOT_IN_PROXY)

static mod_comet_server_config_t *server_of(const cmd_parms *cmd)
{
    return mod_comet_config_server(cmd->server);
}

/* --- directives that set one field --------------------------------------- */

/* Which field a directive sets, and within which bounds. */
typedef struct slot_t {
    int in_server; /* whether the field is in the server's struct */
    apr_size_t offset;
    apr_int64_t least, most;
} slot_t;

/* Find the field that a directive sets.
 * @param error  OUT: why the directive may not stand here; or NULL */
static apr_int64_t *find_field(cmd_parms *cmd, void *dir, const char **error)
{
    const slot_t *slot = cmd->info;
    char *config = slot->in_server ? (char *)server_of(cmd) : dir;

    *error = slot->in_server ? SERVER_ONLY(cmd) : NO_DIRECTORY(cmd);
    return (apr_int64_t *)(void *)(config + slot->offset);
}

static const char *set_number(cmd_parms *cmd, void *dir, const char *value)
{
    const slot_t *slot = cmd->info;
    const char *error;
    apr_int64_t *field = find_field(cmd, dir, &error);

    return error ? error
                 : mod_comet_value_number(cmd, value, slot->least, slot->most,
                                          field);
}

static const char *set_duration(cmd_parms *cmd, void *dir, const char *value)
{
    const slot_t *slot = cmd->info;
    const char *error;
    apr_int64_t *field = find_field(cmd, dir, &error);
    const char *allowed = apr_pstrcat(
        cmd->temp_pool, "a duration from ",
        mod_comet_value_show_duration(slot->least, cmd->temp_pool), " to ",
        mod_comet_value_show_duration(slot->most, cmd->temp_pool), NULL);

    return error ? error
                 : mod_comet_value_duration(cmd, value, slot->least, slot->most,
                                            allowed, field);
}

static const char *set_flag(cmd_parms *cmd, void *dir, int on)
{
    const char *error;

    *find_field(cmd, dir, &error) = on;
    return error;
}

/* --- directives with a function of their own ----------------------------- */

static const char *set_store(cmd_parms *cmd, void *dir, const char *value)
{
    const char *error = SERVER_ONLY(cmd);
    comet_place_t place;
    const char *expected;

    if (error) {
        return error;
    }
    expected = comet_engines_parse(&place, value,
                                   mod_comet_engines_list(cmd->temp_pool),
                                   ap_server_root, cmd->pool);
    if (expected) {
        return mod_comet_value_wrong(cmd, place.name ? place.name : value,
                                     expected);
    }
    server_of(cmd)->place = place;
    return NULL;
}

static const char *set_sync(cmd_parms *cmd, void *dir, const char *value)
{
    const char *error = SERVER_ONLY(cmd);

    if (error) {
        return error;
    }
    if (strcasecmp(value, "full") != 0 && strcasecmp(value, "normal") != 0) {
        return mod_comet_value_wrong(cmd, value, "full or normal");
    }
    server_of(cmd)->sync_full = strcasecmp(value, "full") == 0;
    return NULL;
}

static const char *set_retain_one(cmd_parms *cmd, const char *value)
{
    mod_comet_server_config_t *config = server_of(cmd);

    if (strncasecmp(value, "count=", 6) == 0) {
        return mod_comet_value_number(cmd, value + 6, 1, APR_INT32_MAX,
                                      &config->retain_count);
    }
    if (strncasecmp(value, "age=", 4) == 0) {
        return mod_comet_value_duration(
            cmd, value + 4, apr_time_from_sec(1),
            apr_time_from_sec(APR_INT64_C(3153600000)),
            "a duration of at least 1s, such as age=720h", &config->retain_age);
    }
    return mod_comet_value_wrong(
        cmd, value, "count=NUMBER, age=DURATION, or both; or just all");
}

static const char *set_retain(cmd_parms *cmd, void *dir, const char *first,
                              const char *second)
{
    const char *error = SERVER_ONLY(cmd);

    /* a limit that this directive does not name is not inherited from an outer
     * CometRetain */
    server_of(cmd)->retain_count = server_of(cmd)->retain_age = 0;
    if (!error && (second || strcasecmp(first, "all") != 0)) {
        error = set_retain_one(cmd, first);
    }
    return error || !second ? error : set_retain_one(cmd, second);
}

/* Define the function of a directive that is on or off for a server. */
#define SWITCH(field) \
    static const char *set_##field(cmd_parms *cmd, void *dir, int on) \
    { \
        const char *error = SERVER_ONLY(cmd); \
\
        server_of(cmd)->field = on; \
        return error; \
    }
SWITCH(search)
SWITCH(deletions)
SWITCH(park_http2)

/* Check whether the hub may repeat what httpd has decided in this section.
 * @return NULL, or why not */
static const char *check_fast(cmd_parms *cmd, int on)
{
    const ap_directive_t *section = cmd->directive->parent;
    const char *error = NO_DIRECTORY(cmd);
    const ap_directive_t *fickle =
        on && section
            ? mod_comet_fickle_find(section->first_child, cmd->temp_pool)
            : NULL;

    if (!error && fickle) {
        error = apr_psprintf(cmd->pool,
                             "%s: '%s %s' may decide "
                             "differently for each request, but %s "
                             "has it checked only once a minute; use just one "
                             "of them in a section",
                             cmd->cmd->name, fickle->directive, fickle->args,
                             cmd->cmd->name);
    }
    return error;
}

static const char *set_fast_poll(cmd_parms *cmd, void *dir, int on)
{
    ((mod_comet_dir_config_t *)dir)->fast_poll = on;
    return check_fast(cmd, on);
}

static const char *set_fast_publish(cmd_parms *cmd, void *dir, int on)
{
    ((mod_comet_dir_config_t *)dir)->fast_publish = on;
    return check_fast(cmd, on);
}

static const char *set_transports(cmd_parms *cmd, void *dir, const char *value)
{
    mod_comet_dir_config_t *config = dir;
    const char *error = NO_DIRECTORY(cmd);
    const comet_transport_t *transport;
    char *name = apr_pstrdup(cmd->temp_pool, value);
    apr_int64_t bits;

    if (error) {
        return error;
    }
    ap_str_tolower(name);
    transport = comet_transport_find(comet_text(name));
    if (!transport && strcmp(name, "all") != 0) {
        return mod_comet_value_wrong(
            cmd, value,
            apr_pstrcat(cmd->temp_pool, "all, or some of ",
                        comet_transport_names("and", cmd->temp_pool), NULL));
    }
    bits = transport ? comet_transport_bit(transport) : comet_transport_usual();
    config->transports =
        config->transports == UNSET ? bits : config->transports | bits;
    return NULL;
}

static const char *set_max_lifetime(cmd_parms *cmd, void *dir,
                                    const char *value)
{
    mod_comet_dir_config_t *config = dir;
    const char *error = NO_DIRECTORY(cmd);

    if (!error && strcasecmp(value, "off") == 0) {
        config->max_lifetime = 0;
        return NULL;
    }
    return error
               ? error
               : mod_comet_value_duration(
                   cmd, value, apr_time_from_sec(1), apr_time_from_sec(604800),
                   "off, or a duration from 1s to 168h", &config->max_lifetime);
}

/* The name is written into the iframe's script, so only names and dots are
 * allowed. */
static const char *set_callback(cmd_parms *cmd, void *dir, const char *value)
{
    const char *error = NO_DIRECTORY(cmd);
    int begins = 1;
    const char *at;

    if (error) {
        return error;
    }
    for (at = value; *at; at++) {
        if (*at == '.' ? begins
                       : !(apr_isalpha(*at) || *at == '_' || *at == '$'
                           || (apr_isdigit(*at) && !begins))) {
            break;
        }
        begins = *at == '.';
    }
    if (*at || begins) {
        return mod_comet_value_wrong(
            cmd, value,
            "the name of a function in the page, such as "
            "comet.receive");
    }
    ((mod_comet_dir_config_t *)dir)->callback = value;
    return NULL;
}

static const char *set_allow_origin(cmd_parms *cmd, void *dir, int count,
                                    char *const words[])
{
    apr_array_header_t *origins =
        apr_array_make(cmd->pool, count, sizeof(const char *));
    const char *error = NO_DIRECTORY(cmd), *allowed = NULL;
    int i;

    ((mod_comet_dir_config_t *)dir)->origins = origins;
    if (!error && count == 0) {
        return mod_comet_value_wrong(cmd, "", comet_origin_add(origins, ""));
    }
    if (count == 1 && strcasecmp(words[0], "none") == 0) {
        return error;
    }
    for (i = 0; i < count && !error; i++) {
        allowed = comet_origin_add(origins, words[i]);
        error = allowed ? mod_comet_value_wrong(cmd, words[i], allowed) : NULL;
    }
    return error;
}

/* Read a limit.  A part that the directive does not name is not inherited from
 * the same directive in an outer section. */
static const char *set_limit(cmd_parms *cmd, const char *first,
                             const char *second, int is_rate,
                             const mod_comet_limit_rule_t **field)
{
    mod_comet_limit_rule_t *rule = apr_pcalloc(cmd->pool, sizeof(*rule));
    const char *error = NO_DIRECTORY(cmd), *allowed;

    *field = rule;
    rule->scope = mod_comet_limit_rule_scope(cmd);
    if (error || (!second && strcasecmp(first, "off") == 0)) {
        return error;
    }
    allowed = mod_comet_limit_rule_set(cmd, rule, first, is_rate);
    if (allowed) {
        return mod_comet_value_wrong(cmd, first, allowed);
    }
    allowed =
        second ? mod_comet_limit_rule_set(cmd, rule, second, is_rate) : NULL;
    return allowed ? mod_comet_value_wrong(cmd, second, allowed) : NULL;
}

static const char *set_limit_subscribers(cmd_parms *cmd, void *dir,
                                         const char *first, const char *second)
{
    mod_comet_dir_config_t *config = dir;

    return set_limit(cmd, first, second, 0, &config->subscriber_limit);
}

static const char *set_limit_publish(cmd_parms *cmd, void *dir,
                                     const char *first, const char *second)
{
    mod_comet_dir_config_t *config = dir;

    return set_limit(cmd, first, second, 1, &config->publish_limit);
}

/* The store keeps presence if any section has "on" or "count". */
static const char *set_presence(cmd_parms *cmd, void *dir, const char *mode,
                                const char *most)
{
    mod_comet_dir_config_t *config = dir;
    const char *error = NO_DIRECTORY(cmd);
    int is_on = strcasecmp(mode, "on") == 0;

    if (error) {
        return error;
    }
    if (!is_on && strcasecmp(mode, "count") != 0
        && strcasecmp(mode, "off") != 0) {
        return mod_comet_value_wrong(cmd, mode, "on, count or off");
    }
    if (most && !is_on) {
        return mod_comet_value_wrong(cmd, most,
                                     "nothing after count or off: only on "
                                     "takes MAX");
    }
    config->presence = is_on ? MOD_COMET_PRESENCE_ON
                       : strcasecmp(mode, "count") == 0
                           ? MOD_COMET_PRESENCE_COUNT
                           : MOD_COMET_PRESENCE_OFF;
    config->presence_most = UNSET;
    if (config->presence) {
        server_of(cmd)->presence_used = 1;
    }
    return most ? mod_comet_value_number(cmd, most, 1, 100000,
                                         &config->presence_most)
                : NULL;
}

/* Add a key to the keys of this section, which replace those of the outer
 * sections. */
static const char *set_token_key(cmd_parms *cmd, void *dir, int count,
                                 char *const words[])
{
    mod_comet_dir_config_t *config = dir;
    const char *error = NO_DIRECTORY(cmd);

    return error ? error
                 : mod_comet_token_key_add(cmd, &config->token_keys, count,
                                           words);
}

static const char *set_token_cookie(cmd_parms *cmd, void *dir,
                                    const char *value)
{
    mod_comet_dir_config_t *config = dir;
    const char *error = NO_DIRECTORY(cmd);

    return error ? error
                 : mod_comet_token_key_name(cmd, value, &config->token_cookie);
}

static const char *set_token_parameter(cmd_parms *cmd, void *dir,
                                       const char *value)
{
    mod_comet_dir_config_t *config = dir;
    const char *error = NO_DIRECTORY(cmd);

    return error
               ? error
               : mod_comet_token_key_name(cmd, value, &config->token_parameter);
}

/* --- the table ----------------------------------------------------------- */

#define SLOT(directive, in_server, config, field, least, most) \
    static const slot_t slot_of_##directive = { in_server, \
                                                offsetof(config, field), \
                                                least, most };
#define SERVER_SLOT(directive, field, least, most) \
    SLOT(directive, 1, mod_comet_server_config_t, field, least, most)
#define LOCATION_SLOT(directive, field, least, most) \
    SLOT(directive, 0, mod_comet_dir_config_t, field, least, most)
#define SERVER_NUMBER(directive, field, fallback, least, most, help) \
    SERVER_SLOT(directive, field, least, most)
#define SERVER_LIMIT(directive, field, least, most, help) \
    SERVER_SLOT(directive, field, least, most)
#define SERVER_DURATION(directive, field, fallback, least, most, help) \
    SERVER_SLOT(directive, field, apr_time_from_msec(least), \
                apr_time_from_msec(most))
#define LOCATION_NUMBER(directive, field, fallback, least, most, help) \
    LOCATION_SLOT(directive, field, least, most)
#define LOCATION_DURATION(directive, field, fallback, least, most, help) \
    LOCATION_SLOT(directive, field, apr_time_from_msec(least), \
                  apr_time_from_msec(most))
#define LOCATION_FLAG(directive, field, fallback, help) \
    LOCATION_SLOT(directive, field, 0, 1)
#include "tables/directives.def"

#define IN_SERVER RSRC_CONF
#define IN_LOCATION (RSRC_CONF | ACCESS_CONF)
#define ONE_FIELD(directive, arguments, setter, where, help) \
    AP_INIT_##arguments(#directive, setter, (void *)&slot_of_##directive, \
                        where, help),

const command_rec mod_comet_directives[] = {
#define SERVER_NUMBER(directive, field, fallback, least, most, help) \
    ONE_FIELD(directive, TAKE1, set_number, IN_SERVER, \
              help " (default " #fallback ")")
#define SERVER_LIMIT(directive, field, least, most, help) \
    ONE_FIELD(directive, TAKE1, set_number, IN_SERVER, help)
#define SERVER_DURATION(directive, field, fallback, least, most, help) \
    ONE_FIELD(directive, TAKE1, set_duration, IN_SERVER, \
              help " (default " #fallback "ms)")
#define SERVER_SETTER(directive, arguments, setter, fallback, help) \
    AP_INIT_##arguments(#directive, setter, NULL, IN_SERVER, help),
#define LOCATION_NUMBER(directive, field, fallback, least, most, help) \
    ONE_FIELD(directive, TAKE1, set_number, IN_LOCATION, \
              help " (default " #fallback ")")
#define LOCATION_DURATION(directive, field, fallback, least, most, help) \
    ONE_FIELD(directive, TAKE1, set_duration, IN_LOCATION, \
              help " (default " #fallback "ms)")
#define LOCATION_FLAG(directive, field, fallback, help) \
    ONE_FIELD(directive, FLAG, set_flag, IN_LOCATION, \
              help " (default " #fallback ")")
#define LOCATION_SETTER(directive, arguments, setter, fallback, help) \
    AP_INIT_##arguments(#directive, setter, NULL, IN_LOCATION, help),
#include "tables/directives.def"
#define DIALECT(name, directive, help) \
    AP_INIT_TAKE123(#directive, mod_comet_mapping_set, \
                    (void *)&mod_comet_dialect_##name, IN_SERVER, help),
#include "tables/dialects.def"
#undef DIALECT
    { .name = NULL }
};
