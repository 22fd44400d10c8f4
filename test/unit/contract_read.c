/* SPDX-License-Identifier: Apache-2.0 */
/* The contract of an engine: order and reading. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "contract_kit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/engine.h"

/* --- Order ---------------------------------------------------------------- */

void contract_test_order(void **state)
{
    comet_timestamp_t first, last, now = apr_time_now();

    UNLESS_SKIPPED();
    assert_int_equal(contract_state_now().last, 0);
    first = contract_append("chat", "a");
    assert_true(first >= now - SECOND && first <= apr_time_now() + SECOND);
    contract_append("news", "b");
    last = contract_append("chat", "c");
    assert_true(last > first);
    assert_int_equal(contract_state_now().last, last);
    assert_string_equal(contract_read_words("chat", 0, 9), "a,c");
    assert_string_equal(contract_read_words("chat", first, 9), "c");
    assert_string_equal(contract_read_words("chat", last, 9), "");
    assert_string_equal(contract_read_words("*", 0, 2), "a,b");
    assert_string_equal(contract_read_words("none", 0, 9), "");
}

/* Every text comes back byte for byte, including authors and types. */
void contract_test_bytes(void **state)
{
    static const char *const texts[] = {
        "",
        " ",
        "it's \\ \"quoted\" {a,NULL} \x01\x7f\n\r\t",
        "NULL",
        "\xc3\xa4\xf0\x9f\x98\x80",
    };
    const size_t large = COMET_BODY_MAX_BYTES;
    char *long_text = malloc(large + 1);
    comet_message_t *message = comet_message_create(&(comet_message_fields_t){
        .channel = comet_text("a b/\xc3\xa4{}\""),
        .type = comet_text("it's"),
        .author = comet_text("\\anna"),
        .body = comet_text("x"),
    });
    apr_status_t result;
    size_t i;

    if (contract_skipped) {
        free(long_text);
        comet_message_unref(message);
    }
    UNLESS_SKIPPED();
    for (i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
        contract_append("chat", texts[i]);
        contract_read_words("chat", contract_state_now().last - 1, 9);
        assert_int_equal(contract_list.count, 1);
        assert_string_equal(contract_list.messages[0]->body.data, texts[i]);
        assert_null(contract_list.messages[0]->author.data);
        assert_string_equal(contract_list.messages[0]->type.data, "message");
    }
    assert_int_equal(scratch_append(contract_store, &message, &result, 1), 0);
    contract_read_words("*", message->timestamp - 1, 9);
    assert_string_equal(contract_list.messages[0]->channel.data,
                        "a b/\xc3\xa4{}\"");
    assert_string_equal(contract_list.messages[0]->type.data, "it's");
    assert_string_equal(contract_list.messages[0]->author.data, "\\anna");
    memset(long_text, 'l', large);
    long_text[large] = '\0';
    contract_append("long", long_text);
    contract_read_words("long", 0, 9);
    assert_int_equal(contract_list.messages[0]->body.length, large);
    assert_string_equal(contract_list.messages[0]->body.data, long_text);
    free(long_text);
    comet_message_unref(message);
}

/* --- Reading -------------------------------------------------------------- */

/* Selections of several channels and prefixes, with many messages and with few,
 * forwards and backwards. */
