/* SPDX-License-Identifier: Apache-2.0 */
/* Searching the message log, and the index that it needs. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "store_kit.h"

#include "store/engine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "reference.h"

/* --- Helpers ---------------------------------------------------------- */

static comet_store_t *open_with(int search, comet_store_mode_e mode)
{
    kit_config.search = search;
    return kit_open_store(mode);
}

static int tidy(comet_store_t *store)
{
    int more, steps = 0;

    do {
        if (comet_store_tidy(store, &more) != APR_SUCCESS) {
            fail_msg("%s", comet_store_error(store));
        }
        steps++;
        assert_in_range(steps, 1, 1000);
    } while (more);
    return steps;
}

static const char *joined(void)
{
    static char text[4096];
    size_t i;

    text[0] = '\0';
    for (i = 0; i < kit_list.count; i++) {
        size_t length = strlen(text);

        snprintf(text + length, sizeof(text) - length, "%s%s", i ? "|" : "",
                 kit_list.messages[i]->body.data);
    }
    return text;
}

/** Where the last search can be continued; 0: it was complete. */
static comet_timestamp_t rest;

static apr_status_t try_search(comet_store_t *store, const char *channel,
                               const char *words, size_t limit)
{
    kit_empty_list();
    return comet_store_search(store, scratch_select(comet_text(channel)),
                              comet_text(words), 0, COMET_TIMESTAMP_MAX, limit,
                              kit_collect, &kit_list, &rest);
}

/** The bodies found, joined by '|'. */
static const char *search(comet_store_t *store, const char *channel,
                          const char *words, size_t limit)
{
    apr_status_t status = try_search(store, channel, words, limit);

    if (status != APR_SUCCESS) {
        fail_msg("%s: %d: %s", words, status, comet_store_error(store));
    }
    return joined();
}

static size_t found(comet_store_t *store, const char *channel,
                    const char *words)
{
    search(store, channel, words, COMET_LIMIT_MAX);
    return kit_list.count;
}

/** The index holds exactly what the log holds. */
static void assert_index_right(void)
{
    kit_run_outside("INSERT INTO message_search(message_search, rank)"
                    " VALUES('integrity-check', 1)");
    assert_int_equal(kit_number("SELECT count(*) FROM message_search_docsize"),
                     kit_number("SELECT count(*) FROM message_log"));
    assert_int_equal(kit_number("SELECT count(*) FROM message_search_docsize"
                                " WHERE id NOT IN"
                                " (SELECT id FROM message_log)"),
                     0);
}

/** Insert many messages as another program, in one transaction. */
static void fill(const char *channel, int count)
{
    char sql[256];

    snprintf(sql, sizeof(sql),
             "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n"
             " WHERE i < %d) INSERT INTO message(channel, body)"
             " SELECT '%s', 'word w' || i FROM n",
             count, channel);
    kit_run_outside(sql);
}

/** How many messages contain a word, according to the index. */
static sqlite3_int64 indexed(const char *word)
{
    char sql[128];

    snprintf(sql, sizeof(sql),
             "SELECT count(*) FROM message_search"
             " WHERE message_search MATCH '%s'",
             word);
    return kit_number(sql);
}

static sqlite3_int64 pieces(void)
{
    return kit_number("SELECT count(*) FROM sqlite_master"
                      " WHERE name LIKE '%search%'");
}

/* --- Searching -------------------------------------------------------- */

static void test_off(void **state)
{
    comet_store_t *store = open_with(0, COMET_STORE_WRITE);

    assert_null(kit_config.place.engine->cannot_search());
    kit_append_many(store, "a", 1);
    assert_int_equal(try_search(store, "a", "0", 9), COMET_ENOSEARCH);
    assert_int_equal(tidy(store), 1);
    assert_int_equal(pieces(), 0);
    comet_store_close(store);
}

