/* SPDX-License-Identifier: Apache-2.0 */
/* The contract of an engine: publishing, other programs, upkeep, search. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "contract_kit.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- Groups --------------------------------------------------------------- */

/* If a message is refused, nothing of its group is stored.  The other groups of
 * the same call are stored. */
void contract_test_groups(void **state)
{
    static const char *const wrong[] = { "a//b", "..", "x/./y", "tab\there" };
    comet_message_t *messages[4];
    comet_store_group_t good = { .messages = messages, .count = 1 };
    comet_store_group_t bad = { .messages = messages + 1, .count = 2 };
    comet_store_group_t fine = { .messages = messages + 3, .count = 1 };
    comet_store_group_t *groups[] = { &good, &bad, &fine };
    size_t i, j;

    UNLESS_SKIPPED();
    for (i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
        messages[0] = contract_make("chat", "good");
        messages[1] = contract_make("chat", "bad");
        messages[2] = contract_make(wrong[i], "worse");
        messages[3] = contract_make("chat", "fine");
        assert_int_equal(comet_store_append(contract_store, groups, 3), 0);
        assert_int_equal(good.result, 0);
        assert_int_equal(bad.result, COMET_EINVALID);
        assert_int_equal(fine.result, 0);
        assert_int_equal(messages[1]->timestamp, 0);
        assert_true(messages[3]->timestamp > messages[0]->timestamp);
        for (j = 0; j < 4; j++) {
            comet_message_unref(messages[j]);
        }
    }
    assert_string_equal(contract_read_words("*", 0, 99),
                        "good,fine,good,fine,good,fine,good,fine");
}

static comet_store_group_t keyed(comet_message_t **message, const char *key,
                                 const char *author, const char *body)
{
    comet_store_group_t group = {
        .messages = message,
        .count = 1,
        .key = { .text = comet_text(key),
                 .channel = comet_text("chat"),
                 .author = comet_text(author) },
    };

    *message = contract_make("chat", body);
    comet_store_hash(&group);
    return group;
}

static apr_status_t publish_keyed(const char *key, const char *author,
                                  const char *body,
                                  comet_timestamp_t *timestamp)
{
    comet_message_t *message;
    comet_store_group_t group = keyed(&message, key, author, body);
    comet_store_group_t *groups[] = { &group };

    assert_int_equal(comet_store_append(contract_store, groups, 1), 0);
    *timestamp = message->timestamp;
    comet_message_unref(message);
    return group.result;
}

void contract_test_keys(void **state)
{
    comet_timestamp_t first, again;
    comet_message_t *messages[3];
    comet_store_group_t one, other, third;
    comet_store_group_t *groups[] = { &one, &other, &third };

    UNLESS_SKIPPED();
    assert_int_equal(publish_keyed("k", NULL, "a", &first), 0);
    assert_int_equal(publish_keyed("k", NULL, "a", &again), COMET_EREPEATED);
    assert_int_equal(again, first);
    assert_int_equal(publish_keyed("k", NULL, "b", &again), COMET_EMISMATCH);
    assert_int_equal(publish_keyed("k", "anna", "b", &again), 0);
    /* the same key twice in one call, together with a group without a key */
    one = keyed(&messages[0], "twice", NULL, "c");
    other = keyed(&messages[1], "twice", NULL, "c");
    third = (comet_store_group_t){ .messages = &messages[2], .count = 1 };
    messages[2] = contract_make("chat", "d");
    assert_int_equal(comet_store_append(contract_store, groups, 3), 0);
    assert_int_equal(one.result, 0);
    assert_int_equal(other.result, COMET_EREPEATED);
    assert_int_equal(third.result, 0);
    assert_int_equal(messages[1]->timestamp, messages[0]->timestamp);
    comet_message_unref(messages[0]);
    comet_message_unref(messages[1]);
    comet_message_unref(messages[2]);
    assert_string_equal(contract_read_words("chat", 0, 9), "a,b,c,d");
    /* the key outlives its message */
    contract_must_run("DELETE FROM message WHERE body = 'a'");
    assert_int_equal(publish_keyed("k", NULL, "a", &again), COMET_EREPEATED);
    assert_int_equal(again, first);
}

