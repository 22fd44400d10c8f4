/* SPDX-License-Identifier: Apache-2.0 */
/* The store: the retention of single channels (channel_retention), the list of
 * channels, and when presence forgets members. */
#include "store_kit.h"

#include <stdio.h>
#include <string.h>

static void prune_all(comet_store_t *store)
{
    int more = 1, steps = 0;

    while (more) {
        assert_true(steps++ < 20);
        assert_int_equal(comet_store_prune(store, apr_time_now(), &more), 0);
    }
}

/* How many messages a channel has. */
static int kept(comet_store_t *store, const char *channel)
{
    kit_bodies(store, channel, 0, 99);
    return (int)kit_list.count;
}

static void fill(comet_store_t *store)
{
    kit_append_many(store, "log", 9);
    kit_append_many(store, "log/a", 9);
    kit_append_many(store, "log/a/b", 9);
    kit_append_many(store, "log/all", 9);
    kit_append_many(store, "other", 9);
}

/* A rule for the channel's name takes precedence, then the rule with the
 * longest prefix, then CometRetain. */
static void test_which_rule(void **state)
{
    comet_store_t *store;
    comet_timestamp_t floor;

    kit_config.retain_count = 7;
    store = kit_open_store(COMET_STORE_WRITE);
    fill(store);
    kit_run_outside("INSERT INTO channel_retention VALUES('log/*', 3, NULL),"
                    " ('log/a/*', 2, NULL), ('log/all', NULL, NULL),"
                    " ('l*', 5, NULL), ('othe', 1, NULL)");
    prune_all(store);
    assert_int_equal(kept(store, "log"), 5);
    assert_int_equal(kept(store, "log/a"), 3);
    assert_int_equal(kept(store, "log/a/b"), 2);
    assert_int_equal(kept(store, "log/all"), 9);
    assert_int_equal(kept(store, "other"), 7);
    assert_int_equal(
        comet_store_floor(store, scratch_select(comet_text("log/a")), &floor),
        0);
    assert_true(floor > 0); /* a client that missed messages is told */
    comet_store_close(store);
}

/* A new rule applies at once, even to channels that get no more messages, and
 * even without CometRetain. */
static void test_new_rules(void **state)
{
    comet_store_t *store = kit_open_store(COMET_STORE_WRITE);

    fill(store);
    prune_all(store);
    assert_int_equal(kept(store, "log"), 9);
    kit_run_outside("INSERT INTO channel_retention VALUES('*', 4, NULL)");
    prune_all(store);
    assert_int_equal(kept(store, "log"), 4);
    assert_int_equal(kept(store, "log/a/b"), 4);
    kit_run_outside("UPDATE channel_retention SET keep_count = 3");
    prune_all(store);
    assert_int_equal(kept(store, "other"), 3);
    kit_run_outside("DELETE FROM channel_retention");
    kit_append_many(store, "other", 5);
    prune_all(store);
    assert_int_equal(kept(store, "other"), 8);
    comet_store_close(store);
    kit_assert_healthy();
}

static void test_age(void **state)
{
    comet_store_t *store = kit_open_store(COMET_STORE_WRITE);

    kit_run_outside(
        "INSERT INTO channel(id, name) VALUES(1, 'a'), (2, 'b');"
        "INSERT INTO message_log(id, channel_id, body)"
        " VALUES(1000000, 1, '1'), (2000000, 1, '2'), (5000000, 1, '3'),"
        " (1000001, 2, '1'), (5000001, 2, '2');"
        "UPDATE comet_clock SET last = 5000001;"
        "INSERT INTO channel_retention VALUES('a', NULL, 3)");
    prune_all(store);
    assert_string_equal(kit_bodies(store, "a", 0, 9), "2,3");
    assert_string_equal(kit_bodies(store, "b", 0, 9), "1,2");
    comet_store_close(store);
}

static void test_wrong_rules(void **state)
{
    static const char *const wrong[] = { "'', 1, 1",    "'a', 0, 1",
                                         "'a', 1, 0",   "'a', 'x', 1",
                                         "'a', 1, 1.5", "NULL, 1, 1" };
    comet_store_t *store = kit_open_store(COMET_STORE_WRITE);
    sqlite3 *db = kit_outsider();
    char sql[120];
    size_t i;

    for (i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
        snprintf(sql, sizeof(sql), "INSERT INTO channel_retention VALUES(%s)",
                 wrong[i]);
        assert_string_not_equal(kit_try_run(db, sql), "");
    }
    sqlite3_close(db);
    comet_store_close(store);
}

/* Set or remove a rule as moderators do, in the same transaction as a message.
 * @return the result of the rule's group */
