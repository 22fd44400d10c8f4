/* SPDX-License-Identifier: Apache-2.0 */
/* Presence: call the functions and read the tables of
 * sql/postgresql/003_presence.sql. */
#include "store/pg/pg.h"

#include <stdio.h>

/* How long a change of presence waits for its turn to write, and how long the
 * answer may take. */
#define TURN_MSEC 500
#define WRITE_USEC APR_INT64_C(5000000)

static comet_pg_t *own(comet_store_t *store)
{
    return (comet_pg_t *)store;
}

/* Call a function that returns one number.  This adds the last two arguments:
 * how long to wait for the turn, and whether CometSync is full.
 * @param number  OUT: the result; 0 after a failure */
static apr_status_t change(comet_store_t *store, const char *sql,
                           comet_pg_args_t *args, apr_int64_t *number)
{
    comet_pg_t *pg = own(store);
    PGresult *result;
    apr_status_t status = comet_pg_connect_again(pg);

    *number = 0;
    if (status != APR_SUCCESS) {
        comet_buffer_free(&args->buffer);
        return status;
    }
    comet_pg_add_int4(args, TURN_MSEC);
    comet_pg_add_bool(args, pg->config->sync_full);
    status = comet_pg_call(pg, sql, args, WRITE_USEC, &result);
    if (status == APR_SUCCESS) {
        *number = comet_pg_int(result, 0, 0);
        PQclear(result);
    }
    return status;
}

/* --- Writing -------------------------------------------------------------- */

typedef apr_int64_t number_cb(const comet_online_change_t *change);

static apr_int64_t most_of(const comet_online_change_t *what)
{
    return what->most;
}

static apr_int64_t since_of(const comet_online_change_t *what)
{
    return what->since;
}

static apr_int64_t clients_of(const comet_online_change_t *what)
{
    return what->clients;
}

static apr_int64_t read_of(const comet_online_change_t *what)
{
    return what->read_at;
}

static void add_numbers(comet_pg_args_t *args,
                        const comet_online_change_t *changes, apr_size_t count,
                        number_cb *column)
{
    apr_size_t i;

    comet_pg_add_ints(args, count);
    for (i = 0; i < count; i++) {
        comet_pg_add_int_element(args, column(&changes[i]));
    }
}

static void add_changes(comet_pg_args_t *args,
                        const comet_online_change_t *changes, apr_size_t count)
{
    static const comet_text_t none = { NULL, 0 };
    apr_size_t i;

    comet_pg_add_texts(args, count);
    for (i = 0; i < count; i++) {
        comet_pg_add_element(args, changes[i].channel);
    }
    add_numbers(args, changes, count, most_of);
    comet_pg_add_texts(args, count);
    for (i = 0; i < count; i++) {
        comet_pg_add_element(args, changes[i].member.length ? changes[i].member
                                                            : none);
    }
    comet_pg_add_texts(args, count);
    for (i = 0; i < count; i++) {
        comet_pg_add_element(args, changes[i].info);
    }
    add_numbers(args, changes, count, since_of);
    add_numbers(args, changes, count, clients_of);
    add_numbers(args, changes, count, read_of);
}

static apr_status_t write_rows(comet_store_t *store,
                               const comet_holder_t *holder, int is_new,
                               const comet_online_change_t *changes,
                               apr_size_t count)
{
    comet_pg_args_t args = { .count = 0 };
    apr_int64_t there;
    apr_status_t status;

    comet_pg_add_int(&args, holder->id);
    comet_pg_add_text(&args, comet_text(holder->host));
    comet_pg_add_int(&args, holder->pid);
    comet_pg_add_int(&args, holder->patience / 1000);
    comet_pg_add_bool(&args, is_new);
    add_changes(&args, changes, count);
    status = change(store,
                    "SELECT comet.online_write($1, $2, $3, $4, $5, $6, $7, $8, "
                    "$9, $10, $11, $12, $13, $14)",
                    &args, &there);
    return status == APR_SUCCESS && !there ? APR_NOTFOUND : status;
}

static apr_status_t sweep(comet_store_t *store, apr_int64_t holder, int *more)
{
    comet_pg_args_t args = { .count = 0 };
    apr_int64_t any;
    apr_status_t status;

    comet_pg_add_int(&args, holder);
    comet_pg_add_int(&args, COMET_ONLINE_SLICE);
    status =
        change(store, "SELECT comet.online_sweep($1, $2, $3, $4)", &args, &any);
    *more = any != 0;
    return status;
}

