/* SPDX-License-Identifier: Apache-2.0 */
/* The directives: reading, checking and merging them. */
#include "server/config.h"

#include <apr_lib.h>
#include <apr_strings.h>
#include <sys/stat.h>

#include "wire/params.h"
#include "transport/transport.h"
#include "request/cors.h"
#include "request/limits.h"

#define UNSET MOD_COMET_UNSET
#define STORE_SCHEME "sqlite:"

/* --- create, merge, get -------------------------------------------------- */

#define CREATE(name, fallback) config->name = UNSET;
#define MERGE(name, fallback) \
    config->name = add->name != UNSET ? add->name : base->name;
#define MERGE_POINTER(type, name, fallback) \
    config->name = add->name ? add->name : base->name;

void *mod_comet_config_create_server(apr_pool_t *p, server_rec *s)
{
    mod_comet_server_config_t *config = apr_pcalloc(p, sizeof(*config));

    config->mappings = apr_array_make(p, 4, sizeof(mod_comet_mapping_t));
    config->store = UNSET;
    MOD_COMET_SERVER_FIELDS(CREATE)
    return config;
}

void *mod_comet_config_merge_server(apr_pool_t *p, void *base_config,
                                    void *add_config)
{
    const mod_comet_server_config_t *base = base_config, *add = add_config;
    mod_comet_server_config_t *config = apr_pcalloc(p, sizeof(*config));

    /* a virtual host's own come first: of equal ones the first is found */
    config->mappings = apr_array_append(p, add->mappings, base->mappings);
    config->store_path = add->store_path ? add->store_path : base->store_path;
    config->store = UNSET;
    MOD_COMET_SERVER_FIELDS(MERGE)
    return config;
}

void *mod_comet_config_create_dir(apr_pool_t *p, char *dir)
{
    mod_comet_dir_config_t *config = apr_pcalloc(p, sizeof(*config));

    MOD_COMET_DIR_FIELDS(CREATE)
    return config;
}

void *mod_comet_config_merge_dir(apr_pool_t *p, void *base_config,
                                 void *add_config)
{
    const mod_comet_dir_config_t *base = base_config, *add = add_config;
    mod_comet_dir_config_t *config = apr_pcalloc(p, sizeof(*config));

    MOD_COMET_DIR_FIELDS(MERGE)
    MOD_COMET_DIR_POINTERS(MERGE_POINTER)
    return config;
}

mod_comet_server_config_t *mod_comet_config_server(const server_rec *s)
{
    return ap_get_module_config(s->module_config, &comet_module);
}

static const mod_comet_dir_config_t *dir_config(const request_rec *r)
{
    return ap_get_module_config(r->per_dir_config, &comet_module);
}

#define SERVER_GETTER(name, fallback) \
    apr_int64_t mod_comet_config_##name(const request_rec *r) \
    { \
        return MOD_COMET_OR_DEFAULT(mod_comet_config_server(r->server)->name, \
                                    fallback); \
    }
MOD_COMET_SERVER_FIELDS(SERVER_GETTER)

#define DIR_GETTER(name, fallback) \
    apr_int64_t mod_comet_config_##name(const request_rec *r) \
    { \
        return MOD_COMET_OR_DEFAULT(dir_config(r)->name, fallback); \
    }
MOD_COMET_DIR_FIELDS(DIR_GETTER)

#define POINTER_GETTER(type, name, fallback) \
    type mod_comet_config_##name(const request_rec *r) \
    { \
        return dir_config(r)->name ? dir_config(r)->name : (fallback); \
    }
MOD_COMET_DIR_POINTERS(POINTER_GETTER)

/* --- values --------------------------------------------------------------- */

static const char *wrong(cmd_parms *cmd, const char *value, const char *allowed)
{
    return apr_psprintf(cmd->pool, "%s: \"%s\" is not allowed: expected %s",
                        cmd->cmd->name, value, allowed);
}

