/* SPDX-License-Identifier: Apache-2.0 */
/* Read pages, newest first: of the history, or of a search's results. */
#include "store/sqlite/sqlite.h"

#include <stdlib.h>
#include <string.h>

/* A search reads messages in pieces of at most this size, each in a view of its
 * own.  A piece takes about 5 ms. */
#define PIECE_ROWS 500
#define PIECE_BYTES (256 * 1024)
/* When the write-ahead log has LOG_PAGES pages, a writer will soon let it begin
 * anew, and waits at most 20 ms for the log's readers
 * (comet_sqlite_checkpoint()).  So from then on no view stays open for longer
 * than SHORT_VIEW. */
#define LOG_PAGES 4000
#define SHORT_VIEW apr_time_from_msec(10)
/* The word of a tally that holds the number of pages in the log ("mxFrame" of
 * SQLite's WAL-index). */
#define TALLY_PAGES 4

static apr_status_t no_memory(comet_sqlite_t *store)
{
    return comet_sqlite_fail_text(store, APR_ENOMEM,
                                  "no memory for the messages");
}

/** A page of messages, newest first. */
typedef struct page_t {
    comet_message_t **messages;
    apr_size_t count;
    apr_size_t bytes; /* the sum of the bodies: below COMET_BATCH_BYTES, unless
                       * there is only one message */
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

/* Hand the messages over, the oldest first; after a failure, free them. */
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

apr_status_t comet_sqlite_page(comet_sqlite_t *store,
                               const comet_selection_t *selection,
                               comet_timestamp_t after,
                               comet_timestamp_t before, apr_size_t limit,
                               comet_store_cb *callback, void *baton)
{
    page_t page = { .count = 0 };
    comet_sqlite_walk_t walk = {
        .selection = selection,
        .after = after,
        .before = before,
        .backwards = 1,
        .now = apr_time_now(),
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
    "SELECT m.id, c.name, m.type, m.author, m.body,"
    " m.private, m.alternates, m.event, m.retry, m.keep, m.expires"
    " FROM message_search CROSS JOIN message_log AS m"
    " CROSS JOIN channel AS c"
    " WHERE message_search MATCH ?1"
    " AND message_search.rowid > ?2 AND message_search.rowid < ?3"
    " AND m.id = message_search.rowid AND c.id = m.channel_id"
    /* an index that is being removed is not used: its removal begins with this
     * table */
    " AND EXISTS (SELECT 1 FROM search_progress)"
    " ORDER BY message_search.rowid DESC";

/** A search under way. */
typedef struct search_t {
    const comet_selection_t *selection;
    comet_sqlite_words_t words;
    comet_timestamp_t after, before; /* the range that has not been searched
                                      * yet */
    /** Where another search can continue: as `before`, but always the timestamp
     * of a message that the client may see. */
    comet_timestamp_t rest;
    /** How far the reading has come, also over messages that the client may not
     * see. */
    comet_timestamp_t reached;
    apr_size_t limit;
    apr_size_t piece; /* bytes left to read in this piece; 0: the piece is
                       * finished */
    page_t page;
    int done; /* the page is full, or nothing is left */
} search_t;

/* Add to the page a message that has the words.
 * @return APR_EOF: the page is full */
static apr_status_t take(search_t *search, comet_timestamp_t id,
                         sqlite3_stmt *row)
{
    apr_status_t status = gather(&search->page, id, row);

    if (status == APR_SUCCESS && search->page.count == search->limit) {
        status = APR_EOF;
    }
    search->done = status == APR_EOF;
    return status;
}

/* --- by reading the selection's messages --- */

static apr_status_t look_through(void *baton, comet_timestamp_t id,
                                 sqlite3_stmt *row)
{
    search_t *search = baton;
    comet_text_t body = comet_sqlite_column(row, 4);
    apr_status_t status = APR_SUCCESS;

    if (!body.data) {
        return APR_ENOMEM;
    }
    if (comet_sqlite_words_match(&search->words, body)) {
        status = take(search, id, row);
    }
    search->before = search->rest = id;
    search->piece -= body.length < search->piece ? body.length : search->piece;
    return status == APR_SUCCESS && !search->piece ? APR_EOF : status;
}

static apr_status_t search_piece(comet_sqlite_t *store, search_t *search)
{
    comet_sqlite_walk_t walk = {
        .selection = search->selection,
        .after = search->after,
        .before = search->before,
        .backwards = 1,
        .now = COMET_TIMESTAMP_MAX, /* the index has no passing messages */
        .left = PIECE_ROWS,
        .visit = look_through,
        .baton = search,
    };
    apr_status_t status;

    search->piece = PIECE_BYTES;
    status = comet_sqlite_walk(store, &walk);
    search->reached = walk.before;
    if (status == APR_SUCCESS && walk.left && search->piece) {
        search->done = 1; /* the walk has reached the end of the range */
    }
    return status;
}

/* --- by the index --- */

/* Report a failure of a search's statement.
 * @return APR_ENOENT: the index does not exist yet, or was removed */
static apr_status_t fail(comet_sqlite_t *store, int code)
{
    apr_status_t status = comet_sqlite_fail(store, code);

    return (code & 0xff) == SQLITE_ERROR ? APR_ENOENT : status;
}

static apr_status_t prepare_search(comet_sqlite_t *store)
{
    int code = SQLITE_OK;

    if (!store->search) {
        code =
            sqlite3_prepare_v3(store->db, search_text, -1,
                               SQLITE_PREPARE_PERSISTENT, &store->search, NULL);
    }
    return code == SQLITE_OK ? APR_SUCCESS : fail(store, code);
}

static apr_status_t find(comet_sqlite_t *store, search_t *search)
{
    sqlite3_stmt *row = store->search;
    apr_status_t status = APR_SUCCESS;
    int code = SQLITE_ROW;

    while (status == APR_SUCCESS && (code = sqlite3_step(row)) == SQLITE_ROW) {
        comet_timestamp_t id = sqlite3_column_int64(row, 0);

        if (comet_sqlite_is_of(search->selection, row)) {
            status = take(search, id, row);
            search->rest = id;
        }
        search->before = id;
    }
    if (status != APR_SUCCESS) {
        return status == APR_EOF ? APR_SUCCESS : status;
    }
    search->done = code == SQLITE_DONE;
    return code == SQLITE_DONE ? APR_SUCCESS : fail(store, code);
}

/* How long a view may be open.  While any view is open, the write-ahead log can
 * only grow. */
static apr_interval_time_t view_time(comet_sqlite_t *store)
{
    comet_tally_t tally;

    return comet_sqlite_tally(store, &tally)
                   && tally.words[TALLY_PAGES] >= LOG_PAGES
               ? SHORT_VIEW
           : store->spending.budget.cpu ? store->spending.budget.cpu->time / 2
                                        : 0;
}

static apr_status_t search_index(comet_sqlite_t *store, search_t *search)
{
    apr_status_t status = prepare_search(store);

    if (status != APR_SUCCESS) {
        return status;
    }
    comet_sqlite_limit_view(store, view_time(store));
    sqlite3_bind_text64(store->search, 1, search->words.query,
                        search->words.query_length, SQLITE_STATIC, SQLITE_UTF8);
    sqlite3_bind_int64(store->search, 2, search->after);
    sqlite3_bind_int64(store->search, 3, search->before);
    status = find(store, search);
    sqlite3_reset(store->search);
    sqlite3_clear_bindings(store->search);
    comet_sqlite_limit_view(store, 0);
    return status;
}

/* --- by both --- */

/*
 * Read the newest messages first; a small channel has no others.  Search older
 * messages by the index, which usually answers at once.  The index is slow for
 * words that are in most messages, and for prefixes ("deplo*"), whose words it
 * must merge first.  If it takes too long, read the older messages as well.
 */
static apr_status_t search(comet_sqlite_t *store, search_t *search)
{
    apr_status_t status = search_piece(store, search);
    int indexed = 0;

    while (status == APR_SUCCESS && !search->done) {
        if (!indexed) {
            status = search_index(store, search);
            status = status == COMET_ECOSTLY ? APR_SUCCESS : status;
        }
        else {
            status = search_piece(store, search);
        }
        indexed = 1;
        if (status == APR_SUCCESS && !search->done) {
            status = comet_sqlite_look(store);
        }
    }
    return status;
}

/*
 * Find a place for a search that has passed none of the client's messages.  The
 * last message that it has passed belongs to another channel, and its timestamp
 * must not be told, however often the client repeats the search.  So the place
 * is a round time behind this message, at most half of the way back to where the
 * search began: a multiple of a power of two that is more than a quarter of that
 * way.
 * @param began  where the search began
 * @return 0: the search has not come far enough
 */
static comet_timestamp_t round_place(comet_timestamp_t began,
                                     comet_timestamp_t reached)
{
    comet_timestamp_t now = apr_time_now(), way, step = 1;

    /* no message is much newer */
    way = (began < now ? began : now) - reached;
    if (way < 1000) {
        return 0;
    }
    while (step <= way / 4) {
        step *= 2;
    }
    return (reached / step + 1) * step;
}

apr_status_t comet_sqlite_search(comet_sqlite_t *store,
                                 const comet_selection_t *selection,
                                 comet_text_t words, comet_timestamp_t after,
                                 comet_timestamp_t before, apr_size_t limit,
                                 comet_store_cb *callback, void *baton,
                                 comet_timestamp_t *rest)
{
    search_t found = {
        .selection = selection,
        .after = after,
        .before = before,
        .rest = before,
        .reached = before,
        .limit = limit < COMET_LIMIT_MAX ? limit : COMET_LIMIT_MAX,
    };
    apr_status_t status;

    *rest = 0;
    if (!store->config->search) {
        return comet_sqlite_fail_text(store, COMET_ENOSEARCH,
                                      "the store has no index");
    }
    status = comet_sqlite_words_make(store, words, &found.words);
    if (status != APR_SUCCESS) {
        return status;
    }
    if (!make_room(&found.page, found.limit)) {
        status = no_memory(store);
    }
    else if (found.words.count && found.limit) {
        status = search(store, &found);
    }
    comet_sqlite_words_free(&found.words);
    if (status == COMET_ECOSTLY) {
        *rest = found.rest < before ? found.rest
                                    : round_place(before, found.reached);
        status = *rest ? APR_SUCCESS : status;
    }
    return deliver(&found.page, status, callback, baton);
}
