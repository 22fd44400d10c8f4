/* SPDX-License-Identifier: Apache-2.0 */
/* Find out where a database file is, and check that it may be there. */
#include "store/sqlite/place.h"

#include <apr_file_info.h>
#include <apr_strings.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "store/sqlite/alias.h"

#define LINKS_MAX 40 /* the most symbolic links that Linux follows */

const char *comet_place_folder(const char *path, apr_pool_t *p)
{
    const char *slash = strrchr(path, '/');

    return slash == path ? "/"
                         : apr_pstrmemdup(p, path, (apr_size_t)(slash - path));
}

static const char *below(const char *folder, const char *name, apr_pool_t *p)
{
    return apr_pstrcat(p, folder, folder[1] ? "/" : "", name, NULL);
}

/* --- Where it is ---------------------------------------------------------- */

static void set_path(comet_place_t *place, const char *path)
{
    place->name = path;
    place->key = path;
    place->own = path;
}

const char *comet_place_parse(comet_place_t *place, const char *text,
                              const char *root, apr_pool_t *p)
{
    char *path = NULL;
    struct stat info;

    if (apr_filepath_merge(&path, root, text, APR_FILEPATH_TRUENAME, p)
            != APR_SUCCESS
        || !path || path[strlen(path) - 1] == '/'
        || (stat(path, &info) == 0 && !S_ISREG(info.st_mode))) {
        return "sqlite:PATH of a file";
    }
    set_path(place, path);
    place->named = path;
    return NULL;
}

/* @return the path that a symbolic link names; NULL: @a path is not a link */
static const char *follow(const char *path, apr_pool_t *p)
{
    char target[PATH_MAX];
    ssize_t length = readlink(path, target, sizeof(target) - 1);

    if (length <= 0) {
        return NULL;
    }
    target[length] = '\0';
    return target[0] == '/' ? apr_pstrdup(p, target)
                            : below(comet_place_folder(path, p), target, p);
}

/* Resolve the symbolic links of a path, whose file need not exist.
 * @return NULL: its folder cannot be resolved, and *error says why */
static const char *find_real(const char *path, int *error, apr_pool_t *p)
{
    char real[PATH_MAX];
    const char *target;
    int links = 0;

    while (!realpath(path, real)) {
        target = follow(path, p);
        if (!target || ++links > LINKS_MAX) {
            /* (the dot makes this fail for a file) */
            if (!realpath(below(comet_place_folder(path, p), ".", p), real)) {
                *error = errno;
                return NULL;
            }
            return below(apr_pstrdup(p, real), strrchr(path, '/') + 1, p);
        }
        path = target;
    }
    return apr_pstrdup(p, real);
}

/* Make a key that identifies a database.  The key consists of the file's name
 * and of the folder's device and inode, because a folder may be mounted
 * twice. */
static const char *find_key(const char *path, apr_pool_t *p)
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

const char *comet_place_locate(comet_place_t *place, apr_pool_t *p)
{
    const char *named = place->named;
    int error = 0;
    const char *path = find_real(named, &error, p);
    char text[128];

    if (!path && error != EACCES) {
        return apr_psprintf(
            p, "the folder of %s %s%s", named,
            error == ENOENT ? "does not exist" : "cannot be used: ",
            error == ENOENT ? "" : apr_strerror(error, text, sizeof(text)));
    }
    set_path(place, path ? path : named);
    place->key = find_key(place->own, p);
    return NULL;
}

