/* SPDX-License-Identifier: Apache-2.0 */
/* The ring of recent messages, compared with a plain list of all messages. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "scratch.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hub/ring.h"

#define MANY 20000

#define TWIN "costarring"
#define OTHER_TWIN "liquid"

static const char *const channels[] = { "chat", TWIN, OTHER_TWIN };

static comet_ring_t ring;
static comet_message_t *room[COMET_RING_MESSAGES];
static comet_batch_t batch = { .messages = room, .size = COMET_RING_MESSAGES };

/** All messages that were pushed, oldest first.  The test owns a reference to
 * each. */
static comet_message_t *all[MANY];
static size_t count;

static int setup(void **state)
{
    comet_ring_reset(&ring, 0);
    return 0;
}

static int teardown(void **state)
{
    comet_batch_clear(&batch);
    comet_ring_reset(&ring, 0);
    while (count) {
        assert_int_equal(atomic_load(&all[--count]->refs), 1);
        comet_message_unref(all[count]);
    }
    return 0;
}

static comet_message_t *push(comet_timestamp_t timestamp, const char *channel,
                             size_t length)
{
    static char body[COMET_BODY_MAX_BYTES];
    comet_message_t *message = comet_message_create(
        &(comet_message_fields_t){ .timestamp = timestamp,
                                   .channel = comet_text(channel),
                                   .body = { body, length } });

    assert_true(count < MANY);
    all[count++] = message;
    comet_ring_push(&ring, message);
    return message;
}

static size_t collect(const char *channel, comet_timestamp_t after,
                      size_t limit)
{
    comet_reading_t reading = {
        .selection = scratch_select(comet_text(channel)),
        .batch = &batch,
    };

    comet_batch_clear(&batch);
    batch.size = limit;
    comet_ring_collect(&ring, after, &reading);
    return batch.count;
}

/* Check what the ring collects against the list. */
static void check(const char *channel, comet_timestamp_t after, size_t limit)
{
    comet_text_t name = comet_text(channel);
    size_t i, k = 0, bytes = 0;

    collect(channel, after, limit);
    for (i = 0; i < count && k < limit && bytes < COMET_BATCH_BYTES; i++) {
        if (all[i]->timestamp > after
            && comet_text_equal(all[i]->channel, name)) {
            assert_true(k < batch.count);
            assert_ptr_equal(batch.messages[k++], all[i]);
            bytes += all[i]->body.length;
        }
    }
    assert_int_equal(batch.count, k);
}

static void test_empty(void **state)
{
    comet_ring_reset(&ring, 100);
    assert_int_equal(comet_ring_covers(&ring, 100), 1);
    assert_int_equal(comet_ring_covers(&ring, 101), 1);
    assert_int_equal(comet_ring_covers(&ring, 99), 0);
    assert_int_equal(collect("chat", 100, 10), 0);
    comet_ring_reset(&ring, COMET_TIMESTAMP_MAX);
    assert_int_equal(comet_ring_covers(&ring, COMET_TIMESTAMP_MAX - 1), 0);
    assert_int_equal(ring.count, 0);
    assert_int_equal(ring.bytes, 0);
}

static void test_borders(void **state)
{
    comet_ring_reset(&ring, 5);
    push(10, "chat", 1);
    push(20, "chat", 1);
    push(30, "chat", 1);
    assert_int_equal(comet_ring_covers(&ring, 5), 1);
    assert_int_equal(comet_ring_covers(&ring, 4), 0);
    assert_int_equal(collect("chat", 5, 10), 3);
    assert_int_equal(collect("chat", 9, 10), 3);
    assert_int_equal(collect("chat", 10, 10), 2);
    assert_int_equal(batch.messages[0]->timestamp, 20);
    assert_int_equal(collect("chat", 29, 10), 1);
    assert_int_equal(collect("chat", 30, 10), 0);
    assert_int_equal(collect("chat", COMET_TIMESTAMP_MAX, 10), 0);
    assert_int_equal(collect("chat", 5, 2), 2);
    /* the batch begins with the oldest matching messages */
    assert_int_equal(batch.messages[1]->timestamp, 20);
    assert_int_equal(collect("chat", 5, 1), 1);
    assert_int_equal(collect("cha", 5, 10), 0);
    assert_int_equal(collect("chat/", 5, 10), 0);
}

