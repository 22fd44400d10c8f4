/* SPDX-License-Identifier: Apache-2.0 */
/* Keep the file small, by checkpoints and retention. */
#include "store/sqlite/online_forget.h"
#include "store/sqlite/sqlite.h"

#include <stdio.h>

/* If the log has at least this many pages, a checkpoint waits for readers, so
 * that the log can begin anew. */
#define RESTART_PAGES (4 * CHECKPOINT_PAGES)
#define RESTART_PATIENCE_USEC 20000
#define PRUNE_PATIENCE_USEC 20000
#define PRUNE_ROWS 1000
/* After this time a step begins no further channel. */
#define PRUNE_USEC 10000
#define PRUNE_SCAN_ROWS 4096
#define VACUUM_PAGES 256
/* How long a key outlives its message, as in the trigger
 * idempotency_key_expiry. */
#define KEY_USEC apr_time_from_sec(86400)
/* How long a message may stay in the log after it is over. */
#define GATHER_USEC apr_time_from_sec(30)
/* How long to wait after a foreign trigger has refused the removal of such
 * messages. */
#define REFUSED_USEC apr_time_from_sec(60)
/* A message that expires more than this time from now counts as over: the clock
 * was set back (comet_message_time_is_over()). */
#define PASSING_USEC (2 * apr_time_from_sec(COMET_KEEP_MAX_SEC))

/* --- Checkpoints ------------------------------------------------------ */

int comet_sqlite_checkpoint_due(const comet_sqlite_t *store)
{
    return store->wal_pages < store->checkpoint_at ? 0
           : store->wal_pages < RESTART_PAGES      ? 1
                                                   : 2;
}

apr_status_t comet_sqlite_checkpoint(comet_sqlite_t *store)
{
    int pages = 0;
    int code;

    if (!comet_sqlite_checkpoint_due(store)) {
        return APR_SUCCESS;
    }
    if (comet_sqlite_moved(store, 0)) {
        return comet_sqlite_leave_behind(store);
    }
    /* Short readers never delay a checkpoint for long.  But the log can begin
     * anew only while nobody reads, and on a busy server somebody nearly always
     * does.  So a long log makes the checkpoint wait for such a moment. */
    store->patience = RESTART_PATIENCE_USEC;
    code = sqlite3_wal_checkpoint_v2(store->db, "main",
                                     store->wal_pages >= RESTART_PAGES
                                         ? SQLITE_CHECKPOINT_RESTART
                                         : SQLITE_CHECKPOINT_PASSIVE,
                                     &pages, NULL);
    store->patience = store->config->busy_timeout;
    /* A reader may have prevented some pages from being copied: try again
     * later. */
    store->checkpoint_at = store->wal_pages + CHECKPOINT_PAGES;
    if (code != SQLITE_OK && (code & 0xff) != SQLITE_BUSY) {
        return comet_sqlite_fail(store, code);
    }
    return APR_SUCCESS;
}

/* Wait until the disk has all copied pages.  SQLite does not do so in a
 * checkpoint during which others commit, but leaves it to a later one. */
static int sync_file(comet_sqlite_t *store)
{
    sqlite3_file *file = NULL;
    int code = sqlite3_file_control(store->db, "main",
                                    SQLITE_FCNTL_FILE_POINTER, &file);

    return code == SQLITE_OK && file && file->pMethods
               ? file->pMethods->xSync(file, SQLITE_SYNC_NORMAL)
               : code;
}

apr_status_t comet_sqlite_copy(comet_sqlite_t *store, int *pages)
{
    int logged = 0, copied = 0, code;

    if (comet_sqlite_moved(store, 0)) {
        return comet_sqlite_fail_text(store, COMET_EMOVED,
                                      "the database was removed or replaced");
    }
    code = sqlite3_wal_checkpoint_v2(
        store->db, "main", SQLITE_CHECKPOINT_PASSIVE, &logged, &copied);
    if ((code & 0xff) == SQLITE_BUSY) {
        return APR_SUCCESS;
    }
    if (code == SQLITE_OK) {
        code = sync_file(store);
    }
    if (code != SQLITE_OK) {
        return comet_sqlite_fail(store, code);
    }
    /* if fewer pages are copied than before, the log has begun anew */
    *pages = copied < store->copied ? copied : copied - store->copied;
    store->copied = copied;
    return APR_SUCCESS;
}