comet_medium_e comet_place_medium(const char *folder, const char **name)
{
    /* the types of file systems, see statfs(2) */
    static const struct {
        apr_uint32_t type;
        comet_medium_e medium;
        const char *name;
    } known[] = {
        { 0x6969, COMET_MEDIUM_NETWORK, "NFS" },
        { 0xff534d42, COMET_MEDIUM_NETWORK, "CIFS" },
        { 0xfe534d42, COMET_MEDIUM_NETWORK, "SMB" },
        { 0x517b, COMET_MEDIUM_NETWORK, "SMB" },
        { 0x01021997, COMET_MEDIUM_NETWORK, "9p" },
        { 0x00c36400, COMET_MEDIUM_NETWORK, "Ceph" },
        { 0x5346414f, COMET_MEDIUM_NETWORK, "AFS" },
        { 0x0bd00bd0, COMET_MEDIUM_NETWORK, "Lustre" },
        { 0x01161970, COMET_MEDIUM_NETWORK, "GFS2" },
        { 0x7461636f, COMET_MEDIUM_NETWORK, "OCFS2" },
        { 0x786f4256, COMET_MEDIUM_NETWORK, "VirtualBox" },
        { 0x01021994, COMET_MEDIUM_MEMORY, "tmpfs" },
        { 0x858458f6, COMET_MEDIUM_MEMORY, "ramfs" },
    };
    struct statfs info;
    apr_size_t i;

    if (statfs(folder, &info) != 0) {
        return COMET_MEDIUM_LOCAL;
    }
    for (i = 0; i < sizeof(known) / sizeof(*known); i++) {
        if ((apr_uint32_t)info.f_type == known[i].type) {
            *name = known[i].name;
            return known[i].medium;
        }
    }
    return COMET_MEDIUM_LOCAL;
}

/* --- Where it must not be ------------------------------------------------- */

static const char *check_published_folders(const char *path,
                                           const comet_site_t *site,
                                           apr_pool_t *p)
{
    const char *folder = comet_site_publishes(site, path, p);

    return folder
               ? apr_psprintf(p,
                              "%s lies below the DocumentRoot or Alias %s: it "
                              "could be downloaded, and reading it breaks "
                              "SQLite's locks; put it elsewhere",
                              path, folder)
               : NULL;
}

static const char *check_config_folders(const char *path, const char *folder,
                                        const apr_array_header_t *configs,
                                        apr_pool_t *p)
{
    int i;

    for (i = 0; i < configs->nelts; i++) {
        const char *config = APR_ARRAY_IDX(configs, i, const char *);

        if (comet_site_is_within(config, folder)) {
            return apr_psprintf(p,
                                "%s lies in %s, which holds httpd's "
                                "configuration (%s): httpd's user must not be "
                                "able to write there; name an absolute path "
                                "in a folder of its own",
                                path, folder, config);
        }
    }
    return NULL;
}

const char *comet_place_check(const comet_place_t *place,
                              const comet_site_t *site, apr_pool_t *p)
{
    const char *path = place->own;
    const char *folder = comet_place_folder(path, p);
    const char *refusal =
        check_config_folders(path, folder, site->config_folders, p);
    comet_alias_e alias = comet_alias_check(path, 1);
    struct stat info;

    if (refusal) {
        return refusal;
    }
    if (site->jail && !comet_site_is_within(path, site->jail)) {
        return apr_psprintf(p,
                            "%s lies outside %s, which httpd's children cannot "
                            "leave (ChrootDir): name a file below it, such as "
                            "%s/comet/comet.db",
                            path, site->jail, site->jail);
    }
    if (stat(folder, &info) == 0 && (info.st_mode & S_IWOTH)) {
        return apr_psprintf(p,
                            "%s lies in %s, which every local user may write: "
                            "anybody could replace the database; name a folder "
                            "of its own",
                            path, folder);
    }
    if (alias == COMET_ALIAS_MOUNTED || alias == COMET_ALIAS_LOG_MOUNTED) {
        return apr_psprintf(p, "%s %s", path, comet_alias_text(alias));
    }
    return check_published_folders(path, site, p);
}

void comet_place_confine(comet_place_t *place, const char *jail)
{
    const char *path = place->own;

    /* the symbolic links of ->named may lead through folders outside */
    place->own = path + (jail[1] ? strlen(jail) : 0);
    place->named = place->own;
}
