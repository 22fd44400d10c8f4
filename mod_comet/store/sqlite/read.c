/* SPDX-License-Identifier: Apache-2.0 */
/* Read the message log. */
#include "store/sqlite/sqlite.h"

#include <sys/stat.h>

#include "base/name.h"

apr_status_t comet_sqlite_state(comet_sqlite_t *store,
                                comet_store_state_t *state)
{
    apr_status_t status;

    state->last = -1;
    state->erased = 0;
    status = comet_sqlite_query(store, SQL_STATE, &state->last, &state->erased);
    if (status == APR_SUCCESS && state->last < 0) {
        status = comet_sqlite_fail_text(store, APR_EGENERAL,
                                        "comet_clock has no row");
    }
    return status;
}

apr_status_t comet_sqlite_sizes(comet_sqlite_t *store,
                                comet_store_sizes_t *sizes)
{
    struct stat info;

    sizes->log_bytes = stat(store->wal_path, &info) == 0 ? info.st_size : 0;
    return comet_sqlite_query(store, SQL_SIZES, &sizes->database_bytes,
                              &sizes->channels);
}

apr_status_t comet_sqlite_begin(comet_sqlite_t *store,
                                comet_store_state_t *state)
{
    apr_status_t status = comet_sqlite_run_or_fail(store, SQL_BEGIN);

    if (status == APR_SUCCESS) {
        status = comet_sqlite_state(store, state);
        if (status != APR_SUCCESS) {
            comet_sqlite_roll_back(store);
        }
    }
    return status;
}

void comet_sqlite_end(comet_sqlite_t *store)
{
    comet_sqlite_roll_back(store);
}

/* @param id  set to the channel's id; 0: there is no such channel
 * @param may_hide  set to whether the channel may have private or passing
 *                  messages */
static apr_status_t find_channel(comet_sqlite_t *store, comet_text_t channel,
                                 apr_int64_t *id, apr_int64_t *may_hide)
{
    *id = *may_hide = 0;
    comet_sqlite_bind_text(store, SQL_CHANNEL, 1, channel);
    return comet_sqlite_query(store, SQL_CHANNEL, id, may_hide);
}

/* Find where the replay of a single channel starts, using the channel's
 * index. */
static apr_status_t replay_channel(comet_sqlite_t *store, comet_text_t channel,
                                   apr_int64_t count, comet_timestamp_t *cursor,
                                   int *any)
{
    apr_int64_t id, may_hide;
    apr_int64_t newest = 0;
    apr_status_t status = find_channel(store, channel, &id, &may_hide);

    if (status != APR_SUCCESS || id == 0) {
        return status;
    }
    comet_sqlite_bind_int(store, SQL_NEWEST_PUBLIC, 1, id);
    comet_sqlite_bind_int(store, SQL_NEWEST_PUBLIC, 2, !may_hide);
    status = comet_sqlite_query(store, SQL_NEWEST_PUBLIC, &newest, NULL);
    *any = newest > 0;
    if (status == APR_SUCCESS && *any) {
        comet_sqlite_bind_int(store, SQL_REPLAY, 1, id);
        comet_sqlite_bind_int(store, SQL_REPLAY, 2, count);
        comet_sqlite_bind_int(store, SQL_REPLAY, 3, !may_hide);
        status = comet_sqlite_query(store, SQL_REPLAY, cursor, NULL);
    }
    return status;
}

/** The state of counting back to where a replay starts. */
typedef struct replay_t {
    apr_int64_t left;
    comet_timestamp_t cursor;
    int any;
} replay_t;

static apr_status_t count_back(void *baton, comet_timestamp_t id,
                               sqlite3_stmt *row)
{
    replay_t *replay = baton;

    replay->any = 1;
    if (replay->left-- > 0) {
        return APR_SUCCESS;
    }
    replay->cursor = id;
    return APR_EOF;
}

apr_status_t comet_sqlite_replay(comet_sqlite_t *store,
                                 const comet_selection_t *selection,
                                 apr_int64_t count, comet_timestamp_t *cursor,
                                 int *any)
{
    replay_t replay = { .left = count > 0 ? count : 0 };
    comet_sqlite_walk_t walk = {
        .selection = selection,
        .before = COMET_TIMESTAMP_MAX + 1,
        .now = COMET_TIMESTAMP_MAX, /* passing messages are not counted */
        .backwards = 1,
        .ids_only = 1,
        .left = (apr_size_t)replay.left + 1,
        .visit = count_back,
        .baton = &replay,
    };
    apr_status_t status;

    *cursor = 0;
    *any = 0;
    if (comet_selection_is_atom(selection) && selection->name_count) {
        return replay_channel(store, selection->names[0].text, replay.left,
                              cursor, any);
    }
    status = comet_sqlite_walk(store, &walk);
    *cursor = replay.cursor;
    *any = replay.any;
    return status;
}

/* Raise a floor to the highest floor of any channel that begins with a prefix
 * and that a selection by topics reads. */
