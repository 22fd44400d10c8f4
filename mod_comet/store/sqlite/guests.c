/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Find out whether programs outside this server have the database open.  Such
 * programs cannot queue for the server's write lock.  Each of them holds a lock
 * on the -shm file, and the kernel lists these locks.
 */
#include "store/sqlite/sqlite.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Each process that uses the log holds a shared lock on this byte of the -shm
 * file until it closes the database (UNIX_SHM_DMS in SQLite's os_unix.c). */
#define IN_USE_BYTE 128
/* The inode of the machine's own PID namespace (PROC_PID_INIT_INO in Linux's
 * proc_ns.h). */
#define MACHINE_PID_NAMESPACE 0xEFFFFFFCU

/* Whether the kernel lists the locks of all processes.  In a container it lists
 * only the locks of the container's processes, but other processes may have the
 * database open, too. */
static int sees_all_processes(void)
{
    struct stat namespace;

    return stat("/proc/self/ns/pid", &namespace) == 0
           && namespace.st_ino == MACHINE_PID_NAMESPACE;
}

/* @return the parent of a process; 0: unknown */
static long find_parent(long process)
{
    char path[64], line[512], *end = NULL;
    long parent = 0;
    FILE *file;

    snprintf(path, sizeof(path), "/proc/%ld/stat", process);
    file = fopen(path, "re");
    if (file && fgets(line, sizeof(line), file)) {
        end = strrchr(line, ')'); /* the name before the ")" may contain
                                   * spaces */
    }
    if (end && strlen(end) > 4) {
        parent = strtol(end + 4, NULL, 10); /* ") S PARENT …" */
    }
    if (file) {
        fclose(file);
    }
    return parent;
}

/* Parse "1: POSIX  ADVISORY  READ 4711 fd:01:123456 128 128".
 * @return the process that holds a lock on IN_USE_BYTE of the file; 0: the line
 *         shows no such lock */
static long find_holder(char *line, apr_uint64_t file)
{
    const char *fields[8] = { NULL }, *inode;
    char *rest = NULL, *field = strtok_r(line, " \n", &rest);
    int i;

    for (i = 0; i < 8 && field; i++) {
        fields[i] = field;
        field = strtok_r(NULL, " \n", &rest);
    }
    inode = fields[7] ? strrchr(fields[5], ':') : NULL;
    return inode && strtoull(inode + 1, NULL, 10) == file
                   && strtol(fields[6], NULL, 10) <= IN_USE_BYTE
                   && (fields[7][0] == 'E' /* EOF */
                       || strtol(fields[7], NULL, 10) >= IN_USE_BYTE)
               ? strtol(fields[4], NULL, 10)
               : 0;
}

/* This server's children are recognised by their common parent.  If the kernel
 * does not list the locks of all processes, or not even this one's, the answer
 * is yes.  While the kernel lists locks, nobody on the machine can take or
 * release one; and first it waits for all processors.  Each 4 KB of the list
 * take 5 to 15 ms. */
int comet_sqlite_has_guests(const comet_sqlite_t *store)
{
    FILE *locks = sees_all_processes() ? fopen("/proc/locks", "re") : NULL;
    long own = getpid(), parent = getppid();
    int guests = 0, listed = 0;
    char line[256];

    while (locks && !guests && fgets(line, sizeof(line), locks)) {
        long holder = find_holder(line, (apr_uint64_t)store->shm.ino);

        listed |= holder == own;
        guests = holder && holder != own
                 && (!parent || find_parent(holder) != parent);
    }
    if (locks) {
        fclose(locks);
    }
    return guests || !listed;
}
