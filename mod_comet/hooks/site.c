/* SPDX-License-Identifier: Apache-2.0 */
/* What the stores' engines must know about httpd. */
#include "hooks/site.h"

#include <apr_strings.h>
#include <apr_user.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unixd.h>

/* Get the folder of an absolute path, without a trailing slash. */
static const char *folder_of(const char *path, apr_pool_t *p)
{
    const char *slash = strrchr(path, '/');

    return slash == path ? "/"
                         : apr_pstrmemdup(p, path, (apr_size_t)(slash - path));
}

static void add_folder(apr_array_header_t *folders, const char *file)
{
    const char *folder = folder_of(file, folders->pool);
    int i;

    for (i = 0; i < folders->nelts; i++) {
        if (strcmp(APR_ARRAY_IDX(folders, i, const char *), folder) == 0) {
            return;
        }
    }
    APR_ARRAY_PUSH(folders, const char *) = folder;
}

/* @param last  the file of the previous directive, which is usually the same */
static void add_files(apr_array_header_t *folders, const ap_directive_t *node,
                      const char **last)
{
    char real[PATH_MAX];

    for (; node; node = node->next) {
        if (node->filename && node->filename != *last
            && node->filename[0] == '/') {
            *last = node->filename;
            add_folder(folders, node->filename);
            if (realpath(node->filename, real)) {
                add_folder(folders, real);
            }
        }
        add_files(folders, node->first_child, last);
    }
}

static apr_array_header_t *find_config_folders(apr_pool_t *p)
{
    apr_array_header_t *folders = apr_array_make(p, 8, sizeof(const char *));
    const char *last = NULL;

    add_files(folders, ap_conftree, &last);
    return folders;
}

/*
 * Add the folders that Alias and ScriptAlias name.  The folder is the last
 * argument, also within <Location>.
 */
static void add_aliases(apr_array_header_t *roots, const ap_directive_t *node)
{
    for (; node; node = node->next) {
        if (strcasecmp(node->directive, "Alias") == 0
            || strcasecmp(node->directive, "ScriptAlias") == 0) {
            const char *args = node->args, *folder = NULL;

            while (*args) {
                folder = ap_getword_conf(roots->pool, &args);
            }
            if (folder && folder[0] == '/') {
                APR_ARRAY_PUSH(roots, const char *) = folder;
            }
        }
        add_aliases(roots, node->first_child);
    }
}

static apr_array_header_t *find_published_folders(const server_rec *main,
                                                  apr_pool_t *p)
{
    apr_array_header_t *roots = apr_array_make(p, 8, sizeof(const char *));
    const char *last = NULL;
    const server_rec *s;

    for (s = main; s; s = s->next) {
        const core_server_config *core =
            ap_get_core_module_config(s->module_config);
        const char *root = core->ap_document_root;

        if (root && root != last) { /* most hosts share one */
            last = root;
            APR_ARRAY_PUSH(roots, const char *) = root;
        }
    }
    add_aliases(roots, ap_conftree);
    return roots;
}

/* @return the real path of ChrootDir; NULL: there is none */
static const char *find_jail(apr_pool_t *p)
{
    const char *jail = ap_unixd_config.chroot_dir;
    char real[PATH_MAX];

    return jail && realpath(jail, real) ? apr_pstrdup(p, real) : jail;
}

/* Add the folders that the children of a jail see under the same names. */
static void add_folders_of_jail(apr_array_header_t *roots, const char *jail)
{
    int i, count = roots->nelts;

    for (i = 0; i < count; i++) {
        APR_ARRAY_PUSH(roots, const char *) = apr_pstrcat(
            roots->pool, jail, APR_ARRAY_IDX(roots, i, const char *), NULL);
    }
}

/* Whether the children run as the user of this process, since only root can give
 * them another.  A configuration that names a User is meant for root, so an
 * ordinary user who only checks it is not the children's user. */
static int is_run_by_its_user(void)
{
    return geteuid() != 0
           && (ap_unixd_config.user_id == (uid_t)-1
               || ap_state_query(AP_SQ_RUN_MODE) != AP_SQ_RM_CONFIG_TEST);
}

static void set_own_user(comet_site_t *site, apr_pool_t *p)
{
    char *name;

    site->uid = geteuid();
    site->gid = getegid();
    site->user = apr_uid_name_get(&name, site->uid, p) == APR_SUCCESS
                     ? name
                     : apr_psprintf(p, "#%lu", (unsigned long)site->uid);
}

comet_site_t mod_comet_site(const server_rec *main, apr_pool_t *p)
{
    const char *jail = find_jail(p);
    apr_array_header_t *roots = find_published_folders(main, p);
    comet_site_t site = {
        .jail = jail,
        .user = ap_unixd_config.user_name,
        .uid = ap_unixd_config.user_id,
        .gid = ap_unixd_config.group_id,
        .config_folders = find_config_folders(p),
        .published_folders = roots,
    };

    if (jail) {
        add_folders_of_jail(roots, jail);
    }
    if (is_run_by_its_user()) {
        set_own_user(&site, p);
    }
    return site;
}
