/* SPDX-License-Identifier: Apache-2.0 */
/* Append to the message log. */
#include "store/sqlite/sqlite.h"

#include <string.h>

/*
 * Administrators may add triggers to the database.  Such a foreign trigger can
 * refuse a message in a way that harms the rest of a commit: RAISE(FAIL) leaves
 * the message's row behind, and RAISE(ROLLBACK) ends the transaction.  It can
 * also publish messages of its own, whose timestamps the database takes from
 * comet_clock, and delete the message, together with its channel.  An append
 * that notices such a trigger is undone, and begins again with care
 * (store->careful): each group has a savepoint, comet_clock is kept up to date
 * around each group, each channel is looked up again, and a group that ended the
 * transaction is left out.  The connection stays careful from then on.
 */

/* --- Messages --------------------------------------------------------- */

/* The state of an append. */
typedef struct append_t {
    comet_timestamp_t now;
    comet_timestamp_t last; /* the last timestamp that was assigned */
    comet_timestamp_t clock; /* the time in comet_clock, unless a trigger has
                              * published something */
    /* the channel of the previous message; usually the next message has the
     * same one */
    comet_text_t channel;
    apr_int64_t channel_id; /* 0: unknown */
    int added; /* the channel was created for the present message */
    int changes; /* how many rows moderators have changed */
} append_t;

/* Save SQLite's message about a failure, which its next call would replace.
 * @return @a code */
static int note(comet_sqlite_t *store, int code)
{
    if (code != SQLITE_OK) {
        comet_sqlite_fail(store, code);
    }
    return code;
}

/* @return SQLITE_OK or SQLite's code */
static int channel_for(comet_sqlite_t *store, comet_text_t name,
                       append_t *append)
{
    apr_int64_t id = 0;
    int code;

    append->added = 0;
    if (append->channel_id && comet_text_equal(append->channel, name)) {
        return SQLITE_OK;
    }
    append->channel_id = 0;
    append->channel = name;
    comet_sqlite_bind_text(store, SQL_CHANNEL, 1, name);
    code = comet_sqlite_step(store, SQL_CHANNEL);
    if (code == SQLITE_ROW) {
        id = sqlite3_column_int64(store->statements[SQL_CHANNEL], 0);
    }
    comet_sqlite_reset(store, SQL_CHANNEL);
    if (code == SQLITE_DONE) {
        comet_sqlite_bind_text(store, SQL_CHANNEL_ADD, 1, name);
        code = comet_sqlite_run(store, SQL_CHANNEL_ADD);
        id = sqlite3_last_insert_rowid(store->db);
        append->added = code == SQLITE_OK;
    }
    if (code == SQLITE_ROW || code == SQLITE_OK) {
        append->channel_id = id;
        return SQLITE_OK;
    }
    return code;
}

static void bind_update(comet_sqlite_t *store, const comet_update_t *update)
{
    comet_sqlite_bind_int(store, SQL_INSERT, 6, update->is_private);
    if (update->alternates.length) {
        comet_sqlite_bind_text(store, SQL_INSERT, 7, update->alternates);
    }
    if (update->event.length) {
        comet_sqlite_bind_text(store, SQL_INSERT, 8, update->event);
    }
    if (update->retry_msec) {
        comet_sqlite_bind_int(store, SQL_INSERT, 9, update->retry_msec);
    }
}

/* @param now  when the message is stored, by the system clock */
static void bind_keep(comet_sqlite_t *store, const comet_message_t *message,
                      apr_time_t now)
{
    if (message->keep_sec) {
        comet_sqlite_bind_int(store, SQL_INSERT, 10, message->keep_sec);
        comet_sqlite_bind_int(store, SQL_INSERT, 11,
                              now + apr_time_from_sec(message->keep_sec));
    }
}

/* Index a message by its alternates, unless a foreign trigger has deleted it,
 * since nothing would ever remove these rows.
 * @return SQLITE_OK or SQLite's code */
static int add_alternates(comet_sqlite_t *store, const comet_message_t *message,
                          append_t *append)
{
    comet_text_t rest = message->update.alternates, name;
    apr_int64_t there = 0;
    int code = SQLITE_OK;

    while (code == SQLITE_OK && comet_message_next_name(&rest, &name)) {
        if (comet_sqlite_has(store, message->timestamp, &there)
            != APR_SUCCESS) {
            return sqlite3_errcode(store->db);
        }
        if (store->careful || !there) {
            append->channel_id = 0; /* a trigger may have removed the channel */
        }
        if (!there) {
            return SQLITE_OK;
        }
        code = channel_for(store, name, append);
        if (code == SQLITE_OK) {
            comet_sqlite_bind_int(store, SQL_ALTERNATE_ADD, 1,
                                  append->channel_id);
            comet_sqlite_bind_int(store, SQL_ALTERNATE_ADD, 2,
                                  message->timestamp);
            code = comet_sqlite_run(store, SQL_ALTERNATE_ADD);
        }
    }
    return code;
}

