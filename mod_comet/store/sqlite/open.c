/* SPDX-License-Identifier: Apache-2.0 */
/* Open and close the message log. */
#include "store/sqlite/sqlite.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "store/sqlite/online.h"

/* A reader waits for a writer only while the writer recovers the log after a
 * crash, or closes the log as its last user. */
#define READ_PATIENCE_USEC 1000000
#define READ_AT_ONCE_PATIENCE_USEC 5000

/* How long to keep trying to open while the files at the path seem to have been
 * replaced.  They seem so while the last connection to the old files is being
 * closed, or while another program creates new files. */
#define MOVING_USEC 500000

/* The busy handler: waits for at most store->patience. */
static int on_busy(void *baton, int tries)
{
    static const struct timespec one_ms = { 0, 1000000 };
    comet_sqlite_t *store = baton;
    apr_int64_t now = comet_monotonic();

    if (store->stopping && atomic_load(store->stopping)) {
        return 0;
    }
    if (tries == 0) {
        store->busy_since = now;
    }
    if (now - store->busy_since >= store->patience) {
        return 0;
    }
    nanosleep(&one_ms, NULL);
    return 1;
}

static apr_status_t connect_file(comet_sqlite_t *store)
{
    /* Readers must be able to write, too: to the shared memory of the log. */
    int code = sqlite3_open_v2(store->path, &store->db,
                               SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX
                                   | SQLITE_OPEN_PRIVATECACHE,
                               NULL);

    if (code != SQLITE_OK) {
        return comet_sqlite_fail(store, code);
    }
    sqlite3_extended_result_codes(store->db, 1);
    sqlite3_busy_handler(store->db, on_busy, store);
    /* so statement journals, sorting and VACUUM need no temporary folder */
    code =
        sqlite3_exec(store->db, "PRAGMA temp_store = MEMORY", NULL, NULL, NULL);
    if (code != SQLITE_OK) {
        return comet_sqlite_fail(store, code);
    }
    /* Closing must not checkpoint a file that may belong to another program. */
    comet_sqlite_keep_log(store);
    return APR_SUCCESS;
}

/* Switch on write-ahead logging, which cannot be done in a transaction. */
static apr_status_t use_wal(comet_sqlite_t *store)
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
    comet_sqlite_t *store = baton;

    if (pages < store->wal_pages) { /* the log has begun anew */
        store->checkpoint_at = CHECKPOINT_PAGES;
    }
    store->wal_pages = pages;
    return SQLITE_OK;
}

static apr_status_t open_to_write(comet_sqlite_t *store)
{
    apr_status_t status = comet_sqlite_create_file(store);
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
        /* these pragmas have no effect on a database that already has pages */
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
                                        "PRAGMA journal_size_limit = 8388608");
    }
    if (status == APR_SUCCESS && version < comet_sqlite_latest_version()) {
        status = comet_sqlite_migrate(store);
    }
    if (status == APR_SUCCESS) {
        status = comet_sqlite_index_open(store);
    }
    if (status == APR_SUCCESS) {
        status = comet_sqlite_deletions_open(store);
    }
    if (status == APR_SUCCESS) {
        status = comet_online_open(store);
    }
    if (status == APR_SUCCESS) {
        sqlite3_db_config(store->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 0, NULL);
        sqlite3_wal_hook(store->db, on_commit, store);
    }
    return status;
}

