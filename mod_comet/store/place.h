/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file store/place.h
 * Whether the place of a database file is safe for SQLite.
 *
 * SQLite finds the write-ahead log by the database's name.  A file that can be
 * opened by two names therefore gets two logs, and what was committed to one of
 * them is missing, or overwritten, for everybody who uses the other name
 * (https://sqlite.org/howtocorrupt.html, 2.5 and 2.6).
 */
#ifndef COMET_PLACE_H
#define COMET_PLACE_H

#include <stdio.h>

typedef enum {
    COMET_PLACE_GOOD, /* or there is no file yet, or it cannot be looked at */
    COMET_PLACE_MOUNTED, /* the file is a mount of its own */
    COMET_PLACE_LINKED, /* the file has several hard links */
    COMET_PLACE_SYMBOLIC /* a symbolic link to a file */
} comet_place_e;

/**
 * Look for a second name of a database file.  Opens nothing: closing a
 * descriptor of the file would drop SQLite's locks.
 * @param path  absolute
 * @return what is wrong.  Any thread; two system calls.
 */
comet_place_e comet_place_check(const char *path);

/**
 * Say what is wrong and what to do.
 * @return a constant sentence that follows the path's name; "" for
 *         COMET_PLACE_GOOD
 */
const char *comet_place_text(comet_place_e place);

/**
 * Whether a file is itself a mount point: the slow way, for kernels before 5.8
 * and for containers that forbid statx(2).
 * @param table  an open /proc/self/mountinfo, proc_pid_mountinfo(5)
 * @param path   absolute and real
 */
int comet_place_is_mount(FILE *table, const char *path);

#endif /* COMET_PLACE_H */
