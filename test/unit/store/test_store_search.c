/* SPDX-License-Identifier: Apache-2.0 */
/* Searching the message log: what is found, and what a search may cost. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "search_kit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/engine.h"
#include "reference.h"

/* --- Searching -------------------------------------------------------- */

static void test_off(void **state)
{
    comet_store_t *store = search_open(0, COMET_STORE_WRITE);

    assert_null(kit_config.place.engine->cannot_search());
    kit_append_many(store, "a", 1);
    assert_int_equal(search_try(store, "a", "0", 9), COMET_ENOSEARCH);
    assert_int_equal(search_tidy(store), 1);
    assert_int_equal(search_pieces(), 0);
    comet_store_close(store);
}

/* The bodies that test_words() searches. */
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

/* Join some of the bodies: "0|2" stands for the first and the third, joined by
 * '|'. */
static const char *numbered(const char *numbers)
{
    static char text[512];

    text[0] = '\0';
    for (; *numbers; numbers++) {
        strncat(text, *numbers == '|' ? "|" : bodies[*numbers - '0'],
                sizeof(text) - strlen(text) - 1);
    }
    return text;
}

static void test_words(void **state)
{
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
    comet_store_t *store = search_open(1, COMET_STORE_WRITE);
    comet_store_t *reader = search_open(1, COMET_STORE_READ);
    size_t i;

    for (i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++) {
        assert_int_equal(kit_append(store, "a", bodies[i], NULL), 0);
    }
    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        if (strcmp(search_for(reader, "a", cases[i].words, 9),
                   numbered(cases[i].found))
            != 0) {
            fail_msg("%s: found %s", cases[i].words, kit_joined("|"));
        }
    }
    comet_store_close(reader);
    comet_store_close(store);
}

/* Everything that a user types is treated as words.  A text that is a single
 * word of a message finds that message. */
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
    comet_store_t *store = search_open(1, COMET_STORE_WRITE);
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
        status = search_try(store, "a", words, 9);
        if (status != APR_SUCCESS
            && (status != COMET_EINVALID
                || strspn(words, " \t") < strlen(words))) {
            fail_msg("%s: %d %s", words, status, comet_store_error(store));
        }
    }
    comet_store_close(store);
}

/* The limit on words counts them as the index does, and equal words once. */
static void test_how_many_words(void **state)
{
    comet_store_t *store = search_open(1, COMET_STORE_WRITE);
    char many[8 * COMET_WORDS_MAX] = "", phrase[8000] = "a0";
    int i;

    assert_int_equal(search_try(store, "a", "", 9), COMET_EINVALID);
    assert_int_equal(search_try(store, "a", " \t\r\n ", 9), COMET_EINVALID);
    for (i = 0; i < COMET_WORDS_MAX; i++) {
        snprintf(many + strlen(many), 8, "x%d ", i);
    }
    assert_int_equal(kit_append(store, "a", many, NULL), 0);
    assert_int_equal(search_count(store, "a", many), 1);
    strcat(many, "x0 X0 X\xcc\x80"
                 "0");
    assert_int_equal(search_count(store, "a", many), 1);
    strcat(many, " x");
    assert_int_equal(search_try(store, "a", many, 9), COMET_EINVALID);
    /* a text without spaces may be many words, too */
    while (strlen(phrase) < 7000) {
        strcat(phrase, ".the");
    }
    assert_int_equal(search_try(store, "a", phrase, 9), COMET_EINVALID);
    for (i = 0; i < 1700; i++) {
        memcpy(phrase + 4 * i, "a-a ", 5);
    }
    assert_int_equal(search_count(store, "a", phrase), 0);
    comet_store_close(store);
}

/* --- What a search may cost ----------------------------------------------- */

/** A client that waits for a search. */
typedef struct client_t {
    int asked; /* how many times is_gone() was called */
    int stays; /* after how many calls the client leaves */
} client_t;

static int is_gone(void *baton)
{
    client_t *client = baton;

    return ++client->asked > client->stays;
}

/* Limit the time of reading.  With a time of 1, reading stops when it first checks
 * the time. */
static void limit_to(comet_store_t *store, apr_interval_time_t time)
{
    static comet_allowance_t cpu;
    const comet_budget_t budget = { .cpu = &cpu };

    cpu = comet_allowance_begin(time);
    comet_store_limit(store, &budget);
}

/* Continue a search that is cut short, until every message has been found
 * exactly once.
 * @return how many searches it took */