static apr_status_t open_to_read(comet_sqlite_t *store)
{
    apr_status_t status;
    int version = 0;

    if (access(store->path, F_OK) != 0 && errno == ENOENT) {
        return comet_sqlite_fail_text(store, APR_ENOENT,
                                      "there is no database yet");
    }
    if (comet_sqlite_has_orphaned_log(store)) { /* a writer will remove that
                                                 * log */
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

/* Read once, so that SQLite opens the log; then remember which files are
 * open. */
static apr_status_t remember_files(comet_sqlite_t *store)
{
    comet_store_state_t state;
    apr_status_t status = comet_sqlite_state(store, &state);
    int moved = 0;

    if (status != APR_SUCCESS) {
        return status;
    }
    store->file = comet_sqlite_file_id(store->path);
    store->wal = comet_sqlite_file_id(store->wal_path);
    /* Check that SQLite has this very file open.  While it is open, no other
     * file can have its inode number. */
    sqlite3_file_control(store->db, "main", SQLITE_FCNTL_HAS_MOVED, &moved);
    if (moved || (!store->wal.ino && !store->read_only)
        || comet_sqlite_moved(store, 0)) {
        return comet_sqlite_fail_text(
            store, COMET_EMOVED,
            "the database was replaced while being opened");
    }
    return comet_sqlite_make_known(store);
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

static apr_interval_time_t patience_of(const comet_store_config_t *config,
                                       comet_store_mode_e mode)
{
    return mode == COMET_STORE_WRITE  ? config->busy_timeout
           : mode == COMET_STORE_READ ? READ_PATIENCE_USEC
                                      : READ_AT_ONCE_PATIENCE_USEC;
}

/* Like comet_sqlite_open(), but try only once. */
static apr_status_t try_to_open(comet_sqlite_t **store,
                                const comet_store_config_t *config,
                                comet_store_mode_e mode,
                                const atomic_int *stopping)
{
    comet_sqlite_t *made = calloc(1, sizeof(*made));
    apr_status_t status = APR_SUCCESS;

    *store = NULL;
    if (!made) {
        comet_sqlite_keep_error(NULL);
        return APR_ENOMEM;
    }
    made->config = config;
    made->path = config->place.own;
    made->mode = mode;
    made->stopping = stopping;
    made->checkpoint_at = CHECKPOINT_PAGES;
    made->patience = patience_of(config, mode);
    made->wal_path = with_suffix(made->path, "-wal");
    made->shm_path = with_suffix(made->path, "-shm");
    if (!made->wal_path || !made->shm_path) {
        status = comet_sqlite_fail_text(made, APR_ENOMEM, "out of memory");
    }
    else if (mode == COMET_STORE_WRITE) {
        status = comet_sqlite_check_alias(made, 1);
    }
    if (status == APR_SUCCESS) {
        status = comet_sqlite_enter(made);
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
        comet_sqlite_keep_error(made);
        comet_sqlite_close(made);
    }
    return status;
}

apr_status_t comet_sqlite_open(comet_sqlite_t **store,
                               const comet_store_config_t *config,
                               comet_store_mode_e mode,
                               const atomic_int *stopping)
{
    static const struct timespec one_ms = { 0, 1000000 };
    apr_interval_time_t patience = patience_of(config, mode);
    apr_time_t until =
        comet_monotonic() + (patience < MOVING_USEC ? patience : MOVING_USEC);
    apr_status_t status = try_to_open(store, config, mode, stopping);

    while (status == COMET_EMOVED && comet_monotonic() < until
           && !(stopping && atomic_load(stopping))) {
        nanosleep(&one_ms, NULL);
        status = try_to_open(store, config, mode, stopping);
    }
    return status;
}

void comet_sqlite_keep_log(comet_sqlite_t *store)
{
    sqlite3_db_config(store->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
}

void comet_sqlite_close(comet_sqlite_t *store)
{
    int i;

    if (!store) {
        return;
    }
    for (i = 0; i < SQL_COUNT; i++) {
        sqlite3_finalize(store->statements[i]);
    }
    sqlite3_finalize(store->search);
    sqlite3_value_free(store->forget_after);
    if (store->moved) {
        comet_sqlite_remove_orphaned_log(store);
    }
    if (store->db && comet_sqlite_has_other_log(store)) {
        /* By now SQLite may be using the index of one log and the file of
         * another.  A checkpoint on closing would copy wrong pages into the
         * database, and SQLite would delete the other log. */
        comet_sqlite_keep_log(store);
    }
    sqlite3_close(store->db);
    comet_sqlite_leave(store);
    free(store->wal_path);
    free(store->shm_path);
    free(store);
}
