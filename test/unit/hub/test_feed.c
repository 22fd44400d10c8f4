/* SPDX-License-Identifier: Apache-2.0 */
/* The feed: whatever happens to the log, the ring agrees with the log. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "feed_kit.h"

#include <stdatomic.h>
#include <string.h>

/* --- The first look ------------------------------------------------------ */

static void test_before_the_first_look(void **state)
{
    feed_append(3);
    assert_int_equal(feed.ring.state.last, -1);
    assert_int_equal(comet_ring_covers(&feed.ring, 0), 0);
    assert_int_equal(comet_ring_covers(&feed.ring, feed_appended[2]), 0);
    assert_true(comet_feed_due(&feed) <= feed_now);
}

static void test_first_look_at_nothing(void **state)
{
    feed_look();
    feed_check_told(0, 0);
    feed_check_ring();
    assert_int_equal(feed.ring.state.last, 0);
    assert_int_equal(comet_ring_covers(&feed.ring, 0), 1);
}

static void test_first_look(void **state)
{
    feed_append(10);
    feed_look();
    feed_check_told(10, 0);
    feed_check_ring();
    assert_int_equal(comet_ring_covers(&feed.ring, 0), 1);
    feed_look();
    feed_check_told(0, 0);
}

/* Only the end of a long log is read. */
static void test_first_look_at_many(void **state)
{
    feed_append(1500);
    feed_look();
    feed_check_told(COMET_RING_MESSAGES, 0);
    feed_check_ring();
    assert_int_equal(feed.ring.count, COMET_RING_MESSAGES);
    assert_int_equal(feed.ring.from, feed_appended[1500 - 1025]);
}

/* No writer has made the database yet. */
static void test_no_file(void **state)
{
    feed_close_writer();
    scratch_clear();
    assert_int_equal(feed_look_status(1), APR_ENOENT);
    assert_int_equal(feed.ring.state.last, -1);
    assert_int_equal(feed_look_status(1), APR_ENOENT);
    feed_open_writer();
    feed_append(2);
    feed_look();
    feed_check_told(2, 0);
    feed_check_ring();
}

/* --- News ---------------------------------------------------------------- */

static void test_increments(void **state)
{
    int i;

    feed_look();
    for (i = 1; i <= 50; i++) {
        feed_append((size_t)(i % 4));
        feed_look();
        feed_check_told((size_t)(i % 4), 1);
        feed_check_ring();
    }
    assert_int_equal(comet_ring_covers(&feed.ring, 0), 1);
}

/* However many messages come at once, all are announced, in order. */
static void test_many_at_once(void **state)
{
    static const size_t counts[] = {
        255, 256, 257, 512, 300, 1024, 1025, 1700
    };
    size_t i;

    for (i = 0; i < sizeof(counts) / sizeof(*counts); i++) {
        comet_store_t *store = feed_writer;

        feed_look();
        feed_appended_count = 0;
        feed_append(counts[i]);
        feed_look();
        feed_check_told(counts[i], 1);
        feed_check_ring();
        assert_ptr_equal(store, feed_writer);
    }
}

static void test_large_messages(void **state)
{
    static char body[COMET_BODY_MAX_BYTES];
    size_t i;

    memset(body, 'x', sizeof(body));
    feed_look();
    for (i = 0; i < 12; i++) {
        comet_message_t *message = comet_message_create(
            &(comet_message_fields_t){ .channel = comet_text("even"),
                                       .body = { body, sizeof(body) } });
        apr_status_t result;

        assert_int_equal(scratch_append(feed_writer, &message, &result, 1), 0);
        feed_appended[feed_appended_count++] = message->timestamp;
        comet_message_unref(message);
    }
    feed_append(3);
    feed_look();
    feed_check_told(15, 1);
    feed_check_ring();
    assert_in_range(feed.ring.count, 8, 11); /* the ring has room for only some
                                              * of the twelve long messages */
}

/* --- Removed messages ---------------------------------------------------- */

