/* SPDX-License-Identifier: Apache-2.0 */
/* Find out whether a database is mod_comet's and which version of the schema it
 * has, and bring the schema up to date. */
#include "store/sqlite/sqlite.h"

#include <stdio.h>

#include "comet_schema.h"

#define APPLICATION_ID 0x434f4d54 /* "COMT", set by sql/001_initial.sql */

int comet_sqlite_latest_version(void)
{
    int version = 0;
    int i;

    for (i = 0; comet_schema[i].sql; i++) {
        version = comet_schema[i].version;
    }
    return version;
}

/* @return whether a database has every table, view, index and trigger that @a
 *         schema has */
static int has_all(sqlite3 *db, sqlite3 *schema)
{
    sqlite3_stmt *wanted = NULL, *found = NULL;
    int missing =
        sqlite3_prepare_v2(schema,
                           "SELECT type, name FROM sqlite_master"
                           " WHERE name NOT LIKE 'sqlite~_%' ESCAPE '~'",
                           -1, &wanted, NULL)
            != SQLITE_OK
        || sqlite3_prepare_v2(db,
                              "SELECT 1 FROM sqlite_master"
                              " WHERE type = ?1 AND name = ?2",
                              -1, &found, NULL)
               != SQLITE_OK;

    while (!missing && sqlite3_step(wanted) == SQLITE_ROW) {
        sqlite3_bind_value(found, 1, sqlite3_column_value(wanted, 0));
        sqlite3_bind_value(found, 2, sqlite3_column_value(wanted, 1));
        missing = sqlite3_step(found) != SQLITE_ROW;
        sqlite3_reset(found);
    }
    sqlite3_finalize(wanted);
    sqlite3_finalize(found);
    return !missing;
}

/*
 * Find the schema's version by the database's tables, whatever the header says.
 * @return 0: its tables are not mod_comet's
 */
static int recognize(const comet_sqlite_t *store)
{
    sqlite3 *schema = NULL;
    int version = 0;
    int i, code = sqlite3_open(":memory:", &schema);

    for (i = 0; comet_schema[i].sql && code == SQLITE_OK; i++) {
        code = sqlite3_exec(schema, comet_schema[i].sql, NULL, NULL, NULL);
        if (code == SQLITE_OK && has_all(store->db, schema)) {
            version = comet_schema[i].version;
        }
    }
    sqlite3_close(schema);
    return version;
}

/* Refuse a database whose header does not have mod_comet's application_id.  If
 * the tables are mod_comet's, the database was restored from a .dump, and the
 * error says how to set the missing values. */
static apr_status_t refuse_stranger(comet_sqlite_t *store)
{
    int version = recognize(store);
    char text[200];

    if (!version) {
        return comet_sqlite_fail_text(
            store, COMET_ENOTDB, "the database belongs to another program");
    }
    snprintf(text, sizeof(text),
             "the database lacks mod_comet's application_id or user_version, "
             "as after a restore from a .dump; run in it: PRAGMA "
             "application_id = %d; PRAGMA user_version = %d;",
             APPLICATION_ID, version);
    return comet_sqlite_fail_text(store, COMET_ENOTDB, text);
}

/* @param empty  whether the database has no tables */
static apr_status_t judge(comet_sqlite_t *store, int id, int version, int empty)
{
    if (empty && version == 0 && (id == 0 || id == APPLICATION_ID)) {
        return APR_SUCCESS;
    }
    if (id != APPLICATION_ID || version <= 0) {
        return refuse_stranger(store);
    }
    return version > comet_sqlite_latest_version()
               ? comet_sqlite_fail_text(store, COMET_ENOTDB,
                                        "the database was made by a newer "
                                        "mod_comet")
               : APR_SUCCESS;
}

apr_status_t comet_sqlite_identify(comet_sqlite_t *store, int *version)
{
    sqlite3_stmt *statement = NULL;
    apr_status_t status;
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
        status = comet_sqlite_fail(store, code);
    }
    else {
        int id = sqlite3_column_int(statement, 0);

        *version = sqlite3_column_int(statement, 1);
        status = judge(store, id, *version, !sqlite3_column_int(statement, 2));
    }
    sqlite3_finalize(statement);
    return status;
}

/* Several processes may do this at once: the first one that acquires the lock
 * migrates the database.  Each file of sql/ sets user_version itself. */
apr_status_t comet_sqlite_migrate(comet_sqlite_t *store)
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