static apr_status_t raise_floor(comet_sqlite_t *store,
                                const comet_selection_t *selection,
                                comet_text_t prefix, comet_timestamp_t *floor)
{
    sqlite3_stmt *row = store->statements[SQL_UNDER_TOPIC];
    char bound[COMET_CHANNEL_MAX_BYTES];
    int code;

    comet_sqlite_bind_prefix(store, SQL_UNDER_TOPIC, prefix, bound);
    comet_sqlite_bind_int(store, SQL_UNDER_TOPIC, 3, *floor + 1);
    while ((code = comet_sqlite_step(store, SQL_UNDER_TOPIC)) == SQLITE_ROW) {
        comet_timestamp_t one = sqlite3_column_int64(row, 2);

        if (one > *floor
            && comet_selection_reads(selection, comet_sqlite_column(row, 1))) {
            *floor = one;
        }
    }
    comet_sqlite_reset(store, SQL_UNDER_TOPIC);
    return code == SQLITE_DONE ? APR_SUCCESS : comet_sqlite_fail(store, code);
}

apr_status_t comet_sqlite_floor(comet_sqlite_t *store,
                                const comet_selection_t *selection,
                                comet_timestamp_t *floor)
{
    char room[COMET_CHANNEL_MAX_BYTES];
    apr_status_t status = APR_SUCCESS;
    apr_size_t i;

    *floor = 0;
    for (i = 0; i < selection->name_count && status == APR_SUCCESS; i++) {
        comet_timestamp_t one = 0;

        comet_sqlite_bind_text(store, SQL_FLOOR, 1, selection->names[i].text);
        status = comet_sqlite_query(store, SQL_FLOOR, &one, NULL);
        *floor = one > *floor ? one : *floor;
    }
    for (i = 0; i < selection->pattern_count && status == APR_SUCCESS; i++) {
        status = raise_floor(store, selection,
                             comet_selection_stem(selection, i, room), floor);
    }
    return status;
}

apr_status_t comet_sqlite_recent(comet_sqlite_t *store, apr_size_t count,
                                 comet_timestamp_t *cursor)
{
    *cursor = 0;
    comet_sqlite_bind_int(store, SQL_RECENT, 1, (apr_int64_t)count);
    return comet_sqlite_query(store, SQL_RECENT, cursor, NULL);
}

apr_status_t comet_sqlite_has(comet_sqlite_t *store,
                              comet_timestamp_t timestamp, apr_int64_t *has)
{
    *has = 0;
    comet_sqlite_bind_int(store, SQL_HAS, 1, timestamp);
    return comet_sqlite_query(store, SQL_HAS, has, NULL);
}

apr_status_t comet_sqlite_find_event(comet_sqlite_t *store, comet_text_t event,
                                     comet_timestamp_t before,
                                     comet_timestamp_t *timestamp)
{
    *timestamp = 0;
    comet_sqlite_bind_text(store, SQL_EVENT, 1, event);
    comet_sqlite_bind_int(store, SQL_EVENT, 2, before);
    return comet_sqlite_query(store, SQL_EVENT, timestamp, NULL);
}

/* --- Messages --------------------------------------------------------- */

/** The callback that receives the messages. */
typedef struct reading_t {
    comet_store_cb *callback;
    void *baton;
} reading_t;

static apr_status_t hand_over(void *baton, comet_timestamp_t id,
                              sqlite3_stmt *row)
{
    const reading_t *reading = baton;
    comet_message_t *message = comet_sqlite_message(row);

    if (!message) {
        return APR_ENOMEM;
    }
    return reading->callback(reading->baton, message) ? APR_SUCCESS : APR_EOF;
}

apr_status_t comet_sqlite_read(comet_sqlite_t *store,
                               const comet_selection_t *selection,
                               comet_timestamp_t after, apr_size_t limit,
                               comet_store_cb *callback, void *baton)
{
    reading_t reading = { callback, baton };
    comet_sqlite_walk_t walk = {
        .selection = selection,
        .after = after,
        .before = COMET_TIMESTAMP_MAX + 1,
        .now = apr_time_now(),
        .left = limit,
        .visit = hand_over,
        .baton = &reading,
    };
    const comet_budget_t *budget = &store->spending.budget;
    apr_status_t status;

    if (budget->part) {
        walk.part_ends = comet_monotonic() + budget->part;
    }
    status = comet_sqlite_walk(store, &walk);
    if (walk.is_part) {
        *budget->until = walk.after;
    }
    return status;
}

/* --- Channels --------------------------------------------------------- */

apr_status_t comet_sqlite_channels(comet_sqlite_t *store, comet_text_t prefix,
                                   apr_size_t limit,
                                   comet_store_channel_cb *callback,
                                   void *baton)
{
    sqlite3_stmt *row = store->statements[SQL_UNDER];
    char bound[COMET_CHANNEL_MAX_BYTES];
    apr_status_t status = APR_SUCCESS;
    int code = SQLITE_DONE;

    comet_sqlite_bind_prefix(store, SQL_UNDER, prefix, bound);
    comet_sqlite_bind_int(store, SQL_UNDER, 3, -1);
    while (status == APR_SUCCESS && limit
           && (code = comet_sqlite_step(store, SQL_UNDER)) == SQLITE_ROW) {
        comet_text_t name = comet_sqlite_column(row, 1);

        if (!name.data) {
            status = comet_sqlite_fail_text(store, APR_ENOMEM,
                                            "no memory for a name");
        }
        else if (!comet_name_is_sibling(name)) {
            limit = callback(baton, name) ? limit - 1 : 0;
        }
    }
    if (code != SQLITE_ROW && code != SQLITE_DONE) {
        status = comet_sqlite_fail(store, code);
    }
    comet_sqlite_reset(store, SQL_UNDER);
    return status;
}
