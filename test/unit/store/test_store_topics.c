/* SPDX-License-Identifier: Apache-2.0 */
/* The store: private messages, alternates and ids, in every way of reading. */
#include "store_kit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ANY (COMET_TIMESTAMP_MAX + 1)
#define MANY 400
/* With so many messages on other channels, a scan over them is given up. */
#define NOISE 800
#define CHANNELS 6

static comet_message_t *make_update(const char *channel, const char *alternates,
                                    int is_private, const char *event)
{
    comet_message_fields_t fields = {
        .channel = comet_text(channel),
        .body = comet_text(is_private ? "private" : "public"),
        .update = { .is_private = is_private,
                    .retry_msec = 7,
                    .event = comet_text(event),
                    .alternates = comet_text(alternates) },
    };
    comet_message_t *message = comet_message_create(&fields);

    assert_non_null(message);
    return message;
}

static apr_status_t append(comet_store_t *store, const char *channel,
                           const char *alternates, int is_private,
                           const char *event)
{
    comet_message_t *message =
        make_update(channel, alternates, is_private, event);
    apr_status_t result = -1;

    assert_int_equal(scratch_append(store, &message, &result, 1), 0);
    comet_message_unref(message);
    return result;
}

static comet_selection_t *by_topics(const char *name, const char *pattern,
                                    const char *grant)
{
    comet_text_t names = comet_text(name);
    comet_pattern_t patterns = comet_pattern_read(comet_text(pattern)),
                    grants = comet_pattern_read(comet_text(grant));
    comet_topics_t topics = {
        .names = &names,
        .name_count = name != NULL,
        .patterns = &patterns,
        .pattern_count = pattern != NULL,
        .grants = &grants,
        .grant_count = grant != NULL,
        .root = comet_text(""),
    };

    return comet_selection_by_topics(&topics);
}

/* --- what is kept ----------------------------------------------------------- */

static void test_round_trip(void **state)
{
    comet_store_t *store = kit_open_store(COMET_STORE_WRITE);
    const comet_update_t *update;
    comet_timestamp_t found;

    assert_int_equal(append(store, "a", "b\nc", 1, "id 1"), APR_SUCCESS);
    kit_empty_list();
    assert_int_equal(comet_store_tail(store, 0, 9, kit_collect, &kit_list), 0);
    assert_int_equal(kit_list.count, 1);
    update = &kit_list.messages[0]->update;
    assert_true(update->is_private);
    assert_int_equal(update->retry_msec, 7);
    assert_string_equal(update->event.data, "id 1");
    assert_string_equal(update->alternates.data, "b\nc");
    assert_int_equal(
        comet_store_find_event(store, comet_text("id 1"), ANY, &found), 0);
    assert_int_equal(found, kit_list.messages[0]->timestamp);
    append(store, "b", NULL, 0, "id 1"); /* the newest message with this id is
                                          * found first */
    assert_int_equal(
        comet_store_find_event(store, comet_text("id 1"), ANY, &found), 0);
    assert_int_equal(found, kit_last_of(store));
    assert_int_equal(
        comet_store_find_event(store, comet_text("id 1"), found, &found), 0);
    assert_int_equal(found, kit_list.messages[0]->timestamp);
    assert_int_equal(
        comet_store_find_event(store, comet_text("no"), ANY, &found), 0);
    assert_int_equal(found, 0);
    comet_store_close(store);
    kit_assert_healthy();
}

/* A message that is deleted or refused leaves nothing behind. */
static void test_no_trace(void **state)
{
    comet_store_t *store = kit_open_store(COMET_STORE_WRITE);

    assert_int_equal(append(store, "a", "b\nb\nc/d", 1, "x"), APR_SUCCESS);
    assert_int_equal(append(store, "c/d", NULL, 0, NULL), APR_SUCCESS);
    assert_int_equal(kit_number("SELECT count(*) FROM message_alternate"), 2);
    kit_run_outside("DELETE FROM message WHERE channel = 'a'");
    assert_int_equal(kit_number("SELECT count(*) FROM message_alternate"), 0);
    assert_int_equal(kit_number("SELECT count(*) FROM message_event"), 0);
    assert_int_equal(kit_number("SELECT count(*) FROM channel"), 1);
    assert_int_equal(append(store, "new", "fine\n/wrong", 0, "y"),
                     COMET_EINVALID);
    assert_int_equal(append(store, "new", "fine", 0, "a\nb"), COMET_EINVALID);
    assert_int_equal(kit_number("SELECT count(*) FROM channel"), 1);
    assert_int_equal(kit_number("SELECT count(*) FROM message_event"), 0);
    kit_run_outside("DELETE FROM message");
    assert_int_equal(kit_number("SELECT count(*) FROM channel"), 0);
    comet_store_close(store);
    kit_assert_healthy();
}

/* --- what is read ------------------------------------------------------------ */

static const char *const channels[CHANNELS] = { "a",   "r/1",   "r/2",
                                                "%/x", "s/t/u", "b" };

