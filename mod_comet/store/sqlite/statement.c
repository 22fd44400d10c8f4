/* SPDX-License-Identifier: Apache-2.0 */
/* The SQL of a connection: prepared once, then bound, run and reset. */
#include "store/sqlite/sqlite.h"

/* The columns that comet_sqlite_message() reads after the first five. */
#define UPDATE "private, alternates, event, retry, keep, expires"
#define M_UPDATE "m.private, m.alternates, m.event, m.retry, m.keep, m.expires"
/* The condition that a message is not over at time ?5, as
 * comet_message_time_is_over() defines it. */
#define IS_NOT_OVER \
    " AND (keep IS NULL OR expires - ?5 BETWEEN 1 AND 2000000 * keep)"
/* Retention counts only messages that last, that is, those without a `keep`,
 * and measures age from the newest of these.  In a channel without passing
 * messages the rows need no check. */
#define LASTS \
    " AND ((SELECT has_passing FROM channel WHERE id = ?1) = 0" \
    " OR keep IS NULL)"

const char *const comet_sqlite_text[SQL_COUNT] = {
    [SQL_BEGIN] = "BEGIN",
    [SQL_BEGIN_WRITE] = "BEGIN IMMEDIATE",
    [SQL_COMMIT] = "COMMIT",
    [SQL_ROLLBACK] = "ROLLBACK",
    [SQL_STATE] = "SELECT last, erased FROM comet_clock",
    [SQL_CHANNEL] = "SELECT id, has_private OR has_passing FROM channel"
                    " WHERE name = ?1",
    /* ?3: the channel has neither private nor passing messages, so that its
     * rows need no check */
    [SQL_REPLAY] = "SELECT id FROM message_log WHERE channel_id = ?1"
                   " AND (?3 OR (private = 0 AND keep IS NULL))"
                   " ORDER BY id DESC LIMIT 1 OFFSET ?2",
    [SQL_FLOOR] = "SELECT floor FROM channel WHERE name = ?1",
    /* The statements of a walk, from here to SQL_TAIL_BACK: at most ?3 messages
     * with ?1 < id < ?2 that are not over at time ?5. */
    [SQL_READ] =
        "SELECT id, ?4, type, author, body, " UPDATE " FROM message_log"
        " WHERE channel_id = (SELECT id FROM channel WHERE name = ?4)" IS_NOT_OVER
        " AND id > ?1 AND id < ?2 ORDER BY id LIMIT ?3",
    [SQL_READ_BACK] =
        "SELECT id, ?4, type, author, body, " UPDATE " FROM message_log"
        " WHERE channel_id = (SELECT id FROM channel WHERE name = ?4)" IS_NOT_OVER
        " AND id > ?1 AND id < ?2 ORDER BY id DESC LIMIT ?3",
    [SQL_TAIL] =
        "SELECT m.id, c.name, m.type, m.author, m.body, " M_UPDATE
        " FROM message_log AS m CROSS JOIN channel AS c"
        " WHERE m.id > ?1 AND m.id < ?2 AND c.id = m.channel_id" IS_NOT_OVER
        " ORDER BY m.id LIMIT ?3",
    [SQL_TAIL_BACK] =
        "SELECT m.id, c.name, m.type, m.author, m.body, " M_UPDATE
        " FROM message_log AS m CROSS JOIN channel AS c"
        " WHERE m.id > ?1 AND m.id < ?2 AND c.id = m.channel_id" IS_NOT_OVER
        " ORDER BY m.id DESC LIMIT ?3",
    [SQL_MESSAGE] = "SELECT m.id, c.name, m.type, m.author, m.body, " M_UPDATE
                    " FROM message_log AS m CROSS JOIN channel AS c"
                    " WHERE m.id = ?1 AND c.id = m.channel_id",
    [SQL_NEXT] = "SELECT id FROM message_log"
                 " WHERE channel_id = ?1 AND id > ?2 AND id < ?3"
                 " ORDER BY id LIMIT 1",
    [SQL_PREVIOUS] = "SELECT id FROM message_log"
                     " WHERE channel_id = ?1 AND id > ?2 AND id < ?3"
                     " ORDER BY id DESC LIMIT 1",
    /* The same as SQL_NEXT and SQL_PREVIOUS, but for a channel that may have
     * private or passing messages. */
    [SQL_NEXT_PUBLIC] = "SELECT id FROM message_log"
                        " WHERE channel_id = ?1 AND private = 0" IS_NOT_OVER
                        " AND id > ?2 AND id < ?3 ORDER BY id LIMIT 1",
    [SQL_PREVIOUS_PUBLIC] = "SELECT id FROM message_log"
                            " WHERE channel_id = ?1 AND private = 0" IS_NOT_OVER
                            " AND id > ?2 AND id < ?3 ORDER BY id DESC LIMIT 1",
    /* The same as SQL_NEXT and SQL_PREVIOUS, but for readers by topics, who may
     * see private messages, and messages that have the channel as an
     * alternate. */
    [SQL_NEXT_TOPIC] =
        "SELECT min(id) FROM"
        " (SELECT (SELECT id FROM message_log WHERE channel_id = ?1"
        " AND id > ?2 AND id < ?3 ORDER BY id LIMIT 1) AS id UNION ALL"
        " SELECT (SELECT message FROM message_alternate WHERE channel_id = ?1"
        " AND message > ?2 AND message < ?3 ORDER BY message LIMIT 1))",
    [SQL_PREVIOUS_TOPIC] =
        "SELECT max(id) FROM"
        " (SELECT (SELECT id FROM message_log WHERE channel_id = ?1"
        " AND id > ?2 AND id < ?3 ORDER BY id DESC LIMIT 1) AS id UNION ALL"
        " SELECT (SELECT message FROM message_alternate WHERE channel_id = ?1"
        " AND message > ?2 AND message < ?3 ORDER BY message DESC LIMIT 1))",
    /* LIKE and GLOB are not used: a name may contain their special
     * characters. */
    [SQL_UNDER] = "SELECT id, name FROM channel"
                  " WHERE name >= ?1 AND name < ?2"
                  " AND EXISTS (SELECT 1 FROM message_log"
                  " WHERE channel_id = channel.id AND private = 0)"
                  " ORDER BY name LIMIT ?3",
    [SQL_UNDER_TOPIC] = "SELECT id, name, floor FROM channel"
                        " WHERE name >= ?1 AND name < ?2 AND floor >= ?3",
    [SQL_EVENT] = "SELECT max(message) FROM message_event"
                  " WHERE event = ?1 AND message < ?2",
    [SQL_ALTERNATE_ADD] = "INSERT OR IGNORE INTO message_alternate"
                          "(channel_id, message) VALUES(?1, ?2)",
    [SQL_RECENT] = "SELECT id FROM message_log"
                   " ORDER BY id DESC LIMIT 1 OFFSET ?1",
    [SQL_HAS] = "SELECT count(*) FROM message_log WHERE id = ?1",
    [SQL_CHANNEL_ADD] = "INSERT INTO channel(name) VALUES(?1)",
    [SQL_CHANNEL_DROP] = "DELETE FROM channel WHERE id = ?1",
    [SQL_INSERT] = "INSERT INTO message_log"
                   "(id, channel_id, type, author, body, " UPDATE ")"
                   " VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
    /* This query also reads comet_clock, so that an append needs no second
     * query. */
    [SQL_ADDED] = "SELECT last, CASE erased WHEN ?2 THEN"
                  " (SELECT count(*) FROM message_log WHERE id > ?1)"
                  " ELSE 0 END FROM comet_clock",
    [SQL_CLOCK_SET] = "UPDATE comet_clock SET last = ?1",
    [SQL_GROUP] = "SAVEPOINT one_group",
    [SQL_GROUP_END] = "RELEASE one_group",
    [SQL_GROUP_UNDO] = "ROLLBACK TO one_group",
    [SQL_KEY] = "SELECT timestamp, count, hash FROM idempotency_key"
                " WHERE channel = ?1 AND author = ?2 AND key = ?3"
                " AND ifnull(expires > ?4, 1)",
    /* REPLACE, since the table may still have the same key, expired */
    [SQL_KEY_ADD] = "INSERT OR REPLACE INTO idempotency_key"
                    "(channel, author, key, timestamp, count, hash)"
                    " VALUES(?1, ?2, ?3, ?4, ?5, ?6)",
    [SQL_KEYS_DUE] = "SELECT 1 FROM idempotency_key"
                     " WHERE expires <= ?1 OR expires > ?2 LIMIT 1",
    [SQL_KEYS_PRUNE] = "DELETE FROM idempotency_key WHERE timestamp IN"
                       " (SELECT timestamp FROM idempotency_key"
                       " WHERE expires <= ?1 LIMIT ?2)",
    [SQL_KEYS_RECALL] = "UPDATE idempotency_key SET expires = ?1"
                        " WHERE timestamp IN"
                        " (SELECT timestamp FROM idempotency_key"
                        " WHERE expires > ?1 LIMIT ?2)",
    /* ?2 has no effect here: list_channels() binds it because
     * SQL_CHANNELS_SINCE needs it */
    [SQL_CHANNELS] = "SELECT id, id FROM channel"
                     " WHERE id > ?1 AND ?2 ORDER BY id LIMIT ?3",
    [SQL_CHANNELS_SINCE] = "SELECT id, channel_id FROM message_log"
                           " WHERE id > ?1 AND id <= ?2"
                           " ORDER BY id LIMIT ?3",
    [SQL_RULES] = "SELECT count, EXISTS (SELECT 1 FROM channel_retention)"
                  " FROM retention_changes",
    /* The rule with the longest matching pattern; a rule for the channel's own
     * name takes precedence over any wildcard.  (With max(), SQLite takes the
     * other columns from the row that has the maximum.)  If no rule matches,
     * the first column is NULL. */
    [SQL_RULE] = "SELECT CASE WHEN count(*)"
                 " THEN ifnull(r.keep_count, 0) END, ifnull(r.keep_age, 0),"
                 " max(length(r.pattern) + 1000 * (r.pattern = c.name))"
                 " FROM channel AS c JOIN channel_retention AS r"
                 " ON r.pattern = c.name OR (substr(r.pattern, -1) = '*'"
                 " AND substr(c.name, 1, length(r.pattern) - 1)"
                 " = substr(r.pattern, 1, length(r.pattern) - 1))"
                 " WHERE c.id = ?1",
    [SQL_NEWEST] = "SELECT id FROM message_log WHERE channel_id = ?1" LASTS
                   " ORDER BY id DESC LIMIT 1",
    [SQL_NEWEST_PUBLIC] = "SELECT id FROM message_log"
                          " WHERE channel_id = ?1"
                          " AND (?2 OR (private = 0 AND keep IS NULL))"
                          " ORDER BY id DESC LIMIT 1",
    [SQL_OVER_COUNT] = "SELECT id FROM message_log WHERE channel_id = ?1" LASTS
                       " ORDER BY id DESC LIMIT 1 OFFSET ?2",
    [SQL_PRUNE_UPTO] = "SELECT max(id), count(*) FROM"
                       " (SELECT id FROM message_log"
                       " WHERE channel_id = ?1 AND id <= ?2 AND id > ?3"
                       " ORDER BY id LIMIT ?4)",
    /* sets the floor to the newest message that lasts among those to be
     * removed */
    [SQL_PRUNE_FLOOR] = "UPDATE channel SET floor = max(floor, ifnull((SELECT"
                        " id FROM message_log"
                        " WHERE channel_id = ?1 AND id <= ?2 AND id > ?3"
                        " AND keep IS NULL"
                        " ORDER BY id DESC LIMIT 1), 0)) WHERE id = ?1",
    [SQL_PRUNE] = "DELETE FROM message_log"
                  " WHERE channel_id = ?1 AND id <= ?2 AND id > ?3",
    /* A message is over if it expires at ?1 or earlier.  It also counts as over
     * if it expires after ?2, since then the clock was set back after the
     * message was stored. */
    [SQL_PASSING_DUE] = "SELECT 1 FROM message_passing"
                        " WHERE expires <= ?1 OR expires > ?2 LIMIT 1",
    [SQL_PASSING_PRUNE] = "DELETE FROM message_log WHERE id IN"
                          " (SELECT message FROM message_passing"
                          " WHERE expires <= ?1 OR expires > ?2 LIMIT ?3)",
    [SQL_BODIES] = "SELECT id, body FROM message_log"
                   " WHERE channel_id = ?1 AND id <= ?2 AND id > ?3"
                   " ORDER BY id LIMIT ?4",
    [SQL_PAGES] = "SELECT freelist_count, page_count"
                  " FROM pragma_freelist_count, pragma_page_count",
    [SQL_SIZES] = "SELECT page_count * page_size,"
                  " (SELECT count(*) FROM channel)"
                  " FROM pragma_page_count, pragma_page_size",
};

