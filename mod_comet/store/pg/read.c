/* SPDX-License-Identifier: Apache-2.0 */
/* Read the log. */
#include "store/pg/pg.h"

#include <stdlib.h>

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

/* --- Selections ----------------------------------------------------------- */

static void add_selected(comet_pg_args_t *args, const comet_selected_t *list,
                         apr_size_t count)
{
    apr_size_t i;

    comet_pg_add_texts(args, count);
    for (i = 0; i < count; i++) {
        comet_pg_add_element(args, list[i].text);
    }
}

/* Add a selection's names, then its prefixes. */
static void add_selection(comet_pg_args_t *args,
                          const comet_selection_t *selection)
{
    add_selected(args, selection->names, selection->name_count);
    add_selected(args, selection->prefixes, selection->prefix_count);
}

/* Ask a function that returns one number. */
static apr_status_t ask_number(comet_store_t *store, const char *sql,
                               comet_pg_args_t *args, apr_int64_t *number)
{
    PGresult *result;
    apr_status_t status = comet_pg_ask((comet_pg_t *)store, sql, args, &result);

    *number = 0;
    if (status == APR_SUCCESS) {
        *number = comet_pg_int(result, 0, 0);
        PQclear(result);
    }
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
    add_selection(&args, selection);
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

apr_status_t comet_pg_floor(comet_store_t *store,
                            const comet_selection_t *selection,
                            comet_timestamp_t *floor)
{
    comet_pg_args_t args = { .count = 0 };

    *floor = 0;
    if (!selection->name_count) {
        return APR_SUCCESS;
    }
    add_selected(&args, selection->names, selection->name_count);
    return ask_number(store, "SELECT comet.floor_of($1)", &args, floor);
}

apr_status_t comet_pg_recent(comet_store_t *store, apr_size_t count,
                             comet_timestamp_t *cursor)
{
    comet_pg_args_t args = { .count = 0 };

    comet_pg_add_int(&args, (apr_int64_t)count);
    return ask_number(store, "SELECT comet.recent($1)", &args, cursor);
}

apr_status_t comet_pg_has(comet_store_t *store, comet_timestamp_t timestamp,
                          apr_int64_t *has)
{
    comet_pg_args_t args = { .count = 0 };

    comet_pg_add_int(&args, timestamp);
    return ask_number(store, "SELECT comet.has($1)", &args, has);
}

/* --- Messages ------------------------------------------------------------- */

/* What a read asks of the log. */
typedef struct question_t {
    const comet_selection_t *selection;
    comet_text_t words; /* data NULL: no search */
    comet_timestamp_t after, before;
    apr_int64_t most;
    int backwards;
} question_t;

static const char *function_of(const question_t *question)
{
    if (question->words.data) {
        return "SELECT * FROM comet.search($1, $2, $3, $4, $5, $6, $7)";
    }
    return comet_selection_is_atom(question->selection)
                   && question->selection->name_count
               ? "SELECT * FROM comet.read_one($1, $2, $3, $4, $5, $6)"
               : "SELECT * FROM comet.read_many($1, $2, $3, $4, $5, $6, $7)";
}

/* Ask for at most question->most messages.  The server answers with fewer, even
 * if the log has more, once their bodies fill a batch. */
static apr_status_t ask_messages(comet_pg_t *pg, const question_t *question,
                                 PGresult **result)
{
    const comet_selection_t *selection = question->selection;
    comet_pg_args_t args = { .count = 0 };

    if (!question->words.data && comet_selection_is_atom(selection)
        && selection->name_count) {
        comet_pg_add_text(&args, selection->names[0].text);
    }
    else {
        add_selection(&args, selection);
    }
    if (question->words.data) {
        comet_pg_add_text(&args, question->words);
    }
    comet_pg_add_int(&args, question->after);
    comet_pg_add_int(&args, question->before);
    comet_pg_add_int(&args, question->most);
    comet_pg_add_int(&args, COMET_BATCH_BYTES);
    if (!question->words.data) {
        comet_pg_add_bool(&args, question->backwards);
    }
    return comet_pg_ask(pg, function_of(question), &args, result);
}

static comet_message_t *make(comet_pg_t *pg, const PGresult *result, int row)
{
    return pg->base.make(&(comet_message_fields_t){
        .timestamp = comet_pg_int(result, row, 0),
        .channel = comet_pg_text(result, row, 1),
        .type = comet_pg_text(result, row, 2),
        .author = comet_pg_text(result, row, 3),
        .body = comet_pg_text(result, row, 4),
    });
}

static apr_status_t no_memory(comet_pg_t *pg)
{
    return comet_pg_fail(pg, APR_ENOMEM, "no memory for the messages");
}

/* Whether only a prefix of a selection covers the channel of a row, which is a
 * sibling channel: so nobody has asked for it. */
static int is_unasked(const comet_selection_t *selection,
                      const PGresult *result, int row)
{
    comet_text_t channel = comet_pg_text(result, row, 1);
    apr_size_t i = 0;

    if (selection->everything || !selection->prefix_count
        || !comet_name_is_sibling(channel)) {
        return 0;
    }
    while (i < selection->name_count
           && !comet_text_equal(selection->names[i].text, channel)) {
        i++;
    }
    return i == selection->name_count;
}

/* Hand over one answer, oldest first.
 * @param bytes  set to how many its bodies have
 * @param left   lowered by how many messages were handed over; 0 if the callee
 *               wants no more */
static apr_status_t hand_over(comet_pg_t *pg, const question_t *question,
                              const PGresult *result, apr_size_t *bytes,
                              apr_size_t *left, comet_store_cb *callback,
                              void *baton)
{
    int i;

    *bytes = 0;
    for (i = 0; i < PQntuples(result) && *left; i++) {
        comet_message_t *message;

        *bytes += comet_pg_text(result, i, 4).length;
        if (is_unasked(question->selection, result, i)) {
            continue;
        }
        message = make(pg, result, i);
        if (!message) {
            return no_memory(pg);
        }
        *left = callback(baton, message) ? *left - 1 : 0;
    }
    return APR_SUCCESS;
}

apr_status_t comet_pg_read(comet_store_t *store,
                           const comet_selection_t *selection,
                           comet_timestamp_t after, apr_size_t limit,
                           comet_store_cb *callback, void *baton)
{
    comet_pg_t *pg = (comet_pg_t *)store;
    question_t question = { .selection = selection,
                            .after = after,
                            .before = COMET_TIMESTAMP_MAX + 1 };
    apr_status_t status = APR_SUCCESS;

    while (status == APR_SUCCESS && limit) {
        PGresult *result;
        apr_size_t bytes;
        int rows;

        question.most =
            limit < COMET_LIMIT_MAX ? (apr_int64_t)limit : COMET_LIMIT_MAX;
        status = ask_messages(pg, &question, &result);
        if (status != APR_SUCCESS) {
            break;
        }
        rows = PQntuples(result);
        status =
            hand_over(pg, &question, result, &bytes, &limit, callback, baton);
        if (rows) {
            question.after = comet_pg_int(result, rows - 1, 0);
        }
        if (rows < question.most && bytes < COMET_BATCH_BYTES) {
            limit = 0; /* there are no more */
        }
        PQclear(result);
    }
    return status;
}

/* How many rows of an answer fit into a page, counted from the newest. */
static int page_rows(const PGresult *result)
{
    apr_size_t bytes = 0;
    int rows;

    for (rows = 0; rows < PQntuples(result); rows++) {
        bytes += (apr_size_t)PQgetlength(result, rows, 4);
        if (rows && bytes >= COMET_BATCH_BYTES) {
            break;
        }
    }
    return rows;
}

static apr_status_t read_page(comet_pg_t *pg, const question_t *question,
                              comet_store_cb *callback, void *baton)
{
    PGresult *result;
    apr_status_t status = ask_messages(pg, question, &result);
    int i, more = 1;

    if (status != APR_SUCCESS) {
        return status;
    }
    for (i = page_rows(result) - 1; i >= 0 && more; i--) {
        comet_message_t *message = make(pg, result, i);

        if (!message) {
            status = no_memory(pg);
            break;
        }
        more = callback(baton, message);
    }
    PQclear(result);
    return status;
}

apr_status_t comet_pg_page(comet_store_t *store,
                           const comet_selection_t *selection,
                           comet_timestamp_t after, comet_timestamp_t before,
                           apr_size_t limit, comet_store_cb *callback,
                           void *baton)
{
    const question_t question = {
        .selection = selection,
        .after = after,
        .before = before,
        .most = limit < COMET_LIMIT_MAX ? (apr_int64_t)limit : COMET_LIMIT_MAX,
        .backwards = 1,
    };

    return read_page((comet_pg_t *)store, &question, callback, baton);
}

/* The server has the index, and one statement answers a whole search, so a page
 * is always complete. */
apr_status_t comet_pg_search(comet_store_t *store,
                             const comet_selection_t *selection,
                             comet_text_t words, comet_timestamp_t after,
                             comet_timestamp_t before, apr_size_t limit,
                             comet_store_cb *callback, void *baton,
                             comet_timestamp_t *rest)
{
    const question_t question = {
        .selection = selection,
        .words = words,
        .after = after,
        .before = before,
        .most = limit < COMET_LIMIT_MAX ? (apr_int64_t)limit : COMET_LIMIT_MAX,
        .backwards = 1,
    };
    comet_pg_t *pg = (comet_pg_t *)store;
    apr_status_t status;

    *rest = 0;
    if (!pg->config->search) {
        return COMET_ENOSEARCH;
    }
    status = read_page(pg, &question, callback, baton);
    if (status == COMET_ENOTDB) {
        comet_pg_fail(pg, status,
                      "there is no index of words: as the schema's owner run "
                      "psql -f search.sql and then psql -f grants.sql (in "
                      "share/mod_comet/sql/postgresql)");
    }
    return status;
}

/* --- Channels ------------------------------------------------------------- */

/* The channels under a prefix, siblings included: at most so many. */
static apr_status_t ask_channels(comet_pg_t *pg, comet_text_t prefix,
                                 apr_size_t most, PGresult **result)
{
    comet_pg_args_t args = { .count = 0 };

    comet_pg_add_text(&args, prefix);
    comet_pg_add_int(&args, (apr_int64_t)most);
    return comet_pg_ask(pg, "SELECT * FROM comet.channels($1, $2)", &args,
                        result);
}

/* How many rows are no siblings. */
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

    /* siblings took places of others */
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
