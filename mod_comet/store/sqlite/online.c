/* SPDX-License-Identifier: Apache-2.0 */
/* Presence: write the tables of sql/presence.sql.  The statements are prepared
 * only when they are needed, since most databases do not have these tables. */
#include "store/sqlite/online.h"

#include <stdio.h>

#include "comet_schema.h"
#include "store/sqlite/online_read.h"

#define PATIENCE_USEC 20000

static comet_sqlite_t *own(comet_store_t *store)
{
    return (comet_sqlite_t *)store;
}

/* --- statements ------------------------------------------------------------ */

/* Run a statement whose parameters are bound.  A row that the schema refuses is
 * left out.
 * @param changes  set to how many rows were changed; may be NULL */
static apr_status_t run(comet_sqlite_t *store, sqlite3_stmt *statement,
                        int *changes)
{
    int code = sqlite3_step(statement);

    if (changes) {
        *changes = code == SQLITE_DONE ? sqlite3_changes(store->db) : 0;
    }
    sqlite3_reset(statement);
    sqlite3_clear_bindings(statement);
    return code == SQLITE_DONE || code == SQLITE_ROW
                   || (code & 0xff) == SQLITE_CONSTRAINT
               ? APR_SUCCESS
               : comet_sqlite_fail(store, code);
}

/* Prepare a statement with one or two numbers as its parameters, and run it
 * once. */
static apr_status_t run_once(comet_sqlite_t *store, const char *sql,
                             apr_int64_t first, apr_int64_t second,
                             int *changes)
{
    sqlite3_stmt *statement;
    apr_status_t status = comet_online_read_compile(store, sql, &statement);

    if (status == APR_SUCCESS) {
        sqlite3_bind_int64(statement, 1, first);
        if (sqlite3_bind_parameter_count(statement) > 1) {
            sqlite3_bind_int64(statement, 2, second);
        }
        status = run(store, statement, changes);
        sqlite3_finalize(statement);
    }
    return status;
}

static apr_status_t end(comet_sqlite_t *store, apr_status_t status)
{
    if (status == APR_SUCCESS) {
        return comet_sqlite_commit(store);
    }
    comet_sqlite_roll_back(store);
    return status;
}

/* --- writing --------------------------------------------------------------- */

/* Raise the beat of a holder.
 * @return APR_NOTFOUND: the store does not have the holder */
static apr_status_t renew(comet_sqlite_t *store, const comet_holder_t *holder)
{
    int changes;
    apr_status_t status =
        run_once(store,
                 "UPDATE presence_holder"
                 " SET beat = beat + 1, patience = ?2 WHERE id = ?1",
                 holder->id, holder->patience / 1000, &changes);

    return status == APR_SUCCESS && !changes ? APR_NOTFOUND : status;
}

static apr_status_t add_holder(comet_sqlite_t *store,
                               const comet_holder_t *holder)
{
    sqlite3_stmt *statement;
    apr_status_t status = comet_online_read_compile(
        store,
        "INSERT INTO presence_holder(id, host, pid, patience)"
        " VALUES(?1, ?2, ?3, ?4)",
        &statement);

    if (status == APR_SUCCESS) {
        sqlite3_bind_int64(statement, 1, holder->id);
        comet_online_read_bind(statement, 2, comet_text(holder->host));
        sqlite3_bind_int64(statement, 3, holder->pid);
        sqlite3_bind_int64(statement, 4, holder->patience / 1000);
        status = run(store, statement, NULL);
        sqlite3_finalize(statement);
    }
    return status;
}

typedef enum {
    ADD_CHANNEL,
    SET_MOST,
    COME,
    GO,
    SET_CLIENTS,
    ADD_CLIENTS,
    NO_CLIENTS,
    SET_READ,
    ADD_READ,
    TELL_READ,
    KINDS
} kind_e;

/* ?1: the channel, ?2: the holder, ?3: the member, ?4 and ?5: the values to
 * set */
static const char *const texts[KINDS] = {
    [ADD_CHANNEL] = "INSERT OR IGNORE INTO presence_channel(name, most)"
                    " VALUES(?1, ?4)",
    [SET_MOST] = "UPDATE presence_channel SET most = ?4"
                 " WHERE name = ?1 AND most <> ?4",
    [COME] = "INSERT INTO presence_row(channel, member, holder, since, info)"
             " SELECT ?1, ?3, ?2, ?4, ?5 WHERE NOT EXISTS"
             " (SELECT 1 FROM presence_row"
             " WHERE channel = ?1 AND member = ?3 AND holder = ?2)",
    [GO] = "DELETE FROM presence_row"
           " WHERE channel = ?1 AND member = ?3 AND holder = ?2",
    [SET_CLIENTS] = "UPDATE presence_anonymous SET clients = ?4"
                    " WHERE channel = ?1 AND holder = ?2",
    [ADD_CLIENTS] = "INSERT INTO presence_anonymous(channel, holder, clients)"
                    " VALUES(?1, ?2, ?4)",
    [SET_READ] = "UPDATE last_seen SET read_at = ?4 WHERE channel = ?1"
                 " AND member = ?3 AND ifnull(read_at, 0) < ?4",
    [ADD_READ] = "INSERT INTO last_seen(channel, member, read_at)"
                 " SELECT ?1, ?3, ?4 WHERE NOT EXISTS (SELECT 1 FROM last_seen"
                 " WHERE channel = ?1 AND member = ?3)",
    [TELL_READ] = "INSERT INTO message(channel, type, author, body)"
                  " SELECT name || '" COMET_ONLINE_SUFFIX "', 'read', ?3,"
                  " '{\"read\": ' || ?4 || '}' FROM presence_channel"
                  " WHERE name = ?1 AND members <= most",
    [NO_CLIENTS] = "DELETE FROM presence_anonymous"
                   " WHERE channel = ?1 AND holder = ?2",
};

