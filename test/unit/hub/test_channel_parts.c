/* SPDX-License-Identifier: Apache-2.0 */
/* The table of channels: selections of several names and prefixes. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "scratch.h"

#include <stdio.h>
#include <string.h>

#include "hub/subscriber.h"

#define MANY 5000
#define SEVERAL 64

static comet_channels_t channels;
static const int source, other_source; /* only their addresses matter */

static int setup(void **state)
{
    assert_int_equal(comet_channels_init(&channels), APR_SUCCESS);
    return 0;
}

static int teardown(void **state)
{
    comet_channels_free(&channels);
    return 0;
}

/** Which entries a message reaches.  An entry that it reaches twice is listed
 * twice. */
typedef struct reached_t {
    comet_channel_t *list[SEVERAL];
    int count;
} reached_t;

static void note(void *baton, comet_channel_t *channel)
{
    reached_t *reached = baton;

    assert_true(reached->count < SEVERAL);
    reached->list[reached->count++] = channel;
}

static int times(const reached_t *reached, const comet_channel_t *channel)
{
    int i, count = 0;

    for (i = 0; i < reached->count; i++) {
        count += reached->list[i] == channel;
    }
    return count;
}

static reached_t reach_from(const void *whose, const char *name)
{
    reached_t reached = { .count = 0 };

    comet_channels_reach(&channels, whose, comet_text(name),
                         comet_message_hash(comet_text(name)), note, &reached);
    return reached;
}

/* How many times a message on a channel reaches an entry. */
static int reaches(const char *name, const comet_channel_t *channel)
{
    reached_t reached = reach_from(&source, name);

    return times(&reached, channel);
}

static comet_channel_t *choose(const char *words)
{
    comet_selection_t *selection = scratch_choose(words);
    comet_channel_t *channel =
        comet_channels_enter(&channels, &source, selection);

    comet_selection_unref(selection);
    return channel;
}

static void leave(comet_channel_t *channel)
{
    comet_channels_exit(&channels, channel);
}

static void check_empty(void)
{
    assert_int_equal(channels.count, 0);
    assert_int_equal(channels.prefix_count, 0);
}

static void test_whole_of_names(void **state)
{
    comet_channel_t *ab = choose("a b"), *a = choose("a");

    assert_int_equal(channels.count, 3); /* the third is the entry of b alone,
                                          * which has no subscriber */
    assert_int_equal(ab->part_count, 2);
    assert_int_equal(a->members, 2);
    assert_int_equal(reaches("a", ab), 1);
    assert_int_equal(reaches("b", ab), 1);
    assert_int_equal(reaches("a", a), 1);
    assert_int_equal(reaches("b", a), 0);
    assert_int_equal(reach_from(&source, "c").count, 0);
    assert_int_equal(reach_from(&other_source, "a").count, 0);
    leave(ab);
    assert_int_equal(channels.count, 1);
    assert_int_equal(a->members, 1);
    assert_int_equal(reaches("a", a), 1);
    assert_int_equal(reach_from(&source, "b").count, 0);
    leave(a);
    check_empty();
}

static void test_prefixes(void **state)
{
    comet_channel_t *all = choose("*"), *a = choose("a/*"),
                    *ab = choose("a/b/*");

    assert_int_equal(channels.count, 3);
    assert_int_equal(channels.prefix_count, 3);
    assert_int_equal(reaches("x", all), 1);
    assert_int_equal(reaches("x", a), 0);
    assert_int_equal(reaches("a", all), 1);
    assert_int_equal(reaches("a", a), 0);
    assert_int_equal(reaches("a/x", a), 1);
    assert_int_equal(reaches("a/b", a), 1);
    assert_int_equal(reaches("a/b", ab), 0);
    assert_int_equal(reaches("a/bc/d", ab), 0);
    assert_int_equal(reaches("a/b/c", all), 1);
    assert_int_equal(reaches("a/b/c", a), 1);
    assert_int_equal(reaches("a/b/c", ab), 1);
    assert_int_equal(reaches("x/a/b/c", a), 0);
    assert_int_equal(reaches("A/b/c", a), 0);
    leave(a);
    assert_int_equal(reaches("a/b/c", ab), 1);
    assert_int_equal(reach_from(&source, "a/x").count, 1);
    leave(ab);
    leave(all);
    check_empty();
}

/* A message can reach a selection through its channel's name and through
 * several prefixes at the same time. */
static void test_whole_of_names_and_prefixes(void **state)
{
    comet_channel_t *whole = choose("a/1 b * a/*");

    assert_int_equal(whole->part_count, 4);
    assert_int_equal(channels.count, 5);
    /* the entry of the whole selection does not count as a prefix */
    assert_int_equal(channels.prefix_count, 2);
    assert_int_equal(reaches("a/1", whole), 3);
    assert_int_equal(reaches("a/2", whole), 2);
    assert_int_equal(reaches("b", whole), 2);
    assert_int_equal(reaches("c", whole), 1);
    leave(whole);
    check_empty();
}

/* The longest name has the most prefixes; a message on it still reaches both
 * entries. */
static void test_longest_name(void **state)
{
    char name[COMET_CHANNEL_MAX_BYTES + 1];
    char longest[COMET_CHANNEL_MAX_BYTES + 2];
    comet_channel_t *deep, *atom;
    int i;

    for (i = 0; i < COMET_CHANNEL_MAX_BYTES; i++) {
        name[i] = i % 2 ? '/' : 'x';
    }
    name[COMET_CHANNEL_MAX_BYTES] = '\0';
    sprintf(longest, "%.*s*", COMET_CHANNEL_MAX_BYTES - 1, name);
    deep = choose(longest);
    atom = choose(name);
    assert_int_equal(reaches(name, deep), 1);
    assert_int_equal(reaches(name, atom), 1);
    assert_int_equal(reach_from(&source, name).count, 2);
    leave(deep);
    leave(atom);
    check_empty();
}