static void test_twins(void **state)
{
    char twin[32], other[32];

    scratch_twins(twin, other);
    assert_int_equal(comet_message_hash(comet_text(twin)),
                     comet_message_hash(comet_text(other)));
    push(1, twin, 1);
    push(2, other, 1);
    push(3, twin, 1);
    assert_int_equal(collect(twin, 0, 10), 2);
    assert_int_equal(batch.messages[1]->timestamp, 3);
    assert_int_equal(collect(other, 0, 10), 1);
    assert_int_equal(batch.messages[0]->timestamp, 2);
}

/* If the ring is full, another message drops the oldest one, and the ring no
 * longer covers that one. */
static void test_full(void **state)
{
    comet_timestamp_t i;

    for (i = 1; i <= COMET_RING_MESSAGES; i++) {
        push(i * 10, "chat", 1);
    }
    assert_int_equal(ring.count, COMET_RING_MESSAGES);
    assert_int_equal(comet_ring_covers(&ring, 0), 1);
    assert_int_equal(collect("chat", 0, COMET_RING_MESSAGES),
                     COMET_RING_MESSAGES);
    comet_batch_clear(&batch);
    push(i * 10, "chat", 1);
    assert_int_equal(ring.count, COMET_RING_MESSAGES);
    assert_int_equal(comet_ring_covers(&ring, 10), 1);
    assert_int_equal(comet_ring_covers(&ring, 9), 0);
    assert_int_equal(atomic_load(&all[0]->refs), 1);
    assert_int_equal(atomic_load(&all[1]->refs), 2);
    check("chat", 10, COMET_RING_MESSAGES);
    assert_int_equal(batch.count, COMET_RING_MESSAGES);
}

static void test_references(void **state)
{
    comet_message_t *message = push(1, "chat", 1);

    assert_int_equal(atomic_load(&message->refs), 2);
    collect("chat", 0, 1);
    assert_int_equal(atomic_load(&message->refs), 3);
    comet_ring_reset(&ring, 7);
    assert_int_equal(atomic_load(&message->refs), 2); /* one is the batch's */
    assert_int_equal(ring.bytes, 0);
    assert_int_equal(comet_ring_covers(&ring, 7), 1);
    assert_int_equal(comet_ring_covers(&ring, 6), 0);
}

static size_t bytes_in_ring(void)
{
    size_t i, bytes = 0;

    for (i = count - ring.count; i < count; i++) {
        bytes += all[i]->body.length;
    }
    return bytes;
}

/* The ring keeps only a few messages of a megabyte, but always the newest. */
static void test_bytes(void **state)
{
    comet_timestamp_t i;

    for (i = 1; i <= 40; i++) {
        push(i, "chat", COMET_BODY_MAX_BYTES);
        assert_true(ring.bytes <= COMET_RING_BYTES);
        assert_true(ring.bytes >= bytes_in_ring());
        assert_int_equal(comet_ring_covers(&ring, i - 1), 1);
        assert_int_equal(collect("chat", i - 1, 10), 1);
    }
    assert_in_range(ring.count, 6, 8);
    assert_int_equal(ring.from, 40 - (comet_timestamp_t)ring.count);
    check("chat", ring.from, COMET_RING_MESSAGES);
    assert_int_equal(batch.count, 1); /* one message fills an answer */
    comet_batch_clear(&batch);
    for (; i <= 40 + 2 * COMET_RING_MESSAGES; i++) {
        push(i, "chat", 1); /* afterwards all long messages are gone, and all
                             * entries are in use */
    }
    assert_int_equal(ring.count, COMET_RING_MESSAGES);
    assert_true(ring.bytes < COMET_RING_MESSAGES * 1000);
}

/* The ring wraps around many times and agrees with the list at each step. */
static void test_like_a_list(void **state)
{
    unsigned int seed = 20261121;
    comet_timestamp_t now = 0;

    while (count < MANY) {
        size_t i = (size_t)rand_r(&seed);
        comet_timestamp_t after;

        now += 1 + rand_r(&seed) % 5;
        push(now, channels[i % 3], i % 10 ? i % 50 : COMET_BATCH_BYTES / 2);
        if (i % 7 && count != MANY) {
            continue;
        }
        after = ring.from + rand_r(&seed) % (int)(now - ring.from + 3);
        assert_int_equal(comet_ring_covers(&ring, after), 1);
        check(channels[i % 2], after,
              1 + (size_t)rand_r(&seed) % (2 * COMET_RING_MESSAGES));
        if (i % 1000 == 0) {
            comet_ring_reset(&ring, now);
        }
        comet_batch_clear(&batch);
    }
}

