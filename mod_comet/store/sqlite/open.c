/* SPDX-License-Identifier: Apache-2.0 */
/* Opening the message log: whose file it is, its schema, whether it moved. */
#include "store/sqlite/sqlite.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "comet_schema.h"

/* Readers never wait for writers, but for one who opens the log after a crash
 * or is the last to close it. */
#define READ_PATIENCE_USEC 1000000
#define READ_AT_ONCE_PATIENCE_USEC 5000

static _Thread_local char open_error[256];

const char *comet_store_error(const comet_store_t *store)
{
    return store ? store->error : open_error;
}

static apr_status_t fail_errno(comet_store_t *store, const char *what,
                               int error)
{
    char text[128];

    snprintf(store->error, sizeof(store->error), "%s: %s", what,
             apr_strerror(error, text, sizeof(text)));
    if (comet_sqlite_is_full(error)) {
        return APR_ENOSPC;
    }
    if (comet_sqlite_has_no_descriptor(error)) {
        return error;
    }
    return error == ENOMEM ? APR_ENOMEM : COMET_EREADONLY;
}

static void unlink_same(const char *path, file_id_t file)
{
    if (file.ino && comet_sqlite_same_file(file, comet_sqlite_file_id(path))) {
        unlink(path);
    }
}

/**
 * Which log this process last had open with the file at a path.  When the
 * file is replaced and its log is not, a new connection would take the log for
 * the new file's, and cut off the memory that the old connections share.
 */