static void test_words(void **state)
{
    static const char *const bodies[] = {
        "the quick brown fox",
        "The BROWN dog",
        "caf\xc3\xa9 au lait, \xc3\xa4rger ti\xe1\xba\xbfng",
        "say \"hello\" to body:brown",
        "foo-bar foobar",
        "<script>alert(1)</script>",
        "\xe4\xb8\xad\xe6\x96\x87\xe6\xb5\x8b\xe8\xaf\x95",
        "a AND b OR c NOT d NEAR e",
    };
    static const struct {
        const char *words, *found;
    } cases[] = {
        { "brown", "0|1|3" },
        { "  BROWN\t the\n", "0|1" },
        { "brown fox dog", "" },
        { "bro", "" },
        { "bro*", "0|1|3" },
        { "bro* qui*", "0" },
        { "b*n", "" },
        { "cafe", "2" },
        { "CAF\xc3\x89", "2" },
        { "arger tieng", "2" },
        { "\"hello\"", "3" },
        { "he\"llo", "" },
        { "\"", "" },
        { "\"\"\" hello", "3" },
        { "body:brown", "3" },
        { "body : brown", "3" },
        { "foo-bar", "4" },
        { "-bar", "4" },
        { "bar-foo", "" },
        { "^brown", "0|1|3" },
        { "(brown", "0|1|3" },
        { "{body} brown", "3" },
        { "NEAR(brown", "" },
        { "fox OR dog", "" },
        { "a AND NOT NEAR", "7" },
        { "+ fox", "0" },
        { "!!! ???", "" },
        { "*", "" },
        { "**", "" },
        { "* fox", "0" },
        { "!* fox", "0" },
        { "script alert", "5" },
        { "\xe4\xb8\xad\xe6\x96\x87", "" },
        { "\xe4\xb8\xad\xe6\x96\x87*", "6" },
        { "\xe4\xb8\xad\xe6\x96\x87\xe6\xb5\x8b\xe8\xaf\x95", "6" },
        { "\xff\xfe", "" },
        { "';--", "" },
    };
    comet_store_t *store = open_with(1, COMET_STORE_WRITE);
    comet_store_t *reader = open_with(1, COMET_STORE_READ);
    char wanted[512];
    size_t i, j;

    for (i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++) {
        assert_int_equal(kit_append(store, "a", bodies[i], NULL), 0);
    }
    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        wanted[0] = '\0';
        for (j = 0; cases[i].found[j]; j++) {
            strncat(wanted,
                    cases[i].found[j] == '|' ? "|"
                                             : bodies[cases[i].found[j] - '0'],
                    sizeof(wanted) - strlen(wanted) - 1);
        }
        if (strcmp(search(reader, "a", cases[i].words, 9), wanted) != 0) {
            fail_msg("%s: found %s", cases[i].words, joined());
        }
    }
    comet_store_close(reader);
    comet_store_close(store);
}

/* Whatever a user types is treated as words. A text that is one word of a
 * message, and nothing else, finds that message. */
static void test_any_bytes(void **state)
{
    static const char *const pieces[] = { "\"",
                                          "*",
                                          "^",
                                          "-",
                                          "+",
                                          "(",
                                          ")",
                                          "{",
                                          "}",
                                          ":",
                                          ",",
                                          "'",
                                          " ",
                                          "\t",
                                          " AND ",
                                          " OR ",
                                          "NOT",
                                          "NEAR",
                                          "body",
                                          "\xff",
                                          "\xc3",
                                          "\xa9",
                                          "\xe4\xb8\xad",
                                          "x",
                                          "\\",
                                          ";",
                                          "--",
                                          "/*",
                                          "?1",
                                          "@a",
                                          "$",
                                          "%" };
    comet_store_t *store = open_with(1, COMET_STORE_WRITE);
    uint64_t dice = (uint64_t)apr_time_now() | 1;
    char words[256];
    int i, j;

    print_message("seed %llu\n", (unsigned long long)dice);
    assert_int_equal(kit_append(store, "a", "x body near", NULL), 0);
    for (i = 0; i < 4000; i++) {
        apr_status_t status;

        words[0] = '\0';
        for (j = (int)(reference_random(&dice) % 12); j > 0; j--) {
            strncat(words, pieces[reference_random(&dice) % 32],
                    sizeof(words) - strlen(words) - 1);
        }
        status = try_search(store, "a", words, 9);
        if (status != APR_SUCCESS
            && (status != COMET_EINVALID
                || strspn(words, " \t") < strlen(words))) {
            fail_msg("%s: %d %s", words, status, comet_store_error(store));
        }
    }
    comet_store_close(store);
}