/* Set comet_clock, so that messages of triggers are given later timestamps.
 * @return SQLITE_OK or SQLite's code */
static int set_clock(comet_sqlite_t *store, comet_timestamp_t time,
                     append_t *append)
{
    comet_sqlite_bind_int(store, SQL_CLOCK_SET, 1, time);
    append->clock = time;
    return note(store, comet_sqlite_run(store, SQL_CLOCK_SET));
}

/* Read comet_clock.
 * @return SQLITE_OK or SQLite's code */
static int read_clock(comet_sqlite_t *store, append_t *append)
{
    comet_store_state_t state = { .last = append->clock };
    apr_status_t status = comet_sqlite_state(store, &state);

    append->clock = state.last;
    return status == APR_SUCCESS ? SQLITE_OK : sqlite3_errcode(store->db);
}

/* Insert the row whose values are bound.
 * @return SQLITE_OK or SQLite's code */
static int insert_row(comet_sqlite_t *store)
{
    int code = note(store, comet_sqlite_run(store, SQL_INSERT));

    if (code == SQLITE_OK && sqlite3_changes(store->db) == 0) {
        comet_sqlite_fail_text(store, COMET_EINVALID,
                               "a trigger dropped the message with "
                               "RAISE(IGNORE)");
        return SQLITE_CONSTRAINT_TRIGGER;
    }
    return code;
}

/* @return the timestamp of the next message */
static comet_timestamp_t next_of(const append_t *append)
{
    return append->last < append->now ? append->now : append->last + 1;
}

/* @return SQLITE_OK or SQLite's code */
static int insert(comet_sqlite_t *store, comet_message_t *message,
                  append_t *append)
{
    comet_timestamp_t next = next_of(append);
    int code = note(store, channel_for(store, message->channel, append));

    if (code != SQLITE_OK) {
        return code;
    }
    comet_sqlite_bind_int(store, SQL_INSERT, 1, next);
    comet_sqlite_bind_int(store, SQL_INSERT, 2, append->channel_id);
    comet_sqlite_bind_text(store, SQL_INSERT, 3, message->type);
    if (message->author.length) {
        comet_sqlite_bind_text(store, SQL_INSERT, 4, message->author);
    }
    comet_sqlite_bind_text(store, SQL_INSERT, 5, message->body);
    bind_update(store, &message->update);
    bind_keep(store, message, append->now);
    code = insert_row(store);
    if (code == SQLITE_OK) {
        message->timestamp = append->last = next;
        code = add_alternates(store, message, append);
    }
    else if (append->added) {
        /* remove the channel again, since it has no messages */
        comet_sqlite_bind_int(store, SQL_CHANNEL_DROP, 1, append->channel_id);
        comet_sqlite_run(store, SQL_CHANNEL_DROP);
        append->channel_id = 0;
    }
    if (store->careful) {
        append->channel_id = 0; /* a trigger may have removed the channel */
    }
    return code;
}

static int is_refusal(int code)
{
    int primary = code & 0xff;

    return primary == SQLITE_CONSTRAINT || primary == SQLITE_TOOBIG
           || primary == SQLITE_MISMATCH;
}

/* Whether a refusal may be due to a foreign trigger, or to a message that such
 * a trigger has published, or to a channel that it has removed. */
static int is_of_trigger(int code)
{
    return code == SQLITE_CONSTRAINT_TRIGGER
           || code == SQLITE_CONSTRAINT_PRIMARYKEY
           || code == SQLITE_CONSTRAINT_ROWID
           || code == SQLITE_CONSTRAINT_UNIQUE
           || code == SQLITE_CONSTRAINT_FOREIGNKEY;
}

/* --- Keys ------------------------------------------------------------- */

static void bind_key(comet_sqlite_t *store, sql_e which,
                     const comet_store_key_t *key)
{
    comet_sqlite_bind_text(store, which, 1, key->channel);
    comet_sqlite_bind_text(store, which, 2, key->author);
    comet_sqlite_bind_text(store, which, 3, key->text);
}

/* Give a group's messages the timestamps that they were given when first
 * stored. */
static void number_again(comet_store_group_t *group, comet_timestamp_t last)
{
    apr_size_t i;

    for (i = 0; i < group->count; i++) {
        group->messages[i]->timestamp =
            last - (comet_timestamp_t)(group->count - 1 - i);
    }
}

/*
 * Find out whether a group was stored under this group's key before.
 * @return SQLITE_DONE: no; SQLITE_ROW: yes, and group->result says whether it
 *         was the same group; otherwise SQLite's code
 */
