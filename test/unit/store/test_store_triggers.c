/* SPDX-License-Identifier: Apache-2.0 */
/* The message log and triggers that other programs have made in the
 * database. */
#include "store_kit.h"

#include <stdio.h>
#include <string.h>

enum { COUNT = 5, BAD = 1, WORSE = 3 };

#define BOT \
    "CREATE TRIGGER bot AFTER INSERT ON message_log" \
    " WHEN NEW.author IS NULL BEGIN" \
    " INSERT INTO message(channel, author, body)" \
    " VALUES('bot', 'bot', 're ' || NEW.body); END"

/* Append COUNT messages in one commit; the bodies of two of them are "spam".
 * @param results  OUT */
static void append_some(comet_store_t *store, apr_status_t *results)
{
    comet_message_t *messages[COUNT];
    char body[2] = "0";
    int i;

    for (i = 0; i < COUNT; i++, body[0]++) {
        messages[i] = kit_make("chat", i == BAD || i == WORSE ? "spam" : body);
        results[i] = -1;
    }
    assert_int_equal(scratch_append(store, messages, results, COUNT), 0);
    for (i = 0; i < COUNT; i++) {
        assert_int_equal(messages[i]->timestamp > 0, results[i] == APR_SUCCESS);
        comet_message_unref(messages[i]);
    }
}

/* A trigger refuses two messages of a commit. */
static void refuse(const char *how, const char *when)
{
    comet_store_t *store = kit_open_store(COMET_STORE_WRITE);
    apr_status_t results[COUNT];
    char sql[300];
    int round, i;

    snprintf(sql, sizeof(sql),
             "CREATE TRIGGER rule %s INSERT ON message_log"
             " WHEN NEW.body = 'spam' BEGIN SELECT RAISE(%s); END",
             when, how);
    kit_run_outside(sql);
    for (round = 0; round < 2; round++) { /* in the first round the store learns
                                           * of the trigger */
        append_some(store, results);
        for (i = 0; i < COUNT; i++) {
            assert_int_equal(results[i], i == BAD || i == WORSE ? COMET_EINVALID
                                                                : APR_SUCCESS);
        }
        assert_non_null(strstr(comet_store_error(store), "no spam"));
        assert_string_equal(kit_bodies(store, "chat", 0, 99),
                            round ? "0,2,4,0,2,4" : "0,2,4");
        assert_int_equal(kit_last_of(store),
                         kit_number("SELECT max(timestamp) FROM message"));
    }
    comet_store_close(store);
    kit_assert_healthy();
}

static void test_abort(void **state)
{
    refuse("ABORT, 'no spam'", "BEFORE");
}

static void test_fail(void **state)
{
    refuse("FAIL, 'no spam'", "AFTER");
}

static void test_rollback(void **state)
{
    refuse("ROLLBACK, 'no spam'", "AFTER");
}

/* A message that a trigger silently drops is not stored, and its publisher is
 * told so. */
static void test_ignore(void **state)
{
    comet_store_t *store = kit_open_store(COMET_STORE_WRITE);
    apr_status_t results[COUNT];

    kit_run_outside("CREATE TRIGGER rule BEFORE INSERT ON message_log"
                    " WHEN NEW.body = 'spam'"
                    " BEGIN SELECT RAISE(IGNORE); END");
    append_some(store, results);
    assert_int_equal(results[BAD], COMET_EINVALID);
    assert_int_equal(results[WORSE], COMET_EINVALID);
    assert_non_null(strstr(comet_store_error(store), "dropped the message"));
    assert_string_equal(kit_bodies(store, "chat", 0, 99), "0,2,4");
    comet_store_close(store);
}

/* A trigger answers each message with another one.  Each answer has its own
 * timestamp, which follows that of the message it answers. */
static void test_publish(void **state)
{
    comet_store_t *store = kit_open_store(COMET_STORE_WRITE);
    apr_status_t results[COUNT];
    int round, i;

    append_some(store, results);
    kit_run_outside(BOT);
    for (round = 0; round < 3; round++) {
        append_some(store, results);
        for (i = 0; i < COUNT; i++) {
            assert_int_equal(results[i], APR_SUCCESS);
        }
    }
    kit_empty_list();
    assert_int_equal(comet_store_tail(store, 0, 99, kit_collect, &kit_list), 0);
    assert_string_equal(kit_joined(" "),
                        "0 spam 2 spam 4"
                        " 0 re 0 spam re spam 2 re 2 spam re spam 4 re 4"
                        " 0 re 0 spam re spam 2 re 2 spam re spam 4 re 4"
                        " 0 re 0 spam re spam 2 re 2 spam re spam 4 re 4");
    assert_int_equal(kit_last_of(store), kit_list.messages[34]->timestamp);
    comet_store_close(store);
    kit_assert_healthy();
}

/* A trigger deletes some messages, and so their channel if it has no others.
 * The channel's next message in the same commit is stored in the channel, which
 * is made anew.
 * @param note  SQL of the trigger, besides the deletion */