/* Words are counted as the index counts them, equal words once. */
static void test_how_many_words(void **state)
{
    comet_store_t *store = open_with(1, COMET_STORE_WRITE);
    char many[8 * COMET_WORDS_MAX] = "", phrase[8000] = "a0";
    int i;

    assert_int_equal(try_search(store, "a", "", 9), COMET_EINVALID);
    assert_int_equal(try_search(store, "a", " \t\r\n ", 9), COMET_EINVALID);
    for (i = 0; i < COMET_WORDS_MAX; i++) {
        snprintf(many + strlen(many), 8, "x%d ", i);
    }
    assert_int_equal(kit_append(store, "a", many, NULL), 0);
    assert_int_equal(found(store, "a", many), 1);
    strcat(many, "x0 X0 X\xcc\x80"
                 "0");
    assert_int_equal(found(store, "a", many), 1);
    strcat(many, " x");
    assert_int_equal(try_search(store, "a", many, 9), COMET_EINVALID);
    /* a text without spaces may be many words, too */
    while (strlen(phrase) < 7000) {
        strcat(phrase, ".the");
    }
    assert_int_equal(try_search(store, "a", phrase, 9), COMET_EINVALID);
    for (i = 0; i < 1700; i++) {
        memcpy(phrase + 4 * i, "a-a ", 5);
    }
    assert_int_equal(found(store, "a", phrase), 0);
    comet_store_close(store);
}

/* --- What a search may cost ----------------------------------------------- */

/** The client that waits for a search. */
typedef struct client_t {
    int asked; /* how often it was asked */
    int stays; /* it leaves after so many times */
} client_t;

static int is_gone(void *baton)
{
    client_t *client = baton;

    return ++client->asked > client->stays;
}

/* A search that is cut short can be continued, and finds everything once.
 * @return how many searches it took */
static int search_in_parts(comet_store_t *store, const char *channel,
                           const char *words, size_t *count)
{
    const comet_budget_t tiny = { .time = 1 };
    comet_timestamp_t before = COMET_TIMESTAMP_MAX, last = before;
    int searches = 0;

    *count = 0;
    do {
        size_t i;

        comet_store_limit(store, &tiny);
        kit_empty_list();
        assert_int_equal(
            comet_store_search(store, scratch_select(comet_text(channel)),
                               comet_text(words), 0, before, COMET_LIMIT_MAX,
                               kit_collect, &kit_list, &rest),
            APR_SUCCESS);
        for (i = kit_list.count; i-- > 0;) {
            assert_true(kit_list.messages[i]->timestamp < last);
            last = kit_list.messages[i]->timestamp;
        }
        *count += kit_list.count;
        assert_true(rest < before);
        before = rest;
        assert_in_range(++searches, 1, 1000);
    } while (rest);
    comet_store_limit(store, NULL);
    return searches;
}

static void test_costly_words_in_parts(void **state)
{
    static const char *const words[] = { "word", "w*", "wo* w1*", "w4 word" };
    static const size_t counts[] = { 3000, 3000, 1111, 1 };
    comet_store_t *store = open_with(1, COMET_STORE_WRITE);
    size_t i, count;

    fill("a", 3000);
    fill("b", 3000);
    for (i = 0; i < sizeof(words) / sizeof(*words); i++) {
        assert_in_range(search_in_parts(store, "a", words[i], &count), 3, 1000);
        assert_int_equal(count, counts[i]);
    }
    /* without a limit one search is enough */
    assert_int_equal(found(store, "a", "w4 word"), 1);
    assert_int_equal(rest, 0);
    comet_store_close(store);
}

/* The search looks at the channel before the words: in a small channel it costs
 * nothing. */
static void test_small_channel(void **state)
{
    const comet_budget_t tiny = { .time = 1 };
    comet_store_t *store = open_with(1, COMET_STORE_WRITE);

    fill("large", 3000);
    kit_append(store, "small", "word w1 here", NULL);
    fill("large", 3000);
    comet_store_limit(store, &tiny);
    assert_string_equal(search(store, "none", "w* o* a* b* c*", 9), "");
    assert_int_equal(rest, 0);
    assert_string_equal(search(store, "small", "w* h*", 9), "word w1 here");
    assert_int_equal(rest, 0);
    comet_store_close(store);
}