static const char *set_number(cmd_parms *cmd, const char *value,
                              apr_int64_t minimum, apr_int64_t maximum,
                              apr_int64_t *field)
{
    if (comet_params_int(comet_text(value), "", minimum, maximum, field,
                         cmd->temp_pool)) {
        return wrong(cmd, value,
                     apr_psprintf(cmd->temp_pool,
                                  "a whole number from %" APR_INT64_T_FMT
                                  " to %" APR_INT64_T_FMT,
                                  minimum, maximum));
    }
    return NULL;
}

static const char *set_duration(cmd_parms *cmd, const char *value,
                                apr_interval_time_t minimum,
                                apr_interval_time_t maximum,
                                const char *allowed, apr_int64_t *field)
{
    apr_interval_time_t duration;

    if (!apr_isdigit(*value)
        || ap_timeout_parameter_parse(value, &duration, "s") != APR_SUCCESS
        || duration < minimum || duration > maximum) {
        return wrong(cmd, value, allowed);
    }
    *field = duration;
    return NULL;
}

/* Where a directive is allowed: server and virtual host only. */
#define SERVER_ONLY(cmd) \
    ap_check_cmd_context(cmd, NOT_IN_DIR_LOC_FILE | NOT_IN_HTACCESS)

/* Where it would do nothing: what is mapped is not on disk. */
#define NO_DIRECTORY(cmd) \
    ap_check_cmd_context(cmd, NOT_IN_DIRECTORY | NOT_IN_FILES | NOT_IN_HTACCESS)

static mod_comet_server_config_t *server_of(const cmd_parms *cmd)
{
    return mod_comet_config_server(cmd->server);
}

/* --- where it is ----------------------------------------------------------- */

static const char *set_store(cmd_parms *cmd, void *dir, const char *value)
{
    const char *error = SERVER_ONLY(cmd);
    const char *path = value + sizeof(STORE_SCHEME) - 1;
    struct stat info;

    if (error) {
        return error;
    }
    if (strncmp(value, STORE_SCHEME, sizeof(STORE_SCHEME) - 1) != 0 || !*path) {
        return wrong(cmd, value, "sqlite:PATH");
    }
    path = ap_server_root_relative(cmd->pool, path);
    if (!path || path[strlen(path) - 1] == '/'
        || (stat(path, &info) == 0 && !S_ISREG(info.st_mode))) {
        return wrong(cmd, value, "sqlite:PATH of a file");
    }
    server_of(cmd)->store_path = path;
    return NULL;
}

static const char *add_mapping(cmd_parms *cmd, mod_comet_dialect_e dialect,
                               const char *url, const char *channel)
{
    apr_array_header_t *mappings = server_of(cmd)->mappings;
    mod_comet_mapping_t *mapping;
    apr_size_t length = strlen(url);
    int i;

    if (dialect == MOD_COMET_ENDPOINT && length && url[length - 1] == '/') {
        length--;
    }
    /* httpd has taken such segments out of the path it compares with; what
     * stands below the slash is a channel's name but for the slash itself */
    if (url[0] != '/' || length == 0 || strpbrk(url, "?#%*")
        || comet_params_check_channel((comet_text_t){ url + 1, length - 1 })) {
        return wrong(cmd, url,
                     "a path of the URL such as /comet, with no empty, . or "
                     ".. segment");
    }
    for (i = 0; i < mappings->nelts; i++) {
        mapping = &APR_ARRAY_IDX(mappings, i, mod_comet_mapping_t);
        if (mapping->url_length == length
            && memcmp(mapping->url, url, length) == 0) {
            return apr_psprintf(cmd->pool, "%s: \"%s\" is taken already, by %s",
                                cmd->cmd->name, url, mapping->directive);
        }
    }
    mapping = apr_array_push(mappings);
    mapping->dialect = dialect;
    mapping->directive = cmd->cmd->name;
    mapping->url = apr_pstrmemdup(cmd->pool, url, length);
    mapping->url_length = length;
    mapping->channel = channel;
    return NULL;
}

