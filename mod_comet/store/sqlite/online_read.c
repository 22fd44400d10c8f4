/* SPDX-License-Identifier: Apache-2.0 */
/* Presence: read the tables of sql/presence.sql. */
#include "store/sqlite/online_read.h"

apr_status_t comet_online_read_compile(comet_sqlite_t *store, const char *sql,
                                       sqlite3_stmt **statement)
{
    int code = sqlite3_prepare_v2(store->db, sql, -1, statement, NULL);

    return code == SQLITE_OK ? APR_SUCCESS : comet_sqlite_fail(store, code);
}

void comet_online_read_bind(sqlite3_stmt *statement, int index,
                            comet_text_t text)
{
    if (text.data) {
        sqlite3_bind_text64(statement, index, text.data, text.length,
                            SQLITE_STATIC, SQLITE_UTF8);
    }
    else {
        sqlite3_bind_null(statement, index);
    }
}

static comet_sqlite_t *own(comet_store_t *store)
{
    return (comet_sqlite_t *)store;
}

apr_status_t comet_online_read_holders(comet_store_t *base,
                                       comet_online_holder_cb *callback,
                                       void *baton)
{
    sqlite3_stmt *row;
    apr_status_t status = comet_online_read_compile(
        own(base), "SELECT id, beat, patience FROM presence_holder", &row);
    int code = SQLITE_ROW;

    if (status != APR_SUCCESS) {
        return status;
    }
    while (code == SQLITE_ROW && (code = sqlite3_step(row)) == SQLITE_ROW) {
        const comet_holder_t holder = {
            .id = sqlite3_column_int64(row, 0),
            .beat = sqlite3_column_int64(row, 1),
            .patience = sqlite3_column_int64(row, 2) * 1000,
        };

        code = callback(baton, &holder) ? code : SQLITE_DONE;
    }
    sqlite3_finalize(row);
    return code == SQLITE_DONE ? APR_SUCCESS
                               : comet_sqlite_fail(own(base), code);
}

/* Pass the rows of a statement to the callback.  The columns are channel,
 * member, since and info. */
static apr_status_t hand_over(comet_sqlite_t *store, sqlite3_stmt *row,
                              comet_online_member_cb *callback, void *baton)
{
    int code = SQLITE_ROW;

    while (code == SQLITE_ROW && (code = sqlite3_step(row)) == SQLITE_ROW) {
        const comet_online_member_t member = {
            .channel = comet_sqlite_column(row, 0),
            .member = comet_sqlite_column(row, 1),
            .since = sqlite3_column_int64(row, 2),
            .info = comet_sqlite_column(row, 3),
        };

        if (!member.channel.data || !member.member.data) {
            sqlite3_finalize(row);
            return comet_sqlite_fail_text(store, APR_ENOMEM,
                                          "no memory for a name");
        }
        code = callback(baton, &member) ? code : SQLITE_DONE;
    }
    sqlite3_finalize(row);
    return code == SQLITE_DONE ? APR_SUCCESS : comet_sqlite_fail(store, code);
}

/* One statement reads the holder and its rows, so both come from the same
 * view. */
apr_status_t comet_online_read_rows(comet_store_t *base, apr_int64_t holder,
                                    comet_online_member_cb *callback,
                                    void *baton)
{
    sqlite3_stmt *row;
    apr_status_t status = comet_online_read_compile(
        own(base),
        "SELECT r.channel, r.member, r.since, NULL FROM presence_holder"
        " AS h LEFT JOIN presence_row AS r ON r.holder = h.id"
        " WHERE h.id = ?1",
        &row);
    int code;

    if (status != APR_SUCCESS) {
        return status;
    }
    sqlite3_bind_int64(row, 1, holder);
    code = sqlite3_step(row);
    if (code == SQLITE_ROW && sqlite3_column_type(row, 0) != SQLITE_NULL) {
        sqlite3_reset(row);
        return hand_over(own(base), row, callback, baton);
    }
    sqlite3_finalize(row);
    return code == SQLITE_ROW    ? APR_SUCCESS
           : code == SQLITE_DONE ? APR_NOTFOUND
                                 : comet_sqlite_fail(own(base), code);
}