/** A transaction that makes changes, with the statements that it has
 * prepared. */
typedef struct writing_t {
    comet_sqlite_t *store;
    apr_int64_t holder;
    sqlite3_stmt *statements[KINDS];
} writing_t;

static apr_status_t change(writing_t *writing, kind_e kind,
                           const comet_online_change_t *change,
                           apr_int64_t number, int *changes)
{
    sqlite3_stmt **statement = &writing->statements[kind];
    apr_status_t status =
        *statement
            ? APR_SUCCESS
            : comet_online_read_compile(writing->store, texts[kind], statement);

    if (status != APR_SUCCESS) {
        return status;
    }
    comet_online_read_bind(*statement, 1, change->channel);
    sqlite3_bind_int64(*statement, 2, writing->holder);
    comet_online_read_bind(*statement, 3, change->member);
    sqlite3_bind_int64(*statement, 4, number);
    comet_online_read_bind(*statement, 5, change->info);
    return run(writing->store, *statement, changes);
}

static apr_status_t set_clients(writing_t *writing,
                                const comet_online_change_t *what)
{
    int changes = 0;
    apr_status_t status =
        change(writing, SET_CLIENTS, what, what->clients, &changes);

    return status == APR_SUCCESS && !changes
               ? change(writing, ADD_CLIENTS, what, what->clients, NULL)
               : status;
}

/* Note how far a member has read, and publish this mark, unless an earlier mark
 * is further on. */
static apr_status_t set_read(writing_t *writing,
                             const comet_online_change_t *what)
{
    int changes = 0;
    apr_status_t status =
        change(writing, SET_READ, what, what->read_at, &changes);

    if (status == APR_SUCCESS && !changes) {
        status = change(writing, ADD_READ, what, what->read_at, &changes);
    }
    return status == APR_SUCCESS && changes
               ? change(writing, TELL_READ, what, what->read_at, NULL)
               : status;
}

static apr_status_t set_place(writing_t *writing,
                              const comet_online_change_t *what)
{
    apr_status_t status;

    if (!what->clients) {
        return change(writing, what->member.length ? GO : NO_CLIENTS, what, 0,
                      NULL);
    }
    status = change(writing, ADD_CHANNEL, what, what->most, NULL);
    if (status == APR_SUCCESS) {
        status = change(writing, SET_MOST, what, what->most, NULL);
    }
    if (status != APR_SUCCESS) {
        return status;
    }
    return what->member.length ? change(writing, COME, what, what->since, NULL)
                               : set_clients(writing, what);
}

static apr_status_t apply(writing_t *writing, const comet_online_change_t *what)
{
    apr_status_t status = set_place(writing, what);

    return status == APR_SUCCESS && what->read_at ? set_read(writing, what)
                                                  : status;
}

static apr_status_t write_rows(comet_store_t *base,
                               const comet_holder_t *holder, int is_new,
                               const comet_online_change_t *changes,
                               apr_size_t count)
{
    writing_t writing = { .store = own(base), .holder = holder->id };
    apr_status_t status = comet_sqlite_reserve(own(base), PATIENCE_USEC);
    apr_size_t i;

    if (status != APR_SUCCESS) {
        return status;
    }
    status = is_new ? add_holder(own(base), holder) : renew(own(base), holder);
    for (i = 0; i < count && status == APR_SUCCESS; i++) {
        status = apply(&writing, &changes[i]);
    }
    for (i = 0; i < KINDS; i++) {
        sqlite3_finalize(writing.statements[i]);
    }
    return end(own(base), status);
}

/* --- upkeep ---------------------------------------------------------------- */

