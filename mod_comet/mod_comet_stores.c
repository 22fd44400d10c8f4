/* SPDX-License-Identifier: Apache-2.0 */
/* Which stores the servers name together, and whether they can be. */
#include "mod_comet_stores.h"

#include <apr_strings.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/stat.h>

/* The real path of a database: its folder's, since the file may be made
 * later; NULL when there is no such folder. */
static const char *real_path(const char *path, apr_pool_t *p)
{
    const char *name = strrchr(path, '/') + 1;
    char folder[PATH_MAX];

    if (realpath(path, folder)) {
        return apr_pstrdup(p, folder);
    }
    if (!realpath(apr_pstrmemdup(p, path, (apr_size_t)(name - path)), folder)) {
        return NULL;
    }
    return apr_pstrcat(p, folder, strcmp(folder, "/") == 0 ? "" : "/", name,
                       NULL);
}

static int refuse(const server_rec *s, const char *message)
{
    ap_log_error(APLOG_MARK, APLOG_EMERG, 0, s, "%s", message);
    return HTTP_INTERNAL_SERVER_ERROR;
}

static int find_by_path(const apr_array_header_t *stores, const char *path)
{
    int i;

    for (i = 0; i < stores->nelts; i++) {
        if (strcmp(APR_ARRAY_IDX(stores, i, comet_store_config_t *)->path, path)
            == 0) {
            return i;
        }
    }
    return -1;
}

static comet_store_config_t make(const mod_comet_server_config_t *config,
                                 const char *path)
{
    return (comet_store_config_t){
        .path = path,
        .sync_full = MOD_COMET_OR_DEFAULT(config->sync_full, 1) != 0,
        .busy_timeout =
            MOD_COMET_OR_DEFAULT(config->publish_timeout, apr_time_from_sec(2)),
        .retain_count = MOD_COMET_OR_DEFAULT(config->retain_count, 0),
        .retain_age = MOD_COMET_OR_DEFAULT(config->retain_age, 0),
        .search = MOD_COMET_OR_DEFAULT(config->search, 0) != 0,
    };
}

static int is_kept_alike(const comet_store_config_t *a,
                         const comet_store_config_t *b)
{
    return a->sync_full == b->sync_full && a->retain_count == b->retain_count
           && a->retain_age == b->retain_age && a->search == b->search;
}

/* @param path  its store's real path */
static int add_server(apr_array_header_t *stores, server_rec *s,
                      const char *path)
{
    mod_comet_server_config_t *config = mod_comet_server_config(s);
    comet_store_config_t wanted = make(config, path);

    config->store = find_by_path(stores, path);
    if (config->store < 0) {
        config->store = stores->nelts;
        APR_ARRAY_PUSH(stores, comet_store_config_t *) =
            apr_pmemdup(stores->pool, &wanted, sizeof(wanted));
        return OK;
    }
    if (!is_kept_alike(
            APR_ARRAY_IDX(stores, config->store, comet_store_config_t *),
            &wanted)) {
        return refuse(s, apr_psprintf(stores->pool,
                                      "CometStore: %s is used by two servers "
                                      "with different CometSync, "
                                      "CometRetain or CometSearch",
                                      path));
    }
    return OK;
}

int mod_comet_stores_find(apr_array_header_t *stores, server_rec *main)
{
    apr_pool_t *p = stores->pool;
    const char *named = NULL, *path = NULL;
    server_rec *s;
    int rv = OK;

    for (s = main; s && rv == OK; s = s->next) {
        const mod_comet_server_config_t *config = mod_comet_server_config(s);
        const mod_comet_mapping_t *mapping =
            (mod_comet_mapping_t *)config->mappings->elts;

        if (!config->mappings->nelts) {
            continue;
        }
        if (!config->store_path) {
            return refuse(s, apr_psprintf(p,
                                          "%s %s: no CometStore is set for "
                                          "this server; add CometStore "
                                          "sqlite:PATH",
                                          mapping->directive, mapping->url));
        }
        if (named != config->store_path) { /* a thousand hosts inherit one */
            named = config->store_path;
            path = real_path(named, p);
        }
        rv = path ? add_server(stores, s, path)
                  : refuse(s, apr_psprintf(p,
                                           "CometStore: the folder of %s does "
                                           "not exist",
                                           named));
    }
    return rv;
}

static const char *document_root(const server_rec *s)
{
    const core_server_config *core =
        ap_get_core_module_config(s->module_config);

    return core->ap_document_root;
}

static int check_root(const server_rec *s, const char *root,
                      const apr_array_header_t *stores)
{
    char real[PATH_MAX];
    apr_size_t length;
    int i;

    if (!root || !realpath(root, real)) {
        return OK;
    }
    length = strlen(real);
    for (i = 0; i < stores->nelts; i++) {
        const char *path =
            APR_ARRAY_IDX(stores, i, comet_store_config_t *)->path;

        if (strncmp(path, real, length) == 0
            && (length == 1 || path[length] == '/')) {
            return refuse(s, apr_psprintf(stores->pool,
                                          "CometStore: %s lies below the "
                                          "DocumentRoot %s: it could be "
                                          "downloaded, and reading it breaks "
                                          "SQLite's locks; put it elsewhere",
                                          path, real));
        }
    }
    return OK;
}

void mod_comet_stores_check_folder(const server_rec *s, const char *path,
                                   apr_pool_t *p)
{
    const char *folder =
        apr_pstrmemdup(p, path, (apr_size_t)(strrchr(path, '/') - path) + 1);
    struct stat info;

    if (stat(folder, &info) == 0 && (info.st_mode & (S_IWGRP | S_IWOTH))
        && !(info.st_mode & S_ISGID)) {
        ap_log_error(APLOG_MARK, APLOG_WARNING, 0, s,
                     "CometStore: %s may be written by others and has no "
                     "setgid bit: the files that another user's program makes "
                     "beside the database may shut httpd out; try: "
                     "chmod g+s '%s'",
                     folder, folder);
    }
}

int mod_comet_check_config(apr_pool_t *pconf, apr_pool_t *plog,
                           apr_pool_t *ptemp, server_rec *main)
{
    apr_array_header_t *stores =
        apr_array_make(ptemp, 1, sizeof(comet_store_config_t *));
    const char *checked = NULL;
    int rv = mod_comet_stores_find(stores, main);
    server_rec *s;
    int i;

    /* at a start the log is not open yet: post_config does it */
    for (i = 0; i < stores->nelts && rv == OK
                && ap_state_query(AP_SQ_RUN_MODE) == AP_SQ_RM_CONFIG_TEST;
         i++) {
        mod_comet_stores_check_folder(
            main, APR_ARRAY_IDX(stores, i, comet_store_config_t *)->path,
            ptemp);
    }
    for (s = main; s && rv == OK && stores->nelts; s = s->next) {
        const char *root = document_root(s);

        if (root != checked) {
            checked = root;
            rv = check_root(s, root, stores);
        }
    }
    return rv;
}
