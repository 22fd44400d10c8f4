/* SPDX-License-Identifier: Apache-2.0 */
/* Read the log. */
#include "store/pg/pg.h"

#include "base/name.h"

void comet_pg_limit(comet_store_t *store, const comet_budget_t *budget)
{
    comet_pg_t *pg = (comet_pg_t *)store;

    pg->budget = budget ? *budget : (comet_budget_t){ .cpu = NULL };
    pg->reading_until =
        pg->budget.cpu ? comet_monotonic() + 5 * pg->budget.cpu->time : 0;
}

apr_status_t comet_pg_state(comet_store_t *store, comet_store_state_t *state)
{
    PGresult *result;
    apr_status_t status =
        comet_pg_ask((comet_pg_t *)store,
                     "SELECT last, erased FROM comet.state()", NULL, &result);

    if (status == APR_SUCCESS) {
        state->last = comet_pg_int(result, 0, 0);
        state->erased = comet_pg_int(result, 0, 1);
        PQclear(result);
    }
    return status;
}

apr_status_t comet_pg_sizes(comet_store_t *store, comet_store_sizes_t *sizes)
{
    PGresult *result;
    apr_status_t status = comet_pg_ask(
        (comet_pg_t *)store,
        "SELECT sum(pg_total_relation_size(c.oid))::bigint"
        " FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace"
        " WHERE n.nspname = 'comet' AND c.relkind = 'r'",
        NULL, &result);

    if (status == APR_SUCCESS) {
        sizes->database_bytes = comet_pg_int(result, 0, 0);
        PQclear(result);
    }
    return status;
}

apr_status_t comet_pg_recent(comet_store_t *store, apr_size_t count,
                             comet_timestamp_t *cursor)
{
    comet_pg_args_t args = { .count = 0 };

    comet_pg_add_int(&args, (apr_int64_t)count);
    return comet_pg_ask_number(store, "SELECT comet.recent($1)", &args, cursor);
}

apr_status_t comet_pg_find_event(comet_store_t *store, comet_text_t event,
                                 comet_timestamp_t before,
                                 comet_timestamp_t *timestamp)
{
    comet_pg_args_t args = { .count = 0 };

    comet_pg_add_text(&args, event);
    comet_pg_add_int(&args, before);
    return comet_pg_ask_number(store,
                               "SELECT coalesce(max(id), 0) FROM comet.log"
                               " WHERE event = $1 AND id < $2",
                               &args, timestamp);
}

apr_status_t comet_pg_has(comet_store_t *store, comet_timestamp_t timestamp,
                          apr_int64_t *has)
{
    comet_pg_args_t args = { .count = 0 };

    comet_pg_add_int(&args, timestamp);
    return comet_pg_ask_number(store, "SELECT comet.has($1)", &args, has);
}

/* --- Messages ------------------------------------------------------------- */

/* Pass the messages of one answer to the callback, oldest first.
 * @param bytes  set to the length of all bodies in the answer
 * @param left   reduced by the number of messages that were handed over; set to
 *               0 if the callback wants no more */
static apr_status_t hand_over(comet_pg_t *pg,
                              const comet_pg_question_t *question,
                              const PGresult *result, apr_size_t *bytes,
                              apr_size_t *left, comet_store_cb *callback,
                              void *baton)
{
    apr_status_t status = APR_SUCCESS;
    int i;

    *bytes = 0;
    for (i = 0; i < PQntuples(result) && *left && status == APR_SUCCESS; i++) {
        comet_message_t *message;
        apr_size_t length;

        status = comet_pg_make(pg, question, result, i, &message, &length);
        *bytes += length;
        if (message) {
            *left = callback(baton, message) ? *left - 1 : 0;
        }
    }
    return status;
}

apr_status_t comet_pg_read(comet_store_t *store,
                           const comet_selection_t *selection,
                           comet_timestamp_t after, apr_size_t limit,
                           comet_store_cb *callback, void *baton)
{
    comet_pg_t *pg = (comet_pg_t *)store;
    comet_pg_question_t question = { .selection = selection,
                                     .after = after,
                                     .before = COMET_TIMESTAMP_MAX + 1 };
    apr_status_t status = APR_SUCCESS;
    int more = 1;

    while (status == APR_SUCCESS && limit && more) {
        PGresult *result;
        apr_size_t bytes;

        question.most = comet_pg_rows_for(selection, limit);
        status = comet_pg_ask_messages(pg, &question, &result);
        if (status == APR_SUCCESS) {
            status = hand_over(pg, &question, result, &bytes, &limit, callback,
                               baton);
            more = comet_pg_ask_on(&question, result, bytes);
            PQclear(result);
        }
    }
    return status;
}