static int find_key(comet_sqlite_t *store, comet_store_group_t *group,
                    comet_timestamp_t now)
{
    const comet_store_key_t *key = &group->key;
    sqlite3_stmt *row = store->statements[SQL_KEY];
    int code;

    bind_key(store, SQL_KEY, key);
    comet_sqlite_bind_int(store, SQL_KEY, 4, now);
    code = comet_sqlite_step(store, SQL_KEY);
    if (code == SQLITE_ROW) {
        if (sqlite3_column_int64(row, 1) == (apr_int64_t)group->count
            && sqlite3_column_bytes(row, 2) == COMET_HASH_BYTES
            && memcmp(sqlite3_column_blob(row, 2), key->hash, COMET_HASH_BYTES)
                   == 0) {
            group->result = COMET_EREPEATED;
            number_again(group, sqlite3_column_int64(row, 0));
        }
        else {
            group->result = COMET_EMISMATCH;
        }
    }
    comet_sqlite_reset(store, SQL_KEY);
    return code;
}

static int add_key(comet_sqlite_t *store, const comet_store_group_t *group)
{
    bind_key(store, SQL_KEY_ADD, &group->key);
    comet_sqlite_bind_int(store, SQL_KEY_ADD, 4,
                          group->messages[group->count - 1]->timestamp);
    comet_sqlite_bind_int(store, SQL_KEY_ADD, 5, (apr_int64_t)group->count);
    sqlite3_bind_blob(store->statements[SQL_KEY_ADD], 6, group->key.hash,
                      COMET_HASH_BYTES, SQLITE_STATIC);
    return note(store, comet_sqlite_run(store, SQL_KEY_ADD));
}

/* --- Groups ----------------------------------------------------------- */

static void unnumber(comet_store_group_t *group)
{
    apr_size_t i;

    for (i = 0; i < group->count; i++) {
        group->messages[i]->timestamp = 0;
    }
}

/* The group's messages get consecutive timestamps, as a repeat under its key
 * relies on: messages of triggers are given later ones.
 * @return SQLITE_OK or SQLite's code */
static int insert_messages(comet_sqlite_t *store, comet_store_group_t *group,
                           append_t *append)
{
    int code = SQLITE_OK;
    apr_size_t i;

    if (store->careful) {
        code = set_clock(store,
                         next_of(append) + (comet_timestamp_t)group->count - 1,
                         append);
    }
    for (i = 0; i < group->count && code == SQLITE_OK; i++) {
        code = insert(store, group->messages[i], append);
    }
    if (code == SQLITE_OK && group->key.text.data) {
        code = add_key(store, group);
    }
    if (code == SQLITE_OK && store->careful) {
        code = read_clock(store, append);
        append->last = append->clock;
    }
    return code;
}

/*
 * Carry out a moderator's removal of a message or a member.  The database may
 * publish a message about it, which it numbers itself.
 * @return as insert_group()
 */
static int remove_for(comet_sqlite_t *store, comet_store_group_t *group,
                      append_t *append)
{
    int removed, code = set_clock(store, append->last, append);

    if (code == SQLITE_OK) {
        code =
            note(store, comet_sqlite_remove(store, &group->removal, &removed));
    }
    if (code == SQLITE_OK) {
        code = read_clock(store, append);
    }
    if (code == SQLITE_OK) {
        append->last = append->clock;
        append->channel_id = 0; /* the channel may be gone */
        append->changes += removed;
        group->result = removed ? APR_SUCCESS : APR_NOTFOUND;
    }
    return code;
}

/* Set or remove a rule.
 * @return as insert_group() */
static int set_rule_for(comet_sqlite_t *store, comet_store_group_t *group,
                        append_t *append)
{
    int changes, code;

    code = note(store, comet_sqlite_set_rule(store, &group->rule, &changes));
    if (code == SQLITE_OK) {
        append->changes += changes;
        group->result = changes ? APR_SUCCESS : APR_NOTFOUND;
    }
    return code;
}

/* @return as insert_group() */
static int insert_whole(comet_sqlite_t *store, comet_store_group_t *group,
                        append_t *append)
{
    const append_t before = *append;
    int whole = store->careful || group->count > 1 || group->key.text.data
                || (group->count && group->messages[0]->update.alternates.data);
    int code = whole ? comet_sqlite_run(store, SQL_GROUP) : SQLITE_OK;

    if (code == SQLITE_OK) {
        code = insert_messages(store, group, append);
    }
    if (is_of_trigger(code)
        && (!store->careful || sqlite3_get_autocommit(store->db))) {
        return code;
    }
    if (is_refusal(code)) {
        group->result = COMET_EINVALID;
        unnumber(group);
        *append = before;
        append->channel_id = 0;
        code = whole ? comet_sqlite_run(store, SQL_GROUP_UNDO) : SQLITE_OK;
    }
    if (code == SQLITE_OK && whole) {
        code = comet_sqlite_run(store, SQL_GROUP_END);
    }
    return code;
}