static apr_status_t change_rule(comet_store_t *store, const char *pattern,
                                apr_int64_t count, apr_int64_t age,
                                int is_removed)
{
    comet_message_t *message = kit_make("beside", "x");
    comet_store_group_t groups[] = {
        { .rule = { comet_text(pattern), count, age, is_removed } },
        { .messages = &message, .count = 1 },
    };
    comet_store_group_t *const list[] = { &groups[0], &groups[1] };

    assert_int_equal(comet_store_append(store, list, 2), APR_SUCCESS);
    assert_int_equal(groups[1].result, APR_SUCCESS);
    comet_message_unref(message);
    return groups[0].result;
}

static int print_rule(void *baton, const comet_rule_t *rule)
{
    char *text = baton;

    sprintf(text + strlen(text), "%.*s %d %d;", (int)rule->pattern.length,
            rule->pattern.data, (int)rule->keep_count, (int)rule->keep_age_sec);
    return 1;
}

static const char *listed(comet_store_t *store, const char *prefix,
                          const char *after, apr_size_t limit)
{
    static char text[300];

    text[0] = '\0';
    assert_int_equal(comet_store_rules(store, comet_text(prefix),
                                       comet_text(after), limit, print_rule,
                                       text),
                     APR_SUCCESS);
    return text;
}

static void test_changing_rules(void **state)
{
    comet_store_t *store = kit_open_store(COMET_STORE_WRITE), *reader;
    comet_store_group_t only = { .rule = { comet_text("one"), 1, 0, 0 } },
                        *const list[] = { &only };

    assert_int_equal(change_rule(store, "log/*", 2, 0, 0), APR_SUCCESS);
    assert_int_equal(change_rule(store, "log/all", 0, 0, 0), APR_SUCCESS);
    assert_int_equal(change_rule(store, "a", 1, 60, 0), APR_SUCCESS);
    assert_int_equal(change_rule(store, "log/*", 3, 0, 0), APR_SUCCESS);
    assert_int_equal(change_rule(store, "none", 0, 0, 1), APR_NOTFOUND);
    reader = kit_open_store(COMET_STORE_READ);
    assert_string_equal(listed(reader, "", "", 9),
                        "a 1 60;log/* 3 0;log/all 0 0;");
    assert_string_equal(listed(reader, "log/", "", 9),
                        "log/* 3 0;log/all 0 0;");
    assert_string_equal(listed(reader, "", "a", 1), "log/* 3 0;");
    assert_int_equal(comet_store_append(store, list, 1), APR_SUCCESS);
    assert_int_equal(only.result, APR_SUCCESS);
    assert_string_equal(listed(reader, "o", "", 9), "one 1 0;");
    fill(store);
    prune_all(store);
    assert_int_equal(kept(store, "log/a"), 3);
    assert_int_equal(kept(store, "log/all"), 9);
    assert_int_equal(change_rule(store, "log/all", 0, 0, 1), APR_SUCCESS);
    prune_all(store);
    assert_int_equal(kept(store, "log/all"), 3);
    comet_store_close(reader);
    comet_store_close(store);
    kit_assert_healthy();
}

/* Moderators may set a limited number of rules, whatever the patterns.  A
 * program that may write the database may set more. */
static void test_many_rules(void **state)
{
    comet_store_t *store = kit_open_store(COMET_STORE_WRITE);

    kit_run_outside("WITH RECURSIVE n(i) AS (SELECT 2 UNION ALL SELECT i + 1"
                    " FROM n WHERE i < 1000) INSERT INTO"
                    " channel_retention(pattern, keep_count)"
                    " SELECT 'r' || i, 1 FROM n");
    assert_int_equal(change_rule(store, "r1", 1, 0, 0), APR_SUCCESS);
    assert_int_equal(change_rule(store, "one/too/many", 1, 0, 0), COMET_EFULL);
    assert_int_equal(change_rule(store, "r7", 5, 0, 0), APR_SUCCESS);
    assert_int_equal(change_rule(store, "r8", 0, 0, 1), APR_SUCCESS);
    assert_int_equal(change_rule(store, "one/*", 1, 0, 0), APR_SUCCESS);
    assert_int_equal(kit_number("SELECT count(*) FROM channel_retention"),
                     COMET_RULES_MOST);
    kit_run_outside("INSERT INTO channel_retention(pattern) VALUES('more')");
    comet_store_close(store);
}

static void test_channel_info(void **state)
{
    comet_store_t *store = kit_open_store(COMET_STORE_WRITE);
    comet_timestamp_t first, last;

    kit_append(store, "a", "\xc3\xbc", &first);
    kit_append(store, "b", "x", NULL);
    kit_append(store, "a", "123", &last);
    kit_run_outside("INSERT INTO message(channel, body, keep)"
                    " VALUES('a', 'typing', 5), ('c', 'typing', 5)");
    assert_int_equal(kit_number("SELECT count(*) FROM channel_info"), 2);
    assert_int_equal(kit_number("SELECT messages * 100 + bytes"
                                " FROM channel_info WHERE channel = 'a'"),
                     205);
    assert_int_equal(
        kit_number("SELECT first FROM channel_info WHERE channel = 'a'"),
        first);
    assert_int_equal(
        kit_number("SELECT last FROM channel_info WHERE channel = 'a'"), last);
    comet_store_close(store);
}