/* Append a message on a random channel.  It may have an alternate, and it may
 * be private. */
static void append_random(comet_store_t *store, unsigned *seed)
{
    const char *channel = channels[rand_r(seed) % CHANNELS];
    const char *alternate =
        rand_r(seed) % 3 ? NULL : channels[rand_r(seed) % CHANNELS];

    assert_int_equal(
        append(store, channel, alternate, rand_r(seed) % 3 == 0, NULL),
        APR_SUCCESS);
}

/** All messages of the log. */
typedef struct log_t {
    comet_message_t *messages[2 * NOISE + MANY];
    int count;
} log_t;

static int add_to_log(void *baton, comet_message_t *message)
{
    log_t *whole = baton;

    whole->messages[whole->count++] = message;
    return 1;
}

/* Check that kit_list holds exactly those messages after a timestamp that the
 * selection takes. */
static void check(const log_t *whole, const comet_selection_t *selection,
                  comet_timestamp_t after, const char *what)
{
    int i, k = 0;

    for (i = 0; i < whole->count; i++) {
        const comet_message_t *message = whole->messages[i];

        if (message->timestamp > after
            && comet_selection_judge_message(selection, message)
                   != COMET_SELECTION_NONE) {
            if (k >= (int)kit_list.count
                || kit_list.messages[k]->timestamp != message->timestamp) {
                fail_msg("%s: message %d of %d is missing", what, k, i);
            }
            k++;
        }
    }
    assert_int_equal(k, (int)kit_list.count);
}

static apr_size_t count_taken(const log_t *whole,
                              const comet_selection_t *selection)
{
    apr_size_t count = 0;
    int i;

    for (i = 0; i < whole->count; i++) {
        count += comet_selection_judge_message(selection, whole->messages[i])
                 != COMET_SELECTION_NONE;
    }
    return count;
}

/* Read into kit_list everything after a cursor, in parts as short as possible.
 * @return how many parts there were */
static int read_in_parts(comet_store_t *store,
                         const comet_selection_t *selection,
                         comet_timestamp_t after, apr_size_t limit)
{
    comet_timestamp_t until = after;
    const comet_budget_t budget = { .part = 1, .until = &until };
    int parts = 0;

    kit_empty_list();
    comet_store_limit(store, &budget);
    while (until) {
        after = until;
        until = 0;
        assert_int_equal(comet_store_read(store, selection, after, limit,
                                          kit_collect, &kit_list),
                         0);
        assert_true(!until || until > after);
        parts++;
    }
    comet_store_limit(store, NULL);
    return parts;
}

/* Read a selection in every way.  The limit is one more than the number of its
 * messages, so a scan for rare messages goes on until it is given up. */
static void check_all(comet_store_t *store, const log_t *whole,
                      const comet_selection_t *selection, const char *what)
{
    comet_timestamp_t middle = whole->messages[whole->count / 2]->timestamp;
    apr_size_t limit = count_taken(whole, selection) + 1;

    kit_empty_list();
    assert_int_equal(
        comet_store_read(store, selection, 0, limit, kit_collect, &kit_list),
        0);
    check(whole, selection, 0, what);
    kit_empty_list();
    assert_int_equal(comet_store_read(store, selection, middle, limit,
                                      kit_collect, &kit_list),
                     0);
    check(whole, selection, middle, what);
    read_in_parts(store, selection, whole->messages[0]->timestamp - 1, limit);
    check(whole, selection, 0, what);
    if (limit < COMET_LIMIT_MAX) {
        kit_empty_list();
        assert_int_equal(comet_store_page(store, selection, middle,
                                          COMET_TIMESTAMP_MAX, limit,
                                          kit_collect, &kit_list),
                         0);
        check(whole, selection, middle, what);
    }
}

/* Every way of reading finds exactly what comet_selection_judge() takes, both
 * if the channels are frequent (a scan) and if they are rare (the index). */
