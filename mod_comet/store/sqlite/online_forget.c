/* SPDX-License-Identifier: Apache-2.0 */
/* Forget members who left long ago, and the oldest channels of members who were
 * in very many channels. */
#include "store/sqlite/online_forget.h"

#include "store/sqlite/online_read.h"

#define PATIENCE_USEC 20000
#define FORGET_USEC apr_time_from_sec(3600)

/* A slice has all rows of some members, and ends with the member of its 500th
 * row. */
#define FIND_END \
    "SELECT member FROM last_seen WHERE member > ifnull(?1, '')" \
    " ORDER BY member LIMIT 1 OFFSET 499"

/* ?1: the last member before the slice; NULL: the slice begins with the first
 * row of the table. ?2: the last member of the slice; NULL: the slice ends with
 * the last row of the table, since every blob is greater than any text. */
#define IN_SLICE " member > ifnull(?1, '') AND member <= ifnull(?2, x'') "

#define IS_AWAY \
    " NOT EXISTS (SELECT 1 FROM presence_row AS p" \
    " WHERE p.channel = s.channel AND p.member = s.member) "

#define LAST_SIGN " max(ifnull(left_at, 0), ifnull(read_at, 0)) "

/* Forget up to ?4 rows of the slice whose last sign of life is older than
 * ?3. */
#define FORGET_OLD \
    "DELETE FROM last_seen WHERE (channel, member) IN (" \
    "SELECT channel, member FROM last_seen AS s WHERE" IN_SLICE \
    "AND" LAST_SIGN "< ?3 AND" IS_AWAY "LIMIT ?4)"

/* For each member of the slice, forget all but the newest ?3 channels; but
 * remove at most ?4 rows. */
#define FORGET_MANY \
    "DELETE FROM last_seen WHERE (channel, member) IN (" \
    "SELECT channel, member FROM (SELECT channel, member, row_number() OVER (" \
    "PARTITION BY member ORDER BY" LAST_SIGN "DESC) AS place FROM last_seen" \
    " WHERE member IN (SELECT member FROM last_seen WHERE" IN_SLICE \
    "GROUP BY member HAVING count(*) > ?3)) AS s WHERE place > ?3 AND" IS_AWAY \
    "LIMIT ?4)"

/* @param member  may be NULL */
static void bind_member(sqlite3_stmt *statement, int index,
                        const sqlite3_value *member)
{
    if (member) {
        sqlite3_bind_value(statement, index, member);
    }
}

/* Find the last member of the slice that follows store->forget_after.
 * @param end  set to a copy for the caller to free; NULL: the slice ends with
 *             the table */
static apr_status_t find_end(comet_sqlite_t *store, sqlite3_value **end)
{
    sqlite3_stmt *statement;
    apr_status_t status =
        comet_online_read_compile(store, FIND_END, &statement);
    int code;

    *end = NULL;
    if (status != APR_SUCCESS) {
        return status;
    }
    bind_member(statement, 1, store->forget_after);
    code = sqlite3_step(statement);
    if (code == SQLITE_ROW) {
        *end = sqlite3_value_dup(sqlite3_column_value(statement, 0));
        status = *end ? APR_SUCCESS : APR_ENOMEM;
    }
    else if (code != SQLITE_DONE) {
        status = comet_sqlite_fail(store, code);
    }
    sqlite3_finalize(statement);
    return status;
}

/* Run FORGET_OLD or FORGET_MANY.  If a foreign trigger refuses the deletion,
 * nothing is removed.
 * @param limit  the value of ?3
 * @param removed  raised by the number of rows removed
 * @param more  set to 1 if the slice may have more rows to remove */
static apr_status_t remove_from(comet_sqlite_t *store, const char *sql,
                                const sqlite3_value *end, apr_int64_t limit,
                                int *removed, int *more)
{
    sqlite3_stmt *statement;
    apr_status_t status = comet_online_read_compile(store, sql, &statement);
    int code;

    if (status != APR_SUCCESS) {
        return status;
    }
    bind_member(statement, 1, store->forget_after);
    bind_member(statement, 2, end);
    sqlite3_bind_int64(statement, 3, limit);
    sqlite3_bind_int64(statement, 4, COMET_ONLINE_SLICE);
    code = sqlite3_step(statement);
    if (code == SQLITE_DONE) {
        int rows = sqlite3_changes(store->db);

        *removed += rows;
        *more = *more || rows == COMET_ONLINE_SLICE;
    }
    else if ((code & 0xff) != SQLITE_CONSTRAINT) {
        status = comet_sqlite_fail(store, code);
    }
    sqlite3_finalize(statement);
    return status;
}

/* Age counts back from the newest message, or from now if that message is dated
 * in the future.  So a wrong clock does not make the database forget
 * members. */
static comet_timestamp_t oldest_to_keep(const comet_sqlite_t *store,
                                        comet_timestamp_t last)
{
    apr_time_t now = apr_time_now();

    return (last < now ? last : now) - store->config->presence_memory;
}

/* Within a transaction, remove the rows of a slice that must be forgotten.
 * @param more  set to 1 if the slice may have more such rows */
static apr_status_t forget_in(comet_sqlite_t *store, const sqlite3_value *end,
                              int *removed, int *more)
{
    comet_store_state_t state;
    apr_status_t status = comet_sqlite_state(store, &state);

    if (status == APR_SUCCESS) {
        status = remove_from(store, FORGET_OLD, end,
                             oldest_to_keep(store, state.last), removed, more);
    }
    return status == APR_SUCCESS ? remove_from(
               store, FORGET_MANY, end, COMET_ONLINE_SEEN_MOST, removed, more)
                                 : status;
}

/* Note where the next slice begins.  After the last slice of the table, begin
 * again with the first one, an hour later. */
static void pass(comet_sqlite_t *store, sqlite3_value *end)
{
    sqlite3_value_free(store->forget_after);
    store->forget_after = end;
    if (!end) {
        store->forget_at = comet_monotonic() + FORGET_USEC;
    }
}

apr_status_t comet_online_forget(comet_sqlite_t *store, int *more)
{
    sqlite3_value *end;
    apr_status_t status;
    int removed = 0, again = 0;

    if (comet_monotonic() < store->forget_at) {
        return APR_SUCCESS;
    }
    status = comet_sqlite_reserve(store, PATIENCE_USEC);
    if (status != APR_SUCCESS) {
        return status;
    }
    status = find_end(store, &end);
    if (status == APR_SUCCESS) {
        status = forget_in(store, end, &removed, &again);
    }
    if (status == APR_SUCCESS && removed) {
        status = comet_sqlite_commit(store);
    }
    else {
        comet_sqlite_roll_back(store);
    }
    *more = *more || again || (status == APR_SUCCESS && end);
    if (status == APR_SUCCESS && !again) {
        pass(store, end);
    }
    else {
        sqlite3_value_free(end);
    }
    return status;
}