static int search_in_parts(comet_store_t *store, const char *channel,
                           const char *words, apr_interval_time_t time,
                           size_t *count)
{
    comet_timestamp_t before = COMET_TIMESTAMP_MAX, last = before;
    int searches = 0;

    *count = 0;
    do {
        size_t i;

        limit_to(store, time);
        kit_empty_list();
        assert_int_equal(
            comet_store_search(store, scratch_select(comet_text(channel)),
                               comet_text(words), 0, before, COMET_LIMIT_MAX,
                               kit_collect, &kit_list, &search_rest),
            APR_SUCCESS);
        for (i = kit_list.count; i-- > 0;) {
            assert_true(kit_list.messages[i]->timestamp < last);
            last = kit_list.messages[i]->timestamp;
        }
        *count += kit_list.count;
        assert_true(search_rest < before);
        before = search_rest;
        assert_in_range(++searches, 1, 1000);
    } while (search_rest);
    comet_store_limit(store, NULL);
    return searches;
}

static void test_costly_words_in_parts(void **state)
{
    static const char *const words[] = { "word", "w*", "wo* w1*", "w4 word" };
    static const size_t counts[] = { 3000, 3000, 1111, 1 };
    comet_store_t *store = search_open(1, COMET_STORE_WRITE);
    size_t i, count;

    search_fill("a", 3000);
    search_fill("b", 3000);
    for (i = 0; i < sizeof(words) / sizeof(*words); i++) {
        assert_in_range(search_in_parts(store, "a", words[i], 1, &count), 3,
                        1000);
        assert_int_equal(count, counts[i]);
    }
    /* without a limit one search is enough */
    assert_int_equal(search_count(store, "a", "w4 word"), 1);
    assert_int_equal(search_rest, 0);
    comet_store_close(store);
}

/* Wherever a search is cut short, it continues at one of its own messages: the
 * timestamp of another channel's message would reveal that this message has the
 * words. */
static void test_rest_is_of_the_selection(void **state)
{
    static const char words[] =
        "the.of.the.of of.the.of.the the.of.the alpha beta";
    comet_store_t *store = search_open(1, COMET_STORE_WRITE);
    apr_interval_time_t time;
    size_t count;

    search_fill("a", 1500);
    kit_run_outside(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n"
        " WHERE i < 60) INSERT INTO message(channel, body)"
        " SELECT 'b', replace(hex(zeroblob(4600)), '00', 'the of ')"
        " || iif(i % 3, 'alpha', 'alpha beta') FROM n");
    search_fill("a", 1500);
    for (time = 100; time < 60000; time += time / 16 + 1) {
        comet_allowance_t cpu = comet_allowance_begin(time);
        const comet_budget_t budget = { .cpu = &cpu };

        comet_store_limit(store, &budget);
        search_try(store, "a", words, COMET_LIMIT_MAX);
        if (search_rest) {
            char sql[100];

            snprintf(
                sql, sizeof(sql),
                "SELECT channel = 'a' FROM message WHERE timestamp = %" APR_INT64_T_FMT,
                search_rest);
            assert_int_equal(kit_number(sql), 1);
        }
    }
    /* so each repeat gets further, even if only other channels have the words */
    for (time = 1; time < 10000; time *= 10) {
        search_in_parts(store, "a", words, time, &count);
        assert_int_equal(count, 0);
    }
    comet_store_close(store);
}

/* A search may spend its budget on other channels' messages.  Then it says all the
 * same where the next one continues, and no message of its own is left out. */
static void test_rest_behind_other_channels(void **state)
{
    comet_store_t *store = search_open(1, COMET_STORE_WRITE);
    comet_selection_t *selection = scratch_choose("a/*");
    comet_timestamp_t newest;
    apr_interval_time_t budget_usec = 200; /* 47 ms at the end */
    int behind = 0, i;

    kit_run_outside(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n"
        " WHERE i < 4000) INSERT INTO message(channel, body)"
        " SELECT 'a/' || i, 'word' FROM n");
    newest = kit_number("SELECT max(timestamp) FROM message");
    search_fill("b", 3000);
    for (i = 0; i < 20; i++, budget_usec = budget_usec * 4 / 3) {
        comet_allowance_t cpu = comet_allowance_begin(budget_usec);
        const comet_budget_t budget = { .cpu = &cpu };

        comet_store_limit(store, &budget);
        kit_empty_list();
        if (comet_store_search(store, selection, comet_text("word"), 0,
                               COMET_TIMESTAMP_MAX, COMET_LIMIT_MAX,
                               kit_collect, &kit_list, &search_rest)
                == APR_SUCCESS
            && !kit_list.count) {
            assert_true(search_rest > newest);
            assert_true(search_rest < apr_time_now());
            assert_int_equal(search_rest % 256, 0); /* so it tells little */
            behind++;
        }
    }
    assert_true(behind > 0);
    comet_store_limit(store, NULL);
    comet_selection_unref(selection);
    comet_store_close(store);
}

