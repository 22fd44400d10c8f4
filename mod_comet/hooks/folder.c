/* SPDX-License-Identifier: Apache-2.0 */
/* Whether a store may lie where its configuration says, and what to advise. */
#include "hooks/folder.h"

#include <apr_strings.h>
#include <dirent.h>
#include <errno.h>
#include <grp.h>
#include <limits.h>
#include <pwd.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>
#include <unixd.h>

#include "store/place.h"

#define LINKS_MAX 40 /* the most that Linux follows */

/* The rights of a class of users, as in the last digit of a mode. */
#define MAY_ENTER 1
#define MAY_CHANGE 3
#define MAY_READ_WRITE 6

/* The folder of an absolute path, without the slash at its end. */
static const char *folder_of(const char *path, apr_pool_t *p)
{
    const char *slash = strrchr(path, '/');

    return slash == path ? "/"
                         : apr_pstrmemdup(p, path, (apr_size_t)(slash - path));
}

static const char *below(const char *folder, const char *name, apr_pool_t *p)
{
    return apr_pstrcat(p, folder, folder[1] ? "/" : "", name, NULL);
}

static int is_same_or_below(const char *path, const char *folder)
{
    apr_size_t length = folder[1] ? strlen(folder) : 0;

    return strncmp(path, folder, length) == 0
           && (path[length] == '/' || path[length] == '\0');
}

/* --- Where it is
 * ------------------------------------------------------------- */

/* @return the path that a symbolic link names; NULL: it is no link */
static const char *follow(const char *path, apr_pool_t *p)
{
    char target[PATH_MAX];
    ssize_t length = readlink(path, target, sizeof(target) - 1);

    if (length <= 0) {
        return NULL;
    }
    target[length] = '\0';
    return target[0] == '/' ? apr_pstrdup(p, target)
                            : below(folder_of(path, p), target, p);
}

const char *mod_comet_folder_real_path(const char *path, int *error,
                                       apr_pool_t *p)
{
    char real[PATH_MAX];
    const char *target;
    int links = 0;

    while (!realpath(path, real)) {
        target = follow(path, p);
        if (!target || ++links > LINKS_MAX) {
            if (!realpath(folder_of(path, p), real)) {
                *error = errno;
                return NULL;
            }
            return below(apr_pstrdup(p, real), strrchr(path, '/') + 1, p);
        }
        path = target;
    }
    return apr_pstrdup(p, real);
}

/* --- Where it must not be
 * ------------------------------------------------------ */

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

/* @param last  the file of the previous directive, which is mostly the same */
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

apr_array_header_t *mod_comet_folder_of_config(apr_pool_t *p)
{
    apr_array_header_t *folders = apr_array_make(p, 8, sizeof(const char *));
    const char *last = NULL;

    add_files(folders, ap_conftree, &last);
    return folders;
}

const char *mod_comet_folder_refusal(const char *path,
                                     const apr_array_header_t *configs,
                                     apr_pool_t *p)
{
    const char *folder = folder_of(path, p);
    struct stat info;
    int i;

    for (i = 0; i < configs->nelts; i++) {
        const char *config = APR_ARRAY_IDX(configs, i, const char *);

        if (is_same_or_below(config, folder)) {
            return apr_psprintf(p,
                                "CometStore: %s lies in %s, which holds "
                                "httpd's configuration (%s): httpd's user "
                                "must not be able to write there; name an "
                                "absolute path in a folder of its own",
                                path, folder, config);
        }
    }
    if (stat(folder, &info) == 0 && (info.st_mode & S_IWOTH)) {
        return apr_psprintf(p,
                            "CometStore: %s lies in %s, which every local "
                            "user may write: anybody could replace the "
                            "database; name a folder of its own",
                            path, folder);
    }
    if (comet_place_check(path) == COMET_PLACE_MOUNTED) {
        return apr_psprintf(p, "CometStore: %s %s", path,
                            comet_place_text(COMET_PLACE_MOUNTED));
    }
    return NULL;
}

/* --- What to advise
 * ------------------------------------------------------------ */

static int ends_with(const char *name, const char *suffix)
{
    apr_size_t length = strlen(name), tail = strlen(suffix);

    return length > tail && strcmp(name + length - tail, suffix) == 0;
}

static int is_database(const char *name)
{
    static const char *const suffixes[] = { ".db",  ".sqlite", ".sqlite3",
                                            "-wal", "-shm",    "-journal",
                                            NULL };
    int i;

    for (i = 0; suffixes[i] && !ends_with(name, suffixes[i]); i++) {
    }
    return suffixes[i] != NULL;
}

/* Whether a folder is the system's, by its name: some of them are empty. */
static int is_of_system(const char *folder)
{
    static const char *const tops[] = { "/bin",  "/boot",  "/dev",   "/etc",
                                        "/lib",  "/lib32", "/lib64", "/proc",
                                        "/sbin", "/sys",   "/usr",   NULL };
    const char *name = strchr(folder + 1, '/');
    int i;

    if (!name) {
        return 1; /* the root, or a folder right below it */
    }
    for (i = 0; tops[i]; i++) {
        if (is_same_or_below(folder, tops[i])) {
            return 1;
        }
    }
    return is_same_or_below(folder, "/var") && !strchr(name + 1, '/');
}

/* Whether a folder holds databases and nothing else. */
static int is_own_folder(const char *folder, const char *database)
{
    const struct dirent *entry;
    struct stat info;
    DIR *list;
    int own = !is_of_system(folder) && stat(folder, &info) == 0
              && !(info.st_mode & (S_ISVTX | S_IWOTH));

    list = own ? opendir(folder) : NULL;
    own = list != NULL;
    while (own && (entry = readdir(list)) != NULL) {
        const char *name = entry->d_name;

        own = strcmp(name, ".") == 0 || strcmp(name, "..") == 0
              || strcmp(name, database) == 0 || is_database(name);
    }
    if (list) {
        closedir(list);
    }
    return own;
}

