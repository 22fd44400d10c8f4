/* SPDX-License-Identifier: Apache-2.0 */
/* Read pages of a history, and pages of a search's results. */
#include "store/pg/pg.h"

#include <stdlib.h>

static apr_size_t page_size(apr_size_t limit)
{
    return limit < COMET_LIMIT_MAX ? limit : COMET_LIMIT_MAX;
}

/** A page being read, the newest message first. */
typedef struct page_t {
    comet_message_t **messages;
    apr_size_t count, limit;
    apr_size_t bytes; /* the sum of the bodies */
    int full;
} page_t;

/* Add the messages of an answer to a page, until the page's bodies would fill a
 * batch.
 * @param bytes  set to the length of all bodies in the answer */
static apr_status_t add_to_page(comet_pg_t *pg,
                                const comet_pg_question_t *question,
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

        status = comet_pg_make(pg, question, result, i, &message, &length);
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

static apr_status_t read_page(comet_pg_t *pg, comet_pg_question_t *question,
                              apr_size_t limit, comet_store_cb *callback,
                              void *baton)
{
    page_t page = { .limit = page_size(limit) };
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

        question->most =
            comet_pg_rows_for(question->selection, page.limit - page.count);
        status = comet_pg_ask_messages(pg, question, &result);
        if (status == APR_SUCCESS) {
            status = add_to_page(pg, question, result, &page, &bytes);
            more = !page.full && comet_pg_ask_on(question, result, bytes);
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
    comet_pg_question_t question = {
        .selection = selection,
        .after = after,
        .before = before,
        .backwards = 1,
    };

    return read_page((comet_pg_t *)store, &question, limit, callback, baton);
}

/* The database server searches the whole index at once, so a page is always
 * complete. */
apr_status_t comet_pg_search(comet_store_t *store,
                             const comet_selection_t *selection,
                             comet_text_t words, comet_timestamp_t after,
                             comet_timestamp_t before, apr_size_t limit,
                             comet_store_cb *callback, void *baton,
                             comet_timestamp_t *rest)
{
    comet_pg_question_t question = {
        .selection = selection,
        .words = words,
        .after = after,
        .before = before,
        .backwards = 1,
    };
    comet_pg_t *pg = (comet_pg_t *)store;
    apr_status_t status;

    *rest = 0;
    if (!pg->config->search) {
        return COMET_ENOSEARCH;
    }
    status = read_page(pg, &question, limit, callback, baton);
    if (status == COMET_ENOTDB) {
        comet_pg_fail(pg, status,
                      "there is no index of words: as the schema's owner run "
                      "psql -f search.sql and then psql -f grants.sql (in "
                      "share/mod_comet/sql/postgresql)");
    }
    return status;
}
