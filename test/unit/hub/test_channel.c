/* SPDX-License-Identifier: Apache-2.0 */
/* The table of channels: an entry exists only while a subscriber waits. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "scratch.h"

#include <stdio.h>
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

/* The entry that a message on a channel reaches, or NULL. */
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

/* The table grows while entries are added.  They are removed in another
 * order. */
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

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_members),   TEST(test_copies_the_name), TEST(test_sources),
        TEST(test_same_hash), TEST(test_any_bytes),       TEST(test_many),
        TEST(test_free_all),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
