/* SPDX-License-Identifier: Apache-2.0 */
/* The table of channels: an entry exists only while a subscriber waits. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "scratch.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hub/subscriber.h"

#define MANY 5000

static comet_channels_t channels;
static const int source, other_source; /* only their addresses matter */
static comet_channel_t *entered[MANY];

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

static comet_channel_t *enter_text(const void *whose, comet_text_t name)
{
    comet_selection_t *selection = comet_selection_create(&name, 1, NULL, 0);
    comet_channel_t *channel =
        comet_channels_enter(&channels, whose, selection);

    comet_selection_unref(selection);
    return channel;
}

static comet_channel_t *enter(const char *name)
{
    return enter_text(&source, comet_text(name));
}

static void keep(void *baton, comet_channel_t *channel)
{
    *(comet_channel_t **)baton = channel;
}

/* The entries that a message on a channel reaches. */
static comet_channel_t *find_text(const void *whose, comet_text_t name)
{
    comet_channel_t *found = NULL;

    comet_channels_reach(&channels, whose, name, comet_message_hash(name), keep,
                         &found);
    return found;
}

static comet_channel_t *find(const char *name)
{
    return find_text(&source, comet_text(name));
}

static const char *numbered(int i)
{
    static char name[32];

    snprintf(name, sizeof(name), "channel/%d", i);
    return name;
}

static void test_members(void **state)
{
    comet_channel_t *chat;

    assert_null(find("chat"));
    chat = enter("chat");
    assert_non_null(chat);
    assert_int_equal(chat->members, 1);
    assert_ptr_equal(chat->source, &source);
    assert_true(
        comet_text_equal(chat->selection->key.text, comet_text("chat")));
    assert_true(APR_RING_EMPTY(&chat->waiting, comet_subscriber_t, link));
    assert_ptr_equal(find("chat"), chat);
    assert_ptr_equal(enter("chat"), chat);
    assert_int_equal(chat->members, 2);
    assert_int_equal(channels.count, 1);
    comet_channels_exit(&channels, chat);
    assert_ptr_equal(find("chat"), chat);
    comet_channels_exit(&channels, chat);
    assert_null(find("chat"));
    assert_int_equal(channels.count, 0);
}

/* An entry copies its name. */
static void test_copies_the_name(void **state)
{
    char name[] = "chat";
    comet_channel_t *chat = enter(name);

    memset(name, 'x', sizeof(name) - 1);
    assert_ptr_equal(find("chat"), chat);
    assert_null(find(name));
}

static void test_sources(void **state)
{
    comet_text_t name = comet_text("chat");
    comet_channel_t *a = enter("chat");
    comet_channel_t *b = enter_text(&other_source, name);

    assert_ptr_not_equal(a, b);
    assert_ptr_equal(find("chat"), a);
    assert_ptr_equal(find_text(&other_source, name), b);
    comet_channels_exit(&channels, a);
    assert_null(find("chat"));
    assert_ptr_equal(find_text(&other_source, name), b);
}

static void test_same_hash(void **state)
{
    char one[32], other[32];
    comet_channel_t *a, *b;

    scratch_twins(one, other);
    a = enter(one);
    b = enter(other);
    assert_int_equal(a->selection->key.hash, b->selection->key.hash);
    assert_ptr_not_equal(a, b);
    assert_ptr_equal(find(one), a);
    assert_ptr_equal(find(other), b);
    comet_channels_exit(&channels, a);
    assert_null(find(one));
    assert_ptr_equal(find(other), b);
    assert_int_equal(b->members, 1);
}

static void test_any_bytes(void **state)
{
    char longest[COMET_CHANNEL_MAX_BYTES];
    comet_text_t with_nul = { "a\0b", 3 };
    comet_text_t shorter = { "a\0", 2 };
    comet_text_t full = { longest, sizeof(longest) };
    comet_text_t none = { "", 0 };
    comet_channel_t *made[4];

    memset(longest, 0xff, sizeof(longest));
    made[0] = enter_text(&source, with_nul);
    made[1] = enter_text(&source, shorter);
    made[2] = enter_text(&source, full);
    made[3] = enter_text(&source, none);
    assert_int_equal(channels.count, 4);
    assert_null(find("a"));
    assert_ptr_equal(find_text(&source, with_nul), made[0]);
    assert_ptr_equal(find_text(&source, full), made[2]);
}

static void visit(void *baton, comet_channel_t *channel)
{
    char *seen = baton;
    char name[32] = ""; /* the entry's own copy does not end in NUL */
    int i;

    assert_true(channel->selection->key.text.length < sizeof(name));
    memcpy(name, channel->selection->key.text.data,
           channel->selection->key.text.length);
    assert_int_equal(sscanf(name, "channel/%d", &i), 1);
    assert_in_range(i, 0, MANY - 1);
    assert_ptr_equal(entered[i], channel);
    seen[i]++;
}

static void check_all(void)
{
    char seen[MANY] = { 0 };
    size_t expected = 0;
    int i;

    comet_channels_each(&channels, visit, seen);
    for (i = 0; i < MANY; i++) {
        assert_int_equal(seen[i], entered[i] ? 1 : 0);
        assert_ptr_equal(find(numbered(i)), entered[i]);
        expected += entered[i] != NULL;
    }
    assert_int_equal(channels.count, expected);
}

/* The table grows while entries are added, and they leave in another order. */
static void test_many(void **state)
{
    size_t size = channels.size;
    int i, k;

    for (i = 0; i < MANY; i++) {
        entered[i] = enter(numbered(i));
        assert_non_null(entered[i]);
        assert_ptr_equal(find(numbered(i / 2)), entered[i / 2]);
    }
    assert_true(channels.size > size);
    assert_true(channels.size >= channels.count);
    check_all();
    for (k = 0; k < 7; k++) {
        for (i = k; i < MANY; i += 7) {
            comet_channels_exit(&channels, entered[i]);
            entered[i] = NULL;
        }
        check_all();
    }
    assert_int_equal(channels.count, 0);
    assert_non_null(enter("chat"));
}

/* The table can be freed while it has entries. */
static void test_free_all(void **state)
{
    int i;

    for (i = 0; i < 1000; i++) {
        enter(numbered(i));
    }
    comet_channels_free(&channels);
    assert_int_equal(channels.count, 0);
    comet_channels_free(&channels);
}

/* --- Wholes and parts ---------------------------------------------------- */

#define SEVERAL 64

/** Which entries a message reaches, and how often. */
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

/* How often a message on a channel reaches an entry. */
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

    assert_int_equal(channels.count, 3); /* and the entry of b, on which
                                          * nobody waits */
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

/* A selection is reached by a name and by its prefixes at once. */
static void test_whole_of_names_and_prefixes(void **state)
{
    comet_channel_t *whole = choose("a/1 b * a/*");

    assert_int_equal(whole->part_count, 4);
    assert_int_equal(channels.count, 5);
    /* the whole does not count as a prefix */
    assert_int_equal(channels.prefix_count, 2);
    assert_int_equal(reaches("a/1", whole), 3);
    assert_int_equal(reaches("a/2", whole), 2);
    assert_int_equal(reaches("b", whole), 2);
    assert_int_equal(reaches("c", whole), 1);
    leave(whole);
    check_empty();
}

/* The longest name has the most prefixes. */
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

/* Wholes leave in another order than they came; the others stay linked. */
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
    memset(entered, 0, sizeof(entered));
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
        TEST(test_members),
        TEST(test_copies_the_name),
        TEST(test_sources),
        TEST(test_same_hash),
        TEST(test_any_bytes),
        TEST(test_many),
        TEST(test_free_all),
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