static apr_status_t publish(comet_store_t *store, int *count)
{
    comet_pg_args_t args = { .count = 0 };
    apr_int64_t published;
    apr_status_t status;

    comet_pg_add_int(&args, COMET_ONLINE_SLICE);
    status = change(store, "SELECT comet.online_publish($1, $2, $3)", &args,
                    &published);
    *count = (int)published;
    return status;
}

apr_status_t comet_pg_remove_member(comet_store_t *store,
                                    const comet_removal_t *removal,
                                    apr_int64_t *removed)
{
    comet_pg_args_t args = { .count = 0 };

    comet_pg_add_text(&args, removal->channel);
    comet_pg_add_text(&args, removal->member);
    return change(store, "SELECT comet.remove_member($1, $2, $3, $4)", &args,
                  removed);
}

/* --- Reading -------------------------------------------------------------- */

static apr_status_t holders(comet_store_t *store,
                            comet_online_holder_cb *callback, void *baton)
{
    PGresult *result;
    apr_status_t status = comet_pg_connect_again(own(store));
    int more = 1, i;

    if (status == APR_SUCCESS) {
        status = comet_pg_call(
            own(store), "SELECT id, beat, patience FROM comet.presence_holder",
            NULL, COMET_PG_ANSWER_USEC, &result);
    }
    if (status != APR_SUCCESS) {
        return status;
    }
    for (i = 0; i < PQntuples(result) && more; i++) {
        more =
            callback(baton, &(comet_holder_t){
                                .id = comet_pg_int(result, i, 0),
                                .beat = comet_pg_int(result, i, 1),
                                .patience = comet_pg_int(result, i, 2) * 1000,
                            });
    }
    PQclear(result);
    return APR_SUCCESS;
}

/* Pass the rows of a result to the callback.  The columns are channel, member,
 * since and perhaps info. */
static void hand_over(const PGresult *result, comet_online_member_cb *callback,
                      void *baton)
{
    int more = 1, i;

    for (i = 0; i < PQntuples(result) && more; i++) {
        comet_online_member_t member = {
            .channel = comet_pg_text(result, i, 0),
            .member = comet_pg_text(result, i, 1),
            .since = comet_pg_int(result, i, 2),
        };

        if (PQnfields(result) > 3) {
            member.info = comet_pg_text(result, i, 3);
        }
        more = !member.channel.data || callback(baton, &member);
    }
}

/* One statement reads the holder and its rows, so both come from the same
 * view. */
static apr_status_t rows(comet_store_t *store, apr_int64_t holder,
                         comet_online_member_cb *callback, void *baton)
{
    comet_pg_args_t args = { .count = 0 };
    PGresult *result;
    apr_status_t status;

    comet_pg_add_int(&args, holder);
    status = comet_pg_call(own(store),
                           "SELECT r.channel, r.member, r.since"
                           " FROM comet.presence_holder h"
                           " LEFT JOIN comet.presence_row r ON r.holder = h.id"
                           " WHERE h.id = $1",
                           &args, COMET_PG_ANSWER_USEC, &result);
    if (status != APR_SUCCESS) {
        return status;
    }
    status = PQntuples(result) ? APR_SUCCESS : APR_NOTFOUND;
    hand_over(result, callback, baton);
    PQclear(result);
    return status;
}

/* A channel that nobody is in has no row. */
static apr_status_t read_totals(comet_store_t *store, comet_text_t channel,
                                comet_online_totals_t *totals)
{
    comet_pg_args_t args = { .count = 0 };
    PGresult *result;
    apr_status_t status;

    *totals = (comet_online_totals_t){ .most = -1 };
    comet_pg_add_text(&args, channel);
    status = comet_pg_ask(own(store),
                          "SELECT members, most,"
                          " (SELECT coalesce(sum(clients), 0)::bigint"
                          " FROM comet.presence_anonymous WHERE channel = $1)"
                          " FROM comet.presence_channel WHERE name = $1",
                          &args, &result);
    if (status == APR_SUCCESS) {
        if (PQntuples(result)) {
            totals->members = comet_pg_int(result, 0, 0);
            totals->most = comet_pg_int(result, 0, 1);
            totals->anonymous = comet_pg_int(result, 0, 2);
        }
        PQclear(result);
    }
    return status;
}