/* --- Statements ------------------------------------------------------- */

void comet_sqlite_reset(comet_sqlite_t *store, sql_e which)
{
    sqlite3_reset(store->statements[which]);
    sqlite3_clear_bindings(store->statements[which]);
}

int comet_sqlite_step(comet_sqlite_t *store, sql_e which)
{
    return sqlite3_step(store->statements[which]);
}

int comet_sqlite_run(comet_sqlite_t *store, sql_e which)
{
    int code = comet_sqlite_step(store, which);

    comet_sqlite_reset(store, which);
    return code == SQLITE_DONE || code == SQLITE_ROW ? SQLITE_OK : code;
}

apr_status_t comet_sqlite_run_or_fail(comet_sqlite_t *store, sql_e which)
{
    int code = comet_sqlite_run(store, which);

    return code == SQLITE_OK ? APR_SUCCESS : comet_sqlite_fail(store, code);
}

void comet_sqlite_bind_int(comet_sqlite_t *store, sql_e which, int index,
                           apr_int64_t value)
{
    sqlite3_bind_int64(store->statements[which], index, value);
}

void comet_sqlite_bind_text(comet_sqlite_t *store, sql_e which, int index,
                            comet_text_t text)
{
    sqlite3_bind_text64(store->statements[which], index,
                        text.data ? text.data : "", text.length, SQLITE_STATIC,
                        SQLITE_UTF8);
}

