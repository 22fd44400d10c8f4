/* SPDX-License-Identifier: Apache-2.0 */
/* Warn of file rights that prevent the children from using a database, and
 * propose commands that correct them. */
#include "store/sqlite/rights.h"

#include <apr_strings.h>
#include <dirent.h>
#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "store/sqlite/alias.h"
#include "store/sqlite/header.h"
#include "store/sqlite/place.h"

/* The rights of a class of users: bits of an octal digit of a mode. */
#define MAY_ENTER 1
#define MAY_CHANGE 3
#define MAY_READ_WRITE 6

/* --- Commands that help --------------------------------------------------- */

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

/* Whether a folder belongs to the system.  The answer depends on the folder's
 * name, because some system folders are empty. */
static int is_of_system(const char *folder)
{
    static const char *const tops[] = { "/bin",  "/boot",  "/dev",   "/etc",
                                        "/lib",  "/lib32", "/lib64", "/proc",
                                        "/sbin", "/sys",   "/usr",   NULL };
    const char *name = strchr(folder + 1, '/');
    int i;

    if (!name) {
        return 1; /* the folder is the root, or lies directly below it */
    }
    for (i = 0; tops[i]; i++) {
        if (comet_site_is_within(folder, tops[i])) {
            return 1;
        }
    }
    return comet_site_is_within(folder, "/var") && !strchr(name + 1, '/');
}

/* Whether a folder may be given to the children: it holds databases and nothing
 * else, and does not belong to the system. */
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
 * Write the end of a warning: a command that helps, if the command can do no
 * harm; otherwise other advice.
 * @param command  the command that would help
 * @param path     the database
 * @param subject  the path that the command changes
 */
static const char *advise(const char *command, const char *subject,
                          const char *path, apr_pool_t *p)
{
    if (!is_own_folder(comet_place_folder(path, p), strrchr(path, '/') + 1)
        || strpbrk(subject, "'\n")) {
        return "give the database a folder of its own, as the manual shows "
               "(CometStore)";
    }
    return apr_psprintf(p, "try: %s '%s'", command, subject);
}

/* --- Rights --------------------------------------------------------------- */

/** The user that the children become, and its groups. */
typedef struct child_t {
    const char *name;
    uid_t uid;
    gid_t *gids;
    int gid_count;
} child_t;

/* Find the children's user and all its groups.  The groups of /etc/group are
 * included, since httpd calls initgroups(). */