void contract_test_selections(void **state)
{
    comet_timestamp_t middle;
    int i;

    UNLESS_SKIPPED();
    contract_append("room/1", "a");
    contract_append("room/2", "b");
    contract_append("rare/1", "c");
    contract_append_many("noise", 1500);
    middle = contract_append("room/1", "d");
    contract_append_many("noise", 1500);
    contract_append("rare/2", "e");
    contract_append("room", "f");
    assert_string_equal(contract_read_words("room/1 rare/1", 0, 9), "a,c,d");
    assert_string_equal(contract_read_words("room/* rare/2", 0, 9), "a,b,d,e");
    assert_string_equal(contract_read_words("room/* rare/2", 0, 3), "a,b,d");
    assert_string_equal(contract_read_words("room/* rare/* room", middle, 9),
                        "e,f");
    assert_string_equal(
        contract_page_words("room/* rare/*", 0, COMET_TIMESTAMP_MAX, 3),
        "c,d,e");
    assert_string_equal(contract_page_words("room/* rare/*", 0, middle, 2),
                        "b,c");
    assert_string_equal(contract_page_words("room/1", 0, middle, 9), "a");
    assert_string_equal(contract_page_words("room/1", middle - 1, middle, 9),
                        "");
    contract_read_words("*", 0, 2500);
    assert_int_equal(contract_list.count, 2500);
    for (i = 1; i < 2500; i++) {
        assert_true(contract_list.messages[i]->timestamp
                    > contract_list.messages[i - 1]->timestamp);
    }
    contract_empty_list();
    contract_list.limit = 700; /* the callback stops the reading here */
    assert_int_equal(
        comet_store_tail(contract_store, 0, 2500, contract_collect, NULL), 0);
    assert_int_equal(contract_list.count, 700);
}

static int join_name(void *baton, comet_text_t name)
{
    char *names = baton;

    sprintf(names + strlen(names), "%.*s ", (int)name.length, name.data);
    return 1;
}

/* Messages on sibling channels are read only by the channel's name, however
 * many messages there are.  A reader of the whole log also gets them. */
void contract_test_siblings(void **state)
{
    char names[200] = "";

    UNLESS_SKIPPED();
    contract_append("room/1", "a");
    contract_append_many("room/1/@online", 300);
    contract_append("@online", "b");
    contract_append("room/2", "c");
    contract_append_many("room/3/@online", 30);
    contract_append("room/4", "d");
    assert_string_equal(contract_read_words("room/*", 0, 2), "a,c");
    assert_string_equal(contract_read_words("*", 0, 9), "a,c,d");
    assert_string_equal(contract_read_words("room/* @online", 0, 9), "a,b,c,d");
    contract_read_words("room/1/@online", 0, 999);
    assert_int_equal(contract_list.count, 300);
    contract_empty_list();
    contract_list.limit = 999;
    assert_int_equal(
        comet_store_tail(contract_store, 0, 999, contract_collect, NULL), 0);
    assert_int_equal(contract_list.count, 334);
    contract_empty_list();
    assert_int_equal(comet_store_channels(contract_store, comet_text("room/"),
                                          3, join_name, names),
                     0);
    assert_string_equal(names, "room/1 room/2 room/4 ");
}

/* The bodies of a page fit into one batch.  A forward reading returns all
 * messages, however long. */
void contract_test_long_bodies(void **state)
{
    char *body = malloc(100001);
    comet_timestamp_t before = COMET_TIMESTAMP_MAX;
    int i, pages = 0, seen = 0;

    if (contract_skipped) {
        free(body);
    }
    UNLESS_SKIPPED();
    memset(body, 'b', 100000);
    body[100000] = '\0';
    for (i = 0; i < 7; i++) {
        contract_append(i % 2 ? "one" : "two", body);
    }
    contract_read_words("*", 0, 99);
    assert_int_equal(contract_list.count, 7);
    contract_read_words("one two", 0, 99);
    assert_int_equal(contract_list.count, 7);
    contract_read_words("two", 0, 99);
    assert_int_equal(contract_list.count, 4);
    for (;;) {
        comet_selection_t *selection = scratch_choose("one two");
        size_t bytes = 0, j;

        contract_empty_list();
        assert_int_equal(comet_store_page(contract_store, selection, 0, before,
                                          99, contract_collect, NULL),
                         0);
        comet_selection_unref(selection);
        if (!contract_list.count) {
            break;
        }
        for (j = 0; j < contract_list.count; j++) {
            bytes += contract_list.messages[j]->body.length;
        }
        assert_true(bytes < COMET_BATCH_BYTES);
        before = contract_list.messages[0]->timestamp;
        seen += (int)contract_list.count;
        pages++;
    }
    assert_int_equal(seen, 7);
    assert_int_equal(pages, 4);
    free(body);
}

static comet_timestamp_t replay(const char *words, apr_int64_t count, int *any)
{
    comet_selection_t *selection = scratch_choose(words);
    comet_timestamp_t cursor;

    assert_int_equal(
        comet_store_replay(contract_store, selection, count, &cursor, any), 0);
    comet_selection_unref(selection);
    return cursor;
}

