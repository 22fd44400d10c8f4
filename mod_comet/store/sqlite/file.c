/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Find out which files a database consists of, and whether the files at its
 * path are still the ones that are open.
 */
#include "store/sqlite/sqlite.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/sqlite/alias.h"

apr_status_t comet_sqlite_check_alias(comet_sqlite_t *store, int and_log)
{
    const char *named = store->config->place.named;
    comet_alias_e place = comet_alias_check(store->path, and_log);

    if (place == COMET_ALIAS_NONE && named
        && comet_alias_leads_elsewhere(named, store->path)) {
        place = COMET_ALIAS_ELSEWHERE;
    }
    return place == COMET_ALIAS_NONE
               ? APR_SUCCESS
               : comet_sqlite_fail_text(store, COMET_EALIASED,
                                        comet_alias_text(place));
}

/* A file system reuses the inode number of a removed file.  So a log that was
 * restored beside a new database could be taken for the old database's log, and
 * readers would wait for its removal.  The time of birth distinguishes the two
 * files. */
file_id_t comet_sqlite_file_id(const char *path)
{
    struct statx info;

    if (statx(AT_FDCWD, path, 0, STATX_INO | STATX_BTIME, &info) != 0) {
        return (file_id_t){ 0 };
    }
    return (file_id_t){ info.stx_dev_major, info.stx_dev_minor, info.stx_ino,
                        info.stx_mask & STATX_BTIME
                            ? info.stx_btime.tv_sec * APR_INT64_C(1000000000)
                                  + info.stx_btime.tv_nsec
                            : 0 };
}

int comet_sqlite_same_file(file_id_t a, file_id_t b)
{
    return a.ino == b.ino && a.dev_major == b.dev_major
           && a.dev_minor == b.dev_minor && a.born == b.born;
}

/* Whether the file that is open is not the one at the path. */
static int is_other(file_id_t file, const char *path)
{
    return file.ino
           && !comet_sqlite_same_file(file, comet_sqlite_file_id(path));
}

int comet_sqlite_has_content(const char *path)
{
    struct stat info;

    return stat(path, &info) == 0 && info.st_size > 0;
}

static void unlink_same(const char *path, file_id_t file)
{
    if (file.ino && comet_sqlite_same_file(file, comet_sqlite_file_id(path))) {
        unlink(path);
    }
}

/**
 * The files that this process last had open for a path.  They identify a log
 * that belongs to an earlier database at the path.  Otherwise a new connection
 * would take that log for the new database's, and truncate the -shm file that
 * the old connections have mapped.
 */
typedef struct known_t {
    struct known_t *next;
    file_id_t file, wal, shm;
    /** The files that a connection of this process last found unchanged at
     * their paths, and the time of that check. */
    struct {
        apr_time_t at;
        file_id_t file, wal, shm;
    } found;
    int open; /* how many connections are open */
    int read_only; /* how many of these can only read */
    char path[];
} known_t;

static pthread_mutex_t known_lock = PTHREAD_MUTEX_INITIALIZER;

static known_t *known_files; /* [known_lock], one for each path */

static known_t *find_known_locked(const char *path)
{
    known_t *known = known_files;

    while (known && strcmp(known->path, path) != 0) {
        known = known->next;
    }
    return known;
}

/* @return NULL: no memory */
static known_t *ensure_known_locked(const char *path)
{
    size_t size = strlen(path) + 1;
    known_t *known = find_known_locked(path);

    if (!known && (known = calloc(1, sizeof(*known) + size)) != NULL) {
        memcpy(known->path, path, size);
        known->next = known_files;
        known_files = known;
    }
    return known;
}

/*
 * The first connection of a process remembers the -shm file at the path as the
 * one in use.  A later connection may find a different -shm file there: the old
 * file was deleted either because its last connection was closed just now, or
 * by another program.  The connection cannot tell which, so it fails.
 */
apr_status_t comet_sqlite_make_known(comet_sqlite_t *store)
{
    known_t *known;

    pthread_mutex_lock(&known_lock);
    known = find_known_locked(store->path);
    if (known) {
        if (!known->shm.ino
            || !comet_sqlite_same_file(known->file, store->file)) {
            known->shm = comet_sqlite_file_id(store->shm_path);
        }
        known->file = store->file;
        known->wal = store->wal;
        store->shm = known->shm;
    }
    pthread_mutex_unlock(&known_lock);
    return is_other(store->shm, store->shm_path) ? comet_sqlite_fail_text(
               store, COMET_EMOVED, "the log's shared memory was deleted")
                                                 : APR_SUCCESS;
}

static int may_write(const comet_sqlite_t *store)
{
    const char *const paths[] = { store->path, store->shm_path };
    int i;

    for (i = 0; i < 2; i++) {
        if (access(paths[i], W_OK) != 0 && errno != ENOENT) {
            return 0;
        }
    }
    return 1;
}