/* --- Retention -------------------------------------------------------- */

/* Find out whether retention has anything to do.  After a change of the rules
 * the next round covers all channels. */
static apr_status_t look_at_rules(comet_sqlite_t *store, int *any)
{
    prune_t *prune = &store->prune;
    apr_int64_t changes = 0, rules = 0;
    apr_status_t status =
        comet_sqlite_query(store, SQL_RULES, &changes, &rules);

    if (changes != prune->rule_changes) {
        prune->running = prune->all_seen = 0;
        prune->rule_changes = changes;
    }
    prune->has_rules = rules != 0;
    *any = rules || store->config->retain_count > 0
           || store->config->retain_age > 0;
    return status;
}

/* Find out how many messages a channel keeps and for how long, by its rule or
 * by CometRetain. */
static apr_status_t find_rule(comet_sqlite_t *store, apr_int64_t channel,
                              apr_int64_t *count, apr_interval_time_t *age)
{
    apr_int64_t own_count = -1, seconds = 0;
    apr_status_t status = APR_SUCCESS;

    *count = store->config->retain_count;
    *age = store->config->retain_age;
    if (store->prune.has_rules) {
        comet_sqlite_bind_int(store, SQL_RULE, 1, channel);
        status = comet_sqlite_query(store, SQL_RULE, &own_count, &seconds);
    }
    if (own_count >= 0) {
        *count = own_count;
        *age = apr_time_from_sec(seconds);
    }
    return status;
}

