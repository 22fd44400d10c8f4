/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The words of a search.  The index's own tokenizer splits the text of a
 * search, so that search and index agree on what a word is and how many there
 * are.
 *
 * Spaces separate phrases: "foo-bar" is a phrase of two consecutive words.  One
 * pass over a text's words finds out whether the text has all phrases (the
 * Shift-And algorithm).  Bit i of the state stands for word i of the search.
 * The bit is set if the words just read equal the words of its phrase up to and
 * including word i.
 */
#include "store/sqlite/sqlite.h"

#include <stdlib.h>
#include <string.h>

/* FTS5 truncates tokens to this length (FTS5_MAX_TOKEN_SIZE). */
#define TOKEN_BYTES_MAX 32768
/* A token may be longer than the text it is made from: an invalid byte of UTF-8
 * can become two bytes, and two bytes can become three. */
#define GROWTH 3

static int is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static comet_text_t make_token(const char *data, int length)
{
    return (comet_text_t){ data, length < TOKEN_BYTES_MAX ? (apr_size_t)length
                                                          : TOKEN_BYTES_MAX };
}

/* --- The tokenizer ---------------------------------------------------- */

static fts5_api *find_api(comet_sqlite_t *store)
{
    sqlite3_stmt *statement = NULL;
    fts5_api *api = NULL;

    if (sqlite3_prepare_v2(store->db, "SELECT fts5(?1)", -1, &statement, NULL)
        == SQLITE_OK) {
        sqlite3_bind_pointer(statement, 1, &api, "fts5_api_ptr", NULL);
        sqlite3_step(statement);
    }
    sqlite3_finalize(statement);
    return api;
}

/* Make the tokenizer that sql/search.sql names. */
static apr_status_t make_tokenizer(comet_sqlite_t *store,
                                   comet_sqlite_words_t *words)
{
    const char *arguments[] = { "remove_diacritics", "2" };
    fts5_api *api = find_api(store);
    void *context = NULL;
    int code =
        api ? api->xFindTokenizer(api, "unicode61", &context, &words->methods)
            : SQLITE_ERROR;

    if (code == SQLITE_OK) {
        code = words->methods.xCreate(context, arguments, 2, &words->tokenizer);
    }
    return code == SQLITE_OK ? APR_SUCCESS : comet_sqlite_fail(store, code);
}

static int tokenize(const comet_sqlite_words_t *words, void *baton, int flags,
                    comet_text_t text,
                    int (*visit)(void *, int, const char *, int, int, int))
{
    return words->methods.xTokenize(words->tokenizer, baton, flags, text.data,
                                    (int)text.length, visit);
}

/* --- Reading the text of a search --------------------------------------- */

/* Append a token to the words.  Called by the tokenizer. */
static int take_token(void *baton, int flags, const char *data, int length,
                      int start, int end)
{
    comet_sqlite_words_t *words = baton;
    comet_text_t token = make_token(data, length);

    if (words->count == COMET_SQLITE_TOKENS) {
        words->too_many = 1;
        return SQLITE_DONE;
    }
    if (token.length > words->room) {
        return SQLITE_NOMEM;
    }
    memcpy(words->bytes, token.data, token.length);
    words->tokens[words->count++] = (comet_sqlite_token_t){
        .text = { words->bytes, token.length },
    };
    words->bytes += token.length;
    words->room -= token.length;
    return SQLITE_OK;
}

static int is_equal_phrase(const comet_sqlite_words_t *words, unsigned one,
                           unsigned other, unsigned length)
{
    unsigned i;

    if (!(words->ends >> (other + length - 1) & 1)) {
        return 0;
    }
    for (i = 0; i < length; i++) {
        const comet_sqlite_token_t *a = &words->tokens[one + i];
        const comet_sqlite_token_t *b = &words->tokens[other + i];

        if (a->prefix != b->prefix || !comet_text_equal(a->text, b->text)) {
            return 0;
        }
    }
    return 1;
}

/* Whether the phrase that begins with token @a first equals an earlier
 * phrase. */
static int is_repeated(const comet_sqlite_words_t *words, unsigned first)
{
    unsigned length = words->count - first, i;

    for (i = 0; i + length <= first; i++) {
        if ((words->starts >> i & 1)
            && is_equal_phrase(words, first, i, length)) {
            return 1;
        }
    }
    return 0;
}

/*
 * Write a phrase as an FTS5 string, in which only '"' is special and must be
 * doubled.
 */
static void quote(comet_text_t phrase, int prefix, char **end)
{
    char *out = *end;
    apr_size_t i;

    *out++ = '"';
    for (i = 0; i < phrase.length; i++) {
        if (phrase.data[i] == '"') {
            *out++ = '"';
        }
        *out++ = phrase.data[i];
    }
    *out++ = '"';
    if (prefix) {
        *out++ = '*';
    }
    *out++ = ' ';
    *end = out;
}

