/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file store/sqlite/alias.h
 * Find out whether a database file has a second name or could have a second
 * log.
 *
 * SQLite finds the write-ahead log by the database's name.  So a file that is
 * opened under two names has two logs.  Programs that use one name do not see
 * the commits made under the other name, and overwrite them
 * (https://sqlite.org/howtocorrupt.html, 2.5 and 2.6).  The same happens if the
 * log is mounted as a single file: where the mount is missing, the same name
 * leads to another log.
 */
#ifndef COMET_ALIAS_H
#define COMET_ALIAS_H

#include <stdio.h>

typedef enum {
    COMET_ALIAS_NONE, /* no second name; also if there is no file, or the file
                       * cannot be examined */
    COMET_ALIAS_MOUNTED, /* the file is a mount of its own */
    COMET_ALIAS_LOG_MOUNTED, /* its -wal or -shm file is a mount of its own */
    COMET_ALIAS_LINKED, /* the file has several hard links */
    COMET_ALIAS_SYMBOLIC, /* the path is a symbolic link */
    COMET_ALIAS_ELSEWHERE /* the path that the administrator gave leads to
                           * another file (comet_alias_leads_elsewhere()) */
} comet_alias_e;

/**
 * Look for a second name of a database file, or a second log.  The call opens no
 * file, since closing a descriptor of the database would drop SQLite's locks.
 * @param path  absolute
 * @param and_log  whether to look at the log, too
 * @return what is wrong.  Any thread; two system calls, four with the log.
 */
comet_alias_e comet_alias_check(const char *path, int and_log);

/**
 * Whether a path that led to a database leads to another file now, or to none,
 * since a symbolic link on its way was changed.  A path that cannot be examined
 * counts as unchanged.
 * @param named  with its symbolic links
 * @param path   the same path when the links were resolved
 * @return Any thread; two system calls if the paths differ.
 */
int comet_alias_leads_elsewhere(const char *named, const char *path);

/**
 * Say what is wrong and what to do.
 * @return a constant text that follows the path in a message; "" for
 *         COMET_ALIAS_NONE
 */
const char *comet_alias_text(comet_alias_e place);

/**
 * Whether a file is itself a mount point.  This slow method is for kernels
 * before 5.8 and for containers that forbid statx(2).
 * @param table  the open file /proc/self/mountinfo, see proc_pid_mountinfo(5)
 * @param path   absolute and real
 */
int comet_alias_is_mount(FILE *table, const char *path);

#endif /* COMET_ALIAS_H */
