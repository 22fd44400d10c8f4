/* SPDX-License-Identifier: Apache-2.0 */
/* Ask for the messages of a selection, and make messages from the answer. */
#include "store/pg/pg.h"

/* The fewest rows to ask for if some of the rows may not belong to the
 * selection. */
#define LEAST_ROWS 100

/* --- Selections ----------------------------------------------------------- */

void comet_pg_add_selected(comet_pg_args_t *args, const comet_selected_t *list,
                           apr_size_t count)
{
    apr_size_t i;

    comet_pg_add_texts(args, count);
    for (i = 0; i < count; i++) {
        comet_pg_add_element(args, list[i].text);
    }
}

void comet_pg_add_selection(comet_pg_args_t *args,
                            const comet_selection_t *selection)
{
    char room[COMET_CHANNEL_MAX_BYTES];
    apr_size_t i;

    comet_pg_add_selected(args, selection->names, selection->name_count);
    if (!selection->by_topics) {
        comet_pg_add_selected(args, selection->prefixes,
                              selection->prefix_count);
        return;
    }
    comet_pg_add_texts(args, selection->pattern_count);
    for (i = 0; i < selection->pattern_count; i++) {
        comet_pg_add_element(args, comet_selection_stem(selection, i, room));
    }
}

apr_status_t comet_pg_ask_number(comet_store_t *store, const char *sql,
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

/* --- Messages ------------------------------------------------------------- */

static int is_of_one(const comet_pg_question_t *question)
{
    return !question->words.data && comet_selection_is_atom(question->selection)
           && question->selection->name_count;
}

static const char *function_of(const comet_pg_question_t *question)
{
    return question->words.data
               ? "SELECT * FROM comet.search($1, $2, $3, $4, $5, $6, $7)"
           : is_of_one(question)
               ? "SELECT * FROM comet.messages_of($1, $2, $3, $4, $5, $6)"
               : "SELECT * FROM comet.messages_in($1, $2, $3, $4, $5, $6, $7,"
                 " $8)";
}

apr_status_t comet_pg_ask_messages(comet_pg_t *pg,
                                   const comet_pg_question_t *question,
                                   PGresult **result)
{
    const comet_selection_t *selection = question->selection;
    comet_pg_args_t args = { .count = 0 };

    if (is_of_one(question)) {
        comet_pg_add_text(&args, selection->names[0].text);
    }
    else {
        comet_pg_add_selection(&args, selection);
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

/* The columns of comet.log.  The answer to a search has only the first five
 * columns; that of comet.news() has further ones. */
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

apr_status_t comet_pg_make(comet_pg_t *pg, const comet_pg_question_t *question,
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
    if (question->selection
        && pg->base.judge(question->selection, *message)
               == COMET_SELECTION_NONE) {
        comet_message_unref(*message);
        *message = NULL;
    }
    return APR_SUCCESS;
}

int comet_pg_ask_on(comet_pg_question_t *question, const PGresult *result,
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

apr_int64_t comet_pg_rows_for(const comet_selection_t *selection,
                              apr_size_t limit)
{
    apr_size_t least =
        selection->by_topics || selection->prefix_count ? LEAST_ROWS : 0;

    limit = limit > least ? limit : least;
    return limit < COMET_LIMIT_MAX ? (apr_int64_t)limit : COMET_LIMIT_MAX;
}
