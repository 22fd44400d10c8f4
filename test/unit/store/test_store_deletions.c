/* SPDX-License-Identifier: Apache-2.0 */
/* The store: messages that programs and moderators remove, and who is told. */
#include "store_kit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static comet_store_t *open_store(int deletions)
{
    kit_config.deletions = deletions;
    return kit_open_store(COMET_STORE_WRITE);
}

/* The messages of a channel, each as "type:body". */
static const char *told(comet_store_t *store, const char *channel)
{
    static char text[500];
    size_t i, end = 0;

    kit_bodies(store, channel, 0, 99);
    text[0] = '\0';
    for (i = 0; i < kit_list.count; i++) {
        const comet_message_t *message = kit_list.messages[i];

        end += (size_t)snprintf(text + end, sizeof(text) - end, "%s%s:%s",
                                i ? " " : "", message->type.data,
                                message->body.data);
        assert_true(end < sizeof(text));
    }
    return text;
}

static const char *notice(comet_timestamp_t timestamp)
{
    static char text[60];

    snprintf(text, sizeof(text), "@deleted:%lld", (long long)timestamp);
    return text;
}

static void test_on_and_off(void **state)
{
    comet_store_t *store = open_store(0);
    comet_timestamp_t first, second, third;

    kit_append(store, "a", "1", &first);
    kit_append(store, "a", "2", &second);
    kit_append(store, "a", "3", &third);
    kit_run_outside("DELETE FROM message WHERE body = '1'");
    assert_string_equal(told(store, "a"), "message:2 message:3");
    comet_store_close(store);
    store = open_store(1);
    kit_run_outside("DELETE FROM message WHERE body = '2'");
    assert_string_equal(strchr(told(store, "a"), ' ') + 1, notice(second));
    assert_int_equal(kit_list.messages[1]->keep_sec, 86400);
    comet_store_close(store);
    store = open_store(1);
    kit_run_outside("DELETE FROM message WHERE type = '@deleted'");
    assert_string_equal(told(store, "a"), "message:3");
    kit_run_outside("DELETE FROM message_log WHERE body = '3'");
    assert_string_equal(told(store, "a"), "");
    comet_store_close(store);
    store = open_store(0);
    kit_append(store, "a", "4", NULL);
    kit_run_outside("DELETE FROM message");
    assert_string_equal(told(store, "a"), "");
    comet_store_close(store);
    kit_assert_healthy();
}

/* Clients that may not see a message do not learn that it was deleted. */
static void test_private_and_siblings(void **state)
{
    comet_store_t *store = open_store(1);

    kit_run_outside("INSERT INTO message(channel, body, private)"
                    " VALUES('a', 'secret', 1);"
                    "INSERT INTO message(channel, body) VALUES('a/@online', 1);"
                    "DELETE FROM message");
    assert_string_equal(told(store, "a"), "");
    assert_int_equal(kit_number("SELECT count(*) FROM message"
                                " WHERE private AND type = '@deleted'"),
                     1);
    assert_int_equal(kit_number("SELECT count(*) FROM message"), 1);
    comet_store_close(store);
}

/* --- Removals by moderators ----------------------------------------------- */

/* Remove a message in the same transaction in which others publish, one before
 * and one after the removal. */
static apr_status_t remove_between(comet_store_t *store, const char *channel,
                                   comet_timestamp_t timestamp)
{
    comet_message_t *before = kit_make("a", "before"),
                    *after = kit_make("a", "after");
    comet_store_group_t groups[] = {
        { .messages = &before, .count = 1 },
        { .removal = { .channel = comet_text(channel),
                       .timestamp = timestamp } },
        { .messages = &after, .count = 1 },
    };
    comet_store_group_t *const list[] = { &groups[0], &groups[1], &groups[2] };

    assert_int_equal(comet_store_append(store, list, 3), APR_SUCCESS);
    assert_int_equal(groups[0].result, APR_SUCCESS);
    assert_int_equal(groups[2].result, APR_SUCCESS);
    assert_true(before->timestamp < after->timestamp);
    assert_int_equal(kit_last_of(store), after->timestamp);
    comet_message_unref(before);
    comet_message_unref(after);
    return groups[1].result;
}

static void test_removal(void **state)
{
    comet_store_t *store = open_store(1);
    char edit[120], wanted[200];
    comet_timestamp_t target;

    kit_append(store, "a", "1", &target);
    kit_append(store, "a", "2", NULL);
    snprintf(edit, sizeof(edit),
             "INSERT INTO message(channel, type, body)"
             " VALUES('a', 'edit', '{\"of\": %lld}')",
             (long long)target);
    kit_run_outside(edit);
    assert_int_equal(remove_between(store, "b", target), APR_NOTFOUND);
    assert_int_equal(remove_between(store, "a", target + 1), APR_NOTFOUND);
    assert_int_equal(remove_between(store, "a", target), APR_SUCCESS);
    snprintf(wanted, sizeof(wanted),
             "message:2 message:before message:after message:before"
             " message:after message:before %s",
             notice(target));
    /* then come the notice of the edit and the last message */
    assert_memory_equal(told(store, "a"), wanted, strlen(wanted));
    assert_int_equal(kit_list.count, 9);
    assert_string_equal(kit_list.messages[8]->body.data, "after");
    assert_int_equal(kit_number("SELECT count(*) FROM message"
                                " WHERE type = 'edit'"),
                     0);
    assert_int_equal(remove_between(store, "a", target), APR_NOTFOUND);
    comet_store_close(store);
    kit_assert_healthy();
}

/* When the last message of a channel is removed, so is the channel. */
static void test_removal_of_all(void **state)
{
    comet_store_t *store = open_store(0);
    comet_timestamp_t only;
    comet_store_group_t group = { .count = 0 }, *const list[] = { &group };

    kit_append(store, "b", "only", &only);
    group.removal =
        (comet_removal_t){ .channel = comet_text("b"), .timestamp = only };
    assert_int_equal(comet_store_append(store, list, 1), APR_SUCCESS);
    assert_int_equal(group.result, APR_SUCCESS);
    assert_int_equal(kit_number("SELECT count(*) FROM message"), 0);
    assert_int_equal(kit_number("SELECT count(*) FROM channel"), 0);
    assert_int_equal(kit_number("SELECT erased FROM comet_clock"), 1);
    group.removal.member = comet_text("nobody"); /* fails, because presence is
                                                  * off */
    assert_int_equal(comet_store_append(store, list, 1), APR_SUCCESS);
    assert_int_equal(group.result, APR_NOTFOUND);
    comet_store_close(store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        KIT_TEST(test_on_and_off),
        KIT_TEST(test_private_and_siblings),
        KIT_TEST(test_removal),
        KIT_TEST(test_removal_of_all),
    };

    scratch_make();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