apr_status_t comet_sqlite_query(comet_sqlite_t *store, sql_e which,
                                apr_int64_t *first, apr_int64_t *second)
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
        status = comet_sqlite_fail(store, code);
    }
    comet_sqlite_reset(store, which);
    return status;
}

apr_status_t comet_sqlite_execute(comet_sqlite_t *store, const char *sql)
{
    int code = sqlite3_exec(store->db, sql, NULL, NULL, NULL);

    return code == SQLITE_OK ? APR_SUCCESS : comet_sqlite_fail(store, code);
}

void comet_sqlite_roll_back(comet_sqlite_t *store)
{
    store->reserved = 0;
    if (!sqlite3_get_autocommit(store->db)) {
        comet_sqlite_run(store, SQL_ROLLBACK);
    }
}

/* --- The statements of a connection -------------------------------- */

apr_status_t comet_sqlite_prepare(comet_sqlite_t *store)
{
    /* trusted_schema stays on: without it, the triggers of sql/search.sql could
     * not use FTS5 */
    apr_status_t status = comet_sqlite_execute(
        store, "PRAGMA mmap_size = 0; PRAGMA cell_size_check = ON");
    int i;

    for (i = 0; status == APR_SUCCESS && i < SQL_COUNT; i++) {
        int code = sqlite3_prepare_v3(store->db, comet_sqlite_text[i], -1,
                                      SQLITE_PREPARE_PERSISTENT,
                                      &store->statements[i], NULL);

        if (code != SQLITE_OK) {
            status = comet_sqlite_fail(store, code);
        }
    }
    return status;
}
