/* SPDX-License-Identifier: Apache-2.0 */
/* SQLite's own file system, with faults and a memory of what was synced. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "faulty_vfs.h"

#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

typedef struct change_t {
    struct change_t *next;
    int truncates;
    sqlite3_int64 offset; /* or the new size */
    size_t length;
    char data[];
} change_t;

/** A file's synced content, and what has changed since. One thread only. */
typedef struct shadow_t {
    struct shadow_t *next;
    char path[800];
    int fd; /* unlinked */
    change_t *first, **end;
} shadow_t;

typedef struct file_t {
    sqlite3_file base;
    shadow_t *shadow;
    int is_log;
    sqlite3_file *real;
} file_t;

atomic_int faulty_now;
atomic_int faulty_syncs;
atomic_int faulty_hanging;

static sqlite3_vfs *real_vfs;
static sqlite3_vfs faulty_vfs;
static int following;
static shadow_t *shadows;

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

static void settle(shadow_t *shadow)
{
    while (shadow->first) {
        change_t *change = shadow->first;

        shadow->first = change->next;
        apply(shadow->fd, change, change->length);
        free(change);
    }
    shadow->end = &shadow->first;
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

static shadow_t *shadow_of(const char *path)
{
    shadow_t *shadow = find_shadow(path);
    char name[820];

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
        shadows = shadow;
    }
    return shadow;
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

void faulty_follow(void)
{
    following = 1;
}

void faulty_forget(void)
{
    following = 0;
    while (shadows) {
        shadow_t *shadow = shadows;

        shadows = shadow->next;
        settle(shadow);
        close(shadow->fd);
        free(shadow);
    }
}

void faulty_cut(const char *path, const char *copy, unsigned int seed)
{
    shadow_t *shadow = find_shadow(path);
    int fd = open(copy, O_RDWR | O_CREAT | O_TRUNC, 0600);
    const change_t *change;

    must(shadow && fd >= 0, copy);
    copy_content(shadow->fd, fd);
    for (change = shadow->first; change; change = change->next) {
        unsigned int luck = (unsigned int)rand_r(&seed);

        if (luck % 2) {
            apply(fd, change,
                  luck % 8 == 1 ? change->length / 3 : change->length);
        }
    }
    close(fd);
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
    if (ours->shadow) {
        note(ours->shadow, 0, offset, from, (size_t)length);
    }
    return REAL(file)->pMethods->xWrite(REAL(file), from, length, offset);
}

static int vfs_truncate(sqlite3_file *file, sqlite3_int64 size)
{
    file_t *ours = (file_t *)(void *)file;

    if (ours->shadow) {
        note(ours->shadow, 1, size, NULL, 0);
    }
    return REAL(file)->pMethods->xTruncate(REAL(file), size);
}

static int vfs_sync(sqlite3_file *file, int flags)
{
    static const struct timespec one_ms = { 0, 1000000 };
    file_t *ours = (file_t *)(void *)file;

    if (ours->is_log) {
        atomic_fetch_add(&faulty_hanging, 1);
        while (atomic_load(&faulty_now) == FAULTY_HANG) {
            nanosleep(&one_ms, NULL);
        }
        atomic_fetch_sub(&faulty_hanging, 1);
        if (atomic_load(&faulty_now) == FAULTY_SYNC) {
            return SQLITE_IOERR_FSYNC;
        }
        atomic_fetch_add(&faulty_syncs, 1);
    }
    if (ours->shadow) {
        settle(ours->shadow);
        return SQLITE_OK; /* the shadow is the disk */
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
    return REAL(file)->pMethods->xDeviceCharacteristics(REAL(file))
           & ~SQLITE_IOCAP_POWERSAFE_OVERWRITE;
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

static int vfs_open(sqlite3_vfs *vfs, sqlite3_filename name, sqlite3_file *file,
                    int flags, int *out)
{
    file_t *ours = (file_t *)(void *)file;
    int code;

    memset(ours, 0, sizeof(*ours));
    ours->real = (sqlite3_file *)(void *)(ours + 1);
    ours->is_log = (flags & SQLITE_OPEN_WAL) != 0;
    code = real_vfs->xOpen(real_vfs, name, ours->real, flags, out);
    ours->base.pMethods = ours->real->pMethods ? &methods : NULL;
    if (code == SQLITE_OK && following && name
        && (flags & (SQLITE_OPEN_MAIN_DB | SQLITE_OPEN_WAL))) {
        ours->shadow = shadow_of(name);
    }
    return code;
}

void faulty_install(void)
{
    real_vfs = sqlite3_vfs_find(NULL);
    faulty_vfs = *real_vfs;
    faulty_vfs.zName = "faulty";
    faulty_vfs.szOsFile = (int)sizeof(file_t) + real_vfs->szOsFile;
    faulty_vfs.xOpen = vfs_open;
    sqlite3_vfs_register(&faulty_vfs, 1);
}