/*
 * Store a group as a whole or not at all.
 * @return SQLITE_OK: group->result says whether it was stored; otherwise
 *         SQLite's code, and judge() decides how to continue
 */
static int insert_group(comet_sqlite_t *store, comet_store_group_t *group,
                        append_t *append)
{
    int code = SQLITE_DONE;

    group->result = APR_SUCCESS;
    if (group->removal.channel.data) {
        return remove_for(store, group, append);
    }
    if (group->rule.pattern.data) {
        return set_rule_for(store, group, append);
    }
    if (group->key.text.data) {
        code = find_key(store, group, append->now);
    }
    if (code != SQLITE_DONE) {
        return code == SQLITE_ROW ? SQLITE_OK : code;
    }
    return insert_whole(store, group, append);
}

/* Decide how to continue after a group has failed.
 * @return APR_EAGAIN: undo the append, and begin it again; otherwise the whole
 *         append fails */
static apr_status_t judge(comet_sqlite_t *store, comet_store_group_t *group,
                          int code)
{
    if (!is_refusal(code)) {
        return comet_sqlite_fail(store, code);
    }
    if (is_of_trigger(code) && !store->careful) {
        store->careful = 1;
    }
    else {
        group->result = COMET_EINVALID;
        unnumber(group);
    }
    return APR_EAGAIN;
}

/* Count the messages that were added.  Messages that triggers have published
 * are noticed before the first of them is committed.
 * @param before  the state when the append began
 * @return APR_EAGAIN: triggers have published; undo the append, and begin it
 *         again */
static apr_status_t count_and_check(comet_sqlite_t *store,
                                    const comet_store_state_t *before,
                                    const append_t *append)
{
    comet_timestamp_t clock = append->clock;
    apr_status_t status = comet_sqlite_count_append(store, before, &clock);

    if (status == APR_SUCCESS && !store->careful && clock != append->clock) {
        store->careful = 1;
        status = APR_EAGAIN;
    }
    return status;
}

/* Insert all groups except those that were refused already.
 * @param stored  set to whether any group was stored or has changed a row
 * @return APR_EAGAIN: undo the append, and begin it again */
static apr_status_t insert_groups(comet_sqlite_t *store,
                                  comet_store_group_t *const *groups,
                                  apr_size_t count, int *stored)
{
    append_t append = { .now = apr_time_now() };
    comet_store_state_t state;
    apr_status_t status = comet_sqlite_state(store, &state);
    apr_size_t i;

    append.last = append.clock = state.last;
    for (i = 0; status == APR_SUCCESS && i < count; i++) {
        int code = groups[i]->result == COMET_EINVALID
                       ? SQLITE_OK
                       : insert_group(store, groups[i], &append);

        if (code != SQLITE_OK) {
            status = judge(store, groups[i], code);
        }
    }
    if (status == APR_SUCCESS) {
        status = count_and_check(store, &state, &append);
    }
    *stored = append.last > state.last || append.changes;
    if (status == APR_SUCCESS && *stored) {
        comet_sqlite_bind_int(store, SQL_CLOCK_SET, 1, append.last);
        status = comet_sqlite_run_or_fail(store, SQL_CLOCK_SET);
    }
    return status;
}

/* @param stored  as insert_groups() */
static apr_status_t reserve_and_insert(comet_sqlite_t *store,
                                       comet_store_group_t *const *groups,
                                       apr_size_t count, int *stored)
{
    apr_status_t status = APR_SUCCESS;

    if (!store->reserved) {
        status = comet_sqlite_reserve(store, store->config->busy_timeout);
    }
    return status == APR_SUCCESS ? insert_groups(store, groups, count, stored)
                                 : status;
}

apr_status_t comet_sqlite_append(comet_sqlite_t *store,
                                 comet_store_group_t *const *groups,
                                 apr_size_t count)
{
    apr_status_t status;
    apr_size_t i;
    int stored = 0;

    store->base.appended.is_known = 0;
    for (i = 0; i < count; i++) {
        groups[i]->result = APR_SUCCESS;
    }
    while ((status = reserve_and_insert(store, groups, count, &stored))
           == APR_EAGAIN) {
        comet_sqlite_roll_back(store);
    }
    if (status == APR_SUCCESS && stored) {
        status = comet_sqlite_commit_append(store);
    }
    else {
        comet_sqlite_roll_back(store);
    }
    if (status != APR_SUCCESS) {
        for (i = 0; i < count; i++) {
            unnumber(groups[i]);
        }
    }
    return status;
}
