/* SPDX-License-Identifier: Apache-2.0 */
/* Faults in memory, SQLite and files, tried one after the other. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "faults.h"

#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static atomic_int armed; /* bits of faults_kind_e; 0: nothing fails */
static atomic_long counted, fails_at;
static atomic_int lasts;
static atomic_long live; /* blocks that the core and the tests hold */
static _Thread_local int spared;

/** The current fault, for error messages. */
static struct {
    const char *name, *kind;
    long n;
    int lasting;
} now;

/* Whether this event must fail. */
static int is_to_fail(faults_kind_e kind)
{
    long n, at;

    if (spared || atomic_load(&armed) != (int)kind) {
        return 0;
    }
    n = atomic_fetch_add(&counted, 1) + 1;
    at = atomic_load(&fails_at);
    return at && (n == at || (n > at && atomic_load(&lasts)));
}

void faults_arm(faults_kind_e kind, long n, int lasting)
{
    atomic_store(&counted, 0);
    atomic_store(&fails_at, n);
    atomic_store(&lasts, lasting);
    atomic_store(&armed, (int)kind);
}

long faults_disarm(void)
{
    atomic_store(&armed, 0);
    return atomic_load(&counted);
}

int faults_are_armed(void)
{
    return atomic_load(&armed) != 0;
}

long faults_live(void)
{
    return atomic_load(&live);
}

void faults_spare(int is_spared)
{
    spared = is_spared;
}

/* --- Memory: the linker sends calls of malloc to __wrap_malloc ----------- */

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *block, size_t size);
void __real_free(void *block);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *block, size_t size);
void __wrap_free(void *block);

static void *note_block(void *block)
{
    atomic_fetch_add(&live, block != NULL);
    return block;
}

void *__wrap_malloc(size_t size)
{
    return is_to_fail(FAULTS_MEMORY) ? NULL : note_block(__real_malloc(size));
}

void *__wrap_calloc(size_t count, size_t size)
{
    return is_to_fail(FAULTS_MEMORY) ? NULL
                                     : note_block(__real_calloc(count, size));
}

void *__wrap_realloc(void *block, size_t size)
{
    if (is_to_fail(FAULTS_MEMORY)) {
        return NULL;
    }
    return block ? __real_realloc(block, size)
                 : note_block(__real_realloc(NULL, size));
}

void __wrap_free(void *block)
{
    atomic_fetch_sub(&live, block != NULL);
    __real_free(block);
}

static sqlite3_mem_methods memory;

static void *sqlite_malloc(int size)
{
    return is_to_fail(FAULTS_MEMORY) ? NULL : memory.xMalloc(size);
}

static void *sqlite_realloc(void *block, int size)
{
    return is_to_fail(FAULTS_MEMORY) ? NULL : memory.xRealloc(block, size);
}

/* --- SQLite's functions -------------------------------------------------- */

int __real_sqlite3_step(sqlite3_stmt *statement);
int __real_sqlite3_exec(sqlite3 *db, const char *sql,
                        int (*callback)(void *, int, char **, char **),
                        void *baton, char **error);
int __real_sqlite3_prepare_v2(sqlite3 *db, const char *sql, int length,
                              sqlite3_stmt **statement, const char **tail);
int __real_sqlite3_prepare_v3(sqlite3 *db, const char *sql, int length,
                              unsigned flags, sqlite3_stmt **statement,
                              const char **tail);
int __real_sqlite3_open_v2(const char *path, sqlite3 **db, int flags,
                           const char *vfs);
int __real_sqlite3_wal_checkpoint_v2(sqlite3 *db, const char *name, int mode,
                                     int *pages, int *done);
int __wrap_sqlite3_step(sqlite3_stmt *statement);
int __wrap_sqlite3_exec(sqlite3 *db, const char *sql,
                        int (*callback)(void *, int, char **, char **),
                        void *baton, char **error);