/* The search looks at the channel before it looks at the words, so a small
 * channel costs almost nothing. */
static void test_small_channel(void **state)
{
    comet_store_t *store = search_open(1, COMET_STORE_WRITE);

    search_fill("large", 3000);
    kit_append(store, "small", "word w1 here", NULL);
    search_fill("large", 3000);
    limit_to(store, 1);
    assert_string_equal(search_for(store, "none", "w* o* a* b* c*", 9), "");
    assert_int_equal(search_rest, 0);
    assert_string_equal(search_for(store, "small", "w* h*", 9), "word w1 here");
    assert_int_equal(search_rest, 0);
    comet_store_close(store);
}

static void test_client_leaves(void **state)
{
    static const char *const words[] = { "nothing", "w* o*", "word nothing" };
    comet_store_t *store = search_open(1, COMET_STORE_WRITE);
    size_t i;

    search_fill("a", 3000);
    for (i = 0; i < sizeof(words) / sizeof(*words); i++) {
        client_t client = { .stays = 1 };
        const comet_budget_t budget = { .is_gone = is_gone, .baton = &client };

        comet_store_limit(store, &budget);
        assert_int_equal(search_try(store, "a", words[i], 9), COMET_EGONE);
        assert_int_equal(client.asked, 2);
        assert_int_equal(kit_list.count, 0);
    }
    /* the connection can still be used */
    comet_store_limit(store, NULL);
    assert_string_equal(search_for(store, "a", "w77", 9), "word w77");
    comet_store_close(store);
}

/* Every kind of reading is limited, not only searches. */
static void test_costly_reading(void **state)
{
    comet_store_t *store = search_open(1, COMET_STORE_WRITE);
    comet_selection_t *all =
        comet_selection_create(NULL, 0, (comet_text_t[]){ { "", 0 } }, 1);
    comet_timestamp_t cursor;
    int any;

    search_fill("a", 3000);
    limit_to(store, 1);
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
    comet_store_t *store = search_open(1, COMET_STORE_WRITE);
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
    assert_string_equal(search_for(store, "a", "x", 9), "x 1|x 3|x 6");
    assert_string_equal(search_for(store, "a", "x", 2), "x 3|x 6");
    assert_string_equal(search_for(store, "a", "x", 0), "");
    kit_empty_list();
    assert_int_equal(comet_store_search(store, both, comet_text("x"), third,
                                        COMET_TIMESTAMP_MAX, 9, kit_collect,
                                        &kit_list, &search_rest),
                     0);
    assert_string_equal(kit_joined("|"), "x 5|x 6");
    kit_empty_list();
    assert_int_equal(comet_store_search(store, both, comet_text("x"), 0, third,
                                        9, kit_collect, &kit_list,
                                        &search_rest),
                     0);
    assert_string_equal(kit_joined("|"), "x 1");
    /* this channel did not exist when the selection was made */
    kit_append(store, "b/2", "x 7", NULL);
    kit_append(store, "a", "x 8", NULL);
    assert_int_equal(
        comet_store_search(store, both, comet_text("x"), 0, COMET_TIMESTAMP_MAX,
                           9, comet_selection_take, &reading, &search_rest),
        0);
    assert_int_equal(batch.count, 4);
    assert_true(reading.recheck);
    comet_batch_clear(&batch);
    comet_selection_unref(both);
    comet_store_close(store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        KIT_TEST(test_off),
        KIT_TEST(test_words),
        KIT_TEST(test_any_bytes),
        KIT_TEST(test_how_many_words),
        KIT_TEST(test_costly_words_in_parts),
        KIT_TEST(test_rest_is_of_the_selection),
        KIT_TEST(test_rest_behind_other_channels),
        KIT_TEST(test_small_channel),
        KIT_TEST(test_client_leaves),
        KIT_TEST(test_costly_reading),
        KIT_TEST(test_pages),
    };

    scratch_make();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