/* Begin a round, or list more of its channels. */
static apr_status_t list_channels(comet_sqlite_t *store)
{
    prune_t *prune = &store->prune;
    sql_e which = prune->all_seen ? SQL_CHANNELS_SINCE : SQL_CHANNELS;
    apr_int64_t limit = prune->all_seen ? PRUNE_SCAN_ROWS : PRUNE_CHANNELS;
    apr_int64_t rows = 0;
    apr_size_t i;
    int code = SQLITE_DONE;

    prune->count = prune->next = 0;
    prune->tried = prune->removed = 0;
    comet_sqlite_bind_int(store, which, 1, prune->cursor);
    comet_sqlite_bind_int(store, which, 2, prune->end);
    comet_sqlite_bind_int(store, which, 3, limit);
    while (prune->count < PRUNE_CHANNELS
           && (code = comet_sqlite_step(store, which)) == SQLITE_ROW) {
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
    comet_sqlite_reset(store, which);
    return code == SQLITE_ROW || code == SQLITE_DONE
               ? APR_SUCCESS
               : comet_sqlite_fail(store, code);
}

static apr_status_t begin_round(comet_sqlite_t *store)
{
    prune_t *prune = &store->prune;
    comet_store_state_t state;
    apr_status_t status = comet_sqlite_state(store, &state);

    if (status == APR_SUCCESS) {
        prune->running = 1;
        prune->end = state.last;
        prune->cursor = prune->all_seen ? prune->seen : 0;
        status = list_channels(store);
    }
    return status;
}

/* @param upto  set to the last timestamp to remove; 0: none */
static apr_status_t find_excess(comet_sqlite_t *store, apr_int64_t channel,
                                comet_timestamp_t *upto)
{
    comet_timestamp_t newest = 0;
    apr_int64_t count;
    apr_interval_time_t age;
    apr_status_t status = find_rule(store, channel, &count, &age);

    *upto = 0;
    if (status == APR_SUCCESS && count > 0) {
        comet_sqlite_bind_int(store, SQL_OVER_COUNT, 1, channel);
        comet_sqlite_bind_int(store, SQL_OVER_COUNT, 2, count);
        status = comet_sqlite_query(store, SQL_OVER_COUNT, upto, NULL);
    }
    if (status == APR_SUCCESS && age > 0) {
        comet_sqlite_bind_int(store, SQL_NEWEST, 1, channel);
        status = comet_sqlite_query(store, SQL_NEWEST, &newest, NULL);
        if (newest > store->prune.now) {
            newest = store->prune.now;
        }
        if (newest - age - 1 > *upto) {
            *upto = newest - age - 1;
        }
    }
    return status;
}

/* Bind a channel, and its messages up to a timestamp that were not tried yet. */
static void bind_range(comet_sqlite_t *store, sql_e which, apr_int64_t channel,
                       comet_timestamp_t upto)
{
    comet_sqlite_bind_int(store, which, 1, channel);
    comet_sqlite_bind_int(store, which, 2, upto);
    comet_sqlite_bind_int(store, which, 3, store->prune.tried);
}

/*
 * With CometSearch each body must be removed from the index of words, too.  So
 * reduce the number of rows to those that one step has time for, but to no
 * fewer than one.
 * @param rows  the number to reduce
 */
static apr_status_t limit_bytes(comet_sqlite_t *store, apr_int64_t channel,
                                comet_timestamp_t upto, apr_int64_t *rows)
{
    apr_int64_t bytes = 0, count = 0;
    int code = SQLITE_ROW;

    bind_range(store, SQL_BODIES, channel, upto);
    comet_sqlite_bind_int(store, SQL_BODIES, 4, *rows);
    while (bytes < INDEX_STEP_BYTES
           && (code = comet_sqlite_step(store, SQL_BODIES)) == SQLITE_ROW) {
        bytes += sqlite3_column_bytes(store->statements[SQL_BODIES], 1);
        count++;
    }
    comet_sqlite_reset(store, SQL_BODIES);
    if (code != SQLITE_ROW && code != SQLITE_DONE) {
        return comet_sqlite_fail(store, code);
    }
    *rows = bytes < INDEX_STEP_BYTES ? *rows : count;
    return APR_SUCCESS;
}

/* Undo, or end, the savepoint of a removal.
 * @param rows  how many messages were removed
 * @return the removal's status */
static apr_status_t end_removal(comet_sqlite_t *store, apr_status_t status,
                                apr_int64_t rows)
{
    if (sqlite3_get_autocommit(store->db)) { /* the failure has ended the
                                              * transaction */
        return status == COMET_EINVALID ? APR_EGENERAL : status;
    }
    if (status != APR_SUCCESS || !rows) {
        comet_sqlite_run(store, SQL_GROUP_UNDO);
    }
    comet_sqlite_run(store, SQL_GROUP_END);
    return status;
}

/* Remove a channel's messages up to a timestamp that were not tried yet; after a
 * failure, none.  A foreign trigger can keep some of them with RAISE(IGNORE).
 * @param rows  set to how many were removed
 * @return COMET_EINVALID: a foreign trigger does not allow the removal */
static apr_status_t remove_until(comet_sqlite_t *store, apr_int64_t channel,
                                 comet_timestamp_t last, apr_int64_t *rows)
{
    apr_status_t status = comet_sqlite_run_or_fail(store, SQL_GROUP);

    *rows = 0;
    if (status == APR_SUCCESS) {
        bind_range(store, SQL_PRUNE_FLOOR, channel, last);
        status = comet_sqlite_run_or_fail(store, SQL_PRUNE_FLOOR);
    }
    if (status == APR_SUCCESS) {
        bind_range(store, SQL_PRUNE, channel, last);
        status = comet_sqlite_run_or_fail(store, SQL_PRUNE);
    }
    if (status == APR_SUCCESS) {
        *rows = sqlite3_changes(store->db);
    }
    return end_removal(store, status, *rows);
}

/* Remove at most *budget messages of a channel, and reduce *budget by their
 * number.  The next step goes on behind these messages, since a foreign trigger
 * may have kept all of them.
 * @param more  set to whether the step must end here, though the channel may
 *              have more messages to remove
 * @return COMET_EINVALID: a trigger has kept all messages of the channel */
static apr_status_t prune_channel(comet_sqlite_t *store, apr_int64_t channel,
                                  apr_int64_t *budget, int *more)
{
    prune_t *prune = &store->prune;
    comet_timestamp_t upto, last = 0;
    apr_int64_t rows = 0, removed = 0, most = *budget;
    apr_status_t status = find_excess(store, channel, &upto);

    if (status == APR_SUCCESS && upto > 0 && store->config->search) {
        status = limit_bytes(store, channel, upto, &most);
    }
    if (status == APR_SUCCESS && upto > 0) {
        bind_range(store, SQL_PRUNE_UPTO, channel, upto);
        comet_sqlite_bind_int(store, SQL_PRUNE_UPTO, 4, most);
        status = comet_sqlite_query(store, SQL_PRUNE_UPTO, &last, &rows);
    }
    if (status == APR_SUCCESS && rows > 0) {
        status = remove_until(store, channel, last, &removed);
        *budget -= removed;
        prune->removed += removed;
        prune->tried = last;
    }
    *more = status == APR_SUCCESS && rows > 0 && rows == most;
    if (status == APR_SUCCESS && !*more && prune->tried && !prune->removed) {
        status =
            comet_sqlite_fail_text(store, COMET_EINVALID,
                                   "a trigger kept the messages that retention"
                                   " removes, with RAISE(IGNORE)");
    }
    return status;
}

/* @param removed  set to how many messages were removed
 * @param refused  set to 1 if a trigger has kept a channel's messages */
static apr_status_t prune_listed(comet_sqlite_t *store, apr_int64_t *removed,
                                 int *refused)
{
    prune_t *prune = &store->prune;
    apr_int64_t budget = PRUNE_ROWS;
    apr_int64_t until = comet_monotonic() + PRUNE_USEC;
    apr_status_t status = APR_SUCCESS;
    int more = 0;

    if (!prune->running) {
        status = begin_round(store);
    }
    else if (prune->next == prune->count) {
        status = list_channels(store);
    }
    while (status == APR_SUCCESS && prune->next < prune->count
           && comet_monotonic() < until) {
        status =
            prune_channel(store, prune->channels[prune->next], &budget, &more);
        if (status == COMET_EINVALID) { /* leave this channel alone */
            *refused = 1;
            status = APR_SUCCESS;
            more = 0;
        }
        if (more) {
            break;
        }
        prune->next++;
        prune->tried = prune->removed = 0;
    }
    *removed = PRUNE_ROWS - budget;
    return status;
}

/*
 * Give some unused pages back to the file system.  An eighth of the file may
 * stay unused, since the next messages will need it.
 */
static apr_status_t shrink(comet_sqlite_t *store, int *more)
{
    apr_int64_t unused = 0;
    apr_int64_t left = 0;
    apr_int64_t pages = 0;
    apr_status_t status = comet_sqlite_query(store, SQL_PAGES, &unused, &pages);
    char pragma[64];

    if (status != APR_SUCCESS || unused <= pages / 8 + VACUUM_PAGES) {
        return status;
    }
    snprintf(pragma, sizeof(pragma), "PRAGMA incremental_vacuum(%d)",
             VACUUM_PAGES);
    status = comet_sqlite_execute(store, pragma);
    if (status == APR_SUCCESS) {
        left = unused;
        status = comet_sqlite_query(store, SQL_PAGES, &left, &pages);
        /* a database that was restored without auto_vacuum does not shrink */
        *more = *more || left < unused;
    }
    return status;
}

apr_status_t comet_sqlite_prune(comet_sqlite_t *store, apr_time_t now,
                                int *more)
{
    prune_t *prune = &store->prune;
    apr_int64_t removed = 0;
    int any = 0, refused = 0;
    apr_status_t status;

    *more = 0;
    status = look_at_rules(store, &any);
    if (status != APR_SUCCESS || !any) {
        return status;
    }
    status = comet_sqlite_reserve(store, PRUNE_PATIENCE_USEC);
    if (status != APR_SUCCESS) {
        return status;
    }
    prune->now = now;
    status = prune_listed(store, &removed, &refused);
    if (status == APR_SUCCESS && removed) {
        status = comet_sqlite_commit(store);
    }
    else {
        comet_sqlite_roll_back(store);
    }
    if (status != APR_SUCCESS) {
        prune->running = 0; /* the next call restarts the round */
        return status;
    }
    if (prune->listed && prune->next == prune->count) {
        prune->running = 0;
        prune->all_seen = 1;
        prune->seen = prune->end;
    }
    *more = prune->running;
    status = shrink(store, more);
    return status == APR_SUCCESS && refused ? COMET_EINVALID : status;
}

/* --- The rest --------------------------------------------------------- */

/* Run a statement that removes or changes Idempotency-Keys by their time of
 * expiry, at most PRUNE_ROWS of them. */
static apr_status_t change_keys(comet_sqlite_t *store, sql_e which,
                                comet_timestamp_t when, int *more)
{
    apr_status_t status;

    comet_sqlite_bind_int(store, which, 1, when);
    comet_sqlite_bind_int(store, which, 2, PRUNE_ROWS);
    status = comet_sqlite_run_or_fail(store, which);
    *more =
        *more
        || (status == APR_SUCCESS && sqlite3_changes(store->db) == PRUNE_ROWS);
    return status;
}

/* Remove expired Idempotency-Keys.  If the clock was set back, make keys expire
 * in a day at the latest. */
static apr_status_t forget_keys(comet_sqlite_t *store, int *more)
{
    comet_timestamp_t now = apr_time_now();
    apr_int64_t due = 0;
    apr_status_t status;

    comet_sqlite_bind_int(store, SQL_KEYS_DUE, 1, now);
    comet_sqlite_bind_int(store, SQL_KEYS_DUE, 2, now + KEY_USEC);
    status = comet_sqlite_query(store, SQL_KEYS_DUE, &due, NULL);
    if (status != APR_SUCCESS || !due) {
        return status;
    }
    status = comet_sqlite_reserve(store, PRUNE_PATIENCE_USEC);
    if (status != APR_SUCCESS) {
        return status;
    }
    status = change_keys(store, SQL_KEYS_PRUNE, now, more);
    if (status == APR_SUCCESS) {
        status = change_keys(store, SQL_KEYS_RECALL, now + KEY_USEC, more);
    }
    if (status == APR_SUCCESS) {
        return comet_sqlite_commit(store);
    }
    comet_sqlite_roll_back(store);
    return status;
}

/* Remove messages that are over.  Nobody can read them any more, so they are
 * collected for a while and removed together.
 * @return COMET_EINVALID: a foreign trigger does not allow it; the next attempt
 *         is made later */
static apr_status_t forget_passed(comet_sqlite_t *store, int *more)
{
    apr_time_t now = apr_time_now(), latest = now + PASSING_USEC;
    apr_int64_t due = 0;
    apr_status_t status;

    if (comet_monotonic() < store->forget_passed_at) {
        return APR_SUCCESS;
    }
    comet_sqlite_bind_int(store, SQL_PASSING_DUE, 1, now - GATHER_USEC);
    comet_sqlite_bind_int(store, SQL_PASSING_DUE, 2, latest);
    status = comet_sqlite_query(store, SQL_PASSING_DUE, &due, NULL);
    if (status == APR_SUCCESS && due) {
        status = comet_sqlite_reserve(store, PRUNE_PATIENCE_USEC);
    }
    if (status != APR_SUCCESS || !due) {
        return status;
    }
    comet_sqlite_bind_int(store, SQL_PASSING_PRUNE, 1, now - GATHER_USEC / 2);
    comet_sqlite_bind_int(store, SQL_PASSING_PRUNE, 2, latest);
    comet_sqlite_bind_int(store, SQL_PASSING_PRUNE, 3, PRUNE_ROWS);
    status = comet_sqlite_run_or_fail(store, SQL_PASSING_PRUNE);
    if (status != APR_SUCCESS) {
        comet_sqlite_roll_back(store);
        if (status == COMET_EINVALID) {
            store->forget_passed_at = comet_monotonic() + REFUSED_USEC;
        }
        return status;
    }
    *more = *more || sqlite3_changes(store->db) == PRUNE_ROWS;
    return comet_sqlite_commit(store);
}

apr_status_t comet_sqlite_tidy(comet_sqlite_t *store, int *more)
{
    apr_status_t status;
    int refused;

    *more = 0;
    status = forget_keys(store, more);
    if (status == APR_SUCCESS) {
        status = forget_passed(store, more);
    }
    refused = status == COMET_EINVALID;
    if (refused) {
        status = APR_SUCCESS;
    }
    if (status == APR_SUCCESS && store->config->presence_grace) {
        status = comet_online_forget(store, more);
    }
    if (status == APR_SUCCESS) {
        status = comet_sqlite_index_step(store, more);
    }
    return status == APR_SUCCESS && refused ? COMET_EINVALID : status;
}
