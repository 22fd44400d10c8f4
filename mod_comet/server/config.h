/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file server/config.h
 * The directives: what an administrator said, checked.
 */
#ifndef MOD_COMET_CONFIG_H
#define MOD_COMET_CONFIG_H

#include <apr_tables.h>

#include "store/store.h"
#include "server/mod_comet.h"

typedef enum {
    MOD_COMET_ENDPOINT,
    MOD_COMET_CLASSIC,
    MOD_COMET_CLOCK
} mod_comet_dialect_e;

/** A piece of the URL space that is ours. */
typedef struct mod_comet_mapping_t {
    mod_comet_dialect_e dialect;
    const char *directive; /* that made it, for messages */
    const char *url; /* "/…" without a slash at the end */
    apr_size_t url_length;
    /** CLASSIC: the channel.  ENDPOINT: "" or a prefix with its slash. */
    const char *channel;
} mod_comet_mapping_t;

/*
 * Every number a directive sets: X(name, default).  The list makes the
 * structs' fields, their creation and their merge, so none can be forgotten.
 * Durations are apr_interval_time_t, unset is -1.
 */
#define MOD_COMET_SERVER_FIELDS(X) \
    X(sync_full, 1) \
    X(retain_count, 0) \
    X(retain_age, 0) \
    X(search, 0) \
    X(max_subscribers, 0) \
    X(max_message_bytes, 65536) \
    X(publish_timeout, apr_time_from_sec(2))

#define MOD_COMET_DIR_FIELDS(X) \
    X(replay, 50) \
    X(poll_timeout, apr_time_from_sec(25)) \
    X(tick, apr_time_from_sec(1)) \
    X(publish, 1) \
    X(escape, 1) \
    X(multi, 0) \
    X(adopt, 1) \
    X(fast_poll, 0) \
    X(transports, MOD_COMET_ALL_TRANSPORTS) \
    X(heartbeat, apr_time_from_sec(25)) \
    X(max_lifetime, MOD_COMET_UNSET) \
    X(channel_limit, 1000)

/* CometTransports is a set of comet_transport_bit(). */
#define MOD_COMET_ALL_TRANSPORTS APR_INT64_MAX

/* The same for what is no number: X(type, name, default); unset is NULL. */
#define MOD_COMET_DIR_POINTERS(X) \
    X(const char *, callback, "comet.receive") \
    X(const apr_array_header_t *, origins, NULL) \
    X(const struct mod_comet_limit_rule_t *, subscriber_limit, NULL) \
    X(const struct mod_comet_limit_rule_t *, publish_limit, NULL)

#define MOD_COMET_UNSET (-1)
#define MOD_COMET_OR_DEFAULT(value, fallback) \
    ((value) != MOD_COMET_UNSET ? (value) : (apr_int64_t)(fallback))

#define MOD_COMET_FIELD(name, fallback) apr_int64_t name;
#define MOD_COMET_POINTER(type, name, fallback) type name;

typedef struct mod_comet_server_config_t {
    apr_array_header_t *mappings; /* mod_comet_mapping_t */
    const char *store_path; /* absolute; NULL: none */
    MOD_COMET_SERVER_FIELDS(MOD_COMET_FIELD)
    /** Which of mod_comet_stores_find()'s it is; set in post_config. */
    int store;
} mod_comet_server_config_t;

typedef struct mod_comet_dir_config_t {
    MOD_COMET_DIR_FIELDS(MOD_COMET_FIELD)
    MOD_COMET_DIR_POINTERS(MOD_COMET_POINTER)
} mod_comet_dir_config_t;

#undef MOD_COMET_FIELD
#undef MOD_COMET_POINTER

/** A server's configuration.  Any thread. */
mod_comet_server_config_t *mod_comet_config_server(const server_rec *s);

#define MOD_COMET_GETTER(name, fallback) \
    apr_int64_t mod_comet_config_##name(const request_rec *r);
/** What holds for a request, defaults applied: mod_comet_config_NAME(r).
 * Any thread that owns the request. */
MOD_COMET_SERVER_FIELDS(MOD_COMET_GETTER)
MOD_COMET_DIR_FIELDS(MOD_COMET_GETTER)
#undef MOD_COMET_GETTER
#define MOD_COMET_GETTER(type, name, fallback) \
    type mod_comet_config_##name(const request_rec *r);
MOD_COMET_DIR_POINTERS(MOD_COMET_GETTER)
#undef MOD_COMET_GETTER

/** The directives, and the four functions of the module's record. */
extern const command_rec mod_comet_directives[];
void *mod_comet_config_create_server(apr_pool_t *p, server_rec *s);
void *mod_comet_config_merge_server(apr_pool_t *p, void *base, void *add);
void *mod_comet_config_create_dir(apr_pool_t *p, char *dir);
void *mod_comet_config_merge_dir(apr_pool_t *p, void *base, void *add);

/**
 * What the last directive of a name says, outside of sections: for those of
 * others that cannot be asked for.  In the parent, while it is configured.
 * @return NULL: there is none
 */
const char *mod_comet_config_last_directive(const char *name);

/** The mapping a path belongs to; NULL: not ours.  Any thread. */
const mod_comet_mapping_t *mod_comet_config_find_mapping(
    const mod_comet_server_config_t *config, const char *path);

#endif /* MOD_COMET_CONFIG_H */
