/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file server/config.h
 * The configuration that the directives make: checked values with defaults.
 */
#ifndef MOD_COMET_CONFIG_H
#define MOD_COMET_CONFIG_H

#include <apr_tables.h>

#include "store/store.h"
#include "server/mod_comet.h"

/** A part of the URL space that this module serves. */
typedef struct mod_comet_mapping_t {
    const struct mod_comet_dialect_t *dialect; /* see request/dialect.h */
    const char *directive; /* the directive's name, for messages */
    const char *url; /* "/…" without a slash at the end */
    apr_size_t url_length;
    const char *channel; /* the mapping's channel; a prefix of channels; or
                          * "" */
    int optional; /* the mapping can be left out, so that httpd starts without
                   * it */
    const ap_directive_t *line; /* the line that maps the URL; parent only */
} mod_comet_mapping_t;

#define MOD_COMET_UNSET (-1)
#define MOD_COMET_on 1
#define MOD_COMET_off 0

/*
 * tables/directives.def generates the fields of the two structs, and the code
 * that creates, merges and reads them, so that none can be forgotten.  A number
 * is an apr_int64_t, and a duration is in microseconds.  MOD_COMET_UNSET means
 * that a value is not set.
 */
typedef struct mod_comet_server_config_t {
    apr_array_header_t *mappings; /* of mod_comet_mapping_t */
    comet_place_t place; /* as CometStore names it; place.engine is NULL if no
                          * store is set */
    /** The index of the server's store among those of mod_comet_stores_find(),
     * which sets it; MOD_COMET_UNSET if the server maps no URL, or if all its
     * mappings are left out. */
    int store;
    const char *omitted; /* why the server's mappings are left out, for a
                          * warning; NULL: no warning is needed.  Parent only */
    int has_rules; /* whether request/shortcut.c found rules that forbid its
                    * shortcut; set in post_config */
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

/** Whether a server maps URLs and serves them.  Any thread, after
 * mod_comet_stores_find(). */
int mod_comet_config_serves(const mod_comet_server_config_t *config);

/*
 * The value of a field for a server, mod_comet_config_FIELD(s), or for a
 * request, mod_comet_config_FIELD(r); the default if no value is set.  Any
 * thread that owns the request.
 */
#define SERVER_VALUE(field, fallback) \
    apr_int64_t mod_comet_config_##field(const server_rec *s);
#define LOCATION_VALUE(field, fallback) \
    apr_int64_t mod_comet_config_##field(const request_rec *r);
#define LOCATION_POINTER(type, field, fallback) \
    type mod_comet_config_##field(const request_rec *r);
#include "tables/directives.def"

/** The four functions of the module record (module AP_MODULE_DECLARE_DATA). */
void *mod_comet_config_create_server(apr_pool_t *p, server_rec *s);
void *mod_comet_config_merge_server(apr_pool_t *p, void *base, void *add);
void *mod_comet_config_create_dir(apr_pool_t *p, char *dir);
void *mod_comet_config_merge_dir(apr_pool_t *p, void *base, void *add);

/**
 * The arguments of the last directive of this name that is outside sections.
 * Use this for directives of other modules, which have no getter.  Called in
 * the parent while httpd reads its configuration.
 * @return NULL: there is no such directive
 */
const char *mod_comet_config_last_directive(const char *name);

#endif /* MOD_COMET_CONFIG_H */