/* --- Programs outside ----------------------------------------------------- */

void contract_test_outside_insert(void **state)
{
    static const char *const refused[] = {
        "INSERT INTO message(timestamp, channel, body) VALUES(1, 'chat', 'x')",
        "INSERT INTO message(channel, body) VALUES('', 'x')",
        "INSERT INTO message(channel, body) VALUES('a//b', 'x')",
        "INSERT INTO message(channel, type, body) VALUES('chat', 'gap', 'x')",
        "INSERT INTO message(channel, author, body) VALUES('chat', '', 'x')",
        "INSERT INTO message(channel, body) VALUES('chat', NULL)",
    };
    comet_timestamp_t first;
    size_t i;

    UNLESS_SKIPPED();
    first = contract_append("chat", "a");
    contract_must_run("INSERT INTO message(channel, body) VALUES('chat', 'b')");
    contract_must_run("BEGIN;"
                      " INSERT INTO message(channel, author, type, body)"
                      "  VALUES('chat', 'anna', 'note', 'c');"
                      " INSERT INTO message(channel, body) VALUES('chat', '');"
                      " COMMIT");
    contract_must_run(
        "BEGIN;"
        " INSERT INTO message(channel, body) VALUES('chat', 'never');"
        " ROLLBACK");
    contract_take_in();
    contract_append("chat", "e");
    for (i = 0; i < sizeof(refused) / sizeof(*refused); i++) {
        if (!*contract_engine->run(refused[i])) {
            fail_msg("not refused: %s", refused[i]);
        }
    }
    assert_string_not_equal(
        contract_engine->run("UPDATE message SET body = 'x'"), "");
    contract_take_in();
    assert_string_equal(contract_read_words("chat", 0, 9), "a,b,c,,e");
    assert_true(contract_list.messages[1]->timestamp > first);
    assert_string_equal(contract_list.messages[2]->author.data, "anna");
    assert_string_equal(contract_list.messages[2]->type.data, "note");
    assert_string_equal(contract_list.messages[1]->type.data, "message");
}

/* However large the messages of an application's transaction are, one step
 * publishes a megabyte of them at most, so that publishers need not wait for
 * all of them. */
void contract_test_outside_large(void **state)
{
    static char body[600001], sql[1900000];
    apr_interval_time_t rest = 0;
    apr_size_t count;

    UNLESS_SKIPPED();
    memset(body, 'x', sizeof(body) - 1);
    snprintf(sql, sizeof(sql),
             "INSERT INTO message(channel, body)"
             " VALUES('chat', '1%s'), ('chat', '2%s'), ('chat', '3%s')",
             body, body, body);
    contract_must_run(sql);
    while (comet_store_has_inbox(contract_store) && !rest) {
        assert_int_equal(comet_store_take_in(contract_store, &count, &rest), 0);
        assert_true(count <= 1);
    }
    contract_read_words("chat", 0, 9);
    assert_int_equal(contract_list.count, 3);
    assert_int_equal(contract_list.messages[2]->body.data[0], '3');
}

/* A deleted message is gone and counted as erased; its timestamp is not used
 * again. */
void contract_test_outside_delete(void **state)
{
    comet_store_state_t before, after;
    comet_timestamp_t newest;

    UNLESS_SKIPPED();
    contract_append("chat", "a");
    newest = contract_append("chat", "spam");
    before = contract_state_now();
    contract_must_run("DELETE FROM message WHERE body = 'spam'");
    after = contract_state_now();
    assert_true(after.erased > before.erased);
    assert_int_equal(after.last, newest);
    assert_int_equal(contract_floor_of("chat"), 0); /* a deletion makes no
                                                     * gap */
    assert_true(contract_append("chat", "b") > newest);
    assert_string_equal(contract_read_words("chat", 0, 9), "a,b");
    contract_must_run("DELETE FROM message");
    assert_true(contract_state_now().last > newest);
    assert_string_equal(contract_read_words("*", 0, 9), "");
}