/* --- Selections ---------------------------------------------------------- */

/* The timestamps that the ring collects for a selection, separated by spaces.
 * If collecting ended before an unknown channel, an exclamation mark
 * follows. */
static const char *collect_words(const char *words, comet_timestamp_t after,
                                 size_t limit)
{
    static char text[256];
    comet_selection_t *selection = scratch_choose(words);
    comet_reading_t reading = { .selection = selection, .batch = &batch };
    size_t i;

    comet_batch_clear(&batch);
    batch.size = limit;
    comet_ring_collect(&ring, after, &reading);
    comet_selection_unref(selection);
    text[0] = '\0';
    for (i = 0; i < batch.count; i++) {
        sprintf(text + strlen(text), "%s%d", i ? " " : "",
                (int)batch.messages[i]->timestamp);
    }
    return strcat(text, reading.recheck ? "!" : "");
}

static void test_selections(void **state)
{
    static const char *const pushed[] = { "a", "b",  "r/1",      "a",
                                          "c", TWIN, OTHER_TWIN, "r/2" };
    int i;

    for (i = 0; i < 8; i++) {
        push(i + 1, pushed[i], 1);
    }
    assert_string_equal(collect_words("", 0, 9), "");
    assert_string_equal(collect_words("a", 0, 9), "1 4");
    assert_string_equal(collect_words("a b", 0, 9), "1 2 4");
    assert_string_equal(collect_words("c b a", 1, 9), "2 4 5");
    assert_string_equal(collect_words("a b", 0, 2), "1 2");
    assert_string_equal(collect_words(TWIN " a", 0, 9), "1 4 6");
    assert_string_equal(collect_words("r/1 r/2 r/*", 0, 9), "3 8");
    assert_string_equal(
        collect_words("a b c r/1 r/2 liquid costarring *", 0, 9),
        "1 2 3 4 5 6 7 8");
    /* collecting ends before the message of a channel that was not
     * authorised */
    assert_string_equal(collect_words("r/1 r/*", 0, 9), "3!");
    assert_string_equal(collect_words("a r/*", 0, 9), "1!");
    assert_string_equal(collect_words("r/2 r/*", 0, 9), "!");
    assert_string_equal(collect_words("r/2 r/*", 3, 9), "8");
    assert_string_equal(collect_words("a b *", 0, 9), "1 2!");
    assert_string_equal(collect_words("a b *", 0, 2),
                        "1 2"); /* the batch is full */
    assert_string_equal(collect_words("a b *", 8, 9), "");
    assert_string_equal(collect_words("x/*", 0, 9), "");
}

static void push_passing(comet_timestamp_t timestamp, apr_time_t expires)
{
    comet_message_t *message = comet_message_create(
        &(comet_message_fields_t){ .timestamp = timestamp,
                                   .channel = comet_text("r/new"),
                                   .body = comet_text("x"),
                                   .keep_sec = 60,
                                   .expires = expires });

    all[count++] = message;
    comet_ring_push(&ring, message);
}

/* A passing message that has expired reaches nobody, and no client is
 * authorised again because of its channel.  The ring and the log are compared
 * by their newest messages; this comparison ignores passing messages. */
static void test_passing(void **state)
{
    push(1, "a", 1);
    push_passing(2, apr_time_now() - 1);
    push_passing(3, apr_time_now() + 3600 * SECOND); /* as if the clock had been
                                                   * set back */
    push(4, "a", 1);
    push_passing(5, apr_time_now() + 50 * SECOND);
    assert_string_equal(collect_words("a r/new", 0, 9), "1 4 5");
    assert_string_equal(collect_words("a r/*", 0, 9), "1 4!");
    assert_int_equal(comet_ring_newest(&ring), 4);
    comet_ring_reset(&ring, 9);
    assert_int_equal(comet_ring_newest(&ring), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_empty),       TEST(test_borders),    TEST(test_twins),
        TEST(test_full),        TEST(test_bytes),      TEST(test_references),
        TEST(test_like_a_list), TEST(test_selections), TEST(test_passing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