/* Equal selections share one entry. */
static void test_equal_selections_share(void **state)
{
    comet_channel_t *whole = choose("a b r/*");

    assert_ptr_equal(choose("r/* b a b"), whole);
    assert_int_equal(whole->members, 2);
    assert_int_equal(channels.count, 4);
    assert_int_equal(reaches("a", whole), 1);
    assert_ptr_not_equal(choose("a b"), whole);
    assert_int_equal(reach_from(&source, "a").count, 3);
    leave(whole);
    assert_int_equal(reaches("r/1", whole), 1);
    leave(whole);
    assert_int_equal(reach_from(&source, "r/1").count, 0);
    assert_int_equal(channels.prefix_count, 0);
}

/* An entry keeps its selection alive. */
static void test_keeps_the_selection(void **state)
{
    comet_selection_t *selection = scratch_choose("a b");
    comet_channel_t *whole =
        comet_channels_enter(&channels, &source, selection);

    assert_int_equal(atomic_load(&selection->refs), 2);
    assert_ptr_equal(comet_channels_enter(&channels, &source, selection),
                     whole);
    assert_int_equal(atomic_load(&selection->refs), 2);
    leave(whole);
    leave(whole);
    assert_int_equal(atomic_load(&selection->refs), 1);
    check_empty();
    comet_selection_unref(selection);
}

/* Selections of several parts are removed in another order than they were
 * added.  The remaining ones stay linked. */
static void test_wholes_in_any_order(void **state)
{
    comet_channel_t *wholes[30];
    char words[64];
    int i, k;

    for (i = 0; i < 30; i++) {
        sprintf(words, "news c%d c%d", i, i + 1);
        wholes[i] = choose(words);
    }
    for (k = 0; k < 3; k++) {
        for (i = k; i < 30; i += 3) {
            leave(wholes[i]);
            wholes[i] = NULL;
        }
        for (i = 0; i < 30; i++) {
            sprintf(words, "c%d", i);
            assert_int_equal(reaches(words, wholes[i]), wholes[i] ? 1 : 0);
            assert_int_equal(reaches("news", wholes[i]), wholes[i] ? 1 : 0);
        }
    }
    check_empty();
}

static void count_one(void *baton, comet_channel_t *channel)
{
    ++*(int *)baton;
}

static int count_reached(const char *name)
{
    int count = 0;

    comet_channels_reach(&channels, &source, comet_text(name),
                         comet_message_hash(comet_text(name)), count_one,
                         &count);
    return count;
}

/* Thousands of users, each with a channel of their own and one in common.  The
 * table grows while the entries are linked. */
static void test_thousands_with_one_in_common(void **state)
{
    static comet_channel_t *entered[MANY];
    size_t size = channels.size;
    char words[64];
    int i;

    for (i = 0; i < MANY; i++) {
        sprintf(words, "news user/%d user/%d/*", i, i);
        entered[i] = choose(words);
        assert_non_null(entered[i]);
    }
    assert_int_equal(channels.count, 3 * MANY + 1);
    assert_int_equal(channels.prefix_count, MANY);
    assert_true(channels.size > size);
    assert_int_equal(count_reached("news"), 1 + MANY);
    for (i = 0; i < MANY; i += 7) {
        sprintf(words, "user/%d", i);
        assert_int_equal(reaches(words, entered[i]), 1);
        assert_int_equal(count_reached(words), 2);
        sprintf(words, "user/%d/x", i);
        assert_int_equal(reaches(words, entered[i]), 1);
        assert_int_equal(count_reached(words), 2);
    }
    for (i = 0; i < MANY; i += 2) {
        leave(entered[i]);
    }
    assert_int_equal(count_reached("news"), 1 + MANY / 2);
    for (i = 1; i < MANY; i += 2) {
        leave(entered[i]);
    }
    check_empty();
}

/* A selection with more parts than the table has buckets. */
static void test_grows_while_linking(void **state)
{
    comet_text_t names[1000];
    static char bytes[1000][8];
    comet_selection_t *selection;
    comet_channel_t *whole;
    size_t size = channels.size;
    int i;

    for (i = 0; i < 1000; i++) {
        sprintf(bytes[i], "c%d", i);
        names[i] = comet_text(bytes[i]);
    }
    selection = comet_selection_create(names, 1000, NULL, 0);
    whole = comet_channels_enter(&channels, &source, selection);
    assert_true(channels.size > size);
    assert_int_equal(channels.count, 1001);
    assert_ptr_equal(comet_channels_enter(&channels, &source, selection),
                     whole);
    comet_selection_unref(selection);
    for (i = 0; i < 1000; i++) {
        assert_int_equal(reaches(bytes[i], whole), 1);
    }
    leave(whole);
    leave(whole);
    check_empty();
}

static void test_free_all_wholes(void **state)
{
    comet_selection_t *selection = scratch_choose("a b r/*");

    comet_channels_enter(&channels, &source, selection);
    choose("a b");
    choose("a");
    comet_channels_free(&channels);
    assert_int_equal(atomic_load(&selection->refs), 1);
    comet_selection_unref(selection);
    assert_int_equal(comet_channels_init(&channels), APR_SUCCESS);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_whole_of_names),
        TEST(test_prefixes),
        TEST(test_whole_of_names_and_prefixes),
        TEST(test_longest_name),
        TEST(test_equal_selections_share),
        TEST(test_keeps_the_selection),
        TEST(test_wholes_in_any_order),
        TEST(test_thousands_with_one_in_common),
        TEST(test_grows_while_linking),
        TEST(test_free_all_wholes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
