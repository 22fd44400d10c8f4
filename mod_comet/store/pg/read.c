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

static int is_of_one(const question_t *question)
{
    return !question->words.data && comet_selection_is_atom(question->selection)
           && question->selection->name_count;
}

static const char *function_of(const question_t *question)
{
    return question->words.data
               ? "SELECT * FROM comet.search($1, $2, $3, $4, $5, $6, $7)"
           : is_of_one(question)
               ? "SELECT * FROM comet.messages_of($1, $2, $3, $4, $5, $6)"
               : "SELECT * FROM comet.messages_in($1, $2, $3, $4, $5, $6, $7,"
                 " $8)";
}

/* Ask for at most question->most messages.  The server answers with fewer, even
 * if the log has more, once their bodies fill a batch. */
static apr_status_t ask_messages(comet_pg_t *pg, const question_t *question,
                                 PGresult **result)
{
    const comet_selection_t *selection = question->selection;
    comet_pg_args_t args = { .count = 0 };

    if (is_of_one(question)) {
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
    if (!question->words.data && !is_of_one(question)) {
        comet_pg_add_bool(&args, selection->everything || selection->by_topics);
    }
    return comet_pg_ask(pg, function_of(question), &args, result);
}

/* The columns of comet.log.  A search's answer has only the first five. */
enum {
    ID,
    CHANNEL,
    TYPE,
    AUTHOR,
    BODY,
    PRIVATE,
    EVENT,
    RETRY,
    ALTERNATES,
    KEEP,
    EXPIRES
};

/* Make the message of a row.
 * @param message  set to NULL if nobody has asked for it: a prefix does not
 *                 cover the sibling channels, for example
 * @param length   set to that of its body */
static apr_status_t make(comet_pg_t *pg, const question_t *question,
                         const PGresult *result, int row,
                         comet_message_t **message, apr_size_t *length)
{
    comet_message_fields_t fields = {
        .timestamp = comet_pg_int(result, row, ID),
        .channel = comet_pg_text(result, row, CHANNEL),
        .type = comet_pg_text(result, row, TYPE),
        .author = comet_pg_text(result, row, AUTHOR),
        .body = comet_pg_text(result, row, BODY),
    };

    if (PQnfields(result) > EXPIRES) {
        fields.update.is_private = comet_pg_int(result, row, PRIVATE) != 0;
        fields.update.event = comet_pg_text(result, row, EVENT);
        fields.update.retry_msec = (int)comet_pg_int(result, row, RETRY);
        fields.update.alternates = comet_pg_text(result, row, ALTERNATES);
        fields.keep_sec = (int)comet_pg_int(result, row, KEEP);
        fields.expires = comet_pg_int(result, row, EXPIRES);
    }
    *length = fields.body.length;
    *message = pg->base.make(&fields);
    if (!*message) {
        return comet_pg_fail(pg, APR_ENOMEM, "no memory for the messages");
    }
    if (comet_selection_judge_message(question->selection, *message)
        == COMET_SELECTION_NONE) {
        comet_message_unref(*message);
        *message = NULL;
    }
    return APR_SUCCESS;
}

/* Whether the log may have more than an answer, and where the next question
 * begins.
 * @param bytes  how many the answer's bodies have */
static int ask_on(question_t *question, const PGresult *result,
                  apr_size_t bytes)
{
    int rows = PQntuples(result);

    if (rows < question->most && bytes < COMET_BATCH_BYTES) {
        return 0;
    }
    *(question->backwards ? &question->before : &question->after) =
        comet_pg_int(result, rows - 1, ID);
    return 1;
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
    apr_status_t status = APR_SUCCESS;
    int i;

    *bytes = 0;
    for (i = 0; i < PQntuples(result) && *left && status == APR_SUCCESS; i++) {
        comet_message_t *message;
        apr_size_t length;

        status = make(pg, question, result, i, &message, &length);
        *bytes += length;
        if (message) {
            *left = callback(baton, message) ? *left - 1 : 0;
        }
    }
    return status;
}

static apr_int64_t at_most(apr_size_t limit)
{
    return limit < COMET_LIMIT_MAX ? (apr_int64_t)limit : COMET_LIMIT_MAX;
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
    int more = 1;

    while (status == APR_SUCCESS && limit && more) {
        PGresult *result;
        apr_size_t bytes;

        question.most = at_most(limit);
        status = ask_messages(pg, &question, &result);
        if (status == APR_SUCCESS) {
            status = hand_over(pg, &question, result, &bytes, &limit, callback,
                               baton);
            more = ask_on(&question, result, bytes);
            PQclear(result);
        }
    }
    return status;
}

/* --- Pages ---------------------------------------------------------------- */

/** A page being read, the newest message first. */
typedef struct page_t {
    comet_message_t **messages;
    apr_size_t count, limit;
    apr_size_t bytes; /* of bodies */
    int full;
} page_t;

/* Add the messages of an answer, as long as their bodies fit into a batch.
 * @param bytes  set to how many the answer's bodies have */
static apr_status_t add_to_page(comet_pg_t *pg, const question_t *question,
                                const PGresult *result, page_t *page,
                                apr_size_t *bytes)
{
    apr_status_t status = APR_SUCCESS;
    int i;

    *bytes = 0;
    for (i = 0; i < PQntuples(result) && !page->full && status == APR_SUCCESS;
         i++) {
        comet_message_t *message;
        apr_size_t length;

        status = make(pg, question, result, i, &message, &length);
        *bytes += length;
        if (!message) {
            continue;
        }
        page->full = page->count && page->bytes + length >= COMET_BATCH_BYTES;
        if (page->full) {
            comet_message_unref(message);
            break;
        }
        page->messages[page->count++] = message;
        page->bytes += length;
        page->full = page->count == page->limit;
    }
    return status;
}

static apr_status_t read_page(comet_pg_t *pg, question_t *question,
                              comet_store_cb *callback, void *baton)
{
    page_t page = { .limit = (apr_size_t)question->most };
    apr_status_t status = APR_SUCCESS;
    int more = page.limit > 0;

    if (more) {
        page.messages = calloc(page.limit, sizeof(*page.messages));
    }
    if (more && !page.messages) {
        return comet_pg_fail(pg, APR_ENOMEM, "no memory for a page");
    }
    while (status == APR_SUCCESS && more && !page.full) {
        PGresult *result;
        apr_size_t bytes;

        question->most = (apr_int64_t)(page.limit - page.count);
        status = ask_messages(pg, question, &result);
        if (status == APR_SUCCESS) {
            status = add_to_page(pg, question, result, &page, &bytes);
            more = !page.full && ask_on(question, result, bytes);
            PQclear(result);
        }
    }
    more = status == APR_SUCCESS;
    while (page.count) {
        comet_message_t *message = page.messages[--page.count];

        if (more) {
            more = callback(baton, message);
        }
        else {
            comet_message_unref(message);
        }
    }
    free(page.messages);
    return status;
}

apr_status_t comet_pg_page(comet_store_t *store,
                           const comet_selection_t *selection,
                           comet_timestamp_t after, comet_timestamp_t before,
                           apr_size_t limit, comet_store_cb *callback,
                           void *baton)
{
    question_t question = {
        .selection = selection,
        .after = after,
        .before = before,
        .most = at_most(limit),
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
    question_t question = {
        .selection = selection,
        .words = words,
        .after = after,
        .before = before,
        .most = at_most(limit),
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
    return comet_pg_ask(pg, "SELECT * FROM comet.channels_under($1, $2, false)",
                        &args, result);
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