/* --- News ------------------------------------------------------------------ */

/* The columns of comet.news() after those of a message. */
enum { NEWS_LAST = 11, NEWS_ERASED, NEWS_GOES_ON };

apr_status_t comet_pg_news(comet_store_t *store,
                           const comet_store_state_t *known,
                           comet_timestamp_t newest, apr_size_t limit,
                           int awaits_commit, comet_store_cb *callback,
                           void *baton, comet_store_state_t *state,
                           int *goes_on)
{
    comet_pg_t *pg = (comet_pg_t *)store;
    const comet_pg_question_t every = { .selection = NULL };
    comet_pg_args_t args = { .count = 0 };
    PGresult *result;
    apr_size_t bytes;
    apr_status_t status;

    comet_pg_add_int(&args, known->last);
    comet_pg_add_int(&args, known->erased);
    comet_pg_add_int(&args, newest);
    comet_pg_add_int(&args, (apr_int64_t)limit);
    comet_pg_add_int(&args, COMET_BATCH_BYTES);
    status = comet_pg_ask(
        pg,
        awaits_commit ? "SELECT * FROM comet.next_news($1, $2, $3, $4, $5)"
                      : "SELECT * FROM comet.news($1, $2, $3, $4, $5)",
        &args, &result);
    if (status != APR_SUCCESS) {
        return status;
    }
    state->last = comet_pg_int(result, 0, NEWS_LAST);
    state->erased = comet_pg_int(result, 0, NEWS_ERASED);
    *goes_on = comet_pg_int(result, 0, NEWS_GOES_ON) != 0;
    if (!PQgetisnull(result, 0, 0)) {
        status = hand_over(pg, &every, result, &bytes, &limit, callback, baton);
    }
    PQclear(result);
    return status;
}

/* --- Where a replay begins -------------------------------------------------- */

/* Count the messages of one answer, newest first.
 * @param left   reduced by the number of messages counted, which are those
 *               without a `keep`
 * @param found  OUT: the timestamp of the message just before the counted ones;
 *               0: the answer does not reach back to that message
 * @param bytes  OUT: the length of all bodies in the answer */
static apr_status_t count_back(comet_pg_t *pg,
                               const comet_pg_question_t *question,
                               const PGresult *result, apr_int64_t *left,
                               comet_timestamp_t *found, apr_size_t *bytes)
{
    apr_status_t status = APR_SUCCESS;
    int i;

    *found = 0;
    *bytes = 0;
    for (i = 0; i < PQntuples(result) && !*found && status == APR_SUCCESS;
         i++) {
        comet_message_t *message;
        apr_size_t length;

        status = comet_pg_make(pg, question, result, i, &message, &length);
        *bytes += length;
        if (message && !message->keep_sec) {
            if ((*left)-- <= 0) {
                *found = message->timestamp;
            }
        }
        comet_message_unref(message);
    }
    return status;
}

/* Only this process can tell which messages a selection by topics contains, so
 * they are counted here and not in the database. */
static apr_status_t replay_topics(comet_pg_t *pg,
                                  const comet_selection_t *selection,
                                  apr_int64_t count, comet_timestamp_t *cursor,
                                  int *any)
{
    comet_pg_question_t question = { .selection = selection,
                                     .before = COMET_TIMESTAMP_MAX + 1,
                                     .backwards = 1 };
    apr_int64_t left = count > 0 ? count : 0;
    apr_int64_t all = left;
    apr_status_t status = APR_SUCCESS;
    int more = 1;

    while (status == APR_SUCCESS && more && !*cursor) {
        PGresult *result;
        apr_size_t bytes;

        question.most = comet_pg_rows_for(selection, (apr_size_t)left + 1);
        status = comet_pg_ask_messages(pg, &question, &result);
        if (status == APR_SUCCESS) {
            status = count_back(pg, &question, result, &left, cursor, &bytes);
            more = comet_pg_ask_on(&question, result, bytes);
            PQclear(result);
        }
    }
    *any = left < all;
    return status;
}