/* Add the text between two spaces as a phrase, unless it repeats an earlier
 * phrase or has no word. */
static int take_phrase(comet_sqlite_words_t *words, comet_text_t phrase,
                       char **end)
{
    int prefix = phrase.length > 1 && phrase.data[phrase.length - 1] == '*';
    unsigned first = words->count;
    char *bytes = words->bytes;
    apr_size_t room = words->room;
    int code;

    phrase.length -= prefix ? 1 : 0;
    code = tokenize(words, words,
                    FTS5_TOKENIZE_QUERY | (prefix ? FTS5_TOKENIZE_PREFIX : 0),
                    phrase, take_token);
    if (code != SQLITE_OK || words->count == first) {
        return code;
    }
    words->tokens[words->count - 1].prefix = prefix;
    if (is_repeated(words, first)) {
        words->count = first;
        words->bytes = bytes;
        words->room = room;
        return SQLITE_OK;
    }
    words->too_many |= words->count > COMET_WORDS_MAX;
    words->starts |= 1U << first;
    words->ends |= 1U << (words->count - 1);
    quote(phrase, prefix, end);
    return SQLITE_OK;
}

static int take_phrases(comet_sqlite_words_t *words, comet_text_t text)
{
    char *end = words->query;
    apr_size_t i = 0;
    int code = SQLITE_OK;

    while (i < text.length && code == SQLITE_OK && !words->too_many) {
        apr_size_t from = i;

        while (i < text.length && !is_space(text.data[i])) {
            i++;
        }
        if (i > from) {
            words->any = 1;
            code = take_phrase(
                words, (comet_text_t){ text.data + from, i - from }, &end);
        }
        i++;
    }
    words->query_length = (apr_size_t)(end - words->query);
    return code;
}

apr_status_t comet_sqlite_words_make(comet_sqlite_t *store, comet_text_t text,
                                     comet_sqlite_words_t *words)
{
    /* a phrase of one byte grows most: the byte doubled, two quotes, a star and
     * a space */
    apr_size_t query_bytes = text.length * 4 + 8;
    apr_status_t status;

    *words = (comet_sqlite_words_t){ .room = text.length * GROWTH };
    words->query = malloc(query_bytes + words->room);
    if (!words->query) {
        return comet_sqlite_fail_text(store, APR_ENOMEM,
                                      "no memory for the words");
    }
    words->bytes = words->query + query_bytes;
    status = make_tokenizer(store, words);
    if (status == APR_SUCCESS) {
        int code = take_phrases(words, text);

        status =
            code == SQLITE_OK ? APR_SUCCESS : comet_sqlite_fail(store, code);
    }
    if (status == APR_SUCCESS && (!words->any || words->too_many)) {
        status = comet_sqlite_fail_text(store, COMET_EINVALID,
                                        "no word, or too many");
    }
    if (status != APR_SUCCESS) {
        comet_sqlite_words_free(words);
    }
    return status;
}

void comet_sqlite_words_free(comet_sqlite_words_t *words)
{
    if (words->tokenizer) {
        words->methods.xDelete(words->tokenizer);
    }
    free(words->query);
    *words = (comet_sqlite_words_t){ .count = 0 };
}

/* --- Matching --------------------------------------------------------- */

typedef struct match_t {
    const comet_sqlite_words_t *words;
    apr_uint32_t state; /* bit set: the words up to which a phrase has been
                         * matched, see above */
    apr_uint32_t found; /* bit set: a phrase that was found is represented by
                         * the bit of its last word */
} match_t;

static int is_hit(const comet_sqlite_token_t *wanted, comet_text_t token)
{
    return (wanted->prefix ? token.length >= wanted->text.length
                           : token.length == wanted->text.length)
           && memcmp(token.data, wanted->text.data, wanted->text.length) == 0;
}

static int match_token(void *baton, int flags, const char *data, int length,
                       int start, int end)
{
    match_t *match = baton;
    const comet_sqlite_words_t *words = match->words;
    comet_text_t token = make_token(data, length);
    apr_uint32_t hits = 0;
    unsigned i;

    for (i = 0; i < words->count; i++) {
        hits |= (apr_uint32_t)is_hit(&words->tokens[i], token) << i;
    }
    match->state = (match->state << 1 | words->starts) & hits;
    match->found |= match->state & words->ends;
    return match->found == words->ends ? SQLITE_DONE : SQLITE_OK;
}

int comet_sqlite_words_match(const comet_sqlite_words_t *words,
                             comet_text_t body)
{
    match_t match = { .words = words };

    tokenize(words, &match, FTS5_TOKENIZE_DOCUMENT, body, match_token);
    return match.found == words->ends;
}