static void test_random(void **state)
{
    static const struct {
        const char *name, *pattern, *grant;
    } asked[] = {
        { "a", NULL, NULL },    { "a", NULL, "a" },
        { NULL, "r/{x}", "*" }, { NULL, "*", "r/{x}" },
        { "b", "/{x}", "b" },   { "none", NULL, "*" },
        { NULL, "{+x}", NULL }, { "a", "s/t/{x}", "{x}" },
    };
    comet_store_t *store = kit_open_store(COMET_STORE_WRITE);
    log_t *whole = calloc(1, sizeof(*whole));
    unsigned seed = 711;
    size_t i;
    int k;

    for (k = 0; k < MANY; k++) {
        append_random(store, &seed);
    }
    for (i = 0; i < 2; i++) { /* in the second round the channels are rare */
        whole->count = 0;
        assert_int_equal(
            comet_store_tail(store, 0, 2 * NOISE + MANY, add_to_log, whole), 0);
        for (k = 0; k < (int)(sizeof(asked) / sizeof(*asked)); k++) {
            comet_selection_t *selection =
                by_topics(asked[k].name, asked[k].pattern, asked[k].grant);

            check_all(store, whole, selection,
                      asked[k].name ? asked[k].name : "pattern");
            comet_selection_unref(selection);
        }
        for (k = 0; k < CHANNELS; k++) {
            comet_selection_t *one = scratch_choose(channels[k]);
            comet_selection_t *two = scratch_choose("b r/*");

            check_all(store, whole, one, channels[k]);
            check_all(store, whole, two, "b r/*");
            comet_selection_unref(one);
            comet_selection_unref(two);
        }
        while (whole->count) {
            comet_message_unref(whole->messages[--whole->count]);
        }
        if (i == 0) {
            kit_run_outside("DELETE FROM message");
            kit_append_noise(store, "noise", NOISE);
            for (k = 0; k < MANY / 8; k++) {
                append_random(store, &seed);
            }
            kit_append_noise(store, "noise", NOISE);
        }
    }
    free(whole);
    kit_empty_list();
    comet_store_close(store);
    kit_assert_healthy();
}

/* However many messages a reading passes over, each part of it stays short.
 * The messages may be private ones of one channel, or those of channels that a
 * pattern or a wildcard covers. */
static void test_parts(void **state)
{
    comet_store_t *store = kit_open_store(COMET_STORE_WRITE);
    comet_selection_t *asked[] = {
        scratch_choose("p"),
        scratch_choose("p none"),
        by_topics("p", NULL, NULL),
        by_topics(NULL, "c/{x}/end", NULL),
        by_topics(NULL, "{+x}end", "none"),
        scratch_choose("d/*"),
    };
    log_t *whole = calloc(1, sizeof(*whole));
    size_t i;

    append(store, "p", NULL, 0, NULL);
    kit_run_outside("WITH RECURSIVE n(i) AS"
                    " (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 600)"
                    " INSERT INTO message(channel, body, private)"
                    " SELECT 'p', 'private', 1 FROM n");
    kit_run_outside("WITH RECURSIVE n(i) AS"
                    " (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1200)"
                    " INSERT INTO message(channel, body)"
                    " SELECT 'c/' || i || '/start', 'public' FROM n");
    append(store, "c/1/end", NULL, 0, NULL);
    append(store, "d/1", NULL, 0, NULL);
    append(store, "p", NULL, 0, NULL);
    assert_int_equal(
        comet_store_tail(store, 0, 2 * NOISE + MANY, add_to_log, whole), 0);
    for (i = 0; i < sizeof(asked) / sizeof(*asked); i++) {
        assert_true(read_in_parts(store, asked[i],
                                  whole->messages[0]->timestamp - 1, 100)
                    > 5);
        assert_true(kit_list.count > 0);
        check(whole, asked[i], 0, "parts");
        comet_selection_unref(asked[i]);
    }
    while (whole->count) {
        comet_message_unref(whole->messages[--whole->count]);
    }
    free(whole);
    kit_empty_list();
    comet_store_close(store);
}

static int count_name(void *baton, comet_text_t name)
{
    ++*(int *)baton;
    return 1;
}

/* The other questions that a reader can ask (channels, replay and the like)
 * reveal nothing about private messages. */
static void test_hidden(void **state)
{
    comet_store_t *store = kit_open_store(COMET_STORE_WRITE);
    comet_selection_t *one = scratch_choose("p"), *two = scratch_choose("p q");
    comet_timestamp_t cursor;
    int any, names = 0, i;

    for (i = 0; i < 5; i++) {
        append(store, "p", "alternate", 1, NULL);
    }
    assert_int_equal(comet_store_replay(store, one, 3, &cursor, &any), 0);
    assert_false(any);
    assert_int_equal(cursor, 0);
    assert_int_equal(comet_store_replay(store, two, 3, &cursor, &any), 0);
    assert_false(any);
    assert_int_equal(
        comet_store_channels(store, comet_text(""), 9, count_name, &names), 0);
    assert_int_equal(names, 0);
    append(store, "p", NULL, 0, NULL);
    append(store, "p", NULL, 1, NULL);
    append(store, "p", NULL, 0, NULL);
    assert_int_equal(comet_store_replay(store, one, 1, &cursor, &any), 0);
    assert_true(any);
    kit_empty_list();
    assert_int_equal(
        comet_store_read(store, one, cursor, 9, kit_collect, &kit_list), 0);
    assert_string_equal(kit_joined(","), "public");
    assert_int_equal(
        comet_store_channels(store, comet_text(""), 9, count_name, &names), 0);
    assert_int_equal(names, 1);
    comet_selection_unref(one);
    comet_selection_unref(two);
    kit_empty_list();
    comet_store_close(store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        KIT_TEST(test_round_trip), KIT_TEST(test_no_trace),
        KIT_TEST(test_random),     KIT_TEST(test_parts),
        KIT_TEST(test_hidden),
    };

    scratch_make();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