int __wrap_sqlite3_prepare_v2(sqlite3 *db, const char *sql, int length,
                              sqlite3_stmt **statement, const char **tail);
int __wrap_sqlite3_prepare_v3(sqlite3 *db, const char *sql, int length,
                              unsigned flags, sqlite3_stmt **statement,
                              const char **tail);
int __wrap_sqlite3_open_v2(const char *path, sqlite3 **db, int flags,
                           const char *vfs);
int __wrap_sqlite3_wal_checkpoint_v2(sqlite3 *db, const char *name, int mode,
                                     int *pages, int *done);

/* ROLLBACK never fails here: it needs neither memory nor the disk, so neither
 * kind of fault can affect it. */
static int rolls_back(const char *sql)
{
    return sql && strcmp(sql, "ROLLBACK") == 0;
}

/* The error code of a fault.  A connection survives a single fault, but not a
 * lasting one. */
static int code(void)
{
    return atomic_load(&lasts) ? SQLITE_IOERR : SQLITE_FULL;
}

int __wrap_sqlite3_step(sqlite3_stmt *statement)
{
    return !rolls_back(sqlite3_sql(statement)) && is_to_fail(FAULTS_CALL)
               ? code()
               : __real_sqlite3_step(statement);
}

int __wrap_sqlite3_exec(sqlite3 *db, const char *sql,
                        int (*callback)(void *, int, char **, char **),
                        void *baton, char **error)
{
    return !rolls_back(sql) && is_to_fail(FAULTS_CALL)
               ? code()
               : __real_sqlite3_exec(db, sql, callback, baton, error);
}

int __wrap_sqlite3_prepare_v2(sqlite3 *db, const char *sql, int length,
                              sqlite3_stmt **statement, const char **tail)
{
    *statement = NULL;
    return is_to_fail(FAULTS_CALL)
               ? code()
               : __real_sqlite3_prepare_v2(db, sql, length, statement, tail);
}

int __wrap_sqlite3_prepare_v3(sqlite3 *db, const char *sql, int length,
                              unsigned flags, sqlite3_stmt **statement,
                              const char **tail)
{
    *statement = NULL;
    return is_to_fail(FAULTS_CALL) ? code()
                                   : __real_sqlite3_prepare_v3(
                                       db, sql, length, flags, statement, tail);
}

/* Like SQLite itself, this may return a connection even if the call fails. */
int __wrap_sqlite3_open_v2(const char *path, sqlite3 **db, int flags,
                           const char *vfs)
{
    int status = __real_sqlite3_open_v2(path, db, flags, vfs);

    return is_to_fail(FAULTS_CALL) ? SQLITE_CANTOPEN : status;
}

int __wrap_sqlite3_wal_checkpoint_v2(sqlite3 *db, const char *name, int mode,
                                     int *pages, int *done)
{
    return is_to_fail(FAULTS_CALL)
               ? code()
               : __real_sqlite3_wal_checkpoint_v2(db, name, mode, pages, done);
}

/* --- Files --------------------------------------------------------------- */

typedef struct file_t {
    sqlite3_file base;
    sqlite3_file *real;
} file_t;

static sqlite3_vfs *real_vfs;
static sqlite3_vfs vfs;