static const char *set_endpoint(cmd_parms *cmd, void *dir, const char *url,
                                const char *prefix)
{
    const char *error = SERVER_ONLY(cmd);
    apr_size_t length = prefix ? strlen(prefix) : 0;

    if (error) {
        return error;
    }
    if (prefix
        && (length < 2 || length >= COMET_CHANNEL_MAX_BYTES
            || prefix[length - 1] != '/'
            || comet_params_check_channel(
                (comet_text_t){ prefix, length - 1 }))) {
        return wrong(cmd, prefix,
                     "a prefix of channels that ends in a slash, such as "
                     "shared/");
    }
    return add_mapping(cmd, MOD_COMET_ENDPOINT, url, prefix ? prefix : "");
}

static const char *set_classic(cmd_parms *cmd, void *dir, const char *url,
                               const char *channel)
{
    const char *error = SERVER_ONLY(cmd);

    if (error) {
        return error;
    }
    if (comet_params_check_channel(comet_text(channel))) {
        return wrong(
            cmd, channel,
            apr_psprintf(cmd->temp_pool, "the name of a channel (%s)",
                         comet_params_check_channel(comet_text(channel))));
    }
    return add_mapping(cmd, MOD_COMET_CLASSIC, url, channel);
}

static const char *set_clock(cmd_parms *cmd, void *dir, const char *url)
{
    const char *error = SERVER_ONLY(cmd);

    return error ? error : add_mapping(cmd, MOD_COMET_CLOCK, url, "");
}

/* --- how it stores ---------------------------------------------------------- */

static const char *set_sync(cmd_parms *cmd, void *dir, const char *value)
{
    const char *error = SERVER_ONLY(cmd);

    if (error) {
        return error;
    }
    if (strcasecmp(value, "full") != 0 && strcasecmp(value, "normal") != 0) {
        return wrong(cmd, value, "full or normal");
    }
    server_of(cmd)->sync_full = strcasecmp(value, "full") == 0;
    return NULL;
}

static const char *set_retain_one(cmd_parms *cmd, const char *value)
{
    mod_comet_server_config_t *config = server_of(cmd);

    if (strncasecmp(value, "count=", 6) == 0) {
        return set_number(cmd, value + 6, 1, APR_INT32_MAX,
                          &config->retain_count);
    }
    if (strncasecmp(value, "age=", 4) == 0) {
        return set_duration(cmd, value + 4, apr_time_from_sec(1),
                            apr_time_from_sec(APR_INT64_C(3153600000)),
                            "a duration of at least 1s, such as age=720h",
                            &config->retain_age);
    }
    return wrong(cmd, value, "count=NUMBER, age=DURATION, both, or all alone");
}

static const char *set_retain(cmd_parms *cmd, void *dir, const char *first,
                              const char *second)
{
    const char *error = SERVER_ONLY(cmd);

    /* what is said here is all: nothing of an outer one is mixed in */
    server_of(cmd)->retain_count = server_of(cmd)->retain_age = 0;
    if (!error && (second || strcasecmp(first, "all") != 0)) {
        error = set_retain_one(cmd, first);
    }
    return error || !second ? error : set_retain_one(cmd, second);
}

static const char *set_search(cmd_parms *cmd, void *dir, int on)
{
    const char *error = SERVER_ONLY(cmd);

    if (!error && on && !comet_store_can_search()) {
        return apr_psprintf(cmd->pool,
                            "%s: \"on\" is not allowed: expected off, since "
                            "SQLite %s here was built without FTS5",
                            cmd->cmd->name, comet_store_version());
    }
    server_of(cmd)->search = on;
    return error;
}

static const char *set_max_subscribers(cmd_parms *cmd, void *dir,
                                       const char *value)
{
    const char *error = SERVER_ONLY(cmd);

    return error ? error
                 : set_number(cmd, value, 1, 10000000,
                              &server_of(cmd)->max_subscribers);
}