static child_t find_child(const comet_site_t *site, apr_pool_t *p)
{
    child_t child = { .name = site->user, .uid = site->uid, .gid_count = 64 };
    const struct passwd *entry = getpwuid(child.uid);
    const char *name = entry ? entry->pw_name : child.name;

    child.gids = apr_palloc(p, 64 * sizeof(gid_t));
    if (getgrouplist(name, site->gid, child.gids, &child.gid_count)
        < 0) { /* gid_count was too low; the call has set it to the number of
                * groups */
        child.gids = apr_palloc(p, (apr_size_t)child.gid_count * sizeof(gid_t));
        if (getgrouplist(name, site->gid, child.gids, &child.gid_count) < 0) {
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

/* Whether the children have the wanted rights.  For a file with an access
 * control list the answer is yes, because the list may allow more than the mode
 * does. */
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

/** Who receives the warnings. */
typedef struct listener_t {
    comet_advice_cb *say;
    void *baton;
    apr_pool_t *p;
} listener_t;

__attribute__((format(printf, 2, 3))) static void warn(
    const listener_t *listener, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    listener->say(listener->baton, 0, 0,
                  apr_pvsprintf(listener->p, format, arguments));
    va_end(arguments);
}

/* Check that the children may enter the folder of a file, and all folders above
 * it.
 * @return whether they may enter all of them */
static int check_way(const listener_t *listener, const child_t *child,
                     const char *path)
{
    const char *folder = path;

    do {
        folder = comet_place_folder(folder, listener->p);
        if (!may(child, folder, MAY_ENTER)) {
            warn(listener,
                 "user %s may not enter %s, and so cannot use %s; choose "
                 "another folder for the database",
                 child->name, folder, path);
            return 0;
        }
    } while (folder[1]);
    return 1;
}

/* The paths whose rights are checked: the folder, the database, and the two
 * files that SQLite creates beside it. */
#define SUBJECTS 4

static void list_subjects(const char *subjects[SUBJECTS], const char *path,
                          apr_pool_t *p)
{
    subjects[0] = comet_place_folder(path, p);
    subjects[1] = path;
    subjects[2] = apr_pstrcat(p, path, "-wal", NULL);
    subjects[3] = apr_pstrcat(p, path, "-shm", NULL);
}

/* The command that lets the children write: it makes their user the owner, and
 * gives the owner the wanted rights, as far as either is missing. */
static const char *find_command(const child_t *child, const char *subject,
                                mode_t wanted, apr_pool_t *p)
{
    const char *own = apr_pstrcat(p, "chown ", child->name, NULL);
    const char *rights = wanted == MAY_CHANGE ? "chmod u+rwx" : "chmod u+rw";
    struct stat info;

    if (stat(subject, &info) != 0 || (info.st_mode >> 6 & wanted) == wanted) {
        return own;
    }
    return info.st_uid == child->uid
               ? rights
               : apr_pstrcat(p, own, " '", subject, "' && ", rights, NULL);
}

static void check_rights(const listener_t *listener, const comet_site_t *site,
                         const char *path)
{
    apr_pool_t *p = listener->p;
    const child_t child = find_child(site, p);
    const char *subjects[SUBJECTS];
    int i;

    list_subjects(subjects, path, p);
    if (geteuid() != 0 || child.uid == 0
        || (may(&child, subjects[0], MAY_ENTER)
            && !check_way(listener, &child, path))) {
        return;
    }
    for (i = 0; i < SUBJECTS; i++) {
        mode_t wanted = i ? MAY_READ_WRITE : MAY_CHANGE;

        if (!may(&child, subjects[i], wanted)) {
            warn(listener,
                 "%s cannot be written by user %s: nothing can be published; "
                 "%s",
                 subjects[i], child.name,
                 advise(find_command(&child, subjects[i], wanted, p),
                        subjects[i], path, p));
        }
    }
}

/* --- Others ---------------------------------------------------------------- */

/* @return the first member of a group that is neither root nor the children's
 *         user; NULL: the group's entry lists no such member */
static const char *find_member(const child_t *child, const struct group *group)
{
    char **member = group->gr_mem;

    while (*member
           && (strcmp(*member, "root") == 0
               || strcmp(*member, child->name) == 0)) {
        member++;
    }
    return *member;
}

/* Find out who may write a file besides root, the children's user and that
 * user's own group.
 * @param own  the children's own group
 * @return NULL: nobody */
static const char *find_other(const child_t *child, gid_t own,
                              const struct stat *info, const char *path,
                              apr_pool_t *p)
{
    const struct passwd *owner;
    const struct group *group;
    const char *member;

    if (info->st_mode & S_IWOTH) {
        return "every local user";
    }
    if (info->st_uid != 0 && info->st_uid != child->uid) {
        owner = getpwuid(info->st_uid);
        return owner ? apr_psprintf(p, "user %s", owner->pw_name)
                     : apr_psprintf(p, "user %lu", (unsigned long)info->st_uid);
    }
    if (!(info->st_mode & S_IWGRP)) {
        return NULL;
    }
    if (getxattr(path, "system.posix_acl_access", NULL, 0) > 0) {
        return "the users that its access control list names";
    }
    group = info->st_gid == own ? NULL : getgrgid(info->st_gid);
    member = group ? find_member(child, group) : NULL;
    return member
               ? apr_psprintf(p, "user %s of group %s", member, group->gr_name)
               : NULL;
}

/* SQLite trusts all users who may write a database's files.  For example, a
 * program that truncates the -shm file crashes the processes that use it. */
static void check_others(const listener_t *listener, const comet_site_t *site,
                         const char *path)
{
    apr_pool_t *p = listener->p;
    const child_t child = find_child(site, p);
    const char *subjects[SUBJECTS];
    const char *who = NULL;
    struct stat info;
    int i, reachable = 1;

    list_subjects(subjects, path, p);
    for (i = 0; i < SUBJECTS && reachable && !who; i++) {
        if (stat(subjects[i], &info) == 0) {
            who = find_other(&child, site->gid, &info, subjects[i], p);
            reachable = i || (info.st_mode & (S_IXGRP | S_IXOTH)) || who;
        }
    }
    if (who) {
        warn(listener,
             "%s may be written by %s: everybody who may write a database's "
             "files can end httpd's children or hold up their threads (see "
             "the manual, Security); let only user %s and its group write "
             "there",
             subjects[i - 1], who, child.name);
    }
}

static void check_side_files(const listener_t *listener, const char *path)
{
    const char *folder = comet_place_folder(path, listener->p);
    struct stat info;

    if (stat(folder, &info) == 0 && (info.st_mode & (S_IWGRP | S_IWOTH))
        && !(info.st_mode & S_ISGID)) {
        warn(listener,
             "%s may be written by others and has no setgid bit: httpd may "
             "have no rights to the files that another user's program creates "
             "beside the database; %s",
             folder, advise("chmod g+s", folder, path, listener->p));
    }
}

static void check_medium(const listener_t *listener, const char *path)
{
    const char *folder = comet_place_folder(path, listener->p);
    const char *name = NULL;

    switch (comet_place_medium(folder, &name)) {
    case COMET_MEDIUM_NETWORK:
        warn(
            listener,
            "%s is on a network file system (%s), where SQLite's locks and its "
            "shared memory do not work: two machines that use the database "
            "would damage it; put it on a local disk",
            path, name);
        break;
    case COMET_MEDIUM_MEMORY:
        warn(listener,
             "%s is on %s, in memory: all messages are lost when this machine "
             "restarts; choose a folder on a disk",
             folder, name);
        break;
    default:
        break;
    }
}

void comet_rights_advise(const comet_place_t *place, const comet_site_t *site,
                         comet_advice_cb *say, void *baton, apr_pool_t *p)
{
    const listener_t listener = { say, baton, p };
    const char *path = place->own;
    const char *wrong = comet_header_find_fault(path);
    comet_alias_e alias = comet_alias_check(path, 1);
    struct stat info;

    if (stat(path, &info) != 0 && errno == EACCES) {
        say(baton, 0, EACCES,
            apr_psprintf(p,
                         "%s was not checked: this user (%ld) may not enter a "
                         "folder above it; run the test as root",
                         path, (long)geteuid()));
        return;
    }
    if (alias != COMET_ALIAS_NONE) {
        say(baton, 1, 0,
            apr_psprintf(p, "%s %s; until then nothing can be published", path,
                         comet_alias_text(alias)));
    }
    if (wrong) {
        say(baton, 1, 0,
            apr_psprintf(p,
                         "%s %s: nothing can be published; name another file, "
                         "or move this one away",
                         path, wrong));
    }
    check_medium(&listener, path);
    check_rights(&listener, site, path);
    check_others(&listener, site, path);
    check_side_files(&listener, path);
}