static void test_client_leaves(void **state)
{
    static const char *const words[] = { "nothing", "w* o*", "word nothing" };
    comet_store_t *store = open_with(1, COMET_STORE_WRITE);
    size_t i;

    fill("a", 3000);
    for (i = 0; i < sizeof(words) / sizeof(*words); i++) {
        client_t client = { .stays = 1 };
        const comet_budget_t budget = { .is_gone = is_gone, .baton = &client };

        comet_store_limit(store, &budget);
        assert_int_equal(try_search(store, "a", words[i], 9), COMET_EGONE);
        assert_int_equal(client.asked, 2);
        assert_int_equal(kit_list.count, 0);
    }
    /* the connection can still be used */
    comet_store_limit(store, NULL);
    assert_string_equal(search(store, "a", "w77", 9), "word w77");
    comet_store_close(store);
}

/* Every kind of reading is limited, not only a search. */
static void test_costly_reading(void **state)
{
    const comet_budget_t tiny = { .time = 1 };
    comet_store_t *store = open_with(1, COMET_STORE_WRITE);
    comet_selection_t *all =
        comet_selection_create(NULL, 0, (comet_text_t[]){ { "", 0 } }, 1);
    comet_timestamp_t cursor;
    int any;

    fill("a", 3000);
    comet_store_limit(store, &tiny);
    kit_empty_list();
    assert_int_equal(
        comet_store_read(store, all, 0, 3000, kit_collect, &kit_list),
        COMET_ECOSTLY);
    assert_int_equal(comet_store_replay(store, all, 2900, &cursor, &any),
                     COMET_ECOSTLY);
    comet_store_limit(store, NULL);
    kit_empty_list();
    assert_int_equal(
        comet_store_read(store, all, 0, 3000, kit_collect, &kit_list),
        APR_SUCCESS);
    comet_selection_unref(all);
    comet_store_close(store);
}

static void test_pages(void **state)
{
    comet_store_t *store = open_with(1, COMET_STORE_WRITE);
    comet_selection_t *both =
        comet_selection_create((comet_text_t[]){ { "a", 1 }, { "b/1", 3 } }, 2,
                               (comet_text_t[]){ { "b/", 2 } }, 1);
    comet_message_t *room[9];
    comet_batch_t batch = { .messages = room, .size = 9 };
    comet_reading_t reading = { .selection = both, .batch = &batch };
    comet_timestamp_t third;

    kit_append(store, "a", "x 1", NULL);
    kit_append(store, "other", "x 2", NULL);
    kit_append(store, "a", "x 3", &third);
    kit_append(store, "a", "y 4", NULL);
    kit_append(store, "b/1", "x 5", NULL);
    kit_append(store, "a", "x 6", NULL);
    assert_string_equal(search(store, "a", "x", 9), "x 1|x 3|x 6");
    assert_string_equal(search(store, "a", "x", 2), "x 3|x 6");
    assert_string_equal(search(store, "a", "x", 0), "");
    kit_empty_list();
    assert_int_equal(comet_store_search(store, both, comet_text("x"), third,
                                        COMET_TIMESTAMP_MAX, 9, kit_collect,
                                        &kit_list, &rest),
                     0);
    assert_string_equal(joined(), "x 5|x 6");
    kit_empty_list();
    assert_int_equal(comet_store_search(store, both, comet_text("x"), 0, third,
                                        9, kit_collect, &kit_list, &rest),
                     0);
    assert_string_equal(joined(), "x 1");
    /* a channel that did not exist when the names were looked up */
    kit_append(store, "b/2", "x 7", NULL);
    kit_append(store, "a", "x 8", NULL);
    assert_int_equal(comet_store_search(store, both, comet_text("x"), 0,
                                        COMET_TIMESTAMP_MAX, 9,
                                        comet_selection_take, &reading, &rest),
                     0);
    assert_int_equal(batch.count, 4);
    assert_true(reading.recheck);
    comet_batch_clear(&batch);
    comet_selection_unref(both);
    comet_store_close(store);
}

/* --- The index -------------------------------------------------------- */

static void test_outsiders(void **state)
{
    comet_store_t *store = open_with(1, COMET_STORE_WRITE);

    fill("a", 50);
    kit_append(store, "a", "word ours", NULL);
    assert_int_equal(found(store, "a", "word"), 51);
    assert_string_equal(search(store, "a", "W7", 9), "word w7");
    kit_run_outside("DELETE FROM message WHERE body = 'word w7'");
    kit_run_outside("DELETE FROM message WHERE body LIKE '%w4_'");
    assert_string_equal(search(store, "a", "w7", 9), "");
    assert_int_equal(found(store, "a", "word"), 40);
    assert_index_right();
    kit_run_outside("DELETE FROM message");
    assert_int_equal(found(store, "a", "word"), 0);
    assert_index_right();
    comet_store_close(store);
    kit_assert_healthy();
}

