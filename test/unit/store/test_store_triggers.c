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

/* Append updates of the channel "new" with alternates, one of which is "new"
 * itself, each in a commit of its own.  All are stored.
 * @param rule  SQL of a trigger that runs after each of them */
static void append_updates(comet_store_t *store, const char *rule)
{
    comet_message_t *message;
    apr_status_t result;
    char sql[500];
    int i;

    snprintf(sql, sizeof(sql),
             "CREATE TRIGGER rule AFTER INSERT ON message_log"
             " WHEN NEW.body = 'spam' BEGIN %s END",
             rule);
    kit_run_outside(sql);
    for (i = 0; i < 3; i++) {
        message = comet_message_create(&(comet_message_fields_t){
            .channel = comet_text("new"),
            .body = comet_text("spam"),
            .update = { .alternates = comet_text("new\na\nb") } });
        result = -1;
        assert_int_equal(scratch_append(store, &message, &result, 1), 0);
        assert_int_equal(result, APR_SUCCESS);
        comet_message_unref(message);
    }
}

/* A trigger deletes messages that have alternates.  Nothing is left of them,
 * also if the trigger publishes something, so that the store knows of it. */
static void test_delete_alternates(void **state)
{
    comet_store_t *store = kit_open_store(COMET_STORE_WRITE);
    int i;

    for (i = 0; i < 2; i++) {
        append_updates(store,
                       i == 0 ? "DELETE FROM message WHERE timestamp = NEW.id;"
                              : "INSERT INTO message(channel, body)"
                                " VALUES('held', 'held');"
                                " DELETE FROM message"
                                " WHERE timestamp = NEW.id;");
        assert_int_equal(kit_number("SELECT count(*) FROM message_alternate"),
                         0);
        assert_int_equal(kit_number("SELECT count(*) FROM channel"
                                    " WHERE name <> 'held'"),
                         0);
        kit_run_outside("DROP TRIGGER rule");
    }
    assert_string_equal(kit_bodies(store, "held", 0, 9), "held,held,held");
    comet_store_close(store);
    kit_assert_healthy();
}

/* A trigger stores each message in another channel instead, under the same
 * timestamp.  The message's own channel, which is gone with it, is made anew
 * for the alternate of that name. */
static void test_move_alternates(void **state)
{
    comet_store_t *store = kit_open_store(COMET_STORE_WRITE);

    kit_append_many(store, "held", 1);
    append_updates(store, "DELETE FROM message WHERE timestamp = NEW.id;"
                          " INSERT INTO message_log(id, channel_id, type, body,"
                          " alternates) SELECT NEW.id, id, NEW.type, 'moved',"
                          " NEW.alternates FROM channel WHERE name = 'held';");
    assert_string_equal(kit_bodies(store, "held", 0, 9), "0,moved,moved,moved");
    assert_int_equal(kit_number("SELECT count(*) FROM message_alternate AS a"
                                " JOIN message_log AS m ON m.id = a.message"
                                " JOIN channel AS c ON c.id = a.channel_id"),
                     9);
    kit_run_outside("DELETE FROM message");
    assert_int_equal(kit_number("SELECT count(*) FROM channel"), 0);
    comet_store_close(store);
    kit_assert_healthy();
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

/* Retain two messages of each channel, beside a trigger that keeps the messages
 * of author "pin" with RAISE(IGNORE).
 * @return how often a trigger was said to have kept a channel's messages */
static int prune_unpinned(comet_store_t *store)
{
    int more = 1, steps = 0, refused = 0;

    kit_run_outside("CREATE TRIGGER rule BEFORE DELETE ON message_log"
                    " WHEN OLD.author = 'pin'"
                    " BEGIN SELECT RAISE(IGNORE); END");
    while (more && steps++ < 20) {
        apr_status_t status = comet_store_prune(store, apr_time_now(), &more);

        refused += status == COMET_EINVALID;
        assert_true(status == APR_SUCCESS || status == COMET_EINVALID);
    }
    assert_int_equal(more, 0);
    return refused;
}

/* With CometSearch, one step looks at few large messages.  If a trigger keeps
 * all of these, retention still removes what lies behind them.  A channel of
 * which it may remove nothing is reported. */
static void test_retention_behind_large(void **state)
{
    comet_store_t *store;

    kit_config.retain_count = 2;
    kit_config.search = 1;
    store = kit_open_store(COMET_STORE_WRITE);
    kit_run_outside(
        "INSERT INTO message(channel, author, body) VALUES"
        "('chat', 'pin', printf('%.40000c', 'x')),"
        "('chat', 'pin', printf('%.40000c', 'x')),"
        "('chat', 'a', 'old'), ('chat', 'a', '1'), ('chat', 'a', '2'),"
        "('kept', 'pin', printf('%.40000c', 'x')),"
        "('kept', 'a', '1'), ('kept', 'a', '2')");
    assert_int_equal(prune_unpinned(store), 1);
    assert_non_null(strstr(comet_store_error(store), "RAISE(IGNORE)"));
    assert_int_equal(kit_number("SELECT count(*) FROM message"
                                " WHERE body = 'old'"),
                     0);
    assert_int_equal(kit_number("SELECT count(*) FROM message"), 7);
    assert_int_equal(kit_number("SELECT floor FROM channel"
                                " WHERE name = 'kept'"),
                     0);
    comet_store_close(store);
    kit_assert_healthy();
}

/* A step that has removed nearly as much as it may looks at few messages of the
 * next channel.  If a trigger keeps all of these, retention still removes what
 * lies behind them. */
static void test_retention_behind_many(void **state)
{
    comet_store_t *store;

    kit_config.retain_count = 2;
    store = kit_open_store(COMET_STORE_WRITE);
    kit_append_noise(store, "busy", 952);
    kit_run_outside("WITH RECURSIVE n(i) AS"
                    " (VALUES(1) UNION ALL SELECT i + 1 FROM n WHERE i < 1200)"
                    " INSERT INTO message(channel, author, body)"
                    " SELECT 'chat', 'pin', 'x' FROM n");
    kit_append_many(store, "chat", 5);
    assert_int_equal(prune_unpinned(store), 0);
    assert_int_equal(kit_number("SELECT count(*) FROM message"
                                " WHERE channel = 'busy'"),
                     2);
    assert_int_equal(kit_number("SELECT count(*) FROM message"
                                " WHERE channel = 'chat'"),
                     1202);
    comet_store_close(store);
    kit_assert_healthy();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        KIT_TEST(test_abort),
        KIT_TEST(test_fail),
        KIT_TEST(test_rollback),
        KIT_TEST(test_ignore),
        KIT_TEST(test_publish),
        KIT_TEST(test_removal),
        KIT_TEST(test_retention),
        KIT_TEST(test_delete),
        KIT_TEST(test_move),
        KIT_TEST(test_retention_ignored),
        KIT_TEST(test_delete_alternates),
        KIT_TEST(test_move_alternates),
        KIT_TEST(test_retention_behind_large),
        KIT_TEST(test_retention_behind_many),
    };

    scratch_make();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