typedef struct known_t {
    struct known_t *next;
    file_id_t file, wal, shm;
    int open, read_only; /* how many connections are */
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

/* Remember which files are open. */
static void make_known(comet_store_t *store)
{
    known_t *known;

    pthread_mutex_lock(&known_lock);
    known = find_known_locked(store->config->path);
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
}

static int may_write(const comet_store_t *store)
{
    const char *const paths[] = { store->config->path, store->shm_path };
    int i;

    for (i = 0; i < 2; i++) {
        if (access(paths[i], W_OK) != 0 && errno != ENOENT) {
            return 0;
        }
    }
    return 1;
}

/*
 * Before it is opened.  All connections of a process to a file share the memory
 * that its log is shared by, from the first that is opened to the last that is
 * closed.  If SQLite may not write it, it is read-only for all of them.  If it
 * is deleted, they go on in it, other programs make another one, and both write
 * to the log as if they were alone.  In both cases all must be closed before
 * one is opened that can write.
 */
static apr_status_t enter(comet_store_t *store)
{
    apr_status_t status = APR_SUCCESS;
    known_t *known;

    pthread_mutex_lock(&known_lock);
    known = ensure_known_locked(store->config->path);
    if (!known) {
        status = comet_sqlite_fail_text(store, APR_ENOMEM, "out of memory");
    }
    else if (known->open && known->shm.ino
             && comet_sqlite_same_file(
                 known->file, comet_sqlite_file_id(store->config->path))
             && !comet_sqlite_same_file(
                 known->shm, comet_sqlite_file_id(store->shm_path))) {
        status = comet_sqlite_fail_text(store, COMET_EMOVED,
                                        "the log's shared memory was deleted");
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

static void leave(const comet_store_t *store)
{
    known_t *known;

    if (store->entered) {
        pthread_mutex_lock(&known_lock);
        known = find_known_locked(store->config->path);
        if (known) { /* there is one: nothing is ever forgotten */
            known->open--;
            known->read_only -= store->read_only;
        }
        pthread_mutex_unlock(&known_lock);
    }
}

/* Whether the log at the path is known to be that of another file. */
static int has_orphaned_log(const comet_store_t *store)
{
    file_id_t file = comet_sqlite_file_id(store->config->path);
    file_id_t wal = comet_sqlite_file_id(store->wal_path);
    const known_t *known;
    int orphaned;

    pthread_mutex_lock(&known_lock);
    known = find_known_locked(store->config->path);
    orphaned = known && wal.ino && comet_sqlite_same_file(known->wal, wal)
               && !comet_sqlite_same_file(known->file, file);
    pthread_mutex_unlock(&known_lock);
    return orphaned;
}

/*
 * SQLite would create the file by the umask, which no thread may change.
 * mknod and not open: invariant 3.  The log of a database that was here
 * before must not be taken for the new one's.
 */
static apr_status_t create_file(comet_store_t *store)
{
    const mode_t mode = S_IRUSR | S_IWUSR | S_IRGRP | S_IWGRP;
    const char *path = store->config->path;
    file_id_t old_wal = comet_sqlite_file_id(store->wal_path);
    file_id_t old_shm = comet_sqlite_file_id(store->shm_path);

    if (mknod(path, S_IFREG | mode, 0) != 0) {
        int error = errno;

        return error == EEXIST || access(path, F_OK) == 0
                   ? APR_SUCCESS
                   : fail_errno(store, path, error);
    }
    unlink_same(store->wal_path, old_wal);
    unlink_same(store->shm_path, old_shm);
    if (chmod(path, mode) != 0) {
        return fail_errno(store, path, errno);
    }
    return APR_SUCCESS;
}

static apr_status_t connect_file(comet_store_t *store)
{
    /* A reader needs to write too: to the shared memory of the log. */
    int code = sqlite3_open_v2(store->config->path, &store->db,
                               SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX
                                   | SQLITE_OPEN_PRIVATECACHE,
                               NULL);

    if (code != SQLITE_OK) {
        return comet_sqlite_fail(store, code);
    }
    sqlite3_extended_result_codes(store->db, 1);
    sqlite3_busy_handler(store->db, comet_sqlite_on_busy, store);
    /* Statement journals, sorting and VACUUM need no folder that way. */
    code =
        sqlite3_exec(store->db, "PRAGMA temp_store = MEMORY", NULL, NULL, NULL);
    if (code != SQLITE_OK) {
        return comet_sqlite_fail(store, code);
    }
    /* Until it is known to be ours, closing must not tidy it up. */
    sqlite3_db_config(store->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    return APR_SUCCESS;
}

/* Several processes may be here at once: the first to get the lock does it.
 * Each file of sql/ sets user_version itself. */
static apr_status_t migrate(comet_store_t *store)
{
    apr_status_t status = comet_sqlite_execute(store, "BEGIN IMMEDIATE");
    int version = 0;
    int i;

    if (status == APR_SUCCESS) {
        status = comet_sqlite_identify(store, &version);
    }
    for (i = 0; status == APR_SUCCESS && comet_schema[i].sql; i++) {
        if (comet_schema[i].version > version) {
            status = comet_sqlite_execute(store, comet_schema[i].sql);
        }
    }
    if (status == APR_SUCCESS) {
        status = comet_sqlite_execute(store, "COMMIT");
    }
    if (!sqlite3_get_autocommit(store->db)) {
        sqlite3_exec(store->db, "ROLLBACK", NULL, NULL, NULL);
    }
    return status;
}

/* Write-ahead logging cannot be switched on inside a transaction. */
static apr_status_t use_wal(comet_store_t *store)
{
    sqlite3_stmt *statement = NULL;
    apr_status_t status = APR_SUCCESS;
    int code = sqlite3_prepare_v2(store->db, "PRAGMA journal_mode = WAL", -1,
                                  &statement, NULL);

    if (code == SQLITE_OK) {
        code = sqlite3_step(statement);
    }
    if (code != SQLITE_ROW) {
        status = comet_sqlite_fail(store, code);
    }
    else if (strcmp((const char *)sqlite3_column_text(statement, 0), "wal")
             != 0) {
        status = comet_sqlite_fail_text(
            store, COMET_EREADONLY,
            "the file system does not allow journal_mode=WAL");
    }
    sqlite3_finalize(statement);
    return status;
}

static int on_commit(void *baton, sqlite3 *db, const char *name, int pages)
{
    comet_store_t *store = baton;

    if (pages < store->wal_pages) { /* the log began anew */
        store->checkpoint_at = CHECKPOINT_PAGES;
    }
    store->wal_pages = pages;
    return SQLITE_OK;
}

static apr_status_t open_to_write(comet_store_t *store)
{
    apr_status_t status = create_file(store);
    int version = 0;

    if (status == APR_SUCCESS) {
        status = connect_file(store);
    }
    if (status == APR_SUCCESS) {
        status = comet_sqlite_identify(store, &version);
    }
    if (status != APR_SUCCESS) {
        return status;
    }
    if (store->read_only || sqlite3_db_readonly(store->db, "main") == 1) {
        return comet_sqlite_fail_text(store, COMET_EREADONLY,
                                      "attempt to write a readonly database");
    }
    if (version == 0) {
        /* without effect on a database that has pages */
        status =
            comet_sqlite_execute(store, "PRAGMA page_size = 4096;"
                                        "PRAGMA auto_vacuum = INCREMENTAL");
    }
    if (status == APR_SUCCESS) {
        status = use_wal(store);
    }
    if (status == APR_SUCCESS) {
        status = comet_sqlite_execute(
            store, store->config->sync_full ? "PRAGMA synchronous = FULL"
                                            : "PRAGMA synchronous = NORMAL");
    }
    if (status == APR_SUCCESS) {
        status =
            comet_sqlite_execute(store, "PRAGMA foreign_keys = ON;"
                                        "PRAGMA wal_autocheckpoint = 0;"
                                        "PRAGMA journal_size_limit = 4194304");
    }
    if (status == APR_SUCCESS && version < comet_sqlite_latest_version()) {
        status = migrate(store);
    }
    if (status == APR_SUCCESS) {
        status = comet_sqlite_index_open(store);
    }
    if (status == APR_SUCCESS) {
        sqlite3_db_config(store->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 0, NULL);
        sqlite3_wal_hook(store->db, on_commit, store);
    }
    return status;
}

static apr_status_t open_to_read(comet_store_t *store)
{
    apr_status_t status;
    int version = 0;

    if (access(store->config->path, F_OK) != 0 && errno == ENOENT) {
        return comet_sqlite_fail_text(store, APR_ENOENT,
                                      "there is no database yet");
    }
    if (has_orphaned_log(store)) { /* a writer will remove it */
        return comet_sqlite_fail_text(store, APR_ENOENT,
                                      "the database is being replaced");
    }
    status = connect_file(store);
    if (status == APR_SUCCESS) {
        status = comet_sqlite_identify(store, &version);
    }
    if (status == APR_SUCCESS && version < comet_sqlite_latest_version()) {
        status = comet_sqlite_fail_text(store, APR_ENOENT,
                                        "the database is not ready yet");
    }
    if (status == APR_SUCCESS) {
        status = comet_sqlite_execute(store, "PRAGMA query_only = ON");
    }
    return status;
}

/* Remember which files are open; the first read has opened the log. */
static apr_status_t remember_files(comet_store_t *store)
{
    comet_store_state_t state;
    apr_status_t status = comet_store_state(store, &state);
    int moved = 0;

    if (status != APR_SUCCESS) {
        return status;
    }
    store->file = comet_sqlite_file_id(store->config->path);
    store->wal = comet_sqlite_file_id(store->wal_path);
    /* that it is the one SQLite has open; from then on its number is not given
     * to another */
    sqlite3_file_control(store->db, "main", SQLITE_FCNTL_HAS_MOVED, &moved);
    if (moved || (!store->wal.ino && !store->read_only)
        || comet_store_moved(store)) {
        return comet_sqlite_fail_text(
            store, COMET_EMOVED,
            "the database was replaced while being opened");
    }
    make_known(store);
    return APR_SUCCESS;
}

static char *with_suffix(const char *path, const char *suffix)
{
    size_t size = strlen(path) + strlen(suffix) + 1;
    char *text = malloc(size);

    if (text) {
        snprintf(text, size, "%s%s", path, suffix);
    }
    return text;
}

apr_status_t comet_store_open(comet_store_t **store,
                              const comet_store_config_t *config,
                              comet_store_mode_e mode,
                              const atomic_int *stopping)
{
    comet_store_t *made = calloc(1, sizeof(*made));
    apr_status_t status = APR_SUCCESS;

    *store = NULL;
    if (!made) {
        snprintf(open_error, sizeof(open_error), "out of memory");
        return APR_ENOMEM;
    }
    made->config = config;
    made->mode = mode;
    made->stopping = stopping;
    made->checkpoint_at = CHECKPOINT_PAGES;
    made->patience = mode == COMET_STORE_WRITE  ? config->busy_timeout
                     : mode == COMET_STORE_READ ? READ_PATIENCE_USEC
                                                : READ_AT_ONCE_PATIENCE_USEC;
    made->wal_path = with_suffix(config->path, "-wal");
    made->shm_path = with_suffix(config->path, "-shm");
    if (!made->wal_path || !made->shm_path) {
        status = comet_sqlite_fail_text(made, APR_ENOMEM, "out of memory");
    }
    else if (mode == COMET_STORE_WRITE) {
        status = comet_sqlite_check_place(made);
    }
    if (status == APR_SUCCESS) {
        status = enter(made);
    }
    if (status == APR_SUCCESS) {
        status = mode == COMET_STORE_WRITE ? open_to_write(made)
                                           : open_to_read(made);
    }
    if (status == APR_SUCCESS) {
        status = comet_sqlite_prepare(made);
    }
    if (status == APR_SUCCESS) {
        status = remember_files(made);
    }
    if (status == APR_SUCCESS) {
        *store = made;
    }
    else {
        memcpy(open_error, made->error, sizeof(open_error));
        comet_store_close(made);
    }
    return status;
}

/*
 * The database has gone from its path, but not its log, which the next one
 * there would take for its own.  comet_sqlite_leave_behind() has saved what is in it.
 */
static void remove_orphaned_log(const comet_store_t *store)
{
    if (store->wal.ino
        && comet_sqlite_same_file(store->wal,
                                  comet_sqlite_file_id(store->wal_path))
        && !comet_sqlite_same_file(store->file,
                                   comet_sqlite_file_id(store->config->path))) {
        unlink(store->wal_path);
        unlink(store->shm_path);
    }
}

/* Whether the file in use is not the one at the path. */
static int is_other(file_id_t file, const char *path)
{
    return file.ino
           && !comet_sqlite_same_file(file, comet_sqlite_file_id(path));
}

/* Whether somebody has committed to another log than the one in use. */
static int has_other_log(const comet_store_t *store)
{
    return comet_sqlite_has_content(store->wal_path)
           && is_other(store->wal, store->wal_path);
}

void comet_store_close(comet_store_t *store)
{
    int i;

    if (!store) {
        return;
    }
    for (i = 0; i < SQL_COUNT; i++) {
        sqlite3_finalize(store->statements[i]);
    }
    sqlite3_finalize(store->search);
    if (store->moved) {
        remove_orphaned_log(store);
    }
    if (store->db
        && (is_other(store->shm, store->shm_path) || has_other_log(store))) {
        /* what it knows of the log may be wrong by now: SQLite would copy the
         * one log by the other's index, and delete the other */
        sqlite3_db_config(store->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    }
    sqlite3_close(store->db);
    leave(store);
    free(store->wal_path);
    free(store->shm_path);
    free(store);
}

int comet_store_moved(comet_store_t *store)
{
    return !comet_sqlite_same_file(store->file,
                                   comet_sqlite_file_id(store->config->path))
           || is_other(store->wal, store->wal_path)
           || is_other(store->shm, store->shm_path)
           || (store->read_only && may_write(store));
}

int comet_store_is_read_only(const comet_store_t *store)
{
    return store->read_only;
}