static void test_erased(void **state)
{
    feed_append(20);
    feed_look();
    feed_run_outside(
        "DELETE FROM message WHERE timestamp IN (SELECT timestamp FROM"
        " message ORDER BY timestamp LIMIT 5 OFFSET 10)");
    feed_look();
    feed_check_told(0, 0);
    feed_check_ring();
    assert_int_equal(feed.ring.count, 15);
    assert_int_equal(feed.ring.state.erased, 5);
    feed_append(2);
    feed_look();
    feed_check_told(2, 1);
    feed_check_ring();
}

/* Messages were erased and added between two looks: every new one is
 * announced. */
static void test_erased_and_new(void **state)
{
    feed_append(20);
    feed_look();
    feed_run_outside("DELETE FROM message WHERE channel = 'odd'");
    feed_append(7);
    feed_look();
    feed_check_told(7, 1);
    feed_check_ring();
    feed_run_outside("DELETE FROM message WHERE timestamp ="
                     " (SELECT max(timestamp) FROM message)");
    feed_append(1500);
    feed_look();
    feed_check_told(1500, 1);
    feed_check_ring();
    assert_int_equal(feed.ring.count, COMET_RING_MESSAGES);
}

/* Whether the thread that joins again and again should continue. */
static atomic_int watching;

static void *watch_ring(void *nothing)
{
    while (atomic_load(&watching)) {
        comet_timestamp_t last;

        pthread_mutex_lock(&feed_lock);
        last = feed.ring.state.last;
        pthread_mutex_unlock(&feed_lock);
        if (last >= 0 && last < feed_appended[feed_appended_count - 1]) {
            return &watching;
        }
    }
    return NULL;
}

/* While the ring is refilled in many batches, a subscriber that joins and has
 * not seen everything is never told that there is nothing new. */
static void test_erased_while_somebody_joins(void **state)
{
    pthread_t thread;
    void *fault;
    int i;

    feed_append(COMET_RING_MESSAGES + 100);
    feed_look();
    atomic_store(&watching, 1);
    assert_int_equal(pthread_create(&thread, NULL, watch_ring, NULL), 0);
    for (i = 0; i < 50; i++) {
        feed_run_outside("DELETE FROM message WHERE timestamp ="
                         " (SELECT min(timestamp) FROM message)");
        assert_int_equal(comet_feed_refresh(&feed, &feed_lock, 1, feed_now,
                                            feed_on_message, &feed_told),
                         0);
    }
    atomic_store(&watching, 0);
    pthread_join(thread, &fault);
    feed_check_ring();
    assert_null(fault);
}

static void test_all_erased(void **state)
{
    feed_append(20);
    feed_look();
    feed_run_outside("DELETE FROM message");
    feed_look();
    feed_check_told(0, 0);
    feed_check_ring();
    assert_int_equal(feed.ring.count, 0);
    assert_int_equal(feed.ring.state.last, feed_appended[19]);
    assert_int_equal(comet_ring_covers(&feed.ring, 0), 1);
    feed_append(1);
    feed_look();
    feed_check_told(1, 1);
    feed_check_ring();
}

/* --- The role of the watcher --------------------------------------------- */

static void test_notifies_others(void **state)
{
    feed_append(1);
    feed_look_status(0);
    feed_was_notified();
    feed_append(1);
    feed_look_status(0);
    assert_int_equal(feed_was_notified(), 0); /* this feed does not have the
                                               * watching role */
    assert_int_equal(comet_bus_claim_watch(feed_bus), 1);
    feed.watch = comet_watch_open(&feed_config.place, feed_now);
    assert_non_null(feed.watch);
    assert_true(comet_feed_due(&feed) <= feed_now);
    feed_append(1);
    feed_look_status(1);
    feed_check_told(1, 1);
    assert_int_equal(feed_was_notified(), 0); /* the writer has notified the
                                               * others already */
    feed_look_status(0);
    assert_int_equal(feed_was_notified(), 0); /* nothing is new */
    feed_append(1);
    feed_look_status(0);
    feed_check_told(1, 1);
    assert_int_equal(feed_was_notified(), 1);
    feed_run_outside("DELETE FROM message WHERE channel = 'even'");
    feed_look_status(0);
    assert_int_equal(feed_was_notified(), 1); /* a removal is a change, too */
    comet_feed_close(&feed);
    /* the watching role is free */
    assert_int_equal(comet_bus_claim_watch(feed_bus), 1);
    comet_bus_release_watch(feed_bus);
}