/*
 * Write the end of a warning: the command that helps, if it can do no harm;
 * else what to change.
 * @param command  that would help
 * @param path     the database
 * @param subject  the path that the command changes
 */
static const char *advise(const char *command, const char *subject,
                          const char *path, apr_pool_t *p)
{
    if (!is_own_folder(folder_of(path, p), strrchr(path, '/') + 1)
        || strpbrk(subject, "'\n")) {
        return "give the database a folder of its own, as the manual shows "
               "(CometStore)";
    }
    return apr_psprintf(p, "try: %s '%s'", command, subject);
}

/* --- Rights
 * -------------------------------------------------------------------- */

/** The user that the children become. */
typedef struct child_t {
    const char *name;
    uid_t uid;
    gid_t *gids;
    int gid_count;
} child_t;

/* Include the groups of /etc/group, as httpd does by initgroups(). */
static child_t find_child(apr_pool_t *p)
{
    child_t child = { .name = ap_unixd_config.user_name,
                      .uid = ap_unixd_config.user_id,
                      .gid_count = 64 };
    const struct passwd *entry = getpwuid(child.uid);
    const char *name = entry ? entry->pw_name : child.name;

    child.gids = apr_palloc(p, 64 * sizeof(gid_t));
    if (getgrouplist(name, ap_unixd_config.group_id, child.gids,
                     &child.gid_count)
        < 0) { /* it has set the number of groups */
        child.gids = apr_palloc(p, (apr_size_t)child.gid_count * sizeof(gid_t));
        if (getgrouplist(name, ap_unixd_config.group_id, child.gids,
                         &child.gid_count)
            < 0) {
            child.gid_count = 0;
        }
    }
    return child;
}

static int is_in_group(const child_t *child, gid_t gid)
{
    int i;

    for (i = 0; i < child->gid_count && child->gids[i] != gid; i++) {
    }
    return i < child->gid_count;
}

/* An access control list may allow more; it is not looked at here. */
static int may(const child_t *child, const char *path, mode_t wanted)
{
    struct stat info;
    mode_t mode;

    if (stat(path, &info) != 0
        || getxattr(path, "system.posix_acl_access", NULL, 0) > 0) {
        return 1;
    }
    mode = info.st_uid == child->uid         ? info.st_mode >> 6
           : is_in_group(child, info.st_gid) ? info.st_mode >> 3
                                             : info.st_mode;
    return (mode & wanted) == wanted;
}

/* @return whether the folder and all above it may be entered */
static int check_way(const server_rec *s, const child_t *child,
                     const char *path, apr_pool_t *p)
{
    const char *folder = path;

    do {
        folder = folder_of(folder, p);
        if (!may(child, folder, MAY_ENTER)) {
            ap_log_error(APLOG_MARK, APLOG_WARNING, 0, s,
                         "CometStore: user %s may not enter %s, and so cannot "
                         "use %s; choose another folder for the database",
                         child->name, folder, path);
            return 0;
        }
    } while (folder[1]);
    return 1;
}

static void check_rights(const server_rec *s, const char *path, apr_pool_t *p)
{
    const child_t child = find_child(p);
    const char *const subjects[] = { folder_of(path, p), path,
                                     apr_pstrcat(p, path, "-wal", NULL),
                                     apr_pstrcat(p, path, "-shm", NULL) };
    const char *command = apr_pstrcat(p, "chown ", child.name, NULL);
    int i;

    if (geteuid() != 0 || child.uid == 0
        || (may(&child, subjects[0], MAY_ENTER)
            && !check_way(s, &child, path, p))) {
        return;
    }
    for (i = 0; i < 4; i++) {
        if (!may(&child, subjects[i], i ? MAY_READ_WRITE : MAY_CHANGE)) {
            ap_log_error(APLOG_MARK, APLOG_WARNING, 0, s,
                         "CometStore: %s cannot be written by user %s: "
                         "nothing can be published; %s",
                         subjects[i], child.name,
                         advise(command, subjects[i], path, p));
        }
    }
}

static void check_side_files(const server_rec *s, const char *path,
                             apr_pool_t *p)
{
    const char *folder = folder_of(path, p);
    struct stat info;

    if (stat(folder, &info) == 0 && (info.st_mode & (S_IWGRP | S_IWOTH))
        && !(info.st_mode & S_ISGID)) {
        ap_log_error(APLOG_MARK, APLOG_WARNING, 0, s,
                     "CometStore: %s may be written by others and has no "
                     "setgid bit: the files that another user's program makes "
                     "beside the database may shut httpd out; %s",
                     folder, advise("chmod g+s", folder, path, p));
    }
}

void mod_comet_folder_warn(const server_rec *s, const char *path, apr_pool_t *p)
{
    comet_place_e place = comet_place_check(path);
    struct stat info;

    if (stat(path, &info) != 0 && errno == EACCES) {
        ap_log_error(APLOG_MARK, APLOG_WARNING, EACCES, s,
                     "CometStore: %s was not checked: this user (%ld) may not "
                     "enter a folder above it; run the test as root",
                     path, (long)geteuid());
        return;
    }
    if (place != COMET_PLACE_GOOD) {
        ap_log_error(APLOG_MARK, APLOG_ERR, 0, s,
                     "CometStore: %s %s; until then nothing can be published",
                     path, comet_place_text(place));
    }
    check_rights(s, path, p);
    check_side_files(s, path, p);
}