static apr_status_t sweep(comet_store_t *base, apr_int64_t holder, int *more)
{
    comet_sqlite_t *store = own(base);
    apr_status_t status = comet_sqlite_reserve(store, PATIENCE_USEC);
    int rows = 0;

    *more = 0;
    if (status != APR_SUCCESS) {
        return status;
    }
    status = run_once(store,
                      "DELETE FROM presence_row WHERE holder = ?1 AND"
                      " (channel, member) IN (SELECT channel, member"
                      " FROM presence_row WHERE holder = ?1 LIMIT ?2)",
                      holder, COMET_ONLINE_SLICE, &rows);
    *more = rows == COMET_ONLINE_SLICE;
    if (status == APR_SUCCESS && !*more) {
        status = run_once(store,
                          "DELETE FROM presence_anonymous WHERE holder = ?1"
                          " AND channel IN (SELECT channel"
                          " FROM presence_anonymous WHERE holder = ?1"
                          " LIMIT ?2)",
                          holder, COMET_ONLINE_SLICE, &rows);
        *more = rows == COMET_ONLINE_SLICE;
    }
    if (status == APR_SUCCESS && !*more) {
        status = run_once(store, "DELETE FROM presence_holder WHERE id = ?1",
                          holder, 0, NULL);
    }
    return end(store, status);
}

static apr_status_t is_any_changed(comet_sqlite_t *store, int *any)
{
    sqlite3_stmt *statement;
    apr_status_t status = comet_online_read_compile(
        store, "SELECT 1 FROM presence_channel WHERE changed LIMIT 1",
        &statement);

    *any = 0;
    if (status == APR_SUCCESS) {
        int code = sqlite3_step(statement);

        *any = code == SQLITE_ROW;
        status = code == SQLITE_ROW || code == SQLITE_DONE
                     ? APR_SUCCESS
                     : comet_sqlite_fail(store, code);
        sqlite3_finalize(statement);
    }
    return status;
}

/* The channels that one call of publish() handles; ?1: how many at most. */
#define CHANGED \
    "SELECT name FROM presence_channel WHERE changed" \
    " ORDER BY name LIMIT ?1"

/* A channel that a program has inserted with an invalid name is left out. */
static apr_status_t publish(comet_store_t *base, int *count)
{
    comet_sqlite_t *store = own(base);
    int any;
    apr_status_t status = is_any_changed(store, &any);

    *count = 0;
    if (status != APR_SUCCESS || !any) {
        return status;
    }
    status = comet_sqlite_reserve(store, PATIENCE_USEC);
    if (status != APR_SUCCESS) {
        return status;
    }
    status =
        run_once(store,
                 "INSERT OR IGNORE INTO message(channel, type, body)"
                 " SELECT name || '" COMET_ONLINE_SUFFIX "', 'count',"
                 " '{\"count\": ' || members || ', \"most\": ' || most"
                 " || ', \"anonymous\": ' || (SELECT ifnull(sum(clients), 0)"
                 " FROM presence_anonymous WHERE channel = name) || '}'"
                 " FROM presence_channel WHERE name IN (" CHANGED ")",
                 COMET_ONLINE_SLICE, 0, NULL);
    if (status == APR_SUCCESS) {
        status = run_once(store,
                          "UPDATE presence_channel SET changed = 0"
                          " WHERE name IN (" CHANGED ")",
                          COMET_ONLINE_SLICE, 0, count);
    }
    return end(store, status);
}

const comet_online_engine_t comet_online_sqlite = {
    .write = write_rows,
    .sweep = sweep,
    .publish = publish,
    .holders = comet_online_read_holders,
    .rows = comet_online_read_rows,
    .list = comet_online_read_list,
    .unread = comet_online_read_unread,
};

/* --- opening --------------------------------------------------------------- */

static apr_status_t has_tables(comet_sqlite_t *store, int *has)
{
    sqlite3_stmt *statement;
    apr_status_t status =
        comet_online_read_compile(store,
                                  "SELECT count(*) FROM sqlite_master"
                                  " WHERE name = 'online_delete'",
                                  &statement);
    int code;

    *has = 0;
    if (status != APR_SUCCESS) {
        return status;
    }
    code = sqlite3_step(statement);
    if (code == SQLITE_ROW) {
        *has = sqlite3_column_int(statement, 0) > 0;
    }
    sqlite3_finalize(statement);
    return code == SQLITE_ROW ? APR_SUCCESS : comet_sqlite_fail(store, code);
}

/* Several processes may do this at once, so each checks again for the tables
 * while it holds the lock.  If presence is off, nobody counts as online, and no
 * child maintains the rows that earlier children have left behind.  So all rows
 * of children are removed now. */
apr_status_t comet_online_open(comet_sqlite_t *store)
{
    int wanted = store->config->presence_grace > 0, has;
    apr_status_t status = has_tables(store, &has);

    if (status != APR_SUCCESS || (wanted ? has : !has)) {
        return status;
    }
    status = comet_sqlite_execute(store, "BEGIN IMMEDIATE");
    if (status == APR_SUCCESS) {
        status = has_tables(store, &has);
    }
    if (status == APR_SUCCESS && wanted && !has) {
        status = comet_sqlite_execute(store, comet_schema_presence);
    }
    if (status == APR_SUCCESS && !wanted && has) {
        status = comet_sqlite_execute(store, "DELETE FROM presence_holder");
    }
    if (status == APR_SUCCESS) {
        status = comet_sqlite_execute(store, "COMMIT");
    }
    if (!sqlite3_get_autocommit(store->db)) {
        sqlite3_exec(store->db, "ROLLBACK", NULL, NULL, NULL);
    }
    return status;
}
