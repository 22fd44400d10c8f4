/* SPDX-License-Identifier: Apache-2.0 */
/* Which stores all servers name, and whether they can be used. */
#include "hooks/stores.h"

#include <apr_hash.h>
#include <apr_strings.h>
#include <errno.h>
#include <limits.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "hooks/folder.h"

static int refuse(const server_rec *s, const char *message)
{
    ap_log_error(APLOG_MARK, APLOG_EMERG, 0, s, "%s", message);
    return HTTP_INTERNAL_SERVER_ERROR;
}

/* Tell one database from another by its folder, which may be mounted at two
 * places, and its name. */
static const char *identify(const char *path, apr_pool_t *p)
{
    const char *name = strrchr(path, '/');
    struct stat info;

    if (stat(apr_pstrmemdup(p, path, (apr_size_t)(name - path) + 1), &info)
        != 0) {
        return path;
    }
    return apr_psprintf(p, "%" APR_UINT64_T_FMT ":%" APR_UINT64_T_FMT "%s",
                        (apr_uint64_t)info.st_dev, (apr_uint64_t)info.st_ino,
                        name);
}

static comet_store_config_t make(const server_rec *s, const char *path)
{
    return (comet_store_config_t){
        .path = path,
        .sync_full = mod_comet_config_sync_full(s) != 0,
        .busy_timeout = mod_comet_config_publish_timeout(s),
        .retain_count = mod_comet_config_retain_count(s),
        .retain_age = mod_comet_config_retain_age(s),
        .search = mod_comet_config_search(s) != 0,
    };
}

static int is_kept_alike(const comet_store_config_t *a,
                         const comet_store_config_t *b)
{
    return a->sync_full == b->sync_full && a->retain_count == b->retain_count
           && a->retain_age == b->retain_age && a->search == b->search;
}

/*
 * @param known  the stores found so far, by identify(): the index + 1
 * @param path   its store's real path
 */
static int add_server(apr_array_header_t *stores, apr_hash_t *known,
                      server_rec *s, const char *path)
{
    mod_comet_server_config_t *config = mod_comet_config_server(s);
    comet_store_config_t wanted = make(s, path);
    const char *identity = identify(path, stores->pool);

    config->store =
        (int)(intptr_t)apr_hash_get(known, identity, APR_HASH_KEY_STRING) - 1;
    if (config->store < 0) {
        config->store = stores->nelts;
        apr_hash_set(known, identity, APR_HASH_KEY_STRING,
                     (void *)(intptr_t)(config->store + 1));
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

static const char *explain(int error, apr_pool_t *p)
{
    char text[128];

    return error == ENOENT
               ? "does not exist"
               : apr_pstrcat(p, "cannot be used: ",
                             apr_strerror(error, text, sizeof(text)), NULL);
}

int mod_comet_stores_find(apr_array_header_t *stores, server_rec *main)
{
    apr_pool_t *p = stores->pool;
    apr_hash_t *known = apr_hash_make(p);
    const char *named = NULL, *path = NULL;
    server_rec *s;
    int error = 0;
    int rv = OK;

    for (s = main; s && rv == OK; s = s->next) {
        const mod_comet_server_config_t *config = mod_comet_config_server(s);
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
        if (named != config->store_path) { /* the previous host may have named
                                            * the same path */
            named = config->store_path;
            path = mod_comet_folder_real_path(named, &error, p);
        }
        if (!path && error == EACCES) { /* mod_comet_folder_warn() says so */
            path = named;
        }
        rv = path ? add_server(stores, known, s, path)
                  : refuse(s, apr_psprintf(p, "CometStore: the folder of %s %s",
                                           named, explain(error, p)));
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

    if (!root) {
        return OK;
    }
    if (!realpath(root, real)) {
        if (errno != EACCES) {
            return OK;
        }
        apr_cpystrn(real, root, sizeof(real)); /* compare the name as it is
                                                * written */
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

/* Check what no single directive can know of the stores' folders. */
static int check_folders(const server_rec *s, const apr_array_header_t *stores)
{
    apr_pool_t *p = stores->pool;
    const apr_array_header_t *configs = mod_comet_folder_of_config(p);
    int i;

    for (i = 0; i < stores->nelts; i++) {
        const char *path =
            APR_ARRAY_IDX(stores, i, comet_store_config_t *)->path;
        const char *refusal = mod_comet_folder_refusal(path, configs, p);

        if (refusal) {
            return refuse(s, refusal);
        }
        /* at a start the log is not open yet: post_config warns then */
        if (ap_state_query(AP_SQ_RUN_MODE) == AP_SQ_RM_CONFIG_TEST) {
            mod_comet_folder_warn(s, path, p);
        }
    }
    return OK;
}

/*
 * Modules that serve requests in processes forked from httpd's children, where
 * neither the threads nor the database handles of a child exist.
 */
static int check_modules(const server_rec *main, apr_pool_t *p)
{
    static const char *const forking[] = { "mpm_itk.c", NULL };
    int i;

    for (i = 0; forking[i]; i++) {
        if (ap_find_linked_module(forking[i])) {
            return refuse(
                main,
                apr_psprintf(p,
                             "mod_comet cannot be used together with %s, which "
                             "serves each connection in a process of its own: "
                             "comet's threads and database do not exist there; "
                             "unload that module, or serve comet's URLs from "
                             "a second httpd without it",
                             forking[i]));
        }
    }
    return OK;
}

int mod_comet_stores_check_config(apr_pool_t *pconf, apr_pool_t *plog,
                                  apr_pool_t *ptemp, server_rec *main)
{
    apr_array_header_t *stores =
        apr_array_make(ptemp, 1, sizeof(comet_store_config_t *));
    const char *checked = NULL;
    int rv = mod_comet_stores_find(stores, main);
    server_rec *s;

    if (rv == OK && stores->nelts) {
        rv = check_modules(main, ptemp);
    }
    if (rv == OK && stores->nelts) {
        rv = check_folders(main, stores);
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
