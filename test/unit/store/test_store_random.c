/* SPDX-License-Identifier: Apache-2.0 */
/* Random selections read the same messages from the log as a slow method
 * finds. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "store_kit.h"

#include <stdio.h>
#include <string.h>

#include "reference.h"

#define NAMES (sizeof(names) / sizeof(names[0]))
#define STARTS (sizeof(starts) / sizeof(starts[0]))
#define ROWS 3000

static const char *const names[] = { "a",   "a/1",  "a/2",   "a/2/3",
                                     "b",   "b_/1", "b_/2",  "bx/1",
                                     "c/1", "c/2",  "noise", "d/rare" };
static const char *const starts[] = { "a/", "a/2/", "b_/", "c/", "d/", "n/" };

static int chosen_name[NAMES], chosen_start[STARTS];
static kit_list_t all, wanted;

static uint64_t dice;

static unsigned roll(unsigned sides)
{
    return (unsigned)(reference_random(&dice) % sides);
}

static comet_selection_t *choose_any(void)
{
    char words[512] = "";
    size_t i;

    for (i = 0; i < NAMES; i++) {
        size_t end = strlen(words);

        chosen_name[i] = roll(4) == 0;
        if (chosen_name[i]) {
            snprintf(words + end, sizeof(words) - end, "%s ", names[i]);
        }
    }
    for (i = 0; i < STARTS; i++) {
        size_t end = strlen(words);

        chosen_start[i] = roll(8) == 0;
        if (chosen_start[i]) {
            snprintf(words + end, sizeof(words) - end, "%s* ", starts[i]);
        }
    }
    return scratch_choose(words);
}

static int is_chosen(const comet_message_t *message)
{
    size_t i;

    for (i = 0; i < NAMES; i++) {
        if (chosen_name[i] && strcmp(message->channel.data, names[i]) == 0) {
            return 1;
        }
    }
    for (i = 0; i < STARTS; i++) {
        if (chosen_start[i]
            && strncmp(message->channel.data, starts[i], strlen(starts[i]))
                   == 0) {
            return 1;
        }
    }
    return 0;
}

static void assert_list_is(const kit_list_t *expected, size_t from,
                           size_t count)
{
    size_t i;

    assert_int_equal(kit_list.count, count);
    for (i = 0; i < count; i++) {
        const comet_message_t *got = kit_list.messages[i];
        const comet_message_t *right = expected->messages[from + i];

        assert_int_equal(got->timestamp, right->timestamp);
        assert_true(comet_text_equal(got->channel, right->channel));
        assert_true(comet_text_equal(got->body, right->body));
    }
    kit_empty_list();
}

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

static void try_one(comet_store_t *store)
{
    comet_selection_t *selection = choose_any();
    comet_timestamp_t after = all.messages[roll(ROWS)]->timestamp - roll(2);
    comet_timestamp_t before = all.messages[roll(ROWS)]->timestamp + roll(2);
    comet_timestamp_t cursor;
    size_t limit = roll(2) ? 1 + roll(20) : 900, behind = 0, inside = 0, start;
    size_t i;
    int any;

    wanted.count = 0;
    for (i = 0; i < all.count; i++) {
        if (is_chosen(all.messages[i])) {
            wanted.messages[wanted.count++] = all.messages[i];
            behind += all.messages[i]->timestamp > after;
            inside += all.messages[i]->timestamp > after
                      && all.messages[i]->timestamp < before;
        }
    }
    start = wanted.count - behind;
    assert_int_equal(comet_store_read(store, selection, after, limit,
                                      kit_collect, &kit_list),
                     0);
    assert_list_is(&wanted, start, least(behind, limit));
    assert_int_equal(comet_store_page(store, selection, after, before, limit,
                                      kit_collect, &kit_list),
                     0);
    assert_list_is(&wanted, start + inside - least(inside, limit),
                   least(inside, limit));
    assert_int_equal(
        comet_store_replay(store, selection, (apr_int64_t)limit, &cursor, &any),
        0);
    assert_int_equal(any, wanted.count > 0);
    assert_int_equal(cursor,
                     wanted.count > limit
                         ? wanted.messages[wanted.count - limit - 1]->timestamp
                         : 0);
    comet_selection_unref(selection);
}

static void test_against_all(void **state)
{
    comet_store_t *store = kit_open_store(COMET_STORE_WRITE);
    comet_store_t *reader;
    int rows = 0, i;

    dice = (uint64_t)apr_time_now() | 1;
    print_message("seed %llu\n", (unsigned long long)dice);
    while (rows < ROWS) { /* long runs of messages on other channels, and a few
                           * on the channels of the selection */
        int noise = (int)roll(300);

        noise = noise < ROWS - rows ? noise : ROWS - rows;
        if (noise) {
            kit_append_noise(store, "noise", noise);
            rows += noise;
        }
        for (i = 0; i < 20 && rows < ROWS; i++, rows++) {
            kit_append_noise(store, names[roll(NAMES - 1 + (i == 0))], 1);
        }
    }
    reader = kit_open_store(COMET_STORE_READ);
    all.limit = KIT_MANY;
    assert_int_equal(comet_store_tail(reader, 0, ROWS, kit_collect, &all), 0);
    assert_int_equal(all.count, ROWS);
    for (i = 0; i < 400; i++) {
        try_one(reader);
    }
    while (all.count) {
        comet_message_unref(all.messages[--all.count]);
    }
    comet_store_close(reader);
    comet_store_close(store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        KIT_TEST(test_against_all),
    };

    scratch_make();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