/* --- Retention ------------------------------------------------------------ */

void contract_test_retain_count(void **state)
{
    comet_timestamp_t last;
    comet_store_state_t before;

    UNLESS_SKIPPED();
    contract_config.retain_count = 3;
    last = contract_append_many("busy", 2500);
    contract_append("calm", "a");
    contract_append("calm", "b");
    before = contract_state_now();
    contract_prune_all(apr_time_now());
    assert_string_equal(contract_read_words("busy", 0, 99), "2497,2498,2499");
    assert_string_equal(contract_read_words("calm", 0, 99), "a,b");
    assert_int_equal(contract_floor_of("busy"), last - 3);
    assert_int_equal(contract_floor_of("calm"), 0);
    assert_int_equal(contract_floor_of("calm busy"), last - 3);
    assert_true(contract_state_now().erased > before.erased);
    /* the next pruning finds the new messages */
    contract_append_many("busy", 4);
    contract_append_many("calm", 4);
    contract_prune_all(apr_time_now());
    assert_string_equal(contract_read_words("busy", 0, 99), "1,2,3");
    assert_string_equal(contract_read_words("calm", 0, 99), "1,2,3");
    before = contract_state_now();
    contract_prune_all(apr_time_now());
    assert_int_equal(contract_state_now().erased, before.erased);
}

void contract_test_retain_age(void **state)
{
    comet_timestamp_t a, b;

    UNLESS_SKIPPED();
    a = contract_append("chat", "a");
    b = contract_append("chat", "b");
    contract_append("old", "c");
    contract_config.retain_age = 1;
    assert_true(b > a);
    while (contract_append("chat", "d") <= b + 1) {
    }
    contract_prune_all(COMET_TIMESTAMP_MAX);
    assert_string_equal(contract_read_words("chat", 0, 99), "d");
    assert_string_equal(contract_read_words("old", 0, 99),
                        "c"); /* the channel's newest message stays */
    assert_true(contract_floor_of("chat") >= b);
}

/* --- Search --------------------------------------------------------------- */

static const char *search(const char *words, const char *text,
                          comet_timestamp_t before)
{
    comet_selection_t *selection = scratch_choose(words);
    comet_timestamp_t rest;
    apr_status_t status;

    contract_empty_list();
    status = comet_store_search(contract_store, selection, comet_text(text), 0,
                                before, 9, contract_collect, NULL, &rest);
    comet_selection_unref(selection);
    if (status != APR_SUCCESS) {
        return status == COMET_EINVALID ? "invalid"
                                        : comet_store_error(contract_store);
    }
    assert_int_equal(rest, 0);
    return contract_bodies();
}

static void fill_index(void)
{
    int more = 1;

    while (more) {
        assert_int_equal(comet_store_tidy(contract_store, &more), 0);
    }
}