apr_status_t comet_sqlite_enter(comet_sqlite_t *store)
{
    apr_status_t status = APR_SUCCESS;
    known_t *known;

    pthread_mutex_lock(&known_lock);
    known = ensure_known_locked(store->path);
    if (!known) {
        status = comet_sqlite_fail_text(store, APR_ENOMEM, "out of memory");
    }
    else if (known->open && known->shm.ino
             && comet_sqlite_same_file(known->file,
                                       comet_sqlite_file_id(store->path))
             && !comet_sqlite_same_file(
                 known->shm, comet_sqlite_file_id(store->shm_path))) {
        status = comet_sqlite_fail_text(store, COMET_EMOVED,
                                        "the database's -shm file was "
                                        "deleted");
    }
    else {
        if (!known->open++) {
            known->shm.ino = 0;
        }
        store->entered = 1;
        store->read_only = known->read_only > 0 || !may_write(store);
        known->read_only += store->read_only;
    }
    pthread_mutex_unlock(&known_lock);
    return status;
}

void comet_sqlite_leave(const comet_sqlite_t *store)
{
    known_t *known;

    if (store->entered) {
        pthread_mutex_lock(&known_lock);
        known = find_known_locked(store->path);
        if (known) { /* always, since entries are never removed */
            known->open--;
            known->read_only -= store->read_only;
        }
        pthread_mutex_unlock(&known_lock);
    }
}

int comet_sqlite_has_orphaned_log(const comet_sqlite_t *store)
{
    file_id_t file = comet_sqlite_file_id(store->path);
    file_id_t wal = comet_sqlite_file_id(store->wal_path);
    const known_t *known;
    int orphaned;

    pthread_mutex_lock(&known_lock);
    known = find_known_locked(store->path);
    orphaned = known && wal.ino && comet_sqlite_same_file(known->wal, wal)
               && !comet_sqlite_same_file(known->file, file);
    pthread_mutex_unlock(&known_lock);
    return orphaned;
}

/*
 * SQLite would create the file with the umask's mode, and a thread must not
 * change the umask.  The function uses mknod() and not open() because of
 * invariant 3 (sqlite.h).  It also removes the log of an earlier database at
 * this path, which SQLite would take for the new database's log.
 */
apr_status_t comet_sqlite_create_file(comet_sqlite_t *store)
{
    const mode_t mode = S_IRUSR | S_IWUSR | S_IRGRP | S_IWGRP;
    const char *path = store->path;
    file_id_t old_wal = comet_sqlite_file_id(store->wal_path);
    file_id_t old_shm = comet_sqlite_file_id(store->shm_path);

    if (mknod(path, S_IFREG | mode, 0) != 0) {
        int error = errno;

        return error == EEXIST || access(path, F_OK) == 0
                   ? APR_SUCCESS
                   : comet_sqlite_fail_errno(store, path, error);
    }
    unlink_same(store->wal_path, old_wal);
    unlink_same(store->shm_path, old_shm);
    if (chmod(path, mode) != 0) {
        return comet_sqlite_fail_errno(store, path, errno);
    }
    return APR_SUCCESS;
}

void comet_sqlite_remove_orphaned_log(const comet_sqlite_t *store)
{
    if (store->wal.ino
        && comet_sqlite_same_file(store->wal,
                                  comet_sqlite_file_id(store->wal_path))
        && !comet_sqlite_same_file(store->file,
                                   comet_sqlite_file_id(store->path))) {
        unlink(store->wal_path);
        unlink(store->shm_path);
    }
}

int comet_sqlite_has_other_log(const comet_sqlite_t *store)
{
    return is_other(store->shm, store->shm_path)
           || (comet_sqlite_has_content(store->wal_path)
               && is_other(store->wal, store->wal_path));
}

static int is_in_place(comet_sqlite_t *store)
{
    return comet_sqlite_same_file(store->file,
                                  comet_sqlite_file_id(store->path))
           && !is_other(store->wal, store->wal_path)
           && !is_other(store->shm, store->shm_path)
           && !(store->read_only && may_write(store));
}

/* When a connection of this process last found the files of this connection
 * unchanged at their paths; 0: never.  A read-only connection uses only its own
 * checks. */
static apr_time_t found_at(const comet_sqlite_t *store)
{
    const known_t *known;
    apr_time_t at = 0;

    if (store->read_only) {
        return store->in_place_at;
    }
    pthread_mutex_lock(&known_lock);
    known = find_known_locked(store->path);
    if (known && comet_sqlite_same_file(known->found.file, store->file)
        && comet_sqlite_same_file(known->found.wal, store->wal)
        && comet_sqlite_same_file(known->found.shm, store->shm)) {
        at = known->found.at;
    }
    pthread_mutex_unlock(&known_lock);
    return at;
}

static void note_found(const comet_sqlite_t *store)
{
    known_t *known;

    pthread_mutex_lock(&known_lock);
    known = find_known_locked(store->path);
    if (known) {
        known->found.at = store->in_place_at;
        known->found.file = store->file;
        known->found.wal = store->wal;
        known->found.shm = store->shm;
    }
    pthread_mutex_unlock(&known_lock);
}

int comet_sqlite_moved(comet_sqlite_t *store, apr_interval_time_t within)
{
    apr_time_t now = comet_monotonic(), at = within ? found_at(store) : 0;

    if (!at || now - at >= within) {
        store->in_place_at = is_in_place(store) ? now : 0;
        note_found(store);
        return store->in_place_at == 0;
    }
    return 0;
}

int comet_sqlite_is_read_only(const comet_sqlite_t *store)
{
    return store->read_only;
}
