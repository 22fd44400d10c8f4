/* SPDX-License-Identifier: Apache-2.0 */
/* SQLite's own file system, with faults and a record of what was synced. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "faulty_vfs.h"

#include <fcntl.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define SECTOR 512

typedef struct change_t {
    struct change_t *next;
    int truncates;
    sqlite3_int64 offset; /* where the data is written; for a truncation, the
                           * file's new size */
    size_t length;
    char data[];
} change_t;

/**
 * Whether a file's entry in its folder survives a power failure.  Until the
 * folder is synced, a COMING or LEAVING entry may or may not survive.
 */
typedef enum { GONE, LEAVING, COMING, THERE } entry_e;

/** The synced content of a file, and the changes since then. [lock] */
typedef struct shadow_t {
    struct shadow_t *next;
    char path[800];
    int fd; /* a file with the synced content; it is already unlinked */
    entry_e entry;
    change_t *first, **end;
} shadow_t;

typedef struct file_t {
    sqlite3_file base;
    shadow_t *shadow;
    int is_log;
    int syncs_folder; /* the file was just created, so its first sync also syncs
                       * the folder */
    sqlite3_file *real;
} file_t;

atomic_int faulty_now;
atomic_int faulty_lies;
atomic_int faulty_tears;
atomic_int faulty_syncs;
atomic_int faulty_hanging;

static sqlite3_vfs *real_vfs;
static sqlite3_vfs faulty_vfs;
/* [lock] is recursive: the thread that causes the cut already holds it */
static pthread_mutex_t lock = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;
static int following;
static shadow_t *shadows;
static long cut_in; /* operations until the power fails; 0: it does not */
static faulty_cut_cb *cut_callback;
static void *cut_baton;

static void must(int condition, const char *what)
{
    if (!condition) {
        perror(what);
        abort();
    }
}

static void apply(int fd, const change_t *change, size_t length)
{
    if (change->truncates) {
        must(ftruncate(fd, change->offset) == 0, "ftruncate");
    }
    else {
        must(pwrite(fd, change->data, length, change->offset)
                 == (ssize_t)length,
             "pwrite");
    }
}

/* Write some sectors of a change, each as a whole, as disks guarantee. */
static void apply_some(int fd, const change_t *change, unsigned int *seed)
{
    char noise[SECTOR];
    size_t done = 0;

    if (change->truncates) {
        apply(fd, change, 0);
        return;
    }
    while (done < change->length) {
        size_t in_sector =
            (size_t)(change->offset + (sqlite3_int64)done) % SECTOR;
        size_t part = SECTOR - in_sector;
        int luck = rand_r(seed) % 8;

        part = part < change->length - done ? part : change->length - done;
        if (luck < 4) {
            must(pwrite(fd, change->data + done, part,
                        change->offset + (off_t)done)
                     == (ssize_t)part,
                 "pwrite");
        }
        else if (luck == 4 && atomic_load(&faulty_tears)) {
            memset(noise, rand_r(seed), sizeof(noise));
            must(pwrite(fd, noise, part, change->offset + (off_t)done)
                     == (ssize_t)part,
                 "pwrite");
        }
        done += part;
    }
}

static void drop_changes(shadow_t *shadow, int apply_them)
{
    while (shadow->first) {
        change_t *change = shadow->first;

        shadow->first = change->next;
        if (apply_them) {
            apply(shadow->fd, change, change->length);
        }
        free(change);
    }
    shadow->end = &shadow->first;
}

static void settle(shadow_t *shadow)
{
    drop_changes(shadow, 1);
}

static void settle_folder(void)
{
    shadow_t *shadow;

    for (shadow = shadows; shadow; shadow = shadow->next) {
        shadow->entry = shadow->entry == LEAVING  ? GONE
                        : shadow->entry == COMING ? THERE
                                                  : shadow->entry;
    }
}