static const char *set_max_message_size(cmd_parms *cmd, void *dir,
                                        const char *value)
{
    const char *error = SERVER_ONLY(cmd);

    return error ? error
                 : set_number(cmd, value, 1, COMET_BODY_MAX_BYTES,
                              &server_of(cmd)->max_message_bytes);
}

static const char *set_publish_timeout(cmd_parms *cmd, void *dir,
                                       const char *value)
{
    const char *error = SERVER_ONLY(cmd);

    return error ? error
                 : set_duration(cmd, value, apr_time_from_msec(10),
                                apr_time_from_sec(60),
                                "a duration from 10ms to 60s",
                                &server_of(cmd)->publish_timeout);
}

/* --- per location ------------------------------------------------------------ */

static const char *set_replay(cmd_parms *cmd, void *dir, const char *value)
{
    mod_comet_dir_config_t *config = dir;
    const char *error = NO_DIRECTORY(cmd);

    return error ? error
                 : set_number(cmd, value, 0, COMET_REPLAY_MAX, &config->replay);
}

static const char *set_poll_timeout(cmd_parms *cmd, void *dir,
                                    const char *value)
{
    mod_comet_dir_config_t *config = dir;
    const char *error = NO_DIRECTORY(cmd);

    return error ? error
                 : set_duration(cmd, value, apr_time_from_msec(100),
                                apr_time_from_sec(3600),
                                "a duration from 100ms to 1h",
                                &config->poll_timeout);
}

static const char *set_tick(cmd_parms *cmd, void *dir, const char *value)
{
    mod_comet_dir_config_t *config = dir;
    const char *error = NO_DIRECTORY(cmd);

    return error ? error
                 : set_duration(cmd, value, apr_time_from_msec(100),
                                apr_time_from_sec(10),
                                "a duration from 100ms to 10s", &config->tick);
}

static const char *set_publish(cmd_parms *cmd, void *dir, int on)
{
    ((mod_comet_dir_config_t *)dir)->publish = on;
    return NO_DIRECTORY(cmd);
}

static const char *set_escape(cmd_parms *cmd, void *dir, int on)
{
    ((mod_comet_dir_config_t *)dir)->escape = on;
    return NO_DIRECTORY(cmd);
}

static const char *set_multi(cmd_parms *cmd, void *dir, int on)
{
    ((mod_comet_dir_config_t *)dir)->multi = on;
    return NO_DIRECTORY(cmd);
}

static const char *set_adopts(cmd_parms *cmd, void *dir, int on)
{
    ((mod_comet_dir_config_t *)dir)->adopt = on;
    return NO_DIRECTORY(cmd);
}

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

/* What may decide differently from one request to the next on the same
 * connection: the hub would not know. */
static const char *find_fickle(const ap_directive_t *directive)
{
    static const char *const words[] = { "expr", "env", "session" };
    const char *found = NULL;
    apr_size_t i;

    for (; directive && !found; directive = directive->next) {
        if (directive->first_child) {
            found = find_fickle(directive->first_child);
        }
        else if (strcasecmp(directive->directive, "Require") == 0) {
            const char *word = directive->args;

            word += strncasecmp(word, "not ", 4) == 0 ? 4 : 0;
            for (i = 0; i < sizeof(words) / sizeof(*words); i++) {
                if (strncasecmp(word, words[i], strlen(words[i])) == 0) {
                    found = directive->args;
                }
            }
        }
    }
    return found;
}

static const char *set_fast_poll(cmd_parms *cmd, void *dir, int on)
{
    const ap_directive_t *section = cmd->directive->parent;
    const char *error = NO_DIRECTORY(cmd);
    const char *fickle =
        on && section ? find_fickle(section->first_child) : NULL;

    ((mod_comet_dir_config_t *)dir)->fast_poll = on;
    if (!error && fickle) {
        error = apr_psprintf(cmd->pool,
                             "CometFastPoll: 'Require %s' may decide anew for "
                             "each request, and is asked once a minute then; "
                             "not both in one section",
                             fickle);
    }
    return error;
}

