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

/** A piece of the URL space that is ours. */
typedef struct mod_comet_mapping_t {
    const struct mod_comet_dialect_t *dialect; /* see request/dialect.h */
    const char *directive; /* that made it, for messages */
    const char *url; /* "/…" without a slash at the end */
    apr_size_t url_length;
    const char *channel; /* its channel, or a prefix of channels, or "" */
} mod_comet_mapping_t;

#define MOD_COMET_UNSET (-1)
#define MOD_COMET_on 1
#define MOD_COMET_off 0

/* CometTransports is a set of comet_transport_bit(). */
#define MOD_COMET_ALL_TRANSPORTS APR_INT64_MAX

/*
 * The fields of the two structs are those of tables/directives.def, as are
 * their creation, merge and getters: none can be forgotten.  A number is an
 * apr_int64_t (a duration: microseconds) and MOD_COMET_UNSET until it is set.
 */
typedef struct mod_comet_server_config_t {
    apr_array_header_t *mappings; /* mod_comet_mapping_t */
    const char *store_path; /* absolute; NULL: none */
    /** Which of mod_comet_stores_find()'s it is; set in post_config. */
    int store;
#define SERVER_VALUE(field, fallback) apr_int64_t field;
#include "tables/directives.def"
} mod_comet_server_config_t;

typedef struct mod_comet_dir_config_t {
#define LOCATION_VALUE(field, fallback) apr_int64_t field;
#define LOCATION_POINTER(type, field, fallback) type field;
#include "tables/directives.def"
} mod_comet_dir_config_t;

/** A server's configuration.  Any thread. */
mod_comet_server_config_t *mod_comet_config_server(const server_rec *s);

/*
 * What holds for a server, and what holds for a request; defaults are applied:
 * mod_comet_config_FIELD(s) and mod_comet_config_FIELD(r).  Any thread that
 * owns the request.
 */
#define SERVER_VALUE(field, fallback) \
    apr_int64_t mod_comet_config_##field(const server_rec *s);
#define LOCATION_VALUE(field, fallback) \
    apr_int64_t mod_comet_config_##field(const request_rec *r);
#define LOCATION_POINTER(type, field, fallback) \
    type mod_comet_config_##field(const request_rec *r);
#include "tables/directives.def"

/** The four functions of the module's record. */
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

#endif /* MOD_COMET_CONFIG_H */
