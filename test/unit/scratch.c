/* SPDX-License-Identifier: Apache-2.0 */
/* A temporary folder for a test, and children that cannot outlive the test. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "scratch.h"

#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <pthread.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "shared/memory.h"
#include "store/engines.h"

static char folder[512];
static pid_t owner;

static void scratch_remove(void)
{
    if (getpid() == owner) {
        scratch_clear();
        rmdir(folder);
    }
}

comet_place_t scratch_place(const char *path)
{
    return (comet_place_t){
        .engine = comet_engines_own(), .name = path, .key = path, .own = path
    };
}

void scratch_make(void)
{
    const char *parent = getenv("TMPDIR");

    snprintf(folder, sizeof(folder), "%s/comet-unit-XXXXXX",
             parent && *parent ? parent : "/tmp");
    if (!mkdtemp(folder)) {
        perror(folder);
        abort();
    }
    owner = getpid();
    atexit(scratch_remove);
}

apr_status_t scratch_append(comet_store_t *store,
                            comet_message_t *const *messages,
                            apr_status_t *results, apr_size_t count)
{
    comet_message_t **room = malloc((count + 1) * sizeof(*room));
    comet_store_group_t *groups = calloc(count + 1, sizeof(*groups));
    comet_store_group_t **list = malloc((count + 1) * sizeof(*list));
    apr_status_t status;
    apr_size_t i;

    assert_true(room && groups && list);
    for (i = 0; i < count; i++) {
        room[i] = messages[i];
        groups[i].messages = &room[i];
        groups[i].count = 1;
        list[i] = &groups[i];
    }
    status = comet_store_append(store, list, count);
    for (i = 0; i < count && status == APR_SUCCESS; i++) {
        results[i] = groups[i].result;
    }
    free(list);
    free(groups);
    free(room);
    return status;
}

const char *scratch_path(const char *name)
{
    static char paths[8][800];
    static unsigned int next;
    char *path = paths[next++ % 8];

    snprintf(path, sizeof(paths[0]), "%s/%s", folder, name);
    return path;
}

void scratch_clear(void)
{
    DIR *dir = opendir(folder);
    struct dirent *entry;

    while (dir && (entry = readdir(dir)) != NULL) {
        if (entry->d_name[0] != '.') {
            unlink(scratch_path(entry->d_name));
        }
    }
    if (dir) {
        closedir(dir);
    }
}

comet_selection_t *scratch_select(comet_text_t channel)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    static comet_selection_t **kept;
    static size_t count;
    comet_selection_t *found = NULL;
    size_t i;

    pthread_mutex_lock(&lock);
    for (i = 0; i < count && !found; i++) {
        if (comet_text_equal(kept[i]->key.text, channel)) {
            found = kept[i];
        }
    }
    if (!found) {
        kept = realloc(kept, (count + 1) * sizeof(*kept));
        found = kept[count++] = comet_selection_create(&channel, 1, NULL, 0);
    }
    pthread_mutex_unlock(&lock);
    return found;
}

comet_selection_t *scratch_choose(const char *words)
{
    char copy[4096], *rest = NULL, *word;
    comet_text_t names[512], prefixes[512];
    apr_size_t name_count = 0, prefix_count = 0;
    comet_selection_t *selection;

    snprintf(copy, sizeof(copy), "%s", words);
    for (word = strtok_r(copy, " ", &rest); word;
         word = strtok_r(NULL, " ", &rest)) {
        size_t length = strlen(word);

        if (word[length - 1] == '*') {
            prefixes[prefix_count++] = (comet_text_t){ word, length - 1 };
        }
        else {
            names[name_count++] = (comet_text_t){ word, length };
        }
    }
    selection =
        comet_selection_create(names, name_count, prefixes, prefix_count);
    assert_non_null(selection);
    return selection;
}

static apr_int64_t hash_of_number(char name[32], apr_int64_t number)
{
    snprintf(name, 32, "twin/%d", (int)number);
    return comet_message_hash(comet_text(name));
}

/* Among 200,000 names about five pairs share one of 2^32 hashes. */
void scratch_twins(char one[32], char other[32])
{
    enum { NAMES = 200000 };
    apr_int64_t *list = malloc(NAMES * sizeof(*list));
    apr_int64_t i, base, found = 0;

    for (base = 0; !found; base += NAMES) {
        for (i = 0; i < NAMES; i++) {
            list[i] = hash_of_number(one, base + i) << 31 | (base + i);
        }
        qsort(list, NAMES, sizeof(*list), scratch_ascending);
        for (i = 1; i < NAMES && !found; i++) {
            if (list[i] >> 31 == list[i - 1] >> 31) {
                found = i;
            }
        }
    }
    hash_of_number(one, list[found - 1] & 0x7fffffff);
    hash_of_number(other, list[found] & 0x7fffffff);
    free(list);
}

int scratch_ascending(const void *a, const void *b)
{
    apr_int64_t x = *(const apr_int64_t *)a;
    apr_int64_t y = *(const apr_int64_t *)b;

    return x < y ? -1 : x > y;
}

int64_t scratch_usec(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

int scratch_fork(int (*child)(void *baton), void *baton)
{
    pid_t pid;

    fflush(NULL);
    pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        _exit(child(baton));
    }
    return pid;
}

void *scratch_shared(size_t bytes)
{
    void *memory;

    assert_int_equal(comet_memory_map(&memory, bytes), APR_SUCCESS);
    return memory;
}

int scratch_reap(int pid)
{
    int status = 0;

    while (waitpid(pid, &status, 0) != pid) {
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}