static const char *set_transports(cmd_parms *cmd, void *dir, const char *value)
{
    mod_comet_dir_config_t *config = dir;
    const char *error = NO_DIRECTORY(cmd);
    const comet_transport_t *transport =
        comet_transport_find(comet_text(value));
    apr_int64_t bits;

    if (error) {
        return error;
    }
    if (!transport && strcasecmp(value, "all") != 0) {
        return wrong(cmd, value,
                     apr_pstrcat(cmd->temp_pool, "all, or some of ",
                                 comet_transport_names("and", cmd->temp_pool),
                                 NULL));
    }
    bits =
        transport ? comet_transport_bit(transport) : MOD_COMET_ALL_TRANSPORTS;
    config->transports =
        config->transports == UNSET ? bits : config->transports | bits;
    return NULL;
}

static const char *set_heartbeat(cmd_parms *cmd, void *dir, const char *value)
{
    mod_comet_dir_config_t *config = dir;
    const char *error = NO_DIRECTORY(cmd);

    return error ? error
                 : set_duration(cmd, value, apr_time_from_sec(1),
                                apr_time_from_sec(3600),
                                "a duration from 1s to 1h", &config->heartbeat);
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
    return error ? error
                 : set_duration(cmd, value, apr_time_from_sec(1),
                                apr_time_from_sec(604800),
                                "off, or a duration from 1s to 168h",
                                &config->max_lifetime);
}

/* It is written into the iframe's script: names and dots, nothing else. */
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
        return wrong(cmd, value,
                     "the name of a function of the page, such as "
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
        return wrong(cmd, "", comet_origin_add(origins, ""));
    }
    if (count == 1 && strcasecmp(words[0], "none") == 0) {
        return error;
    }
    for (i = 0; i < count && !error; i++) {
        allowed = comet_origin_add(origins, words[i]);
        error = allowed ? wrong(cmd, words[i], allowed) : NULL;
    }
    return error;
}

/* What is said here is all: nothing of an outer one is mixed in. */
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
        return wrong(cmd, first, allowed);
    }
    allowed =
        second ? mod_comet_limit_rule_set(cmd, rule, second, is_rate) : NULL;
    return allowed ? wrong(cmd, second, allowed) : NULL;
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

static const char *set_limit_channels(cmd_parms *cmd, void *dir,
                                      const char *value)
{
    mod_comet_dir_config_t *config = dir;
    const char *error = NO_DIRECTORY(cmd);

    return error ? error
                 : set_number(cmd, value, 1, 1000, &config->channel_limit);
}

#define IN_SERVER RSRC_CONF
#define IN_LOCATION (RSRC_CONF | ACCESS_CONF)

