/* SPDX-License-Identifier: Apache-2.0 */
/* The feed takes over what this child's writer commits.  It agrees with the log
 * even if others commit, too. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "feed_kit.h"

#include <string.h>

static apr_pool_t *pool;

static int setup(void **state)
{
    feed_setup(state);
    apr_pool_create(&pool, NULL);
    feed.committed = comet_committed_create(pool);
    feed_append(2);
    feed_look();
    return 0;
}

static int teardown(void **state)
{
    apr_pool_destroy(pool);
    return feed_teardown(state);
}

/* Commit as a child's writer does.  @return the message; the list of committed
 * messages holds a reference to it */
static const comet_message_t *commit(const char *body, int keep_sec)
{
    comet_message_t *message = comet_message_create(
        &(comet_message_fields_t){ .channel = comet_text("even"),
                                   .body = comet_text(body),
                                   .keep_sec = keep_sec });
    comet_store_group_t group = { .messages = &message, .count = 1 };
    comet_store_group_t *const groups[] = { &group };

    assert_int_equal(comet_store_append(feed_writer, groups, 1), 0);
    assert_int_equal(group.result, 0);
    comet_committed_add(feed.committed, feed_writer, groups, 1);
    feed_appended[feed_appended_count++] = message->timestamp;
    comet_message_unref(message);
    return message;
}

/* Another program commits. */
static void commit_outside(void)
{
    comet_store_state_t now;

    feed_run_outside("INSERT INTO message(channel, body) VALUES('odd', 'x')");
    assert_int_equal(comet_store_state(feed_writer, &now), 0);
    feed_appended[feed_appended_count++] = now.last;
}

static const comet_message_t *newest_in_ring(void)
{
    return feed.ring
        .entries[(feed.ring.first + feed.ring.count - 1) % COMET_RING_MESSAGES]
        .message;
}

static void check(size_t told)
{
    feed_look();
    feed_check_told(told, 1);
    feed_check_ring();
    feed_look();
    feed_check_told(0, 0);
}

/* The ring holds the writer's own message objects: the feed did not read them
 * from the store. */
static void test_takes_over(void **state)
{
    const comet_message_t *last;
    int i;

    commit("one", 0);
    last = commit("two", 0);
    feed_look();
    feed_check_told(2, 1);
    assert_ptr_equal(newest_in_ring(), last);
    feed_check_ring();
    for (i = 0; i < 100; i++) { /* more than the list keeps for a hub that
                                 * hangs */
        commit("many", 0);
    }
    check(100);
    last = commit("three", 0);
    feed_look();
    assert_ptr_equal(newest_in_ring(), last);
}

static void test_others_commit_in_between(void **state)
{
    const comet_message_t *last;

    commit_outside();
    commit("one", 0);
    check(2);
    commit("two", 0);
    commit_outside();
    commit("three", 0);
    commit_outside();
    check(4);
    last = commit("four", 0);
    feed_look();
    assert_ptr_equal(newest_in_ring(), last);
    feed_check_ring();
}

/* A look reads the tally before the log, so it can see more messages than the
 * tally counts. */
static void test_look_has_seen_it(void **state)
{
    comet_tally_t before = feed.tally;
    comet_committed_t *committed = feed.committed;

    commit("one", 0);
    feed.committed = NULL;
    feed_look();
    feed_check_told(1, 1);
    feed.committed = committed;
    feed.tally = before;
    feed_look();
    feed_check_told(0, 0);
    feed_check_ring();
    commit("two", 0);
    check(1);
}

/* Messages that the store can change or hide, such as passing ones, are read
 * from the store. */
static void test_only_plain_messages(void **state)
{
    comet_tally_t before = feed.tally;

    commit("passing", 3600);
    assert_null(comet_committed_take(feed.committed, &before));
    feed_look();
    feed_check_told(1, 1);
}

static void test_erased_outside(void **state)
{
    commit("one", 0);
    feed_run_outside("DELETE FROM message WHERE body = 'one'");
    commit("two", 0);
    feed_look();
    feed_check_ring();
    assert_string_equal(newest_in_ring()->body.data, "two");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_takes_over),       TEST(test_others_commit_in_between),
        TEST(test_look_has_seen_it), TEST(test_only_plain_messages),
        TEST(test_erased_outside),
    };

    return cmocka_run_group_tests(tests, feed_begin, feed_end);
}