void contract_test_search(void **state)
{
    int round;
    comet_timestamp_t middle = 0;

    UNLESS_SKIPPED();
    assert_string_equal(search("*", "x", COMET_TIMESTAMP_MAX),
                        comet_store_error(contract_store));
    contract_config.search = 1;
    comet_store_close(contract_store);
    contract_store = contract_open_store(COMET_STORE_WRITE);
    contract_append("chat", "Deploy of foo-bar finished");
    middle = contract_append("news", "D\xc3\xa9ploiement fini: foo.bar");
    contract_append("chat", "the bar is not foo; it's 10 o'clock");
    for (round = 0; round < 2; round++) { /* before and after indexing */
        assert_string_equal(search("chat", "deploy", COMET_TIMESTAMP_MAX),
                            "Deploy of foo-bar finished");
        assert_string_equal(search("*", "deplo*", middle),
                            "Deploy of foo-bar finished");
        search("*", "deplo*", COMET_TIMESTAMP_MAX);
        assert_int_equal(contract_list.count, 2);
        search("*", "foo-bar", COMET_TIMESTAMP_MAX);
        assert_int_equal(contract_list.count, 2); /* found as a phrase */
        search("*", "BAR foo", COMET_TIMESTAMP_MAX);
        assert_int_equal(contract_list.count, 3);
        assert_string_equal(
            search("news", "d\xc3\xa9ploiement", COMET_TIMESTAMP_MAX),
            search("news", "deploiement", COMET_TIMESTAMP_MAX));
        assert_int_equal(contract_list.count, 1);
        assert_string_equal(search("*", "absent", COMET_TIMESTAMP_MAX), "");
        assert_string_equal(search("*", "10 it's", COMET_TIMESTAMP_MAX),
                            "the bar is not foo; it's 10 o'clock");
        assert_string_equal(search("*", " - ", COMET_TIMESTAMP_MAX), "");
        assert_string_equal(search("*", "  ", COMET_TIMESTAMP_MAX), "invalid");
        assert_string_equal(search("*", "a b c d e f g h i j k l m n o p q",
                                   COMET_TIMESTAMP_MAX),
                            "invalid");
        fill_index();
    }
    contract_must_run("DELETE FROM message WHERE channel = 'news'");
    assert_string_equal(search("news", "foo", COMET_TIMESTAMP_MAX), "");
}

/* --- Many writers --------------------------------------------------------- */

#define WRITERS 3
#define ROUNDS 60

/* Append messages through the thread's own connection. */
static void *write_some(void *baton)
{
    comet_store_t *own;
    apr_status_t status =
        comet_store_open(&own, &contract_config, COMET_STORE_WRITE, NULL);
    int i;

    for (i = 0; i < ROUNDS && status == APR_SUCCESS; i++) {
        comet_message_t *messages[2] = { contract_make(baton, "x"),
                                         contract_make(baton, "y") };
        comet_store_group_t group = { .messages = messages, .count = 2 };
        comet_store_group_t *groups[] = { &group };

        do {
            status = comet_store_append(own, groups, 1);
        } while (status == COMET_ELOCKED);
        comet_message_unref(messages[0]);
        comet_message_unref(messages[1]);
    }
    if (status == APR_SUCCESS) {
        comet_store_close(own);
    }
    return (void *)(intptr_t)status;
}

/* A reader that follows several writers by its cursor misses no message: a
 * message that becomes visible later has a later timestamp. */
void contract_test_no_gaps(void **state)
{
    static char channels[WRITERS][4] = { "w/1", "w/2", "w/3" };
    pthread_t threads[WRITERS];
    comet_timestamp_t cursor = 0;
    int64_t end = scratch_usec() + 60 * SECOND;
    size_t seen = 0, i;

    UNLESS_SKIPPED();
    for (i = 0; i < WRITERS; i++) {
        pthread_create(&threads[i], NULL, write_some, channels[i]);
    }
    while (seen < (size_t)WRITERS * ROUNDS * 2 && scratch_usec() < end) {
        contract_empty_list();
        assert_int_equal(comet_store_tail(contract_store, cursor, 100,
                                          contract_collect, NULL),
                         0);
        for (i = 0; i < contract_list.count; i++) {
            assert_true(contract_list.messages[i]->timestamp > cursor);
            cursor = contract_list.messages[i]->timestamp;
        }
        seen += contract_list.count;
    }
    for (i = 0; i < WRITERS; i++) {
        void *status;

        pthread_join(threads[i], &status);
        assert_int_equal((intptr_t)status, 0);
    }
    assert_int_equal(seen, WRITERS * ROUNDS * 2);
}