const command_rec mod_comet_directives[] = {
    AP_INIT_TAKE1("CometStore", set_store, NULL, IN_SERVER,
                  "the database: sqlite:PATH"),
    AP_INIT_TAKE12("CometEndpoint", set_endpoint, NULL, IN_SERVER,
                   "the path of today's endpoint, and a prefix for channels"),
    AP_INIT_TAKE2("CometClassic", set_classic, NULL, IN_SERVER,
                  "the path of the original chat backend, and its channel"),
    AP_INIT_TAKE1("CometClock", set_clock, NULL, IN_SERVER,
                  "the path of the original streaming clock"),
    AP_INIT_TAKE1("CometSync", set_sync, NULL, IN_SERVER,
                  "full (default): a message survives a power cut; normal"),
    AP_INIT_TAKE12("CometRetain", set_retain, NULL, IN_SERVER,
                   "what is kept per channel: count=N age=DURATION, or all"),
    AP_INIT_FLAG("CometSearch", set_search, NULL, IN_SERVER,
                 "whether messages are indexed, for q= (default off)"),
    AP_INIT_TAKE1("CometMaxSubscribers", set_max_subscribers, NULL, IN_SERVER,
                  "the most clients that wait at a time"),
    AP_INIT_TAKE1("CometMaxMessageSize", set_max_message_size, NULL, IN_SERVER,
                  "the largest message, in bytes (default 65536)"),
    AP_INIT_TAKE1("CometPublishTimeout", set_publish_timeout, NULL, IN_SERVER,
                  "how long a publisher waits for the disk (default 2s)"),
    AP_INIT_TAKE1("CometReplay", set_replay, NULL, IN_LOCATION,
                  "messages a client without a cursor gets (default 50)"),
    AP_INIT_TAKE1("CometPollTimeout", set_poll_timeout, NULL, IN_LOCATION,
                  "how long a poll waits for news (default 25s)"),
    AP_INIT_TAKE1("CometTick", set_tick, NULL, IN_LOCATION,
                  "how often the clock ticks (default 1s)"),
    AP_INIT_FLAG("CometPublish", set_publish, NULL, IN_LOCATION,
                 "whether clients may publish (default on)"),
    AP_INIT_FLAG("CometEscape", set_escape, NULL, IN_LOCATION,
                 "whether the classic chat escapes HTML (default on)"),
    AP_INIT_FLAG("CometMulti", set_multi, NULL, IN_LOCATION,
                 "whether one request may read many channels (default off)"),
    AP_INIT_FLAG("CometFastPoll", set_fast_poll, NULL, IN_LOCATION,
                 "'on' lets polls that differ from the last one of their "
                 "connection in nothing but the cursor be answered without a "
                 "request of httpd's"),
    AP_INIT_FLAG("CometAdopt", set_adopts, NULL, IN_LOCATION,
                 "whether event streams over plain HTTP/1.1 may leave httpd's "
                 "connections (default on)"),
    AP_INIT_ITERATE("CometTransports", set_transports, NULL, IN_LOCATION,
                    "how clients may read: all (default), or the names of "
                    "some transports"),
    AP_INIT_TAKE1("CometHeartbeat", set_heartbeat, NULL, IN_LOCATION,
                  "how often a silent stream gives a sign (default 25s)"),
    AP_INIT_TAKE1("CometMaxLifetime", set_max_lifetime, NULL, IN_LOCATION,
                  "how long a stream lasts (default 1h for users), or off"),
    AP_INIT_TAKE1("CometCallback", set_callback, NULL, IN_LOCATION,
                  "what an iframe calls (default comet.receive)"),
    AP_INIT_TAKE_ARGV("CometAllowOrigin", set_allow_origin, NULL, IN_LOCATION,
                      "whose pages may read and publish besides this site's: "
                      "origins, *, or none (default)"),
    AP_INIT_TAKE12("CometLimitSubscribers", set_limit_subscribers, NULL,
                   IN_LOCATION,
                   "clients that wait at a time: address=N user=N, or off "
                   "(default)"),
    AP_INIT_TAKE12("CometLimitPublish", set_limit_publish, NULL, IN_LOCATION,
                   "messages: address=N/s user=N/s, or off (default)"),
    AP_INIT_TAKE1("CometLimitChannels", set_limit_channels, NULL, IN_LOCATION,
                  "channels that one request may name (default 1000)"),
    { .name = NULL }
};

/* --- finding ------------------------------------------------------------------ */

const mod_comet_mapping_t *mod_comet_config_find_mapping(
    const mod_comet_server_config_t *config, const char *path)
{
    const mod_comet_mapping_t *best = NULL;
    int i;

    for (i = 0; i < config->mappings->nelts; i++) {
        const mod_comet_mapping_t *mapping =
            &APR_ARRAY_IDX(config->mappings, i, mod_comet_mapping_t);
        const char *rest = path + mapping->url_length;

        if (strncmp(path, mapping->url, mapping->url_length) == 0
            && (*rest == '\0'
                || (*rest == '/' && mapping->dialect == MOD_COMET_ENDPOINT))
            && (!best || mapping->url_length > best->url_length)) {
            best = mapping;
        }
    }
    return best;
}
