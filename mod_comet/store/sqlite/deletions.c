/* SPDX-License-Identifier: Apache-2.0 */
/* Carry out the removals of moderators, and create the trigger that reports
 * deleted messages to clients (sql/deletions.sql). */
#include "store/sqlite/sqlite.h"

#include "comet_schema.h"

/* Delete a message from the view "message", and with it the messages that edit
 * it, whose JSON bodies refer to it by "of". */
static const char message_text[] =
    "DELETE FROM message WHERE channel = ?1 AND timestamp >= ?2"
    " AND (timestamp = ?2 OR (type = 'edit' AND json_valid(body)"
    " AND json_extract(body, '$.of') = ?2))";
static const char member_text[] =
    "DELETE FROM online WHERE channel = ?1 AND member = ?2";

static int has(comet_sqlite_t *store, const char *name, int *there)
{
    sqlite3_stmt *statement = NULL;
    int code = sqlite3_prepare_v2(
        store->db, "SELECT count(*) FROM sqlite_master WHERE name = ?1", -1,
        &statement, NULL);

    *there = 0;
    if (code == SQLITE_OK) {
        sqlite3_bind_text(statement, 1, name, -1, SQLITE_STATIC);
        code = sqlite3_step(statement);
    }
    if (code == SQLITE_ROW) {
        *there = sqlite3_column_int(statement, 0) > 0;
        code = SQLITE_OK;
    }
    sqlite3_finalize(statement);
    return code;
}

/* Several processes may do this at once, so each checks for the trigger while
 * it holds the lock. */
static int change(comet_sqlite_t *store)
{
    int wanted = store->config->deletions, there;
    int code = has(store, "message_deletion", &there);

    if (code == SQLITE_OK && wanted != there) {
        code = sqlite3_exec(store->db,
                            wanted ? comet_schema_deletions
                                   : "DROP TRIGGER message_deletion",
                            NULL, NULL, NULL);
    }
    return code;
}

apr_status_t comet_sqlite_deletions_open(comet_sqlite_t *store)
{
    apr_status_t status;
    int there;
    int code = has(store, "message_deletion", &there);

    if (code != SQLITE_OK) {
        return comet_sqlite_fail(store, code);
    }
    if (there == store->config->deletions) {
        return APR_SUCCESS;
    }
    status = comet_sqlite_execute(store, "BEGIN IMMEDIATE");
    if (status == APR_SUCCESS) {
        code = change(store);
        status = code == SQLITE_OK ? comet_sqlite_execute(store, "COMMIT")
                                   : comet_sqlite_fail(store, code);
    }
    if (!sqlite3_get_autocommit(store->db)) {
        sqlite3_exec(store->db, "ROLLBACK", NULL, NULL, NULL);
    }
    return status;
}

int comet_sqlite_remove(comet_sqlite_t *store, const comet_removal_t *removal,
                        int *removed)
{
    sqlite3_stmt *statement = NULL;
    int before = sqlite3_total_changes(store->db);
    int there = 1, code = SQLITE_OK;

    *removed = 0;
    if (removal->member.data) {
        code = has(store, "online_delete", &there);
    }
    if (code != SQLITE_OK || !there) {
        return code;
    }
    code = sqlite3_prepare_v2(store->db,
                              removal->member.data ? member_text : message_text,
                              -1, &statement, NULL);
    if (code == SQLITE_OK) {
        sqlite3_bind_text64(statement, 1, removal->channel.data,
                            removal->channel.length, SQLITE_STATIC,
                            SQLITE_UTF8);
        if (removal->member.data) {
            sqlite3_bind_text64(statement, 2, removal->member.data,
                                removal->member.length, SQLITE_STATIC,
                                SQLITE_UTF8);
        }
        else {
            sqlite3_bind_int64(statement, 2, removal->timestamp);
        }
        code = sqlite3_step(statement);
    }
    sqlite3_finalize(statement);
    *removed = sqlite3_total_changes(store->db) - before;
    return code == SQLITE_DONE ? SQLITE_OK : code;
}
