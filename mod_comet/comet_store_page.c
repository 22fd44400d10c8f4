/* SPDX-License-Identifier: Apache-2.0 */
/* The newest messages: a page of history, and of what was looked for. */
#include "comet_store_sqlite.h"

#include <stdlib.h>
#include <string.h>

/* How many that have the words are looked at for those of a selection. */
#define MATCHES_MAX 100000

static apr_status_t no_memory(comet_store_t *store)
{
    return comet_sqlite_fail_text(store, APR_ENOMEM,
                                  "no memory for the messages");
}

/** The newest messages, newest first. */
typedef struct page_t {
    comet_message_t **messages;
    apr_size_t count;
    apr_size_t bytes; /* of their bodies: less than a batch's, or of one */
} page_t;

static apr_status_t gather(void *baton, comet_timestamp_t id, sqlite3_stmt *row)
{
    page_t *page = baton;
    comet_message_t *message;
    apr_size_t bytes = (apr_size_t)sqlite3_column_bytes(row, 4);

    if (page->count && page->bytes + bytes >= COMET_BATCH_BYTES) {
        return APR_EOF;
    }
    message = comet_sqlite_message(row);
    if (!message) {
        return APR_ENOMEM;
    }
    page->bytes += bytes;
    page->messages[page->count++] = message;
    return APR_SUCCESS;
}

static int make_room(page_t *page, apr_size_t limit)
{
    page->messages = malloc((limit + 1) * sizeof(comet_message_t *));
    return page->messages != NULL;
}

/* Hand them over, the oldest first, when they could be read. */
static apr_status_t deliver(page_t *page, apr_status_t status,
                            comet_store_cb *callback, void *baton)
{
    int more = 1;

    while (page->count) {
        comet_message_t *message = page->messages[--page->count];

        if (status == APR_SUCCESS && more) {
            more = callback(baton, message);
        }
        else {
            comet_message_unref(message);
        }
    }
    free(page->messages);
    return status;
}

apr_status_t comet_store_page(comet_store_t *store,
                              const comet_selection_t *selection,
                              comet_timestamp_t after, comet_timestamp_t before,
                              apr_size_t limit, comet_store_cb *callback,
                              void *baton)
{
    page_t page = { .count = 0 };
    comet_sqlite_walk_t walk = {
        .selection = selection,
        .after = after,
        .before = before,
        .backwards = 1,
        .left = limit < COMET_LIMIT_MAX ? limit : COMET_LIMIT_MAX,
        .visit = gather,
        .baton = &page,
    };

    if (!make_room(&page, walk.left)) {
        return no_memory(store);
    }
    return deliver(&page, comet_sqlite_walk(store, &walk), callback, baton);
}

/* --- Searching -------------------------------------------------------- */

static const char search_text[] =
    "SELECT m.id, c.name, m.type, m.author, m.body"
    " FROM message_search CROSS JOIN message_log AS m"
    " CROSS JOIN channel AS c"
    " WHERE message_search MATCH ?1"
    " AND message_search.rowid > ?2 AND message_search.rowid < ?3"
    " AND m.id = message_search.rowid AND c.id = m.channel_id"
    /* it is not there while an index is being removed */
    " AND EXISTS (SELECT 1 FROM search_progress)"
    " ORDER BY message_search.rowid DESC LIMIT ?4";

static int is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

/*
 * Put a word as a string of FTS5, in which nothing is special but '"', which
 * is doubled.
 * @param out  has room for twice as much, and 4 bytes more
 * @return its end
 */
static char *quote(char *out, const char *word, apr_size_t length)
{
    int prefix = length > 1 && word[length - 1] == '*';
    apr_size_t i;

    *out++ = '"';
    for (i = 0; i < length - (prefix ? 1 : 0); i++) {
        if (word[i] == '"') {
            *out++ = '"';
        }
        *out++ = word[i];
    }
    *out++ = '"';
    if (prefix) {
        *out++ = '*';
    }
    *out++ = ' ';
    return out;
}