static void copy_content(int from, int to)
{
    char buffer[65536];
    ssize_t length;
    off_t offset = 0;

    while ((length = pread(from, buffer, sizeof(buffer), offset)) > 0) {
        must(pwrite(to, buffer, (size_t)length, offset) == length, "pwrite");
        offset += length;
    }
}

static shadow_t *find_shadow(const char *path)
{
    shadow_t *shadow;

    for (shadow = shadows; shadow; shadow = shadow->next) {
        if (strcmp(shadow->path, path) == 0) {
            return shadow;
        }
    }
    return NULL;
}

static void note(shadow_t *shadow, int truncates, sqlite3_int64 offset,
                 const void *data, size_t length)
{
    change_t *change = malloc(sizeof(*change) + length);

    must(change != NULL, "malloc");
    change->next = NULL;
    change->truncates = truncates;
    change->offset = offset;
    change->length = length;
    if (length) {
        memcpy(change->data, data, length);
    }
    *shadow->end = change;
    shadow->end = &change->next;
}

/* @param was_there  whether the file existed before it was opened */
static shadow_t *shadow_of(const char *path, int was_there)
{
    shadow_t *shadow = find_shadow(path);
    char name[820];
    int fd;

    if (!shadow) {
        shadow = calloc(1, sizeof(*shadow));
        must(shadow != NULL, "calloc");
        snprintf(shadow->path, sizeof(shadow->path), "%s", path);
        snprintf(name, sizeof(name), "%s.shadow", path);
        shadow->fd = open(name, O_RDWR | O_CREAT | O_TRUNC, 0600);
        must(shadow->fd >= 0, name);
        unlink(name);
        shadow->end = &shadow->first;
        shadow->next = shadows;
        shadow->entry = was_there ? THERE : COMING;
        shadows = shadow;
        fd = open(path, O_RDONLY);
        if (fd >= 0) {
            copy_content(fd, shadow->fd);
            close(fd);
        }
    }
    else if (!was_there) { /* a removed file was made again: it is empty now,
                            * but a power failure may bring back its old
                            * content */
        note(shadow, 1, 0, NULL, 0);
        if (shadow->entry == GONE) {
            settle(shadow);
        }
        shadow->entry = COMING;
    }
    return shadow;
}

/* Called before each change of a file, which may be the last before the power
 * fails. [lock] */
static void count_down(void)
{
    if (cut_in && --cut_in == 0) {
        cut_callback(cut_baton);
    }
}

void faulty_cut_at(long operation, faulty_cut_cb *callback, void *baton)
{
    pthread_mutex_lock(&lock);
    cut_in = operation;
    cut_callback = callback;
    cut_baton = baton;
    pthread_mutex_unlock(&lock);
}

void faulty_follow(void)
{
    following = 1;
}

void faulty_forget(void)
{
    pthread_mutex_lock(&lock);
    following = 0;
    cut_in = 0;
    while (shadows) {
        shadow_t *shadow = shadows;

        shadows = shadow->next;
        drop_changes(shadow, 0);
        close(shadow->fd);
        free(shadow);
    }
    pthread_mutex_unlock(&lock);
}

void faulty_cut(const char *path, const char *copy, unsigned int seed)
{
    shadow_t *shadow;
    const change_t *change;
    int fd;

    unlink(copy);
    pthread_mutex_lock(&lock);
    shadow = find_shadow(path);
    if (shadow
        && (shadow->entry == THERE
            || (shadow->entry != GONE && rand_r(&seed) % 2))) {
        fd = open(copy, O_RDWR | O_CREAT | O_TRUNC, 0600);
        must(fd >= 0, copy);
        copy_content(shadow->fd, fd);
        for (change = shadow->first; change; change = change->next) {
            unsigned int luck = (unsigned int)rand_r(&seed);

            if (luck % 8 == 1) {
                apply_some(fd, change, &seed);
            }
            else if (luck % 2) {
                apply(fd, change, change->length);
            }
        }
        close(fd);
    }
    pthread_mutex_unlock(&lock);
}

