/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The message log in SQLite, through its C API.  The schema is in sql/.
 *
 * Invariants:
 * 1. a statement is reset before its function returns, so that no read
 *    transaction outlives a call (but comet_store_begin()'s);
 * 2. a file is written to only once it is known to be ours;
 * 3. no descriptor of the database is opened or closed beside SQLite's:
 *    close(2) would drop all its POSIX locks in this process;
 * 4. whoever writes has checked, inside the write lock of the bus, that the
 *    file is still the one at the path.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "comet_store.h"

#include <errno.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "comet_schema.h"

#define APPLICATION_ID 0x434f4d54 /* "COMT" */
#define READ_PATIENCE_USEC 5000
#define PRUNE_PATIENCE_USEC 20000
#define PRUNE_ROWS 1000
#define PRUNE_USEC 10000 /* look at no further channel after that */
#define PRUNE_CHANNELS 256
#define PRUNE_SCAN_ROWS 4096
#define VACUUM_PAGES 256
/* Outside programs checkpoint at 1,000 pages unless we have done it before. */
#define CHECKPOINT_PAGES 500

typedef enum {
    SQL_BEGIN,
    SQL_BEGIN_WRITE,
    SQL_COMMIT,
    SQL_ROLLBACK,
    SQL_STATE,
    SQL_CHANNEL,
    SQL_REPLAY,
    SQL_FLOOR,
    SQL_READ,
    SQL_TAIL,
    SQL_RECENT,
    SQL_CHANNEL_ADD,
    SQL_CHANNEL_DROP,
    SQL_INSERT,
    SQL_CLOCK_SET,
    SQL_CHANNELS,
    SQL_CHANNELS_SINCE,
    SQL_NEWEST,
    SQL_OVER_COUNT,
    SQL_PRUNE_UPTO,
    SQL_PRUNE_FLOOR,
    SQL_PRUNE,
    SQL_PAGES,
    SQL_COUNT
} sql_e;

static const char *const sql_text[SQL_COUNT] = {
    [SQL_BEGIN] = "BEGIN",
    [SQL_BEGIN_WRITE] = "BEGIN IMMEDIATE",
    [SQL_COMMIT] = "COMMIT",
    [SQL_ROLLBACK] = "ROLLBACK",
    [SQL_STATE] = "SELECT last, erased FROM comet_clock",
    [SQL_CHANNEL] = "SELECT id FROM channel WHERE name = ?1",
    [SQL_REPLAY] = "SELECT id FROM message_log WHERE channel_id = ?1"
                   " ORDER BY id DESC LIMIT 1 OFFSET ?2",
    [SQL_FLOOR] = "SELECT floor FROM channel WHERE name = ?1",
    [SQL_READ] = "SELECT id, ?1, type, author, body FROM message_log"
                 " WHERE channel_id = (SELECT id FROM channel WHERE name = ?1)"
                 " AND id > ?2 ORDER BY id LIMIT ?3",
    [SQL_TAIL] = "SELECT m.id, c.name, m.type, m.author, m.body"
                 " FROM message_log AS m CROSS JOIN channel AS c"
                 " WHERE m.id > ?1 AND c.id = m.channel_id"
                 " ORDER BY m.id LIMIT ?2",
    [SQL_RECENT] = "SELECT id FROM message_log"
                   " ORDER BY id DESC LIMIT 1 OFFSET ?1",
    [SQL_CHANNEL_ADD] = "INSERT INTO channel(name) VALUES(?1)",
    [SQL_CHANNEL_DROP] = "DELETE FROM channel WHERE id = ?1",
    [SQL_INSERT] = "INSERT INTO message_log"
                   "(id, channel_id, type, author, body)"
                   " VALUES(?1, ?2, ?3, ?4, ?5)",
    [SQL_CLOCK_SET] = "UPDATE comet_clock SET last = ?1",
    /* ?2, the clock, only fits the form of the next one */
    [SQL_CHANNELS] = "SELECT id, id FROM channel"
                     " WHERE id > ?1 AND ?2 ORDER BY id LIMIT ?3",
    [SQL_CHANNELS_SINCE] = "SELECT id, channel_id FROM message_log"
                           " WHERE id > ?1 AND id <= ?2"
                           " ORDER BY id LIMIT ?3",
    [SQL_NEWEST] = "SELECT max(id) FROM message_log WHERE channel_id = ?1",
    [SQL_OVER_COUNT] = "SELECT id FROM message_log WHERE channel_id = ?1"
                       " ORDER BY id DESC LIMIT 1 OFFSET ?2",
    [SQL_PRUNE_UPTO] = "SELECT max(id), count(*) FROM"
                       " (SELECT id FROM message_log"
                       " WHERE channel_id = ?1 AND id <= ?2"
                       " ORDER BY id LIMIT ?3)",
    [SQL_PRUNE_FLOOR] = "UPDATE channel SET floor = ?2"
                        " WHERE id = ?1 AND floor < ?2",
    [SQL_PRUNE] = "DELETE FROM message_log"
                  " WHERE channel_id = ?1 AND id <= ?2",
    [SQL_PAGES] = "SELECT freelist_count, page_count"
                  " FROM pragma_freelist_count, pragma_page_count",
};

/** Which file it is; ino is 0 while unknown. */
typedef struct file_id_t {
    dev_t dev;
    ino_t ino;
} file_id_t;

/** A round of retention, which goes in steps. */
typedef struct prune_t {
    int running; /* between the first step of a round and its last */
    int all_seen; /* a first round over all channels is complete */
    comet_timestamp_t seen; /* clock at the start of the last whole round */
    comet_timestamp_t end; /* clock at the start of this round */
    apr_int64_t cursor; /* channel or message up to which it was listed */
    int listed; /* nothing is left beyond the cursor */
    apr_size_t count, next; /* next <= count <= PRUNE_CHANNELS */
    apr_int64_t channels[PRUNE_CHANNELS];
} prune_t;

struct comet_store_t {
    const comet_store_config_t *config;
    const atomic_int *stopping; /* [atomic] */
    comet_store_mode_e mode;
    sqlite3 *db;
    sqlite3_stmt *statements[SQL_COUNT];
    char *wal_path, *shm_path;
    file_id_t file, wal;
    int moved; /* found by a writer */
    int reserved; /* BEGIN IMMEDIATE is done, for append */
    apr_interval_time_t patience; /* for the busy handler */
    apr_int64_t busy_since;
    int wal_pages, checkpoint_at;
    prune_t prune;
    char error[256];
};

static _Thread_local char open_error[256];

/* --- Failures --------------------------------------------------------- */

static int is_full(int error)
{
    return error == ENOSPC || error == EDQUOT || error == EFBIG;
}

static apr_status_t status_of(int code, int error)
{
    switch (code & 0xff) {
    case SQLITE_OK:
        return APR_SUCCESS;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return COMET_ELOCKED;
    case SQLITE_FULL:
        return APR_ENOSPC;
    case SQLITE_READONLY:
        return code == SQLITE_READONLY_DBMOVED ? COMET_EMOVED : COMET_EREADONLY;
    case SQLITE_PERM:
    case SQLITE_AUTH:
    case SQLITE_CANTOPEN:
        return COMET_EREADONLY;
    case SQLITE_NOTADB:
        return COMET_ENOTDB;
    case SQLITE_NOMEM:
        return APR_ENOMEM;
    case SQLITE_CONSTRAINT:
        return COMET_EINVALID;
    case SQLITE_IOERR:
        if (code == SQLITE_IOERR_NOMEM) {
            return APR_ENOMEM;
        }
        return is_full(error) ? APR_ENOSPC : APR_EGENERAL;
    default:
        return APR_EGENERAL;
    }
}

/* Keep SQLite's words, which the next call of it replaces.
 * @param error  errno at the time; 0: unknown */
static apr_status_t fail_with(comet_store_t *store, int code, int error)
{
    int primary = code & 0xff;
    char text[128];

    if (error && (primary == SQLITE_IOERR || primary == SQLITE_CANTOPEN)) {
        snprintf(store->error, sizeof(store->error), "%s (SQLite %d): %s",
                 store->db ? sqlite3_errmsg(store->db) : "", code,
                 apr_strerror(error, text, sizeof(text)));
    }
    else {
        snprintf(store->error, sizeof(store->error), "%s (SQLite %d)",
                 store->db ? sqlite3_errmsg(store->db) : sqlite3_errstr(code),
                 code);
    }
    return status_of(code, error);
}

static apr_status_t fail(comet_store_t *store, int code)
{
    return fail_with(store, code,
                     store->db ? sqlite3_system_errno(store->db) : 0);
}

static apr_status_t fail_text(comet_store_t *store, apr_status_t status,
                              const char *text)
{
    snprintf(store->error, sizeof(store->error), "%s", text);
    return status;
}

static apr_status_t fail_errno(comet_store_t *store, const char *what,
                               int error)
{
    char text[128];

    snprintf(store->error, sizeof(store->error), "%s: %s", what,
             apr_strerror(error, text, sizeof(text)));
    if (is_full(error)) {
        return APR_ENOSPC;
    }
    return error == ENOMEM ? APR_ENOMEM : COMET_EREADONLY;
}

const char *comet_store_error(const comet_store_t *store)
{
    return store ? store->error : open_error;
}

const char *comet_store_version(void)
{
    return sqlite3_libversion();
}

static int on_busy(void *baton, int tries)
{
    static const struct timespec one_ms = { 0, 1000000 };
    comet_store_t *store = baton;
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

/* --- Statements ------------------------------------------------------- */

static void reset(comet_store_t *store, sql_e which)
{
    sqlite3_reset(store->statements[which]);
    sqlite3_clear_bindings(store->statements[which]);
}

static int step(comet_store_t *store, sql_e which)
{
    return sqlite3_step(store->statements[which]);
}

/* Run a statement without rows. @return SQLITE_OK or SQLite's code */
static int run(comet_store_t *store, sql_e which)
{
    int code = step(store, which);

    reset(store, which);
    return code == SQLITE_DONE || code == SQLITE_ROW ? SQLITE_OK : code;
}

static apr_status_t run_or_fail(comet_store_t *store, sql_e which)
{
    int code = run(store, which);

    return code == SQLITE_OK ? APR_SUCCESS : fail(store, code);
}

static void bind_int(comet_store_t *store, sql_e which, int index,
                     apr_int64_t value)
{
    sqlite3_bind_int64(store->statements[which], index, value);
}

/* The text must live until the statement is reset. */
static void bind_text(comet_store_t *store, sql_e which, int index,
                      comet_text_t text)
{
    sqlite3_bind_text64(store->statements[which], index,
                        text.data ? text.data : "", text.length, SQLITE_STATIC,
                        SQLITE_UTF8);
}

/* Run a query for one row of up to two integers.  No row, or NULL: they stay
 * as they are. */
static apr_status_t query(comet_store_t *store, sql_e which, apr_int64_t *first,
                          apr_int64_t *second)
{
    sqlite3_stmt *statement = store->statements[which];
    apr_status_t status = APR_SUCCESS;
    int code = sqlite3_step(statement);

    if (code == SQLITE_ROW) {
        if (sqlite3_column_type(statement, 0) != SQLITE_NULL) {
            *first = sqlite3_column_int64(statement, 0);
        }
        if (second) {
            *second = sqlite3_column_int64(statement, 1);
        }
    }
    else if (code != SQLITE_DONE) {
        status = fail(store, code);
    }
    reset(store, which);
    return status;
}

static apr_status_t execute(comet_store_t *store, const char *sql)
{
    int code = sqlite3_exec(store->db, sql, NULL, NULL, NULL);

    return code == SQLITE_OK ? APR_SUCCESS : fail(store, code);
}

static void roll_back(comet_store_t *store)
{
    store->reserved = 0;
    if (!sqlite3_get_autocommit(store->db)) {
        run(store, SQL_ROLLBACK);
    }
}

/* --- Opening ---------------------------------------------------------- */

static file_id_t file_id(const char *path)
{
    struct stat info;

    if (stat(path, &info) != 0) {
        return (file_id_t){ 0, 0 };
    }
    return (file_id_t){ info.st_dev, info.st_ino };
}

static int same_file(file_id_t a, file_id_t b)
{
    return a.ino == b.ino && a.dev == b.dev;
}

static void unlink_same(const char *path, file_id_t file)
{
    if (file.ino && same_file(file, file_id(path))) {
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
    file_id_t file, wal;
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

static void make_known(const comet_store_t *store)
{
    size_t size = strlen(store->config->path) + 1;
    known_t *known;

    pthread_mutex_lock(&known_lock);
    known = find_known_locked(store->config->path);
    if (!known && (known = malloc(sizeof(*known) + size)) != NULL) {
        memcpy(known->path, store->config->path, size);
        known->next = known_files;
        known_files = known;
    }
    if (known) {
        known->file = store->file;
        known->wal = store->wal;
    }
    pthread_mutex_unlock(&known_lock);
}

/* Whether the log at the path is known to be that of another file. */
static int has_orphaned_log(const comet_store_t *store)
{
    file_id_t file = file_id(store->config->path);
    file_id_t wal = file_id(store->wal_path);
    const known_t *known;
    int orphaned;

    pthread_mutex_lock(&known_lock);
    known = find_known_locked(store->config->path);
    orphaned = known && wal.ino && same_file(known->wal, wal)
               && !same_file(known->file, file);
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
    file_id_t old_wal = file_id(store->wal_path);
    file_id_t old_shm = file_id(store->shm_path);

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
        return fail(store, code);
    }
    sqlite3_extended_result_codes(store->db, 1);
    sqlite3_busy_handler(store->db, on_busy, store);
    /* Until it is known to be ours, closing must not tidy it up. */
    sqlite3_db_config(store->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    return APR_SUCCESS;
}

static int latest_version(void)
{
    int version = 0;
    int i;

    for (i = 0; comet_schema[i].sql; i++) {
        version = comet_schema[i].version;
    }
    return version;
}

/*
 * @param version  set to the schema's version; 0: an empty database
 * @return COMET_ENOTDB when it is not ours
 */
static apr_status_t identify(comet_store_t *store, int *version)
{
    sqlite3_stmt *statement = NULL;
    apr_status_t status = APR_SUCCESS;
    int code = sqlite3_prepare_v2(
        store->db,
        "SELECT application_id, user_version,"
        " (SELECT count(*) FROM (SELECT 1 FROM sqlite_master LIMIT 1))"
        " FROM pragma_application_id, pragma_user_version",
        -1, &statement, NULL);

    if (code == SQLITE_OK) {
        code = sqlite3_step(statement);
    }
    if (code != SQLITE_ROW) {
        status = fail(store, code);
    }
    else {
        int id = sqlite3_column_int(statement, 0);

        *version = sqlite3_column_int(statement, 1);
        if (id == 0 && *version == 0 && !sqlite3_column_int(statement, 2)) {
            *version = 0;
        }
        else if (id != APPLICATION_ID) {
            status = fail_text(store, COMET_ENOTDB,
                               "the database belongs to another program");
        }
        else if (*version > latest_version()) {
            status = fail_text(store, COMET_ENOTDB,
                               "the database was made by a newer mod_comet");
        }
    }
    sqlite3_finalize(statement);
    return status;
}

/* Several processes may be here at once: the first to get the lock does it. */
static apr_status_t migrate(comet_store_t *store)
{
    apr_status_t status = execute(store, "BEGIN IMMEDIATE");
    char pragmas[96];
    int version = 0;
    int i;

    if (status == APR_SUCCESS) {
        status = identify(store, &version);
    }
    for (i = 0; status == APR_SUCCESS && comet_schema[i].sql; i++) {
        if (comet_schema[i].version > version) {
            status = execute(store, comet_schema[i].sql);
        }
    }
    if (status == APR_SUCCESS) {
        snprintf(pragmas, sizeof(pragmas),
                 "PRAGMA application_id = %d; PRAGMA user_version = %d",
                 APPLICATION_ID, latest_version());
        status = execute(store, pragmas);
    }
    if (status == APR_SUCCESS) {
        status = execute(store, "COMMIT");
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
        status = fail(store, code);
    }
    else if (strcmp((const char *)sqlite3_column_text(statement, 0), "wal")
             != 0) {
        status = fail_text(store, COMET_EREADONLY,
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
        status = identify(store, &version);
    }
    if (status != APR_SUCCESS) {
        return status;
    }
    if (sqlite3_db_readonly(store->db, "main") == 1) {
        return fail_text(store, COMET_EREADONLY,
                         "attempt to write a readonly database");
    }
    if (version == 0) {
        /* without effect on a database that has pages */
        status = execute(store, "PRAGMA page_size = 4096;"
                                "PRAGMA auto_vacuum = INCREMENTAL");
    }
    if (status == APR_SUCCESS) {
        status = use_wal(store);
    }
    if (status == APR_SUCCESS) {
        status = execute(store, store->config->sync_full
                                    ? "PRAGMA synchronous = FULL"
                                    : "PRAGMA synchronous = NORMAL");
    }
    if (status == APR_SUCCESS) {
        status = execute(store, "PRAGMA foreign_keys = ON;"
                                "PRAGMA wal_autocheckpoint = 0;"
                                "PRAGMA journal_size_limit = 4194304");
    }
    if (status == APR_SUCCESS && version < latest_version()) {
        status = migrate(store);
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
        return fail_text(store, APR_ENOENT, "there is no database yet");
    }
    if (has_orphaned_log(store)) { /* a writer will remove it */
        return fail_text(store, APR_ENOENT, "the database is being replaced");
    }
    status = connect_file(store);
    if (status == APR_SUCCESS) {
        status = identify(store, &version);
    }
    if (status == APR_SUCCESS && version < latest_version()) {
        status = fail_text(store, APR_ENOENT, "the database is not ready yet");
    }
    if (status == APR_SUCCESS) {
        status = execute(store, "PRAGMA query_only = ON");
    }
    return status;
}

static apr_status_t prepare(comet_store_t *store)
{
    apr_status_t status = execute(store, "PRAGMA mmap_size = 0;"
                                         "PRAGMA trusted_schema = OFF;"
                                         "PRAGMA cell_size_check = ON");
    int i;

    for (i = 0; status == APR_SUCCESS && i < SQL_COUNT; i++) {
        int code = sqlite3_prepare_v3(store->db, sql_text[i], -1,
                                      SQLITE_PREPARE_PERSISTENT,
                                      &store->statements[i], NULL);

        if (code != SQLITE_OK) {
            status = fail(store, code);
        }
    }
    return status;
}

/* Remember which files are open; the first read has opened the log. */
static apr_status_t remember_files(comet_store_t *store)
{
    comet_store_state_t state;
    apr_status_t status = comet_store_state(store, &state);

    if (status != APR_SUCCESS) {
        return status;
    }
    store->file = file_id(store->config->path);
    store->wal = file_id(store->wal_path);
    if (comet_store_moved(store)) {
        return fail_text(store, COMET_EMOVED,
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
    apr_status_t status;

    *store = NULL;
    if (!made) {
        return APR_ENOMEM;
    }
    made->config = config;
    made->mode = mode;
    made->stopping = stopping;
    made->checkpoint_at = CHECKPOINT_PAGES;
    made->patience =
        mode == COMET_STORE_WRITE ? config->busy_timeout : READ_PATIENCE_USEC;
    made->wal_path = with_suffix(config->path, "-wal");
    made->shm_path = with_suffix(config->path, "-shm");
    if (!made->wal_path || !made->shm_path) {
        status = APR_ENOMEM;
    }
    else {
        status = mode == COMET_STORE_WRITE ? open_to_write(made)
                                           : open_to_read(made);
    }
    if (status == APR_SUCCESS) {
        status = prepare(made);
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
 * there would take for its own.  leave_behind() has saved what is in it.
 */
static void remove_orphaned_log(const comet_store_t *store)
{
    if (store->wal.ino && same_file(store->wal, file_id(store->wal_path))
        && !same_file(store->file, file_id(store->config->path))) {
        unlink(store->wal_path);
        unlink(store->shm_path);
    }
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
    if (store->moved) {
        remove_orphaned_log(store);
    }
    sqlite3_close(store->db);
    free(store->wal_path);
    free(store->shm_path);
    free(store);
}

int comet_store_moved(comet_store_t *store)
{
    int moved = 0;

    sqlite3_file_control(store->db, "main", SQLITE_FCNTL_HAS_MOVED, &moved);
    return moved || !same_file(store->file, file_id(store->config->path))
           || (store->wal.ino
               && !same_file(store->wal, file_id(store->wal_path)));
}

/* --- Reading ---------------------------------------------------------- */

apr_status_t comet_store_state(comet_store_t *store, comet_store_state_t *state)
{
    apr_status_t status;

    state->last = -1;
    state->erased = 0;
    status = query(store, SQL_STATE, &state->last, &state->erased);
    if (status == APR_SUCCESS && state->last < 0) {
        status = fail_text(store, APR_EGENERAL, "comet_clock has no row");
    }
    return status;
}

apr_status_t comet_store_begin(comet_store_t *store, comet_store_state_t *state)
{
    apr_status_t status = run_or_fail(store, SQL_BEGIN);

    if (status == APR_SUCCESS) {
        status = comet_store_state(store, state);
        if (status != APR_SUCCESS) {
            roll_back(store);
        }
    }
    return status;
}

void comet_store_end(comet_store_t *store)
{
    roll_back(store);
}

/* @param id  set to 0 when the channel is unknown */
static apr_status_t find_channel(comet_store_t *store, comet_text_t channel,
                                 apr_int64_t *id)
{
    *id = 0;
    bind_text(store, SQL_CHANNEL, 1, channel);
    return query(store, SQL_CHANNEL, id, NULL);
}

apr_status_t comet_store_replay(comet_store_t *store,
                                const comet_selection_t *selection,
                                apr_int64_t count, comet_timestamp_t *cursor,
                                int *any)
{
    apr_int64_t id;
    apr_int64_t newest = 0;
    apr_status_t status = find_channel(store, selection->names[0].text, &id);

    *cursor = 0;
    *any = 0;
    if (status != APR_SUCCESS || id == 0) {
        return status;
    }
    bind_int(store, SQL_NEWEST, 1, id);
    status = query(store, SQL_NEWEST, &newest, NULL);
    *any = newest > 0;
    if (status == APR_SUCCESS && *any) {
        bind_int(store, SQL_REPLAY, 1, id);
        bind_int(store, SQL_REPLAY, 2, count > 0 ? count : 0);
        status = query(store, SQL_REPLAY, cursor, NULL);
    }
    return status;
}

apr_status_t comet_store_floor(comet_store_t *store,
                               const comet_selection_t *selection,
                               comet_timestamp_t *floor)
{
    *floor = 0;
    bind_text(store, SQL_FLOOR, 1, selection->names[0].text);
    return query(store, SQL_FLOOR, floor, NULL);
}

apr_status_t comet_store_recent(comet_store_t *store, apr_size_t count,
                                comet_timestamp_t *cursor)
{
    *cursor = 0;
    bind_int(store, SQL_RECENT, 1, (apr_int64_t)count);
    return query(store, SQL_RECENT, cursor, NULL);
}

/* By length: a program that turns the checks off can store any byte. */
static comet_text_t column(sqlite3_stmt *statement, int index)
{
    comet_text_t text;

    text.data = (const char *)sqlite3_column_text(statement, index);
    text.length = (apr_size_t)sqlite3_column_bytes(statement, index);
    return text;
}

static comet_message_t *message_of(sqlite3_stmt *statement)
{
    comet_message_fields_t fields = {
        .timestamp = sqlite3_column_int64(statement, 0),
        .channel = column(statement, 1),
        .type = column(statement, 2),
        .author = column(statement, 3),
        .body = column(statement, 4),
    };

    if (!fields.channel.data || !fields.type.data || !fields.body.data) {
        return NULL; /* none is NULL in the schema: no memory to convert it */
    }
    return comet_message_create(&fields);
}

static apr_status_t read_rows(comet_store_t *store, sql_e which,
                              comet_store_cb *callback, void *baton)
{
    apr_status_t status = APR_SUCCESS;
    int code;

    while ((code = step(store, which)) == SQLITE_ROW) {
        comet_message_t *message = message_of(store->statements[which]);

        if (!message) {
            status = fail_text(store, APR_ENOMEM, "no memory for a message");
            break;
        }
        if (!callback(baton, message)) {
            break;
        }
    }
    if (code != SQLITE_ROW && code != SQLITE_DONE) {
        status = fail(store, code);
    }
    reset(store, which);
    return status;
}

apr_status_t comet_store_read(comet_store_t *store,
                              const comet_selection_t *selection,
                              comet_timestamp_t after, apr_size_t limit,
                              comet_store_cb *callback, void *baton)
{
    bind_text(store, SQL_READ, 1, selection->names[0].text);
    bind_int(store, SQL_READ, 2, after);
    bind_int(store, SQL_READ, 3, (apr_int64_t)limit);
    return read_rows(store, SQL_READ, callback, baton);
}

apr_status_t comet_store_tail(comet_store_t *store, comet_timestamp_t after,
                              apr_size_t limit, comet_store_cb *callback,
                              void *baton)
{
    bind_int(store, SQL_TAIL, 1, after);
    bind_int(store, SQL_TAIL, 2, (apr_int64_t)limit);
    return read_rows(store, SQL_TAIL, callback, baton);
}

/* --- Writing ---------------------------------------------------------- */

/* Whoever moved the file away gets all that was committed to it. */
static apr_status_t leave_behind(comet_store_t *store)
{
    if (!same_file(store->file, file_id(store->config->path))
        || access(store->wal_path, F_OK) != 0) {
        sqlite3_wal_checkpoint_v2(store->db, "main", SQLITE_CHECKPOINT_PASSIVE,
                                  NULL, NULL);
    }
    store->moved = 1;
    return fail_text(store, COMET_EMOVED,
                     "the file at the path is another one, or none");
}

apr_status_t comet_store_reserve(comet_store_t *store, apr_interval_time_t wait)
{
    apr_status_t status;

    if (comet_store_moved(store)) {
        return leave_behind(store);
    }
    store->patience = wait;
    status = run_or_fail(store, SQL_BEGIN_WRITE);
    store->patience = store->config->busy_timeout;
    store->reserved = status == APR_SUCCESS;
    return status;
}

/*
 * Commit, or roll back.  When the disk fails here, what it holds is unknown:
 * a later recovery may find the transaction or not.  Only when there was no
 * room to write the end of it, it will not.
 */
static apr_status_t commit(comet_store_t *store)
{
    apr_status_t status;
    int code, error;

    errno = 0; /* sqlite3_system_errno() is not told of commits */
    code = run(store, SQL_COMMIT);
    error = errno;
    store->reserved = 0;
    if (code == SQLITE_OK) {
        return APR_SUCCESS;
    }
    status = fail_with(store, code, error);
    if ((code & 0xff) == SQLITE_IOERR && code != SQLITE_IOERR_NOMEM
        && !(code == SQLITE_IOERR_WRITE && is_full(error))) {
        status = COMET_EUNSURE;
    }
    roll_back(store);
    return status;
}

/* The channel of the message before, which the next one mostly shares. */
typedef struct channel_memory_t {
    comet_text_t name;
    apr_int64_t id;
} channel_memory_t;

/* @return SQLITE_OK or SQLite's code */
static int channel_for(comet_store_t *store, comet_text_t name,
                       channel_memory_t *memory, int *added)
{
    apr_int64_t id = 0;
    int code;

    *added = 0;
    if (memory->id && comet_text_equal(memory->name, name)) {
        return SQLITE_OK;
    }
    memory->id = 0;
    memory->name = name;
    bind_text(store, SQL_CHANNEL, 1, name);
    code = step(store, SQL_CHANNEL);
    if (code == SQLITE_ROW) {
        id = sqlite3_column_int64(store->statements[SQL_CHANNEL], 0);
    }
    reset(store, SQL_CHANNEL);
    if (code == SQLITE_DONE) {
        bind_text(store, SQL_CHANNEL_ADD, 1, name);
        code = run(store, SQL_CHANNEL_ADD);
        id = sqlite3_last_insert_rowid(store->db);
        *added = code == SQLITE_OK;
    }
    if (code == SQLITE_ROW || code == SQLITE_OK) {
        memory->id = id;
        return SQLITE_OK;
    }
    return code;
}

/* @return SQLITE_OK or SQLite's code */
static int insert(comet_store_t *store, const comet_message_t *message,
                  comet_timestamp_t timestamp, channel_memory_t *memory)
{
    int added;
    int code = channel_for(store, message->channel, memory, &added);

    if (code != SQLITE_OK) {
        return code;
    }
    bind_int(store, SQL_INSERT, 1, timestamp);
    bind_int(store, SQL_INSERT, 2, memory->id);
    bind_text(store, SQL_INSERT, 3, message->type);
    if (message->author.length) {
        bind_text(store, SQL_INSERT, 4, message->author);
    }
    bind_text(store, SQL_INSERT, 5, message->body);
    code = run(store, SQL_INSERT);
    if (code != SQLITE_OK && added) {
        /* a channel without messages leaves no trace */
        bind_int(store, SQL_CHANNEL_DROP, 1, memory->id);
        run(store, SQL_CHANNEL_DROP);
        memory->id = 0;
    }
    return code;
}

static int is_refusal(int code)
{
    int primary = code & 0xff;

    return primary == SQLITE_CONSTRAINT || primary == SQLITE_TOOBIG
           || primary == SQLITE_MISMATCH;
}

/* @param stored  set to how many were accepted */
static apr_status_t insert_all(comet_store_t *store,
                               comet_message_t *const *messages,
                               apr_status_t *results, apr_size_t count,
                               apr_size_t *stored)
{
    channel_memory_t memory = { { NULL, 0 }, 0 };
    comet_store_state_t state;
    apr_status_t status = comet_store_state(store, &state);
    comet_timestamp_t now = apr_time_now();
    apr_size_t i;

    *stored = 0;
    for (i = 0; status == APR_SUCCESS && i < count; i++) {
        comet_timestamp_t next = state.last < now ? now : state.last + 1;
        int code = insert(store, messages[i], next, &memory);

        results[i] = APR_SUCCESS;
        if (code == SQLITE_OK) {
            messages[i]->timestamp = state.last = next;
            ++*stored;
        }
        else if (is_refusal(code)) {
            fail(store, code);
            results[i] = COMET_EINVALID;
        }
        else {
            status = fail(store, code);
        }
    }
    if (status == APR_SUCCESS && *stored) {
        bind_int(store, SQL_CLOCK_SET, 1, state.last);
        status = run_or_fail(store, SQL_CLOCK_SET);
    }
    return status;
}

apr_status_t comet_store_append(comet_store_t *store,
                                comet_message_t *const *messages,
                                apr_status_t *results, apr_size_t count)
{
    apr_status_t status = APR_SUCCESS;
    apr_size_t stored = 0;
    apr_size_t i;

    if (!store->reserved) {
        status = comet_store_reserve(store, store->config->busy_timeout);
        if (status != APR_SUCCESS) {
            return status;
        }
    }
    status = insert_all(store, messages, results, count, &stored);
    if (status == APR_SUCCESS && stored) {
        status = commit(store);
    }
    else {
        roll_back(store);
    }
    if (status != APR_SUCCESS) {
        for (i = 0; i < count; i++) {
            messages[i]->timestamp = 0;
        }
    }
    return status;
}

int comet_store_checkpoint_due(const comet_store_t *store)
{
    return store->wal_pages >= store->checkpoint_at;
}

apr_status_t comet_store_checkpoint(comet_store_t *store)
{
    int pages = 0;
    int code;

    if (!comet_store_checkpoint_due(store)) {
        return APR_SUCCESS;
    }
    if (comet_store_moved(store)) {
        return leave_behind(store);
    }
    code = sqlite3_wal_checkpoint_v2(store->db, "main",
                                     SQLITE_CHECKPOINT_PASSIVE, &pages, NULL);
    /* A reader may hold some of it back: try again after as much again. */
    store->checkpoint_at = store->wal_pages + CHECKPOINT_PAGES;
    if (code != SQLITE_OK && (code & 0xff) != SQLITE_BUSY) {
        return fail(store, code);
    }
    return APR_SUCCESS;
}

/* --- Retention -------------------------------------------------------- */

/* Begin a round, or list more of its channels. */
static apr_status_t list_channels(comet_store_t *store)
{
    prune_t *prune = &store->prune;
    sql_e which = prune->all_seen ? SQL_CHANNELS_SINCE : SQL_CHANNELS;
    apr_int64_t limit = prune->all_seen ? PRUNE_SCAN_ROWS : PRUNE_CHANNELS;
    apr_int64_t rows = 0;
    apr_size_t i;
    int code = SQLITE_DONE;

    prune->count = prune->next = 0;
    bind_int(store, which, 1, prune->cursor);
    bind_int(store, which, 2, prune->end);
    bind_int(store, which, 3, limit);
    while (prune->count < PRUNE_CHANNELS
           && (code = step(store, which)) == SQLITE_ROW) {
        apr_int64_t id = sqlite3_column_int64(store->statements[which], 1);

        prune->cursor = sqlite3_column_int64(store->statements[which], 0);
        rows++;
        for (i = 0; i < prune->count && prune->channels[i] != id; i++) {
        }
        prune->channels[i] = id;
        if (i == prune->count) {
            prune->count++;
        }
    }
    prune->listed = code == SQLITE_DONE && rows < limit;
    reset(store, which);
    return code == SQLITE_ROW || code == SQLITE_DONE ? APR_SUCCESS
                                                     : fail(store, code);
}

static apr_status_t begin_round(comet_store_t *store)
{
    prune_t *prune = &store->prune;
    comet_store_state_t state;
    apr_status_t status = comet_store_state(store, &state);

    if (status == APR_SUCCESS) {
        prune->running = 1;
        prune->end = state.last;
        prune->cursor = prune->all_seen ? prune->seen : 0;
        status = list_channels(store);
    }
    return status;
}

/* @param upto  set to the last timestamp that is not to be kept; 0: none */
static apr_status_t find_excess(comet_store_t *store, apr_int64_t channel,
                                comet_timestamp_t *upto)
{
    const comet_store_config_t *config = store->config;
    comet_timestamp_t newest = 0;
    apr_status_t status = APR_SUCCESS;

    *upto = 0;
    if (config->retain_count > 0) {
        bind_int(store, SQL_OVER_COUNT, 1, channel);
        bind_int(store, SQL_OVER_COUNT, 2, config->retain_count);
        status = query(store, SQL_OVER_COUNT, upto, NULL);
    }
    if (status == APR_SUCCESS && config->retain_age > 0) {
        bind_int(store, SQL_NEWEST, 1, channel);
        status = query(store, SQL_NEWEST, &newest, NULL);
        if (newest - config->retain_age - 1 > *upto) {
            *upto = newest - config->retain_age - 1;
        }
    }
    return status;
}

/* Remove at most *budget messages of a channel, and lower *budget. */
static apr_status_t prune_channel(comet_store_t *store, apr_int64_t channel,
                                  apr_int64_t *budget)
{
    comet_timestamp_t upto;
    comet_timestamp_t last = 0;
    apr_int64_t rows = 0;
    apr_status_t status = find_excess(store, channel, &upto);

    if (status == APR_SUCCESS && upto > 0) {
        bind_int(store, SQL_PRUNE_UPTO, 1, channel);
        bind_int(store, SQL_PRUNE_UPTO, 2, upto);
        bind_int(store, SQL_PRUNE_UPTO, 3, *budget);
        status = query(store, SQL_PRUNE_UPTO, &last, &rows);
    }
    if (status == APR_SUCCESS && rows > 0) {
        bind_int(store, SQL_PRUNE_FLOOR, 1, channel);
        bind_int(store, SQL_PRUNE_FLOOR, 2, last);
        status = run_or_fail(store, SQL_PRUNE_FLOOR);
    }
    if (status == APR_SUCCESS && rows > 0) {
        bind_int(store, SQL_PRUNE, 1, channel);
        bind_int(store, SQL_PRUNE, 2, last);
        status = run_or_fail(store, SQL_PRUNE);
        *budget -= rows;
    }
    return status;
}

/* @param removed  set to how many messages went */
static apr_status_t prune_listed(comet_store_t *store, apr_int64_t *removed)
{
    prune_t *prune = &store->prune;
    apr_int64_t budget = PRUNE_ROWS;
    apr_int64_t until = comet_monotonic() + PRUNE_USEC;
    apr_status_t status = APR_SUCCESS;

    if (!prune->running) {
        status = begin_round(store);
    }
    else if (prune->next == prune->count) {
        status = list_channels(store);
    }
    while (status == APR_SUCCESS && prune->next < prune->count
           && comet_monotonic() < until) {
        status = prune_channel(store, prune->channels[prune->next], &budget);
        if (budget == 0) {
            break; /* the channel may have more */
        }
        prune->next++;
    }
    *removed = PRUNE_ROWS - budget;
    return status;
}

/*
 * Give some unused pages back to the file system.  An eighth is kept: what
 * comes next will need it.
 */
static apr_status_t shrink(comet_store_t *store, int *more)
{
    apr_int64_t unused = 0;
    apr_int64_t left = 0;
    apr_int64_t pages = 0;
    apr_status_t status = query(store, SQL_PAGES, &unused, &pages);
    char pragma[64];

    if (status != APR_SUCCESS || unused <= pages / 8 + VACUUM_PAGES) {
        return status;
    }
    snprintf(pragma, sizeof(pragma), "PRAGMA incremental_vacuum(%d)",
             VACUUM_PAGES);
    status = execute(store, pragma);
    if (status == APR_SUCCESS) {
        left = unused;
        status = query(store, SQL_PAGES, &left, &pages);
        /* a copy restored without auto_vacuum does not shrink */
        *more = *more || left < unused;
    }
    return status;
}

apr_status_t comet_store_prune(comet_store_t *store, int *more)
{
    prune_t *prune = &store->prune;
    apr_int64_t removed = 0;
    apr_status_t status;

    *more = 0;
    if (store->config->retain_count <= 0 && store->config->retain_age <= 0) {
        return APR_SUCCESS;
    }
    status = comet_store_reserve(store, PRUNE_PATIENCE_USEC);
    if (status != APR_SUCCESS) {
        return status;
    }
    status = prune_listed(store, &removed);
    if (status == APR_SUCCESS && removed) {
        status = commit(store);
    }
    else {
        roll_back(store);
    }
    if (status != APR_SUCCESS) {
        prune->running = 0; /* the next call begins the round again */
        return status;
    }
    if (prune->listed && prune->next == prune->count) {
        prune->running = 0;
        prune->all_seen = 1;
        prune->seen = prune->end;
    }
    *more = prune->running;
    return shrink(store, more);
}