void contract_test_replay(void **state)
{
    comet_timestamp_t a, b, c, cursor;
    apr_int64_t has;
    int any;

    UNLESS_SKIPPED();
    assert_int_equal(replay("chat", 5, &any), 0);
    assert_int_equal(any, 0);
    assert_int_equal(replay("chat x/*", 5, &any), 0);
    assert_int_equal(any, 0);
    a = contract_append("chat", "a");
    b = contract_append("x/y", "b");
    c = contract_append("chat", "c");
    assert_int_equal(replay("chat", 1, &any), a);
    assert_int_equal(any, 1);
    assert_int_equal(replay("chat", 0, &any), c);
    assert_int_equal(replay("chat", 2, &any), 0);
    assert_int_equal(any, 1);
    assert_int_equal(replay("chat x/*", 1, &any), b);
    assert_int_equal(replay("chat x/*", 2, &any), a);
    assert_int_equal(replay("*", 2, &any), a);
    assert_int_equal(any, 1);
    assert_int_equal(comet_store_recent(contract_store, 2, &cursor), 0);
    assert_int_equal(cursor, a);
    assert_int_equal(comet_store_recent(contract_store, 3, &cursor), 0);
    assert_int_equal(cursor, 0);
    assert_int_equal(comet_store_has(contract_store, b, &has), 0);
    assert_int_equal(has, 1);
    assert_int_equal(comet_store_has(contract_store, b + 1, &has), 0);
    assert_int_equal(has, 0);
}

/* A walk over the newest messages does not find those of a rare channel. */
void contract_test_replay_rare(void **state)
{
    comet_timestamp_t a, b, c;
    int any;

    UNLESS_SKIPPED();
    a = contract_append("x/y", "a");
    b = contract_append("x/z", "b");
    contract_append_many("other", 300);
    assert_int_equal(replay("x/*", 0, &any), b);
    assert_int_equal(replay("x/*", 1, &any), a);
    assert_int_equal(replay("x/*", 2, &any), 0);
    assert_int_equal(any, 1);
    assert_int_equal(replay("chat z/*", 1, &any), 0);
    assert_int_equal(any, 0);
    c = contract_append("x/y", "c");
    assert_int_equal(replay("x/* chat", 0, &any), c);
    assert_int_equal(replay("x/* chat", 1, &any), b);
    assert_int_equal(replay("x/* chat", 2, &any), a);
    assert_int_equal(replay("x/* chat", 3, &any), 0);
}

/* An engine that cannot tell a size reports -1. */
void contract_test_sizes(void **state)
{
    comet_store_sizes_t before, after;
    char body[20000];
    unsigned random = 1;
    int i;

    UNLESS_SKIPPED();
    for (i = 0; i < (int)sizeof(body) - 1; i++) { /* the text is hard to
                                                   * compress */
        random = random * 1103515245 + 12345;
        body[i] = (char)('a' + (random >> 16) % 26);
    }
    body[i] = '\0';
    contract_append("one", "x");
    assert_int_equal(comet_store_sizes(contract_store, &before), 0);
    for (i = 0; i < 50; i++) {
        contract_append("two", body);
    }
    assert_int_equal(comet_store_sizes(contract_store, &after), 0);
    assert_true(before.channels == -1
                || (before.channels == 1 && after.channels == 2));
    assert_true(after.log_bytes == -1 || after.log_bytes > 0);
    assert_true(before.database_bytes == -1
                || after.database_bytes + after.log_bytes
                       > before.database_bytes + 500000);
}

static char names[200];

static int add_name(void *baton, comet_text_t name)
{
    size_t length = strlen(names);

    snprintf(names + length, sizeof(names) - length, "%.*s,", (int)name.length,
             name.data);
    return ++*(int *)baton < 3;
}