/*
 * The query of FTS5 for all of some words.
 * @param query  its data is malloc'd; NULL: no memory
 * @return how many words there are
 */
static apr_size_t make_query(comet_text_t words, comet_text_t *query)
{
    /* a word of one byte between spaces takes most */
    char *start = malloc(words.length * 4 + 8), *end = start;
    apr_size_t count = 0, i = 0;

    while (start && i < words.length) {
        apr_size_t from = i;

        while (i < words.length && !is_space(words.data[i])) {
            i++;
        }
        if (i > from) {
            end = quote(end, words.data + from, i - from);
            count++;
        }
        i++;
    }
    query->data = start;
    query->length = start ? (apr_size_t)(end - start) : 0;
    return count;
}

/* Where there is no index (yet, or any more) its statement is wrong. */
static apr_status_t fail(comet_store_t *store, int code)
{
    apr_status_t status = comet_sqlite_fail(store, code);

    return (code & 0xff) == SQLITE_ERROR ? APR_ENOENT : status;
}

static apr_status_t prepare_search(comet_store_t *store)
{
    int code = SQLITE_OK;

    if (!store->search) {
        code =
            sqlite3_prepare_v3(store->db, search_text, -1,
                               SQLITE_PREPARE_PERSISTENT, &store->search, NULL);
    }
    return code == SQLITE_OK ? APR_SUCCESS : fail(store, code);
}

static apr_status_t find(comet_store_t *store,
                         const comet_selection_t *selection, apr_size_t limit,
                         page_t *page)
{
    sqlite3_stmt *row = store->search;
    apr_status_t status = APR_SUCCESS;
    int code = SQLITE_ROW;

    while (status == APR_SUCCESS && page->count < limit
           && (code = sqlite3_step(row)) == SQLITE_ROW) {
        if (comet_sqlite_is_of(selection, row)) {
            status = gather(page, sqlite3_column_int64(row, 0), row);
        }
    }
    if (status == APR_ENOMEM) {
        return no_memory(store);
    }
    return code == SQLITE_ROW || code == SQLITE_DONE ? APR_SUCCESS
                                                     : fail(store, code);
}

static apr_status_t search(comet_store_t *store,
                           const comet_selection_t *selection,
                           comet_text_t query, comet_timestamp_t after,
                           comet_timestamp_t before, apr_size_t limit,
                           page_t *page)
{
    apr_status_t status = prepare_search(store);

    if (status != APR_SUCCESS) {
        return status;
    }
    sqlite3_bind_text64(store->search, 1, query.data, query.length,
                        SQLITE_STATIC, SQLITE_UTF8);
    sqlite3_bind_int64(store->search, 2, after);
    sqlite3_bind_int64(store->search, 3, before);
    sqlite3_bind_int64(store->search, 4, MATCHES_MAX);
    status = find(store, selection, limit, page);
    sqlite3_reset(store->search);
    sqlite3_clear_bindings(store->search);
    return status;
}

apr_status_t comet_store_search(comet_store_t *store,
                                const comet_selection_t *selection,
                                comet_text_t words, comet_timestamp_t after,
                                comet_timestamp_t before, apr_size_t limit,
                                comet_store_cb *callback, void *baton)
{
    page_t page = { .count = 0 };
    comet_text_t query;
    apr_size_t most = limit < COMET_LIMIT_MAX ? limit : COMET_LIMIT_MAX;
    apr_size_t count;
    apr_status_t status;

    if (!store->config->search) {
        return comet_sqlite_fail_text(store, COMET_ENOSEARCH,
                                      "the store has no index");
    }
    count = make_query(words, &query);
    if (!query.data || !make_room(&page, most)) {
        free((void *)query.data);
        return no_memory(store);
    }
    status = count == 0 || count > COMET_WORDS_MAX
                 ? comet_sqlite_fail_text(store, COMET_EINVALID,
                                          "no word, or too many")
                 : search(store, selection, query, after, before, most, &page);
    free((void *)query.data);
    return deliver(&page, status, callback, baton);
}