static apr_time_t watch_due;

static apr_time_t due_of(const comet_watch_t *watch)
{
    return watch_due;
}

/* When the feed looks without a notification: at regular times, and when its
 * watch asks for a look in between. */
static void test_due(void **state)
{
    static const comet_watch_engine_t engine = { .due = due_of };
    static comet_watch_t watch = { &engine };
    apr_time_t due;

    feed_look();
    due = comet_feed_due(&feed);
    assert_in_range(due - feed_now, 1, SECOND);
    feed_now += 1000;
    feed_look();
    /* A notification does not postpone the next look. */
    assert_int_equal(comet_feed_due(&feed), due);
    feed.watch = &watch;
    watch_due = feed_now + 500;
    assert_int_equal(comet_feed_due(&feed), feed_now + 500);
    watch_due = due + 1;
    assert_int_equal(comet_feed_due(&feed), due);
    feed.watch = NULL;
    feed_now = due;
    feed_look();
    assert_in_range(comet_feed_due(&feed) - feed_now, 1, SECOND);
}

/* A notification after which nothing was committed costs no look at the log; a
 * commit just after a look is found at the next notification. */
static void test_nothing_committed(void **state)
{
    apr_int64_t erased, other;

    feed_append(3);
    feed_look();
    erased = feed.ring.state.erased;
    other = erased - 1; /* a look at the log would correct this number */
    feed.ring.state.erased = other;
    feed_now += 1000;
    feed_look();
    feed_check_told(0, 1);
    assert_int_equal(feed.ring.state.erased, other);

    feed.ring.state.erased = erased;
    feed_append(2);
    feed_look();
    feed_check_told(2, 1);
    feed_check_ring();

    feed.ring.state.erased = other;
    feed_now = comet_feed_due(&feed); /* now and then the feed looks without a
                                       * change */
    feed_look();
    feed_check_ring();
    assert_int_equal(feed.ring.state.erased, erased);
}

/* When passing messages are removed, the ring is not refilled, even if its
 * newest message is one of them. */
static void test_passed(void **state)
{
    apr_time_t erased_until;
    int more;

    feed_append(3);
    feed_look();
    erased_until = feed.erased_until;
    feed_run_outside("INSERT INTO message(channel, body, keep)"
                     " VALUES('even', 'p', 5)");
    feed_look();
    assert_int_equal(feed_told.count, 1);
    assert_int_equal(feed.ring.count, 4);
    feed_run_outside("DROP TRIGGER message_log_update;"
                     "UPDATE message_log SET expires = 1 WHERE keep;"
                     "UPDATE message_passing SET expires = 1");
    assert_int_equal(comet_store_tidy(feed_writer, &more), 0);
    feed_look();
    assert_int_equal(feed_told.count, 0);
    feed_append(2);
    feed_look();
    feed_check_told(2, 1);
    assert_int_equal(feed.ring.count, 6);
    assert_int_equal(feed.erased_until, erased_until);
    feed_run_outside("DELETE FROM message WHERE channel = 'odd'");
    feed_look(); /* the feed notices this removal */
    feed_check_ring();
    assert_true(feed.erased_until > erased_until);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FEED_TEST(test_before_the_first_look),
        FEED_TEST(test_first_look_at_nothing),
        FEED_TEST(test_first_look),
        FEED_TEST(test_first_look_at_many),
        FEED_TEST(test_no_file),
        FEED_TEST(test_increments),
        FEED_TEST(test_many_at_once),
        FEED_TEST(test_large_messages),
        FEED_TEST(test_erased),
        FEED_TEST(test_erased_and_new),
        FEED_TEST(test_erased_while_somebody_joins),
        FEED_TEST(test_all_erased),
        FEED_TEST(test_notifies_others),
        FEED_TEST(test_due),
        FEED_TEST(test_nothing_committed),
        FEED_TEST(test_passed),
    };

    return cmocka_run_group_tests(tests, feed_begin, feed_end);
}