#define REAL(file) (((file_t *)(void *)(file))->real)

static int vfs_close(sqlite3_file *file)
{
    return REAL(file)->pMethods->xClose(REAL(file));
}

static int vfs_read(sqlite3_file *file, void *to, int length,
                    sqlite3_int64 offset)
{
    return REAL(file)->pMethods->xRead(REAL(file), to, length, offset);
}

/* Change the file, and note the change, which is not synced yet. */
static int change_file(file_t *ours, int truncates, sqlite3_int64 offset,
                       const void *data, size_t length)
{
    sqlite3_file *real = ours->real;
    int code;

    pthread_mutex_lock(&lock);
    if (ours->shadow) {
        count_down();
        note(ours->shadow, truncates, offset, data, length);
    }
    code = truncates ? real->pMethods->xTruncate(real, offset)
                     : real->pMethods->xWrite(real, data, (int)length, offset);
    pthread_mutex_unlock(&lock);
    return code;
}

static int vfs_write(sqlite3_file *file, const void *from, int length,
                     sqlite3_int64 offset)
{
    file_t *ours = (file_t *)(void *)file;
    int fault = ours->is_log ? atomic_load(&faulty_now) : FAULTY_NOTHING;

    if (fault == FAULTY_FULL) {
        return SQLITE_FULL;
    }
    if (fault == FAULTY_WRITE) {
        return SQLITE_IOERR_WRITE;
    }
    return change_file(ours, 0, offset, from, (size_t)length);
}

static int vfs_truncate(sqlite3_file *file, sqlite3_int64 size)
{
    return change_file((file_t *)(void *)file, 1, size, NULL, 0);
}

static int vfs_sync(sqlite3_file *file, int flags)
{
    static const struct timespec one_ms = { 0, 1000000 };
    file_t *ours = (file_t *)(void *)file;
    int i;

    if (ours->is_log) {
        atomic_fetch_add(&faulty_hanging, 1);
        while (atomic_load(&faulty_now) == FAULTY_HANG) {
            nanosleep(&one_ms, NULL);
        }
        atomic_fetch_sub(&faulty_hanging, 1);
        if (atomic_load(&faulty_now) == FAULTY_SYNC) {
            return SQLITE_IOERR_FSYNC;
        }
        for (i = 0; i < 5 && atomic_load(&faulty_now) == FAULTY_SLOW; i++) {
            nanosleep(&one_ms, NULL);
        }
        atomic_fetch_add(&faulty_syncs, 1);
    }
    if (ours->shadow) { /* the shadow stands for the disk */
        pthread_mutex_lock(&lock);
        count_down();
        if (!atomic_load(&faulty_lies)) {
            settle(ours->shadow);
            if (ours->syncs_folder) {
                settle_folder();
            }
            ours->syncs_folder = 0;
        }
        pthread_mutex_unlock(&lock);
        return SQLITE_OK;
    }
    return REAL(file)->pMethods->xSync(REAL(file), flags);
}

static int vfs_size(sqlite3_file *file, sqlite3_int64 *size)
{
    return REAL(file)->pMethods->xFileSize(REAL(file), size);
}

static int vfs_lock(sqlite3_file *file, int level)
{
    return REAL(file)->pMethods->xLock(REAL(file), level);
}

static int vfs_unlock(sqlite3_file *file, int level)
{
    return REAL(file)->pMethods->xUnlock(REAL(file), level);
}

static int vfs_reserved(sqlite3_file *file, int *out)
{
    return REAL(file)->pMethods->xCheckReservedLock(REAL(file), out);
}

static int vfs_control(sqlite3_file *file, int what, void *argument)
{
    return REAL(file)->pMethods->xFileControl(REAL(file), what, argument);
}

static int vfs_sector(sqlite3_file *file)
{
    return REAL(file)->pMethods->xSectorSize(REAL(file));
}

