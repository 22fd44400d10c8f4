/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The index of words (sql/search.sql).  It is created empty and then filled in
 * small steps; before it is dropped, it is emptied in small steps.  So no
 * publisher waits long for it.
 *
 * The index is kept up to date as long as its triggers exist.  Its removal
 * begins with the triggers and the table search_progress; from then on no
 * search uses the index.
 */
#include "store/sqlite/sqlite.h"

#include "comet_schema.h"

#define STEP_ROWS 1000
#define STEP_PAGES 200
#define PATIENCE_USEC 20000

/** Which parts of the index exist. */
typedef struct index_t {
    int kept; /* its triggers exist */
    int there; /* its table exists */
} index_t;

/* Run a query for one row of up to two integers.
 * @param bound   the query's two parameters; NULL: the query has none
 * @param first   set to the first integer if there is a row; NULL: ignored
 * @param second  set to the second integer; NULL: ignored */
static apr_status_t ask(comet_sqlite_t *store, const char *sql,
                        const apr_int64_t *bound, apr_int64_t *first,
                        apr_int64_t *second)
{
    sqlite3_stmt *statement = NULL;
    int code = sqlite3_prepare_v2(store->db, sql, -1, &statement, NULL);
    apr_status_t status = APR_SUCCESS;

    if (code == SQLITE_OK && bound) {
        sqlite3_bind_int64(statement, 1, bound[0]);
        sqlite3_bind_int64(statement, 2, bound[1]);
    }
    if (code == SQLITE_OK) {
        code = sqlite3_step(statement);
    }
    if (code == SQLITE_ROW && first) {
        *first = sqlite3_column_int64(statement, 0);
        if (second) {
            *second = sqlite3_column_int64(statement, 1);
        }
    }
    if (code != SQLITE_ROW && code != SQLITE_DONE) {
        status = comet_sqlite_fail(store, code);
    }
    sqlite3_finalize(statement);
    return status;
}

static apr_status_t look(comet_sqlite_t *store, index_t *index)
{
    apr_int64_t kept = 0, there = 0;
    apr_status_t status =
        ask(store,
            "SELECT ifnull(sum(name = 'message_search_insert'), 0),"
            " ifnull(sum(name = 'message_search'), 0) FROM sqlite_master",
            NULL, &kept, &there);

    *index = (index_t){ kept != 0, there != 0 };
    return status;
}

static apr_status_t begin(comet_sqlite_t *store)
{
    return comet_sqlite_execute(store, "BEGIN IMMEDIATE");
}

static apr_status_t end(comet_sqlite_t *store, apr_status_t status)
{
    if (status == APR_SUCCESS) {
        status = comet_sqlite_execute(store, "COMMIT");
    }
    if (!sqlite3_get_autocommit(store->db)) {
        sqlite3_exec(store->db, "ROLLBACK", NULL, NULL, NULL);
    }
    return status;
}

static apr_status_t stop_keeping(comet_sqlite_t *store)
{
    return comet_sqlite_execute(store, "DROP TRIGGER message_search_insert;"
                                       "DROP TRIGGER message_search_delete;"
                                       "DROP TABLE search_progress");
}

/* Several processes may do this at once, so each checks for the index while it
 * holds the lock. */
static apr_status_t change(comet_sqlite_t *store)
{
    index_t index = { 0 };
    apr_status_t status = begin(store);

    if (status == APR_SUCCESS) {
        status = look(store, &index);
    }
    if (status == APR_SUCCESS && store->config->search && !index.kept
        && !index.there) {
        status = comet_sqlite_execute(store, comet_schema_search);
    }
    if (status == APR_SUCCESS && !store->config->search && index.kept) {
        status = stop_keeping(store);
    }
    return end(store, status);
}

apr_status_t comet_sqlite_index_open(comet_sqlite_t *store)
{
    index_t index;
    apr_status_t status = look(store, &index);

    store->indexing = store->config->search || index.there;
    if (status == APR_SUCCESS && store->config->search != index.kept) {
        status = change(store);
    }
    return status;
}

/* --- Filling ---------------------------------------------------------- */

/*
 * Choose the messages to index next: some of the newest ones that are not
 * indexed yet.
 * @param low  set to the timestamp of the oldest chosen message; 0: all
 *             messages are indexed
 */