/* Messages that were rolled back are in no index. */
static void test_refused(void **state)
{
    comet_store_t *store = open_with(1, COMET_STORE_WRITE);
    comet_message_t *messages[] = { kit_make("a", "good one"),
                                    kit_make("a", "good two"),
                                    kit_make_refused("a") };
    comet_store_group_t groups[] = { { .messages = messages, .count = 1 },
                                     { .messages = messages + 1, .count = 2 } };
    comet_store_group_t *list[] = { &groups[0], &groups[1] };
    size_t i;

    assert_int_equal(comet_store_append(store, list, 2), 0);
    assert_int_equal(groups[0].result, APR_SUCCESS);
    assert_int_equal(groups[1].result, COMET_EINVALID);
    assert_string_equal(search(store, "a", "good", 9), "good one");
    assert_index_right();
    for (i = 0; i < 3; i++) {
        comet_message_unref(messages[i]);
    }
    comet_store_close(store);
}

/* Older messages are indexed in steps, the newest first. */
static void test_filled_in_steps(void **state)
{
    comet_store_t *store = open_with(0, COMET_STORE_WRITE);
    comet_store_t *reader;
    int more, steps = 0;

    fill("a", 4500);
    comet_store_close(store);
    store = open_with(1, COMET_STORE_WRITE);
    reader = open_with(1, COMET_STORE_READ);
    assert_int_equal(indexed("word"), 0);
    do {
        comet_store_state_t before, after;

        assert_int_equal(comet_store_state(store, &before), 0);
        assert_int_equal(comet_store_tidy(store, &more), 0);
        steps++;
        if (steps == 1) {
            assert_string_equal(search(reader, "a", "w4400", 9), "word w4400");
            assert_int_equal(indexed("w100"), 0);
        }
        if (steps == 2) { /* from both sides of the mark */
            kit_run_outside("DELETE FROM message WHERE body IN"
                            " ('word w1', 'word w4499')");
            kit_append(store, "a", "word new", NULL);
            comet_store_close(store);
            store = open_with(1, COMET_STORE_WRITE);
        }
        else { /* no message is read again for that */
            assert_int_equal(comet_store_state(store, &after), 0);
            assert_int_equal(after.erased, before.erased);
            assert_int_equal(after.last, before.last);
        }
    } while (more);
    assert_in_range(steps, 5, 7);
    assert_string_equal(search(reader, "a", "w2", 9), "word w2");
    assert_string_equal(search(reader, "a", "w1", 9), "");
    assert_string_equal(search(reader, "a", "new", 9), "word new");
    assert_index_right();
    assert_int_equal(tidy(store), 1);
    comet_store_close(reader);
    comet_store_close(store);
}

/* Long bodies make shorter steps. */
static void test_filled_by_bytes(void **state)
{
    comet_store_t *store = open_with(0, COMET_STORE_WRITE);

    kit_run_outside("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1"
                    " FROM n WHERE i < 20) INSERT INTO message(channel, body)"
                    " SELECT 'a', printf('%.*c', 100000, 'x') || ' y' FROM n");
    comet_store_close(store);
    store = open_with(1, COMET_STORE_WRITE);
    assert_in_range(tidy(store), 20, 22);
    assert_int_equal(kit_number("SELECT count(*) FROM message_search"
                                " WHERE message_search MATCH 'y'"),
                     20);
    assert_index_right();
    comet_store_close(store);
}

static void test_retention(void **state)
{
    comet_store_t *store = open_with(1, COMET_STORE_WRITE);
    int more, steps = 0;

    fill("a", 30);
    fill("b", 5);
    kit_run_outside("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1"
                    " FROM n WHERE i < 20) INSERT INTO message(channel, body)"
                    " SELECT 'a', printf('%.*c', 100000, 'x') || ' y' FROM n");
    fill("c", 30);
    kit_config.retain_count = 3;
    do {
        assert_int_equal(comet_store_prune(store, apr_time_now(), &more), 0);
        steps++;
        assert_in_range(steps, 1, 100);
    } while (more);
    assert_true(steps >= 17);
    assert_int_equal(kit_number("SELECT count(*) FROM message"), 9);
    assert_int_equal(found(store, "c", "word"), 3);
    assert_int_equal(found(store, "a", "word"), 0);
    assert_index_right();
    comet_store_close(store);
}

