/* SPDX-License-Identifier: Apache-2.0 */
/* The retention of single channels: read and change the rules in the table
 * channel_retention (sql/006_retention.sql), which upkeep obeys. */
#include "store/sqlite/sqlite.h"

static void bind_string(sqlite3_stmt *row, int index, comet_text_t text)
{
    sqlite3_bind_text64(row, index, text.data ? text.data : "", text.length,
                        SQLITE_STATIC, SQLITE_UTF8);
}

/* Bind a limit.  "No limit" is 0 in a comet_rule_t, and NULL in the table. */
static void bind_limit(sqlite3_stmt *row, int index, apr_int64_t limit)
{
    if (limit) {
        sqlite3_bind_int64(row, index, limit);
    }
    else {
        sqlite3_bind_null(row, index);
    }
}

int comet_sqlite_set_rule(comet_sqlite_t *store, const comet_rule_t *rule,
                          int *changes)
{
    sqlite3_stmt *statement = NULL;
    int code = sqlite3_prepare_v2(
        store->db,
        rule->is_removed
            ? "DELETE FROM channel_retention WHERE pattern = ?1"
            : "INSERT OR REPLACE INTO channel_retention(pattern, keep_count,"
              " keep_age) SELECT ?1, ?2, ?3 WHERE (SELECT count(*)"
              " FROM channel_retention WHERE pattern <> ?1) < ?4",
        -1, &statement, NULL);

    *changes = 0;
    if (code == SQLITE_OK) {
        bind_string(statement, 1, rule->pattern);
        if (!rule->is_removed) {
            bind_limit(statement, 2, rule->keep_count);
            bind_limit(statement, 3, rule->keep_age_sec);
            sqlite3_bind_int64(statement, 4, COMET_RULES_MOST);
        }
        code = sqlite3_step(statement);
        *changes = code == SQLITE_DONE ? sqlite3_changes(store->db) : 0;
    }
    sqlite3_finalize(statement);
    return code == SQLITE_DONE ? SQLITE_OK : code;
}

/* Pass the rows of a statement to the callback.
 * @return SQLITE_DONE or SQLite's code */
static int hand_over(sqlite3_stmt *row, comet_store_rule_cb *callback,
                     void *baton)
{
    int code;

    while ((code = sqlite3_step(row)) == SQLITE_ROW) {
        const comet_rule_t rule = {
            .pattern = comet_sqlite_column(row, 0),
            .keep_count = sqlite3_column_int64(row, 1),
            .keep_age_sec = sqlite3_column_int64(row, 2),
        };

        if (!rule.pattern.data) {
            return SQLITE_NOMEM;
        }
        if (!callback(baton, &rule)) {
            return SQLITE_DONE;
        }
    }
    return code;
}

/* The query scans all rules, since there are few. */
apr_status_t comet_sqlite_rules(comet_sqlite_t *store, comet_text_t prefix,
                                comet_text_t after, apr_size_t limit,
                                comet_store_rule_cb *callback, void *baton)
{
    sqlite3_stmt *row = NULL;
    int code = sqlite3_prepare_v2(
        store->db,
        "SELECT pattern, ifnull(keep_count, 0), ifnull(keep_age, 0)"
        " FROM channel_retention"
        " WHERE substr(pattern, 1, length(?1)) = ?1 AND pattern > ?2"
        " ORDER BY pattern LIMIT ?3",
        -1, &row, NULL);

    if (code == SQLITE_OK) {
        bind_string(row, 1, prefix);
        bind_string(row, 2, after);
        sqlite3_bind_int64(row, 3, (apr_int64_t)limit);
        code = hand_over(row, callback, baton);
    }
    sqlite3_finalize(row);
    return code == SQLITE_DONE ? APR_SUCCESS : comet_sqlite_fail(store, code);
}
