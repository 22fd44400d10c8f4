/* SPDX-License-Identifier: Apache-2.0 */
/* Find out whether a database file has a second name or could have a second
 * log. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "store/sqlite/alias.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#ifndef STATX_MNT_ID /* headers before Linux 5.8 lack it */
#define STATX_MNT_ID 0x00001000U
#endif

static int is_octal(char digit)
{
    return digit >= '0' && digit <= '7';
}

/* Decode the octal escapes of mountinfo, overwriting the text. */
static void unescape(char *text)
{
    const char *from = text;

    while (*from) {
        if (*from == '\\' && is_octal(from[1]) && is_octal(from[2])
            && is_octal(from[3])) {
            *text++ = (char)((from[1] - '0') * 64 + (from[2] - '0') * 8
                             + (from[3] - '0'));
            from += 4;
        }
        else {
            *text++ = *from++;
        }
    }
    *text = '\0';
}

int comet_alias_is_mount(FILE *table, const char *path)
{
    char *line = NULL;
    size_t size = 0;
    int found = 0;

    while (!found && getline(&line, &size, table) > 0) {
        char *rest = line, *field = NULL;
        int i;

        for (i = 0; i < 5; i++) { /* the fifth field is the mount point */
            field = strsep(&rest, " ");
        }
        if (field) {
            unescape(field);
            found = strcmp(field, path) == 0;
        }
    }
    free(line);
    return found;
}

static int is_listed_as_mount(const char *path)
{
    FILE *table = fopen("/proc/self/mountinfo", "re");
    int found = table && comet_alias_is_mount(table, path);

    if (table) {
        fclose(table);
    }
    return found;
}

static int is_on_another_mount(const char *path, const struct statx *file)
{
    const char *slash = strrchr(path, '/');
    char folder[PATH_MAX];
    struct statx info;

    if (!slash || (size_t)(slash - path) + 2 > sizeof(folder)) {
        return 0;
    }
    memcpy(folder, path, (size_t)(slash - path) + 1);
    folder[slash - path + 1] = '\0';
    if (!(file->stx_mask & STATX_MNT_ID)
        || statx(AT_FDCWD, folder, 0, STATX_MNT_ID, &info) != 0
        || !(info.stx_mask & STATX_MNT_ID)) {
        return is_listed_as_mount(path);
    }
    return file->stx_mnt_id != info.stx_mnt_id;
}

/* @return whether there is such a file */
static int look(const char *path, struct statx *file)
{
    struct stat info;

    if (statx(AT_FDCWD, path, AT_SYMLINK_NOFOLLOW,
              STATX_TYPE | STATX_NLINK | STATX_MNT_ID, file)
        == 0) {
        return 1;
    }
    if (lstat(path, &info) != 0) { /* the kernel may not know statx(), or a
                                    * container may forbid it */
        return 0;
    }
    *file = (struct statx){ .stx_mode = (unsigned short)info.st_mode,
                            .stx_nlink = (unsigned)info.st_nlink };
    return 1;
}

/* Whether the -wal or the -shm file is a mount of its own.  Kernels that do not
 * report mounts give them all the number 0.
 * @param file  of the database */
static int has_mounted_log(const char *path, const struct statx *file)
{
    static const char *const suffixes[] = { "-wal", "-shm" };
    char name[PATH_MAX];
    struct statx other;
    int i, found = 0;

    for (i = 0; i < 2 && !found; i++) {
        found = snprintf(name, sizeof(name), "%s%s", path, suffixes[i])
                    < (int)sizeof(name)
                && look(name, &other) && other.stx_mnt_id != file->stx_mnt_id;
    }
    return found;
}

comet_alias_e comet_alias_check(const char *path, int and_log)
{
    struct statx file;

    if (!look(path, &file)) {
        return COMET_ALIAS_NONE;
    }
    if (S_ISLNK(file.stx_mode)) {
        return COMET_ALIAS_SYMBOLIC;
    }
    if (!S_ISREG(file.stx_mode)) {
        return COMET_ALIAS_NONE; /* let SQLite report what is wrong with the
                                  * file */
    }
    if (is_on_another_mount(path, &file)) {
        return COMET_ALIAS_MOUNTED;
    }
    if (and_log && has_mounted_log(path, &file)) {
        return COMET_ALIAS_LOG_MOUNTED;
    }
    return file.stx_nlink > 1 ? COMET_ALIAS_LINKED : COMET_ALIAS_NONE;
}

int comet_alias_leads_elsewhere(const char *named, const char *path)
{
    struct stat now, then;

    if (strcmp(named, path) == 0 || stat(path, &then) != 0) {
        return 0;
    }
    return stat(named, &now) == 0
               ? now.st_ino != then.st_ino || now.st_dev != then.st_dev
               : errno == ENOENT;
}

const char *comet_alias_text(comet_alias_e place)
{
    switch (place) {
    case COMET_ALIAS_MOUNTED:
        return "is mounted as a single file, so SQLite's -wal file beside it "
               "is not kept with it and messages would be lost; mount its "
               "folder instead (docker -v FOLDER:FOLDER)";
    case COMET_ALIAS_LOG_MOUNTED:
        return "has a -wal or -shm file that is mounted as a single file: "
               "without this mount SQLite uses another log, and messages would "
               "be lost; mount its folder instead (docker -v FOLDER:FOLDER)";
    case COMET_ALIAS_LINKED:
        return "has more than one hard link, so a program that opens it by "
               "another name would corrupt it; remove the other names (find "
               "them with find -samefile)";
    case COMET_ALIAS_SYMBOLIC:
        return "has become a symbolic link, so SQLite's -wal file would be "
               "beside another file; restart httpd, which follows the link";
    case COMET_ALIAS_ELSEWHERE:
        return "is not what CometStore names any more, since a symbolic link "
               "on the way was changed, so other programs would use another "
               "database; reload httpd, which follows the link";
    case COMET_ALIAS_NONE:
    default:
        return "";
    }
}