apr_status_t comet_pg_replay(comet_store_t *store,
                             const comet_selection_t *selection,
                             apr_int64_t count, comet_timestamp_t *cursor,
                             int *any)
{
    comet_pg_args_t args = { .count = 0 };
    PGresult *result;
    apr_status_t status;

    *cursor = 0;
    *any = 0;
    if (selection->by_topics) {
        return replay_topics((comet_pg_t *)store, selection, count, cursor,
                             any);
    }
    comet_pg_add_selection(&args, selection);
    comet_pg_add_int(&args, count > 0 ? count : 0);
    status =
        comet_pg_ask((comet_pg_t *)store,
                     "SELECT * FROM comet.replay($1, $2, $3)", &args, &result);
    if (status == APR_SUCCESS) {
        *cursor = comet_pg_int(result, 0, 0);
        *any = comet_pg_int(result, 0, 1) != 0;
        PQclear(result);
    }
    return status;
}

/* Raise a floor to the highest floor of any channel that a selection by topics
 * reads. */
static apr_status_t raise_floor(comet_pg_t *pg,
                                const comet_selection_t *selection,
                                comet_timestamp_t *floor)
{
    comet_pg_args_t args = { .count = 0 };
    PGresult *result;
    apr_status_t status;
    int i;

    comet_pg_add_selection(&args, selection);
    comet_pg_add_int(&args, *floor);
    status = comet_pg_ask(pg, "SELECT * FROM comet.floors_of($1, $2, $3)",
                          &args, &result);
    if (status != APR_SUCCESS) {
        return status;
    }
    for (i = 0; i < PQntuples(result); i++) {
        comet_timestamp_t one = comet_pg_int(result, i, 1);

        if (one > *floor
            && pg->base.reads(selection, comet_pg_text(result, i, 0))) {
            *floor = one;
        }
    }
    PQclear(result);
    return APR_SUCCESS;
}

apr_status_t comet_pg_floor(comet_store_t *store,
                            const comet_selection_t *selection,
                            comet_timestamp_t *floor)
{
    comet_pg_args_t args = { .count = 0 };

    *floor = 0;
    if (selection->by_topics) {
        return raise_floor((comet_pg_t *)store, selection, floor);
    }
    if (!selection->name_count) {
        return APR_SUCCESS;
    }
    comet_pg_add_selected(&args, selection->names, selection->name_count);
    return comet_pg_ask_number(store, "SELECT comet.floor_of($1)", &args,
                               floor);
}

/* --- Channels ------------------------------------------------------------- */

/* Ask for at most @a most channels under a prefix, including sibling
 * channels. */
static apr_status_t ask_channels(comet_pg_t *pg, comet_text_t prefix,
                                 apr_size_t most, PGresult **result)
{
    comet_pg_args_t args = { .count = 0 };

    comet_pg_add_text(&args, prefix);
    comet_pg_add_int(&args, (apr_int64_t)most);
    return comet_pg_ask(pg, "SELECT * FROM comet.channels_under($1, $2, false)",
                        &args, result);
}

/* How many rows of a result are not sibling channels. */
static apr_size_t count_channels(const PGresult *result)
{
    apr_size_t count = 0;
    int i;

    for (i = 0; i < PQntuples(result); i++) {
        count += !comet_name_is_sibling(comet_pg_text(result, i, 0));
    }
    return count;
}

apr_status_t comet_pg_channels(comet_store_t *store, comet_text_t prefix,
                               apr_size_t limit,
                               comet_store_channel_cb *callback, void *baton)
{
    apr_size_t most = limit < APR_INT32_MAX ? limit : APR_INT32_MAX;
    PGresult *result;
    apr_status_t status =
        ask_channels((comet_pg_t *)store, prefix, most, &result);
    int i;

    /* some rows were sibling channels, so there may be other channels after
     * them */
    while (status == APR_SUCCESS && (apr_size_t)PQntuples(result) == most
           && count_channels(result) < limit && most < APR_INT32_MAX) {
        PQclear(result);
        most *= 4;
        status = ask_channels((comet_pg_t *)store, prefix, most, &result);
    }
    if (status != APR_SUCCESS) {
        return status;
    }
    for (i = 0; i < PQntuples(result) && limit; i++) {
        comet_text_t name = comet_pg_text(result, i, 0);

        if (!comet_name_is_sibling(name)) {
            limit = callback(baton, name) ? limit - 1 : 0;
        }
    }
    PQclear(result);
    return status;
}