/* --- presence -------------------------------------------------------------- */

static void test_forgotten(void **state)
{
    comet_store_t *store;
    int more = 1;

    kit_config.presence_grace = SECOND;
    kit_config.presence_memory = 3600 * SECOND;
    store = kit_open_store(COMET_STORE_WRITE);
    kit_append(store, "a", "x", NULL);
    kit_run_outside(
        "INSERT INTO online(channel, member) VALUES('a', 'here');"
        "INSERT INTO last_seen SELECT 'a', 'left', last - 3590000000, NULL"
        " FROM comet_clock;"
        "INSERT INTO last_seen SELECT 'a', 'read', 1, last FROM comet_clock;"
        "UPDATE last_seen SET left_at = 1 WHERE member = 'here';"
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n"
        " WHERE i < 1200) INSERT INTO last_seen"
        " SELECT 'a', 'old' || i, last - 3601000000, 1 FROM n, comet_clock");
    while (more) {
        assert_int_equal(comet_store_tidy(store, &more), 0);
    }
    assert_int_equal(kit_number("SELECT count(*) FROM last_seen"), 3);
    assert_int_equal(kit_number("SELECT count(*) FROM last_seen"
                                " WHERE member LIKE 'old%'"),
                     0);
    comet_store_close(store);
}

/* If a member has been in very many channels, only the most recent ones are
 * remembered, and those that the member is in now.  Other members are not
 * affected. */
static void test_forgotten_by_number(void **state)
{
    comet_store_t *store;
    int more = 1;

    kit_config.presence_grace = SECOND;
    kit_config.presence_memory = 3600 * SECOND;
    store = kit_open_store(COMET_STORE_WRITE);
    kit_append(store, "a", "x", NULL);
    kit_run_outside(
        "INSERT INTO online(channel, member) VALUES('here', 'ann');"
        "UPDATE last_seen SET left_at = (SELECT last FROM comet_clock)"
        " - 3000000000;"
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n"
        " WHERE i < 11200) INSERT INTO last_seen"
        " SELECT 'c' || i, 'ann', last - i, NULL FROM n, comet_clock;"
        "INSERT INTO last_seen SELECT 'c1', 'bob', last - 3000000000, NULL"
        " FROM comet_clock;");
    while (more) {
        assert_int_equal(comet_store_tidy(store, &more), 0);
    }
    assert_int_equal(kit_number("SELECT count(*) FROM last_seen"
                                " WHERE channel LIKE 'c%' AND member = 'ann'"),
                     10000);
    assert_int_equal(kit_number("SELECT min(CAST(substr(channel, 2) AS INTEGER)"
                                " <= 10000) FROM last_seen"
                                " WHERE channel LIKE 'c%'"),
                     1);
    assert_int_equal(kit_number("SELECT count(*) FROM last_seen"), 10002);
    comet_store_close(store);
}

/* While nobody publishes, upkeep goes through the table in slices.  Rows to be
 * forgotten may be in the last slice. */
static void test_forgotten_in_slices(void **state)
{
    comet_store_t *store;
    int more = 1, calls = 0;

    kit_config.presence_grace = SECOND;
    kit_config.presence_memory = 3600 * SECOND;
    store = kit_open_store(COMET_STORE_WRITE);
    kit_append(store, "a", "x", NULL);
    kit_run_outside(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n"
        " WHERE i < 9000) INSERT INTO last_seen"
        " SELECT 'a', 'kept' || i, last, NULL FROM n, comet_clock;"
        "INSERT INTO last_seen VALUES('a', 'old', 1, NULL), ('b', 'old', 1, 1)");
    for (; more; calls++) {
        assert_int_equal(comet_store_tidy(store, &more), 0);
    }
    assert_int_equal(kit_number("SELECT count(*) FROM last_seen"), 9000);
    assert_int_equal(calls, 19); /* each with 500 rows */
    comet_store_close(store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        KIT_TEST(test_which_rule),
        KIT_TEST(test_new_rules),
        KIT_TEST(test_age),
        KIT_TEST(test_wrong_rules),
        KIT_TEST(test_changing_rules),
        KIT_TEST(test_many_rules),
        KIT_TEST(test_channel_info),
        KIT_TEST(test_forgotten),
        KIT_TEST(test_forgotten_by_number),
        KIT_TEST(test_forgotten_in_slices),
    };

    scratch_make();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