#define REAL(file) (((file_t *)(void *)(file))->real)
/* Fail with a code if a fault is due; otherwise call the real function. */
#define DISK(code, method, ...) \
    return is_to_fail(FAULTS_DISK) \
               ? (code) \
               : REAL(file)->pMethods->method(REAL(file), ##__VA_ARGS__)

static int file_close(sqlite3_file *file)
{
    return REAL(file)->pMethods->xClose(REAL(file));
}

static int file_read(sqlite3_file *file, void *to, int length,
                     sqlite3_int64 offset)
{
    DISK(SQLITE_IOERR_READ, xRead, to, length, offset);
}

static int file_write(sqlite3_file *file, const void *from, int length,
                      sqlite3_int64 offset)
{
    DISK(SQLITE_IOERR_WRITE, xWrite, from, length, offset);
}

static int file_truncate(sqlite3_file *file, sqlite3_int64 size)
{
    DISK(SQLITE_IOERR_TRUNCATE, xTruncate, size);
}

static int file_sync(sqlite3_file *file, int flags)
{
    DISK(SQLITE_IOERR_FSYNC, xSync, flags);
}

static int file_size(sqlite3_file *file, sqlite3_int64 *size)
{
    DISK(SQLITE_IOERR_FSTAT, xFileSize, size);
}

static int file_lock(sqlite3_file *file, int level)
{
    DISK(SQLITE_IOERR_LOCK, xLock, level);
}

static int file_unlock(sqlite3_file *file, int level)
{
    return REAL(file)->pMethods->xUnlock(REAL(file), level);
}

static int file_reserved(sqlite3_file *file, int *out)
{
    DISK(SQLITE_IOERR_CHECKRESERVEDLOCK, xCheckReservedLock, out);
}

static int file_control(sqlite3_file *file, int what, void *argument)
{
    return REAL(file)->pMethods->xFileControl(REAL(file), what, argument);
}

static int file_sector(sqlite3_file *file)
{
    return REAL(file)->pMethods->xSectorSize(REAL(file));
}

static int file_traits(sqlite3_file *file)
{
    return REAL(file)->pMethods->xDeviceCharacteristics(REAL(file));
}

static int file_shm_map(sqlite3_file *file, int page, int size, int extend,
                        void volatile **out)
{
    if (is_to_fail(FAULTS_DISK)) {
        *out = NULL;
        return SQLITE_IOERR_SHMMAP;
    }
    return REAL(file)->pMethods->xShmMap(REAL(file), page, size, extend, out);
}

static int file_shm_lock(sqlite3_file *file, int offset, int n, int flags)
{
    if ((flags & SQLITE_SHM_LOCK) && is_to_fail(FAULTS_DISK)) {
        return SQLITE_IOERR_SHMLOCK;
    }
    return REAL(file)->pMethods->xShmLock(REAL(file), offset, n, flags);
}

static void file_shm_barrier(sqlite3_file *file)
{
    REAL(file)->pMethods->xShmBarrier(REAL(file));
}

static int file_shm_unmap(sqlite3_file *file, int remove)
{
    return REAL(file)->pMethods->xShmUnmap(REAL(file), remove);
}

static const sqlite3_io_methods methods = {
    .iVersion = 2,
    .xClose = file_close,
    .xRead = file_read,
    .xWrite = file_write,
    .xTruncate = file_truncate,
    .xSync = file_sync,
    .xFileSize = file_size,
    .xLock = file_lock,
    .xUnlock = file_unlock,
    .xCheckReservedLock = file_reserved,
    .xFileControl = file_control,
    .xSectorSize = file_sector,
    .xDeviceCharacteristics = file_traits,
    .xShmMap = file_shm_map,
    .xShmLock = file_shm_lock,
    .xShmBarrier = file_shm_barrier,
    .xShmUnmap = file_shm_unmap,
};

static int vfs_open(sqlite3_vfs *of, sqlite3_filename name, sqlite3_file *file,
                    int flags, int *out)
{
    file_t *ours = (file_t *)(void *)file;
    int code;

    memset(ours, 0, sizeof(*ours));
    if (is_to_fail(FAULTS_DISK)) {
        return SQLITE_CANTOPEN;
    }
    ours->real = (sqlite3_file *)(void *)(ours + 1);
    code = real_vfs->xOpen(real_vfs, name, ours->real, flags, out);
    ours->base.pMethods = ours->real->pMethods ? &methods : NULL;
    return code;
}

static int vfs_delete(sqlite3_vfs *of, const char *name, int sync)
{
    return is_to_fail(FAULTS_DISK) ? SQLITE_IOERR_DELETE
                                   : real_vfs->xDelete(real_vfs, name, sync);
}

static int vfs_access(sqlite3_vfs *of, const char *name, int flags, int *out)
{
    return is_to_fail(FAULTS_DISK)
               ? SQLITE_IOERR_ACCESS
               : real_vfs->xAccess(real_vfs, name, flags, out);
}

#define LAST 6

/* --- Trying all of them -------------------------------------------------- */

void faults_install(void)
{
    sqlite3_mem_methods ours;

    sqlite3_config(SQLITE_CONFIG_GETMALLOC, &memory);
    ours = memory;
    ours.xMalloc = sqlite_malloc;
    ours.xRealloc = sqlite_realloc;
    sqlite3_config(SQLITE_CONFIG_MALLOC, &ours);
    /* so that small allocations can fail too */
    sqlite3_config(SQLITE_CONFIG_LOOKASIDE, 0, 0);
    real_vfs = sqlite3_vfs_find(NULL);
    vfs = *real_vfs;
    vfs.zName = "faults";
    vfs.szOsFile = (int)sizeof(file_t) + real_vfs->szOsFile;
    vfs.xOpen = vfs_open;
    vfs.xDelete = vfs_delete;
    vfs.xAccess = vfs_access;
    sqlite3_vfs_register(&vfs, 1);
}

void faults_judge(int right, const char *what, const char *file, int line)
{
    if (!right) {
        faults_disarm();
        spared = 0;
        print_error("%s: %s fault %ld%s\n", now.name, now.kind, now.n,
                    now.lasting ? " and all after it" : "");
        _fail(file, line);
    }
}

/* Try the scenario once.  @return how many events could have failed */
static long attempt(const faults_scenario_t *scenario, faults_kind_e kind,
                    long n, int lasting)
{
    apr_status_t status;
    long count, blocks = atomic_load(&live);

    now.n = n;
    now.lasting = lasting;
    if (scenario->prepare) {
        scenario->prepare();
    }
    faults_arm(kind, n, lasting);
    status = scenario->act();
    count = faults_disarm();
    faults_must(n || status == APR_SUCCESS);
    if (scenario->check) {
        scenario->check(status);
    }
    if (status != APR_SUCCESS) { /* the next attempt must succeed */
        status = scenario->act();
        faults_must(status == APR_SUCCESS);
        if (scenario->check) {
            scenario->check(status);
        }
    }
    if (scenario->finish) {
        scenario->finish();
    }
    faults_must(scenario->concurrent || n == 0 || atomic_load(&live) <= blocks);
    return count;
}

void faults_run(const faults_scenario_t *scenario)
{
    static const char *const names[] = { "", "memory", "call", "", "disk" };
    const char *wish = getenv("COMET_FAULTS");
    unsigned kind;
    int all = wish && strcmp(wish, "all") == 0;
    long most = scenario->most ? scenario->most * (all ? 10 : 1)
                : all          ? LONG_MAX / 2
                               : FAULTS_SAMPLE;
    int lasting;

    now.name = scenario->name;
    for (kind = FAULTS_MEMORY; kind <= FAULTS_DISK; kind *= 2) {
        long total, step, n;

        if (!(scenario->kinds & kind)) {
            continue;
        }
        now.kind = names[kind];
        total = attempt(scenario, (faults_kind_e)kind, 0, 0);
        faults_must(total > 0);
        step = total / most + (total % most != 0);
        for (lasting = 0; lasting < 2; lasting++) {
            /* try two different samples, then the last faults, because commits
             * happen at the end */
            for (n = 1 + lasting * step / 2; n <= total; n += step) {
                attempt(scenario, (faults_kind_e)kind, n, lasting);
            }
            for (n = total; n > 1 && n > total - LAST && step > 1; n--) {
                attempt(scenario, (faults_kind_e)kind, n, lasting);
            }
        }
        print_message("# %s: %s: %ld, each %ld\n", now.name, now.kind, total,
                      step);
    }
}
