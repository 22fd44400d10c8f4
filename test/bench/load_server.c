/* SPDX-License-Identifier: Apache-2.0 */
/* The memory and CPU time of a server: of a process and all its descendants. */
#include "load_server.h"
#include "load.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define FAMILY_MAX 1024

typedef struct family_t {
    pid_t pids[FAMILY_MAX];
    size_t count;
} family_t;

/* The fields of /proc/PID/stat after the process's name. */
static char *stat_of(const char *pid, char *text, size_t room)
{
    char path[64], *end;
    size_t length;
    FILE *file;

    snprintf(path, sizeof(path), "/proc/%.20s/stat", pid);
    file = fopen(path, "r");
    if (!file) {
        return NULL;
    }
    length = fread(text, 1, room - 1, file);
    fclose(file);
    text[length] = '\0';
    end = strrchr(text, ')');
    return end ? end + 1 : NULL;
}

static bool has(const family_t *family, pid_t pid)
{
    size_t i;

    for (i = 0; i < family->count; i++) {
        if (family->pids[i] == pid) {
            return true;
        }
    }
    return false;
}

/* Add the children of the family's processes.  Returns true if any process was
 * added. */
static bool add_children(family_t *family)
{
    DIR *folder = opendir("/proc");
    struct dirent *entry;
    char text[1024], *fields;
    size_t before = family->count;
    int parent;
    pid_t pid;

    while (folder && (entry = readdir(folder)) != NULL) {
        pid = (pid_t)strtol(entry->d_name, NULL, 10);
        if (pid > 0 && !has(family, pid)
            && (fields = stat_of(entry->d_name, text, sizeof(text))) != NULL
            && sscanf(fields, " %*c %d", &parent) == 1 && has(family, parent)
            && family->count < FAMILY_MAX) {
            family->pids[family->count++] = pid;
        }
    }
    if (folder) {
        closedir(folder);
    }
    return family->count > before;
}

static void find(family_t *family, pid_t root)
{
    family->pids[0] = root;
    family->count = 1;
    while (add_children(family)) {
    }
}

static double clock_seconds(clockid_t id)
{
    struct timespec time;

    if (clock_gettime(id, &time) != 0) {
        return 0;
    }
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

double load_own_cpu_seconds(void)
{
    return clock_seconds(CLOCK_PROCESS_CPUTIME_ID);
}

double load_server_cpu_seconds(pid_t root)
{
    static family_t family;
    char name[24], text[1024], *fields;
    long user = 0, system = 0;
    double sum = 0;
    clockid_t id;
    size_t i;

    find(&family, root);
    for (i = 0; i < family.count; i++) {
        if (clock_getcpuclockid(family.pids[i], &id) == 0) {
            sum += clock_seconds(id);
        }
    }
    snprintf(name, sizeof(name), "%d", (int)root);
    fields = stat_of(name, text, sizeof(text));
    if (fields
        && sscanf(fields,
                  " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u"
                  " %ld %ld",
                  &user, &system)
               == 2) {
        sum += (double)(user + system) / (double)sysconf(_SC_CLK_TCK);
    }
    return sum;
}

long load_server_pss_kib(pid_t root)
{
    static family_t family;
    char path[64], line[256];
    long sum = 0, value;
    FILE *file;
    size_t i;

    find(&family, root);
    for (i = 0; i < family.count; i++) {
        snprintf(path, sizeof(path), "/proc/%d/smaps_rollup",
                 (int)family.pids[i]);
        file = fopen(path, "r");
        while (file && fgets(line, sizeof(line), file)) {
            if (sscanf(line, "Pss: %ld", &value) == 1) {
                sum += value;
                break;
            }
        }
        if (file) {
            fclose(file);
        }
    }
    return sum;
}