static void test_removed_in_steps(void **state)
{
    comet_store_t *store = open_with(1, COMET_STORE_WRITE);
    comet_store_t *reader = open_with(1, COMET_STORE_READ);

    fill("a", 2500);
    comet_store_close(store);
    store = open_with(0, COMET_STORE_WRITE);
    /* from now on writing does not need FTS5 */
    assert_int_equal(kit_number("SELECT count(*) FROM sqlite_master"
                                " WHERE type = 'trigger'"
                                " AND sql LIKE '%search%'"),
                     0);
    kit_config.search = 1;
    assert_int_equal(try_search(reader, "a", "w7", 9), APR_ENOENT);
    kit_config.search = 0;
    fill("a", 5);
    assert_in_range(tidy(store), 4, 40);
    assert_int_equal(pieces(), 0);
    comet_store_close(reader);
    comet_store_close(store);
    kit_assert_healthy();
    store = open_with(1, COMET_STORE_WRITE);
    tidy(store);
    assert_int_equal(found(store, "a", "w3"), 2);
    assert_index_right();
    comet_store_close(store);
}

/* Switched on again before the old index is gone: a new one is built. */
static void test_on_off_on(void **state)
{
    comet_store_t *store = open_with(1, COMET_STORE_WRITE);
    int more;

    fill("a", 3000);
    comet_store_close(store);
    store = open_with(0, COMET_STORE_WRITE);
    assert_int_equal(comet_store_tidy(store, &more), 0);
    assert_int_equal(more, 1);
    fill("a", 10);
    comet_store_close(store);
    store = open_with(1, COMET_STORE_WRITE);
    fill("a", 10);
    tidy(store);
    assert_int_equal(found(store, "a", "w5"), 3);
    assert_index_right();
    comet_store_close(store);
}

/* Several processes open it at once, and build it together. */
static int open_and_fill(void *baton)
{
    comet_store_t *store;
    int more = 1;

    if (comet_store_open(&store, &kit_config, COMET_STORE_WRITE, NULL)
        != APR_SUCCESS) {
        fprintf(stderr, "%s\n", comet_store_error(NULL));
        return 1;
    }
    while (more) {
        apr_status_t status = comet_store_tidy(store, &more);

        if (status == COMET_ELOCKED) {
            more = 1;
        }
        else if (status != APR_SUCCESS
                 || kit_append(store, "a", "mine", NULL) != APR_SUCCESS) {
            fprintf(stderr, "%d %s\n", status, comet_store_error(store));
            return 2;
        }
    }
    comet_store_close(store);
    return 0;
}

static void test_rivals(void **state)
{
    int pids[4];
    size_t i;

    comet_store_close(open_with(0, COMET_STORE_WRITE));
    fill("a", 5000);
    kit_config.search = 1;
    for (i = 0; i < 4; i++) {
        pids[i] = scratch_fork(open_and_fill, NULL);
    }
    for (i = 0; i < 4; i++) {
        assert_int_equal(scratch_reap(pids[i]), 0);
    }
    assert_index_right();
    assert_int_equal(kit_number("SELECT indexed_from FROM search_progress"), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        KIT_TEST(test_off),
        KIT_TEST(test_words),
        KIT_TEST(test_any_bytes),
        KIT_TEST(test_how_many_words),
        KIT_TEST(test_costly_words_in_parts),
        KIT_TEST(test_small_channel),
        KIT_TEST(test_client_leaves),
        KIT_TEST(test_costly_reading),
        KIT_TEST(test_pages),
        KIT_TEST(test_outsiders),
        KIT_TEST(test_refused),
        KIT_TEST(test_filled_in_steps),
        KIT_TEST(test_filled_by_bytes),
        KIT_TEST(test_retention),
        KIT_TEST(test_removed_in_steps),
        KIT_TEST(test_on_off_on),
        KIT_TEST(test_rivals),
    };

    scratch_make();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