static apr_status_t list(comet_store_t *store, comet_text_t channel,
                         comet_text_t after, apr_size_t limit,
                         comet_online_member_cb *callback, void *baton,
                         comet_online_totals_t *totals)
{
    comet_pg_args_t args = { .count = 0 };
    PGresult *result;
    apr_status_t status = read_totals(store, channel, totals);

    if (status != APR_SUCCESS) {
        return status;
    }
    comet_pg_add_text(&args, channel);
    comet_pg_add_text(&args, after.data ? after : comet_text(""));
    comet_pg_add_int(&args, limit < APR_INT32_MAX ? (apr_int64_t)limit
                                                  : APR_INT32_MAX);
    status = comet_pg_ask(own(store),
                          "SELECT channel, member, since, info"
                          " FROM comet.online"
                          " WHERE channel = $1 AND member > $2"
                          " ORDER BY member LIMIT $3",
                          &args, &result);
    if (status == APR_SUCCESS) {
        hand_over(result, callback, baton);
        PQclear(result);
    }
    return status;
}

static apr_status_t unread(comet_store_t *store, comet_text_t channel,
                           comet_text_t member, apr_size_t limit,
                           comet_timestamp_t *read_at, apr_int64_t *count)
{
    comet_pg_args_t args = { .count = 0 };
    PGresult *result;
    apr_status_t status;

    *read_at = *count = 0;
    comet_pg_add_text(&args, channel);
    comet_pg_add_text(&args, member);
    comet_pg_add_int(&args, limit < APR_INT32_MAX ? (apr_int64_t)limit
                                                  : APR_INT32_MAX);
    status = comet_pg_ask(own(store), "SELECT * FROM comet.unread($1, $2, $3)",
                          &args, &result);
    if (status == APR_SUCCESS) {
        *read_at = comet_pg_int(result, 0, 0);
        *count = comet_pg_int(result, 0, 1);
        PQclear(result);
    }
    return status;
}

/* --- Upkeep --------------------------------------------------------------- */

/* How often to check for members whose CometPresenceMemory has run out. */
#define FORGET_USEC apr_time_from_sec(3600)

/* Note where the next slice begins.  After the last slice of the table, begin
 * again with the first one, an hour later. */
static void note_slice(comet_pg_t *pg, const PGresult *result, int *more)
{
    comet_text_t after = comet_pg_text(result, 0, 1);

    if (after.data && after.length < sizeof(pg->forget_after)) {
        snprintf(pg->forget_after, sizeof(pg->forget_after), "%.*s",
                 (int)after.length, after.data);
        *more = 1;
        return;
    }
    pg->forget_after[0] = '\0';
    pg->forget_at = comet_monotonic() + FORGET_USEC;
}

/* Forget members in one slice of the table.  Age counts back from the newest
 * message, or from now if that message is dated in the future.  So a wrong
 * clock does not make the database forget members. */
static apr_status_t forget(comet_pg_t *pg, int *more)
{
    comet_pg_args_t args = { .count = 0 };
    apr_time_t now = apr_time_now();
    comet_store_state_t state;
    PGresult *result;
    apr_status_t status;

    if (comet_monotonic() < pg->forget_at) {
        return APR_SUCCESS;
    }
    status = comet_pg_state(&pg->base, &state);
    if (status != APR_SUCCESS) {
        return status;
    }
    comet_pg_add_int(&args, (state.last < now ? state.last : now)
                                - pg->config->presence_memory);
    comet_pg_add_int(&args, COMET_ONLINE_SLICE);
    comet_pg_add_int(&args, COMET_ONLINE_SEEN_MOST);
    comet_pg_add_text(&args, comet_text(pg->forget_after));
    status =
        comet_pg_call(pg, "SELECT * FROM comet.online_forget($1, $2, $3, $4)",
                      &args, COMET_PG_ANSWER_USEC, &result);
    if (status == APR_SUCCESS) {
        note_slice(pg, result, more);
        PQclear(result);
    }
    return status;
}

apr_status_t comet_pg_tidy_online(comet_pg_t *pg, int *more)
{
    comet_pg_args_t args = { .count = 0 };

    if (pg->config->presence_grace) {
        return forget(pg, more);
    }
    comet_pg_add_int4(&args, TURN_MSEC);
    return comet_pg_call(pg, "SELECT comet.online_abandon($1)", &args,
                         COMET_PG_ANSWER_USEC, NULL);
}

const comet_online_engine_t comet_pg_online = {
    .write = write_rows,
    .sweep = sweep,
    .publish = publish,
    .holders = holders,
    .rows = rows,
    .list = list,
    .unread = unread,
};