void contract_test_channels(void **state)
{
    int count = 0;

    UNLESS_SKIPPED();
    contract_append("b/2", "x");
    contract_append("b/10", "x");
    contract_append("a", "x");
    contract_append("b/\xc3\xa4", "x");
    contract_append("B/1", "x");
    names[0] = '\0';
    assert_int_equal(comet_store_channels(contract_store, comet_text("b/"), 9,
                                          add_name, &count),
                     0);
    assert_string_equal(names, "b/10,b/2,b/\xc3\xa4,");
    names[0] = '\0';
    count = 0;
    assert_int_equal(comet_store_channels(contract_store, comet_text(""), 2,
                                          add_name, &count),
                     0);
    assert_string_equal(names, "B/1,a,");
    contract_must_run("DELETE FROM message WHERE channel = 'a'");
    names[0] = '\0';
    count = -9;
    assert_int_equal(comet_store_channels(contract_store, comet_text(""), 9,
                                          add_name, &count),
                     0);
    assert_string_equal(names, "B/1,b/10,b/2,b/\xc3\xa4,");
}

/* A view does not change while others publish. */
void contract_test_views(void **state)
{
    comet_store_t *reader;
    comet_store_state_t before, after;
    apr_int64_t has;
    comet_timestamp_t late;

    UNLESS_SKIPPED();
    contract_append("chat", "a");
    reader = contract_open_store(COMET_STORE_READ);
    assert_int_equal(comet_store_begin(reader, &before), 0);
    late = contract_append("chat", "b");
    assert_int_equal(comet_store_has(reader, late, &has), 0);
    assert_int_equal(has, 0);
    assert_int_equal(comet_store_is_usable(reader, 0), 1);
    comet_store_end(reader);
    assert_int_equal(comet_store_begin(reader, &after), 0);
    assert_int_equal(comet_store_has(reader, late, &has), 0);
    assert_int_equal(has, 1);
    comet_store_end(reader);
    assert_int_equal(after.last, late);
    assert_true(before.last < late);
    comet_store_close(reader);
}

/* Whether to wait for a commit.  As none is under way, this changes nothing. */
static int awaits_commit;

/* The bodies that are new since a state; "-" if anything other than growth has
 * happened to the log. */
static const char *news_since(const comet_store_state_t *known,
                              comet_timestamp_t newest, apr_size_t limit)
{
    comet_store_state_t now, state;
    int goes_on;

    contract_empty_list();
    assert_int_equal(comet_store_news(contract_store, known, newest, limit,
                                      awaits_commit, contract_collect, NULL,
                                      &state, &goes_on),
                     0);
    now = contract_state_now();
    assert_int_equal(state.last, now.last);
    assert_int_equal(state.erased, now.erased);
    return goes_on ? contract_bodies() : "-";
}

/* With a remote engine, one query finds out what is new, and whether anything
 * else has happened to the log. */
void contract_test_news(void **state)
{
    comet_store_state_t empty, known;
    comet_timestamp_t a;

    UNLESS_SKIPPED();
    if (!contract_config.place.engine->news) {
        skip();
    }
    empty = contract_state_now();
    assert_string_equal(news_since(&empty, 0, 9), "");
    awaits_commit = 1;
    assert_string_equal(news_since(&empty, 0, 9), "");
    a = contract_append("chat", "a");
    known = contract_state_now();
    assert_string_equal(news_since(&known, a, 9), "");
    contract_append("chat/@online", "b");
    contract_append("other", "c");
    contract_append("chat", "d");
    assert_string_equal(news_since(&known, a, 9), "b,c,d");
    assert_string_equal(contract_list.messages[1]->channel.data, "other");
    assert_string_equal(news_since(&known, a, 2), "b,c");
    awaits_commit = 0;
    assert_string_equal(news_since(&empty, 0, 9), "a,b,c,d");
    /* the log is another one, or an older copy */
    assert_string_equal(news_since(&known, a - 1, 9), "-");
    known.last += 60 * SECOND;
    assert_string_equal(news_since(&known, a, 9), "-");
    known = contract_state_now();
    contract_must_run("DELETE FROM message WHERE body = 'a'");
    contract_append("chat", "e");
    assert_string_equal(news_since(&known, known.last, 9), "-");
    known = contract_state_now();
    contract_append("chat", "f");
    assert_string_equal(news_since(&known, 0, 9), "f");
}