static void delete_some(const char *note)
{
    comet_store_t *store = kit_open_store(COMET_STORE_WRITE);
    comet_message_t *messages[] = { kit_make("new", "spam"),
                                    kit_make("new", "ham") };
    comet_store_group_t groups[] = {
        { .messages = messages, .count = 2 },
        { .messages = &messages[0], .count = 1 },
        { .messages = &messages[1], .count = 1 },
    };
    comet_store_group_t *const list[] = { &groups[0], &groups[1], &groups[2] };
    char sql[300];

    snprintf(sql, sizeof(sql),
             "CREATE TRIGGER rule AFTER INSERT ON message_log"
             " WHEN NEW.body = 'spam' BEGIN %s"
             " DELETE FROM message WHERE timestamp = NEW.id; END",
             note);
    kit_run_outside(sql);
    assert_int_equal(comet_store_append(store, list, 1), APR_SUCCESS);
    assert_int_equal(groups[0].result, APR_SUCCESS);
    assert_string_equal(kit_bodies(store, "new", 0, 9), "ham");
    kit_run_outside("DELETE FROM message");
    assert_int_equal(comet_store_append(store, &list[1], 2), APR_SUCCESS);
    assert_int_equal(groups[1].result, APR_SUCCESS);
    assert_int_equal(groups[2].result, APR_SUCCESS);
    assert_string_equal(kit_bodies(store, "new", 0, 9), "ham");
    comet_message_unref(messages[0]);
    comet_message_unref(messages[1]);
    comet_store_close(store);
    kit_assert_healthy();
}

static void test_delete(void **state)
{
    delete_some("");
}

static void test_move(void **state)
{
    delete_some("INSERT INTO message(channel, body)"
                " VALUES('held', 'held: ' || NEW.body);");
}

/* A trigger refuses a moderator's removal.  Messages in the same commit are
 * still stored. */
static void test_removal(void **state)
{
    comet_store_t *store = kit_open_store(COMET_STORE_WRITE);
    comet_message_t *message = kit_make("chat", "other");
    comet_store_group_t groups[2] = {
        { .count = 0 },
        { .messages = &message, .count = 1 },
    };
    comet_store_group_t *const list[] = { &groups[0], &groups[1] };
    comet_timestamp_t kept;

    assert_int_equal(kit_append(store, "chat", "kept", &kept), 0);
    kit_run_outside("CREATE TRIGGER rule BEFORE DELETE ON message_log"
                    " BEGIN SELECT RAISE(ABORT, 'kept for ever'); END");
    groups[0].removal =
        (comet_removal_t){ .channel = comet_text("chat"), .timestamp = kept };
    assert_int_equal(comet_store_append(store, list, 2), APR_SUCCESS);
    assert_int_equal(groups[0].result, COMET_EINVALID);
    assert_int_equal(groups[1].result, APR_SUCCESS);
    assert_non_null(strstr(comet_store_error(store), "kept for ever"));
    assert_string_equal(kit_bodies(store, "chat", 0, 9), "kept,other");
    comet_message_unref(message);
    comet_store_close(store);
}

/* A trigger protects some messages of one channel for ever.  Retention leaves
 * that channel as it is, and continues with the others. */
static void test_retention(void **state)
{
    comet_store_t *store;
    int more = 1, refused = 0;

    kit_config.retain_count = 2;
    store = kit_open_store(COMET_STORE_WRITE);
    kit_append_many(store, "pinned", 5);
    kit_append_many(store, "chat", 5);
    kit_run_outside("CREATE TRIGGER rule BEFORE DELETE ON message_log"
                    " WHEN OLD.body = '1' AND OLD.channel_id = 1"
                    " BEGIN SELECT RAISE(ABORT, 'kept for ever'); END");
    while (more) {
        apr_status_t status = comet_store_prune(store, apr_time_now(), &more);

        if (status == COMET_EINVALID) {
            refused++;
            assert_non_null(strstr(comet_store_error(store), "kept for ever"));
        }
        else {
            assert_int_equal(status, APR_SUCCESS);
        }
    }
    assert_int_equal(refused, 1);
    assert_string_equal(kit_bodies(store, "pinned", 0, 9), "0,1,2,3,4");
    assert_string_equal(kit_bodies(store, "chat", 0, 9), "3,4");
    assert_int_equal(kit_number("SELECT floor FROM channel"
                                " WHERE name = 'pinned'"),
                     0);
    comet_store_close(store);
}

/* A trigger keeps more messages than one step of retention looks at, with
 * RAISE(IGNORE).  Retention does not try for ever, removes what it may, and
 * tells no client of a gap where it has removed nothing. */
static void test_retention_ignored(void **state)
{
    comet_store_t *store;
    int more = 1, steps = 0, refused = 0;

    kit_config.retain_count = 2;
    store = kit_open_store(COMET_STORE_WRITE);
    kit_append_noise(store, "pinned", 1500);
    kit_append_many(store, "chat", 5);
    kit_run_outside("CREATE TRIGGER rule BEFORE DELETE ON message_log"
                    " WHEN OLD.channel_id = 1 OR OLD.body = '1'"
                    " BEGIN SELECT RAISE(IGNORE); END");
    while (more && steps++ < 10) {
        refused +=
            comet_store_prune(store, apr_time_now(), &more) == COMET_EINVALID;
    }
    assert_int_equal(more, 0);
    assert_int_equal(refused, 1);
    assert_non_null(strstr(comet_store_error(store), "RAISE(IGNORE)"));
    assert_int_equal(kit_number("SELECT count(*) FROM message"
                                " WHERE channel = 'pinned'"),
                     1500);
    assert_int_equal(kit_number("SELECT floor FROM channel WHERE id = 1"), 0);
    assert_string_equal(kit_bodies(store, "chat", 0, 9), "1,3,4");
    comet_store_close(store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        KIT_TEST(test_abort),     KIT_TEST(test_fail),
        KIT_TEST(test_rollback),  KIT_TEST(test_ignore),
        KIT_TEST(test_publish),   KIT_TEST(test_removal),
        KIT_TEST(test_retention), KIT_TEST(test_delete),
        KIT_TEST(test_move),      KIT_TEST(test_retention_ignored),
    };

    scratch_make();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