/* A channel that nobody is in has no row. */
static apr_status_t read_totals(comet_sqlite_t *store, comet_text_t channel,
                                comet_online_totals_t *totals)
{
    sqlite3_stmt *row;
    apr_status_t status = comet_online_read_compile(
        store,
        "SELECT members, most, (SELECT ifnull(sum(clients), 0)"
        " FROM presence_anonymous WHERE channel = ?1)"
        " FROM presence_channel WHERE name = ?1",
        &row);
    int code;

    *totals = (comet_online_totals_t){ .most = -1 };
    if (status != APR_SUCCESS) {
        return APR_ENOENT; /* a writer is about to make the tables */
    }
    comet_online_read_bind(row, 1, channel);
    code = sqlite3_step(row);
    if (code == SQLITE_ROW) {
        totals->members = sqlite3_column_int64(row, 0);
        totals->most = sqlite3_column_int64(row, 1);
        totals->anonymous = sqlite3_column_int64(row, 2);
    }
    sqlite3_finalize(row);
    return code == SQLITE_ROW || code == SQLITE_DONE
               ? APR_SUCCESS
               : comet_sqlite_fail(store, code);
}

apr_status_t comet_online_read_list(comet_store_t *base, comet_text_t channel,
                                    comet_text_t after, apr_size_t limit,
                                    comet_online_member_cb *callback,
                                    void *baton, comet_online_totals_t *totals)
{
    sqlite3_stmt *row;
    apr_status_t status = read_totals(own(base), channel, totals);

    if (status == APR_SUCCESS) {
        status =
            comet_online_read_compile(own(base),
                                      "SELECT channel, member, min(since), info"
                                      " FROM presence_row WHERE channel = ?1"
                                      " AND member > ?2 GROUP BY member"
                                      " ORDER BY member LIMIT ?3",
                                      &row);
    }
    if (status != APR_SUCCESS) {
        return status;
    }
    comet_online_read_bind(row, 1, channel);
    comet_online_read_bind(row, 2, after.data ? after : comet_text(""));
    sqlite3_bind_int64(row, 3, (apr_int64_t)limit);
    return hand_over(own(base), row, callback, baton);
}

/* Run a query for one number. */
static apr_status_t ask(comet_sqlite_t *store, const char *sql,
                        comet_text_t channel, comet_text_t member,
                        apr_int64_t after, apr_int64_t limit,
                        apr_int64_t *number)
{
    sqlite3_stmt *row;
    apr_status_t status = comet_online_read_compile(store, sql, &row);
    int code;

    *number = 0;
    if (status != APR_SUCCESS) {
        return APR_ENOENT; /* a writer is about to make the tables */
    }
    comet_online_read_bind(row, 1, channel);
    comet_online_read_bind(row, 2, member);
    sqlite3_bind_int64(row, 3, after);
    sqlite3_bind_int64(row, 4, limit);
    code = sqlite3_step(row);
    if (code == SQLITE_ROW) {
        *number = sqlite3_column_int64(row, 0);
    }
    sqlite3_finalize(row);
    return code == SQLITE_ROW || code == SQLITE_DONE
               ? APR_SUCCESS
               : comet_sqlite_fail(store, code);
}

apr_status_t comet_online_read_unread(comet_store_t *base, comet_text_t channel,
                                      comet_text_t member, apr_size_t limit,
                                      comet_timestamp_t *read_at,
                                      apr_int64_t *count)
{
    apr_status_t status = ask(own(base),
                              "SELECT ifnull(read_at, 0) FROM last_seen"
                              " WHERE channel = ?1 AND member = ?2",
                              channel, member, 0, 0, read_at);

    return status == APR_SUCCESS
               ? ask(own(base),
                     "SELECT count(*) FROM (SELECT 1 FROM message_log"
                     " WHERE channel_id = (SELECT id FROM channel"
                     " WHERE name = ?1) AND private = 0 AND keep IS NULL"
                     " AND id > ?3 LIMIT ?4)",
                     channel, member, *read_at, (apr_int64_t)limit, count)
               : status;
}