static apr_status_t choose(comet_sqlite_t *store, apr_int64_t from,
                           apr_int64_t *low)
{
    sqlite3_stmt *row = NULL;
    int code = sqlite3_prepare_v2(store->db,
                                  "SELECT id, body FROM message_log"
                                  " WHERE id < ?1 ORDER BY id DESC LIMIT ?2",
                                  -1, &row, NULL);
    apr_status_t status = APR_SUCCESS;
    apr_int64_t bytes = 0;

    *low = 0;
    if (code == SQLITE_OK) {
        sqlite3_bind_int64(row, 1, from);
        sqlite3_bind_int64(row, 2, STEP_ROWS);
        code = SQLITE_ROW;
    }
    while (code == SQLITE_ROW && bytes < INDEX_STEP_BYTES
           && (code = sqlite3_step(row)) == SQLITE_ROW) {
        *low = sqlite3_column_int64(row, 0);
        bytes += sqlite3_column_bytes(row, 1);
    }
    if (code != SQLITE_ROW && code != SQLITE_DONE) {
        status = comet_sqlite_fail(store, code);
    }
    sqlite3_finalize(row);
    return status;
}

/* Fill the index by one step, inserting in the order of ids: FTS5 flushes
 * whenever an id is lower than the previous one. */
static apr_status_t fill(comet_sqlite_t *store)
{
    apr_int64_t bounds[2] = { 0, 0 };
    apr_status_t status = ask(store, "SELECT indexed_from FROM search_progress",
                              NULL, &bounds[1], NULL);

    if (status == APR_SUCCESS && bounds[1]) {
        status = choose(store, bounds[1], &bounds[0]);
    }
    if (status == APR_SUCCESS && bounds[0]) {
        status = ask(store,
                     "INSERT INTO message_search(rowid, body)"
                     " SELECT id, body FROM search_text"
                     " WHERE id >= ?1 AND id < ?2 ORDER BY id",
                     bounds, NULL, NULL);
    }
    if (status == APR_SUCCESS && bounds[1]) {
        status = ask(store, "UPDATE search_progress SET indexed_from = ?1",
                     bounds, NULL, NULL);
    }
    store->indexing = status != APR_SUCCESS || bounds[0];
    return status;
}

/* --- Removing --------------------------------------------------------- */

/* Dropping a large table takes a long time, so its rows are deleted first, a
 * few in each step. */
static apr_status_t remove_some(comet_sqlite_t *store)
{
    static const char *const rows[] = {
        "DELETE FROM message_search_docsize WHERE id IN"
        " (SELECT id FROM message_search_docsize LIMIT ?1)",
        /* keep the first few rows, without which the table cannot be dropped:
         * they describe the others */
        "DELETE FROM message_search_data WHERE id IN"
        " (SELECT id FROM message_search_data WHERE id > 10 LIMIT ?2)",
        "DELETE FROM message_search_idx WHERE (segid, term) IN"
        " (SELECT segid, term FROM message_search_idx LIMIT ?1)",
    };
    const apr_int64_t bounds[2] = { STEP_ROWS, STEP_PAGES };
    apr_status_t status = APR_SUCCESS;
    int removed = 0;
    size_t i;

    for (i = 0; i < sizeof(rows) / sizeof(*rows) && status == APR_SUCCESS;
         i++) {
        status = ask(store, rows[i], bounds, NULL, NULL);
        removed += sqlite3_changes(store->db);
    }
    if (status == APR_SUCCESS && !removed) {
        status = comet_sqlite_execute(store, "DROP TABLE message_search;"
                                             "DROP VIEW IF EXISTS search_text");
    }
    return status;
}

/* --- Steps ------------------------------------------------------------ */

static apr_status_t step(comet_sqlite_t *store)
{
    index_t index;
    apr_status_t status = look(store, &index);

    if (status != APR_SUCCESS) {
        return status;
    }
    if (index.kept) {
        if (store->config->search) {
            return fill(store);
        }
        status = stop_keeping(store);
    }
    else if (index.there) {
        status = remove_some(store);
    }
    else if (store->config->search) {
        status = comet_sqlite_execute(store, comet_schema_search);
    }
    else {
        store->indexing = 0;
    }
    return status;
}

apr_status_t comet_sqlite_index_step(comet_sqlite_t *store, int *more)
{
    apr_status_t status;

    if (!store->indexing) {
        return APR_SUCCESS;
    }
    status = comet_sqlite_reserve(store, PATIENCE_USEC);
    if (status != APR_SUCCESS) {
        return status;
    }
    status = step(store);
    if (status == APR_SUCCESS) {
        status = comet_sqlite_commit(store);
    }
    else {
        comet_sqlite_roll_back(store);
    }
    if (status != APR_SUCCESS) {
        store->indexing = 1; /* the failed step must be repeated */
    }
    if (status != APR_SUCCESS && status != COMET_ELOCKED
        && !store->config->search) {
        /* an index that cannot be removed does no harm */
        store->indexing = 0;
        status = APR_SUCCESS;
    }
    *more = *more || store->indexing;
    return status;
}
