/* SPDX-License-Identifier: Apache-2.0 */
/* Reading the message log. */
#include "comet_store_sqlite.h"

apr_status_t comet_store_state(comet_store_t *store, comet_store_state_t *state)
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

apr_status_t comet_store_begin(comet_store_t *store, comet_store_state_t *state)
{
    apr_status_t status = comet_sqlite_run_or_fail(store, SQL_BEGIN);

    if (status == APR_SUCCESS) {
        status = comet_store_state(store, state);
        if (status != APR_SUCCESS) {
            comet_sqlite_roll_back(store);
        }
    }
    return status;
}

void comet_store_end(comet_store_t *store)
{
    comet_sqlite_roll_back(store);
}

/* @param id  set to 0 when the channel is unknown */
static apr_status_t find_channel(comet_store_t *store, comet_text_t channel,
                                 apr_int64_t *id)
{
    *id = 0;
    comet_sqlite_bind_text(store, SQL_CHANNEL, 1, channel);
    return comet_sqlite_query(store, SQL_CHANNEL, id, NULL);
}

apr_status_t comet_store_replay(comet_store_t *store,
                                const comet_selection_t *selection,
                                apr_int64_t count, comet_timestamp_t *cursor,
                                int *any)
{
    apr_int64_t id;
    apr_int64_t newest = 0;
    apr_status_t status = find_channel(store, selection->names[0].text, &id);

    *cursor = 0;
    *any = 0;
    if (status != APR_SUCCESS || id == 0) {
        return status;
    }
    comet_sqlite_bind_int(store, SQL_NEWEST, 1, id);
    status = comet_sqlite_query(store, SQL_NEWEST, &newest, NULL);
    *any = newest > 0;
    if (status == APR_SUCCESS && *any) {
        comet_sqlite_bind_int(store, SQL_REPLAY, 1, id);
        comet_sqlite_bind_int(store, SQL_REPLAY, 2, count > 0 ? count : 0);
        status = comet_sqlite_query(store, SQL_REPLAY, cursor, NULL);
    }
    return status;
}

apr_status_t comet_store_floor(comet_store_t *store,
                               const comet_selection_t *selection,
                               comet_timestamp_t *floor)
{
    *floor = 0;
    comet_sqlite_bind_text(store, SQL_FLOOR, 1, selection->names[0].text);
    return comet_sqlite_query(store, SQL_FLOOR, floor, NULL);
}

apr_status_t comet_store_recent(comet_store_t *store, apr_size_t count,
                                comet_timestamp_t *cursor)
{
    *cursor = 0;
    comet_sqlite_bind_int(store, SQL_RECENT, 1, (apr_int64_t)count);
    return comet_sqlite_query(store, SQL_RECENT, cursor, NULL);
}

/* By length: a program that turns the checks off can store any byte. */
static comet_text_t column(sqlite3_stmt *statement, int index)
{
    comet_text_t text;

    text.data = (const char *)sqlite3_column_text(statement, index);
    text.length = (apr_size_t)sqlite3_column_bytes(statement, index);
    return text;
}

static comet_message_t *message_of(sqlite3_stmt *statement)
{
    comet_message_fields_t fields = {
        .timestamp = sqlite3_column_int64(statement, 0),
        .channel = column(statement, 1),
        .type = column(statement, 2),
        .author = column(statement, 3),
        .body = column(statement, 4),
    };

    if (!fields.channel.data || !fields.type.data || !fields.body.data) {
        return NULL; /* none is NULL in the schema: no memory to convert it */
    }
    return comet_message_create(&fields);
}

static apr_status_t read_rows(comet_store_t *store, sql_e which,
                              comet_store_cb *callback, void *baton)
{
    apr_status_t status = APR_SUCCESS;
    int code;

    while ((code = comet_sqlite_step(store, which)) == SQLITE_ROW) {
        comet_message_t *message = message_of(store->statements[which]);

        if (!message) {
            status = comet_sqlite_fail_text(store, APR_ENOMEM,
                                            "no memory for a message");
            break;
        }
        if (!callback(baton, message)) {
            break;
        }
    }
    if (code != SQLITE_ROW && code != SQLITE_DONE) {
        status = comet_sqlite_fail(store, code);
    }
    comet_sqlite_reset(store, which);
    return status;
}

apr_status_t comet_store_read(comet_store_t *store,
                              const comet_selection_t *selection,
                              comet_timestamp_t after, apr_size_t limit,
                              comet_store_cb *callback, void *baton)
{
    comet_sqlite_bind_text(store, SQL_READ, 1, selection->names[0].text);
    comet_sqlite_bind_int(store, SQL_READ, 2, after);
    comet_sqlite_bind_int(store, SQL_READ, 3, (apr_int64_t)limit);
    return read_rows(store, SQL_READ, callback, baton);
}

apr_status_t comet_store_tail(comet_store_t *store, comet_timestamp_t after,
                              apr_size_t limit, comet_store_cb *callback,
                              void *baton)
{
    comet_sqlite_bind_int(store, SQL_TAIL, 1, after);
    comet_sqlite_bind_int(store, SQL_TAIL, 2, (apr_int64_t)limit);
    return read_rows(store, SQL_TAIL, callback, baton);
}