static int vfs_traits(sqlite3_file *file)
{
    int traits = REAL(file)->pMethods->xDeviceCharacteristics(REAL(file));

    return atomic_load(&faulty_tears)
               ? traits & ~SQLITE_IOCAP_POWERSAFE_OVERWRITE
               : traits;
}

static int vfs_shm_map(sqlite3_file *file, int page, int size, int extend,
                       void volatile **out)
{
    return REAL(file)->pMethods->xShmMap(REAL(file), page, size, extend, out);
}

static int vfs_shm_lock(sqlite3_file *file, int offset, int n, int flags)
{
    return REAL(file)->pMethods->xShmLock(REAL(file), offset, n, flags);
}

static void vfs_shm_barrier(sqlite3_file *file)
{
    REAL(file)->pMethods->xShmBarrier(REAL(file));
}

static int vfs_shm_unmap(sqlite3_file *file, int remove)
{
    return REAL(file)->pMethods->xShmUnmap(REAL(file), remove);
}

static const sqlite3_io_methods methods = {
    .iVersion = 2,
    .xClose = vfs_close,
    .xRead = vfs_read,
    .xWrite = vfs_write,
    .xTruncate = vfs_truncate,
    .xSync = vfs_sync,
    .xFileSize = vfs_size,
    .xLock = vfs_lock,
    .xUnlock = vfs_unlock,
    .xCheckReservedLock = vfs_reserved,
    .xFileControl = vfs_control,
    .xSectorSize = vfs_sector,
    .xDeviceCharacteristics = vfs_traits,
    .xShmMap = vfs_shm_map,
    .xShmLock = vfs_shm_lock,
    .xShmBarrier = vfs_shm_barrier,
    .xShmUnmap = vfs_shm_unmap,
};

#define FOLLOWED \
    (SQLITE_OPEN_MAIN_DB | SQLITE_OPEN_MAIN_JOURNAL | SQLITE_OPEN_WAL)

static int vfs_open(sqlite3_vfs *vfs, sqlite3_filename name, sqlite3_file *file,
                    int flags, int *out)
{
    file_t *ours = (file_t *)(void *)file;
    int code, was_there;

    memset(ours, 0, sizeof(*ours));
    ours->real = (sqlite3_file *)(void *)(ours + 1);
    ours->is_log = (flags & SQLITE_OPEN_WAL) != 0;
    ours->syncs_folder =
        (flags & (SQLITE_OPEN_WAL | SQLITE_OPEN_MAIN_JOURNAL)) != 0;
    pthread_mutex_lock(&lock);
    was_there = name && access(name, F_OK) == 0;
    code = real_vfs->xOpen(real_vfs, name, ours->real, flags, out);
    ours->base.pMethods = ours->real->pMethods ? &methods : NULL;
    if (code == SQLITE_OK && following && name && (flags & FOLLOWED)) {
        ours->shadow = shadow_of(name, was_there);
    }
    pthread_mutex_unlock(&lock);
    return code;
}

static int vfs_delete(sqlite3_vfs *vfs, const char *name, int sync_folder)
{
    shadow_t *shadow;
    int code;

    pthread_mutex_lock(&lock);
    shadow = find_shadow(name);
    if (shadow) {
        count_down();
        shadow->entry = LEAVING;
        if (sync_folder) {
            settle_folder();
        }
    }
    code = real_vfs->xDelete(real_vfs, name, sync_folder);
    pthread_mutex_unlock(&lock);
    return code;
}

void faulty_install(void)
{
    real_vfs = sqlite3_vfs_find(NULL);
    faulty_vfs = *real_vfs;
    faulty_vfs.zName = "faulty";
    faulty_vfs.szOsFile = (int)sizeof(file_t) + real_vfs->szOsFile;
    faulty_vfs.xOpen = vfs_open;
    faulty_vfs.xDelete = vfs_delete;
    sqlite3_vfs_register(&faulty_vfs, 1);
}
