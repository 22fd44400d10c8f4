/* SPDX-License-Identifier: Apache-2.0 */
/* The store: every way of reading finds a passing message (keep=) until it
 * expires, and none finds it afterwards. */
#include "search_kit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "comet_schema.h"

/* With so many messages on other channels, a scan over them is given up. */
#define NOISE 800

static apr_status_t append(comet_store_t *store, const char *channel,
                           const char *body, int keep_sec)
{
    comet_message_t *message = comet_message_create(
        &(comet_message_fields_t){ .channel = comet_text(channel),
                                   .body = comet_text(body),
                                   .keep_sec = keep_sec });
    apr_status_t result = -1;

    assert_non_null(message);
    assert_int_equal(scratch_append(store, &message, &result, 1), 0);
    comet_message_unref(message);
    return result;
}

/* Make the messages this many seconds older, as if that time had passed.  If
 * the number is negative, make them younger, as if the clock had been set
 * back. */
static void let_pass(int seconds)
{
    char sql[400];

    snprintf(sql, sizeof(sql),
             "BEGIN; DROP TRIGGER IF EXISTS message_log_update;"
             " UPDATE message_log SET expires = expires - %d * 1000000"
             " WHERE keep; UPDATE message_passing SET"
             " expires = expires - %d * 1000000; COMMIT",
             seconds, seconds);
    kit_run_outside(sql);
}

/* --- what is kept ---------------------------------------------------------- */

static void test_round_trip(void **state)
{
    comet_store_t *store = kit_open_store(COMET_STORE_WRITE);
    apr_time_t before = apr_time_now();
    const comet_message_t *message;

    assert_int_equal(append(store, "a", "soon over", 5), APR_SUCCESS);
    kit_run_outside("INSERT INTO message(channel, body, keep)"
                    " VALUES('a', 'by SQL', 7)");
    assert_string_equal(kit_bodies(store, "a", 0, 9), "soon over,by SQL");
    message = kit_list.messages[0];
    assert_int_equal(message->keep_sec, 5);
    assert_true(message->expires >= before + 5 * SECOND);
    assert_true(message->expires <= apr_time_now() + 5 * SECOND);
    message = kit_list.messages[1];
    assert_int_equal(message->keep_sec, 7);
    assert_true(message->expires > before + 6 * SECOND);
    assert_int_equal(kit_number("SELECT sum(keep) FROM message"), 12);
    comet_store_close(store);
    kit_assert_healthy();
}

static void test_wrong_times(void **state)
{
    static const char *const wrong[] = { "0", "-1", "86401", "1.5", "'x'" };
    comet_store_t *store = kit_open_store(COMET_STORE_WRITE);
    sqlite3 *db = kit_outsider();
    char sql[120];
    size_t i;

    for (i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
        snprintf(sql, sizeof(sql),
                 "INSERT INTO message(channel, body, keep)"
                 " VALUES('a', 'x', %s)",
                 wrong[i]);
        assert_string_equal(kit_try_run(db, sql),
                            "keep is a number of seconds, from 1 to 86400");
    }
    assert_int_equal(append(store, "a", "x", COMET_KEEP_MAX_SEC + 1),
                     COMET_EINVALID);
    assert_int_equal(kit_number("SELECT count(*) FROM channel"), 0);
    sqlite3_close(db);
    comet_store_close(store);
}

/* --- every way to read ------------------------------------------------------ */

static const char *read_by(comet_store_t *store, comet_selection_t *selection,
                           int backwards)
{
    kit_empty_list();
    kit_list.limit = 99;
    assert_int_equal(
        backwards
            ? comet_store_page(store, selection, 0, COMET_TIMESTAMP_MAX, 99,
                               kit_collect, &kit_list)
            : comet_store_read(store, selection, 0, 99, kit_collect, &kit_list),
        0);
    return kit_joined(",");
}

/* Read channels a and b/c in every way; each must find the same. */
static void check(comet_store_t *store, const char *in_a, const char *in_both)
{
    comet_text_t names[] = { comet_text("a"), comet_text("b/c") };
    const comet_topics_t topics = { .names = names,
                                    .name_count = 2,
                                    .root = comet_text("") };
    comet_selection_t *ways[] = { scratch_choose("a b/c"),
                                  scratch_choose("a b/*"),
                                  comet_selection_by_topics(&topics) };
    size_t i;
    int back;

    for (back = 0; back < 2; back++) {
        assert_string_equal(
            read_by(store, scratch_select(comet_text("a")), back), in_a);
        for (i = 0; i < sizeof(ways) / sizeof(*ways); i++) {
            assert_string_equal(read_by(store, ways[i], back), in_both);
        }
    }
    for (i = 0; i < sizeof(ways) / sizeof(*ways); i++) {
        comet_selection_unref(ways[i]);
    }
}

/* @param noise  whether other channels have so many messages that channels a
 *               and b/c are read through the index */
static void check_every_way(int noise)
{
    comet_store_t *store = kit_open_store(COMET_STORE_WRITE);
    comet_store_state_t before, after;
    comet_timestamp_t floor;

    append(store, "a", "1", 0);
    append(store, "b/c", "2", 5);
    append(store, "a", "3", 60);
    if (noise) {
        kit_append_noise(store, "noise", NOISE);
    }
    append(store, "a", "4", 5);
    append(store, "b/c", "5", 0);
    check(store, "1,3,4", "1,2,3,4,5");
    assert_int_equal(comet_store_state(store, &before), 0);
    let_pass(5);
    check(store, "1,3", "1,3,5");
    assert_int_equal(kit_number("SELECT count(*) FROM message"
                                " WHERE channel <> 'noise'"),
                     3);
    let_pass(55);
    check(store, "1", "1,5");
    kit_empty_list();
    kit_list.limit = 2;
    assert_int_equal(comet_store_tail(store, 0, 2, kit_collect, &kit_list), 0);
    assert_string_equal(kit_joined(","), noise ? "1,noise" : "1,5");
    assert_int_equal(comet_store_state(store, &after), 0);
    assert_memory_equal(&before, &after, sizeof(before));
    assert_int_equal(
        comet_store_floor(store, scratch_select(comet_text("a")), &floor), 0);
    assert_int_equal(floor, 0);
    comet_store_close(store);
}

static void test_every_way(void **state)
{
    check_every_way(0);
}

static void test_every_way_when_rare(void **state)
{
    check_every_way(1);
}

static void test_replay(void **state)
{
    static const char *const words[] = { "a", "a other" };
    comet_store_t *store = kit_open_store(COMET_STORE_WRITE);
    comet_timestamp_t cursor;
    size_t i;
    int any, k;

    append(store, "a", "x", 60);
    for (i = 0; i < 2; i++) {
        comet_selection_t *selection = scratch_choose(words[i]);

        assert_int_equal(comet_store_replay(store, selection, 2, &cursor, &any),
                         0);
        assert_false(any);
        comet_selection_unref(selection);
    }
    for (k = 1; k <= 3; k++) {
        append(store, "a", k == 1 ? "1" : k == 2 ? "2" : "3", 0);
        append(store, "a", "x", 60);
        append(store, "a", "y", 60);
    }
    for (i = 0; i < 2; i++) {
        comet_selection_t *selection = scratch_choose(words[i]);

        assert_int_equal(comet_store_replay(store, selection, 2, &cursor, &any),
                         0);
        assert_true(any);
        assert_string_equal(kit_bodies(store, "a", cursor, 99),
                            "x,y,2,x,y,3,x,y");
        comet_selection_unref(selection);
    }
    comet_store_close(store);
}

static void test_search(void **state)
{
    comet_store_t *store;

    store = search_open(0, COMET_STORE_WRITE);
    append(store, "a", "word before", 60);
    append(store, "a", "word 1", 0);
    comet_store_close(store);
    store = search_open(1, COMET_STORE_WRITE);
    append(store, "a", "word typing", 60);
    append(store, "a", "word 2", 0);
    search_tidy(store);
    assert_string_equal(search_for(store, "a", "word", 9), "word 1|word 2");
    assert_int_equal(kit_number("SELECT count(*) FROM message_search"
                                " WHERE message_search MATCH 'word'"),
                     2);
    let_pass(3600);
    search_tidy(store);
    assert_int_equal(kit_number("SELECT count(*) FROM message_log"), 2);
    kit_run_outside("INSERT INTO message_search(message_search)"
                    " VALUES('integrity-check')");
    comet_store_close(store);
}

/* --- how they are removed ------------------------------------------------- */

static int tidy(comet_store_t *store)
{
    int more, steps = 0;

    do {
        assert_int_equal(comet_store_tidy(store, &more), 0);
        steps++;
    } while (more);
    return steps;
}

/* Expired passing messages are removed together.  The store's state does not
 * show this, so no client is told of a gap. */
static void test_removed_late(void **state)
{
    comet_store_t *store = kit_open_store(COMET_STORE_WRITE);
    comet_store_state_t before, after;

    append(store, "only", "x", 5);
    kit_run_outside("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL"
                    " SELECT i + 1 FROM n WHERE i < 1500)"
                    " INSERT INTO message(channel, body, keep)"
                    " SELECT 'a', 'x', 10 FROM n");
    append(store, "a", "lasts", 0);
    append(store, "a", "stays", 3600);
    assert_int_equal(comet_store_state(store, &before), 0);
    let_pass(12);
    tidy(store); /* none has expired long enough ago */
    assert_int_equal(kit_number("SELECT count(*) FROM message_log"), 1503);
    let_pass(30);
    assert_true(tidy(store) > 1);
    assert_int_equal(kit_number("SELECT count(*) FROM message_log"), 2);
    assert_int_equal(kit_number("SELECT count(*) FROM message_passing"), 1);
    assert_int_equal(kit_number("SELECT count(*) FROM channel"), 1);
    assert_int_equal(comet_store_state(store, &after), 0);
    assert_memory_equal(&before, &after, sizeof(before));
    /* a removal before the message expires is counted, because a client may
     * miss the message */
    kit_run_outside("DELETE FROM message WHERE body = 'stays'");
    assert_int_equal(comet_store_state(store, &after), 0);
    assert_int_equal(after.erased, before.erased + 1);
    assert_int_equal(kit_number("SELECT count(*) FROM message_passing"), 0);
    comet_store_close(store);
    kit_assert_healthy();
}

/* A trigger does not allow that messages are removed.  The rest of upkeep goes
 * on: the index of words is filled, and the refusal is reported once. */
static void test_removal_refused(void **state)
{
    comet_store_t *store = search_open(0, COMET_STORE_WRITE);
    int more = 1, refused = 0, steps = 0;

    append(store, "a", "word", 0);
    append(store, "a", "typing", 5);
    comet_store_close(store);
    kit_run_outside("CREATE TRIGGER rule BEFORE DELETE ON message_log"
                    " BEGIN SELECT RAISE(ABORT, 'kept for ever'); END");
    let_pass(40);
    store = search_open(1, COMET_STORE_WRITE);
    while (more && steps++ < 10) {
        apr_status_t status = comet_store_tidy(store, &more);

        assert_true(status == APR_SUCCESS || status == COMET_EINVALID);
        refused += status == COMET_EINVALID;
    }
    assert_int_equal(more, 0);
    assert_int_equal(refused, 1);
    assert_int_equal(kit_number("SELECT indexed_from FROM search_progress"), 0);
    assert_int_equal(kit_number("SELECT count(*) FROM message_log"), 2);
    comet_store_close(store);
}

/* CometRetain does not count passing messages (such as "is typing"): they
 * neither push other messages out of a channel nor make a gap. */
static void test_retention(void **state)
{
    comet_store_t *store;
    comet_timestamp_t floor, second;
    int more = 1;

    kit_config.retain_count = 2;
    store = kit_open_store(COMET_STORE_WRITE);
    append(store, "a", "1", 0);
    append(store, "a", "x", 60);
    append(store, "a", "2", 0);
    second = kit_last_of(store);
    append(store, "a", "x", 60);
    append(store, "a", "3", 0);
    append(store, "a", "x", 60);
    append(store, "a", "4", 0);
    append(store, "a", "x", 60);
    append(store, "a", "x", 60);
    while (more) {
        assert_int_equal(comet_store_prune(store, apr_time_now(), &more), 0);
    }
    assert_string_equal(kit_bodies(store, "a", second, 9), "x,3,x,4,x,x");
    assert_int_equal(
        comet_store_floor(store, scratch_select(comet_text("a")), &floor), 0);
    assert_int_equal(floor, second);
    comet_store_close(store);
}

/* If retention by age removes only passing messages, no client is told of a
 * gap. */
static void test_retention_by_age(void **state)
{
    comet_store_t *store;
    comet_timestamp_t floor;
    int more = 1;

    kit_config.retain_age = 1;
    store = kit_open_store(COMET_STORE_WRITE);
    append(store, "a", "x", 3600);
    append(store, "a", "x", 3600);
    append(store, "a", "1", 0);
    append(store, "a", "y", 3600);
    while (more) {
        assert_int_equal(comet_store_prune(store, apr_time_now(), &more), 0);
    }
    assert_string_equal(kit_bodies(store, "a", 0, 9), "1,y");
    assert_int_equal(
        comet_store_floor(store, scratch_select(comet_text("a")), &floor), 0);
    assert_int_equal(floor, 0);
    comet_store_close(store);
}

static void test_clock_set_back(void **state)
{
    comet_store_t *store = kit_open_store(COMET_STORE_WRITE);

    append(store, "a", "x", 60);
    let_pass(-50); /* a small step back of the clock changes nothing */
    assert_string_equal(kit_bodies(store, "a", 0, 9), "x");
    assert_int_equal(kit_number("SELECT count(*) FROM message"), 1);
    let_pass(-3600);
    assert_string_equal(kit_bodies(store, "a", 0, 9), "");
    assert_int_equal(kit_number("SELECT count(*) FROM message"), 0);
    let_pass(-3 * 86400);
    tidy(store);
    assert_int_equal(kit_number("SELECT count(*) FROM message_log"), 0);
    comet_store_close(store);
}

/* --- databases of earlier versions ---------------------------------------- */

/* Run SQL as an earlier version had it: without the parts that deal with
 * passing messages. */
static void run_old(sqlite3 *db, const char *sql, const char *since)
{
    size_t length = strlen(since);
    char *old = strdup(sql), *at = old;

    assert_non_null(old);
    while ((at = strstr(at, since)) != NULL) {
        memmove(at, at + length, strlen(at + length) + 1);
    }
    assert_true(strlen(old) < strlen(sql));
    kit_must_run(db, old);
    free(old);
}

static void test_upgrade(void **state)
{
    comet_store_t *store;
    sqlite3 *db;
    int i;

    assert_int_equal(sqlite3_open(kit_database, &db), SQLITE_OK);
    for (i = 0; comet_schema[i].version < 5; i++) {
        kit_must_run(db, comet_schema[i].sql);
    }
    run_old(db, comet_schema_search, "NEW.keep IS NULL AND ");
    kit_must_run(db, "DROP TRIGGER message_search_delete;"
                     "CREATE TRIGGER message_search_delete"
                     " AFTER DELETE ON message_log\n"
                     "WHEN OLD.id >= (SELECT indexed_from FROM search_progress)"
                     " BEGIN INSERT INTO message_search(message_search, rowid,"
                     " body) VALUES('delete', OLD.id, OLD.body); END");
    run_old(db, comet_schema_presence, " AND m.keep IS NULL");
    kit_must_run(db, "INSERT INTO message(channel, body) VALUES('a', 'word');"
                     "INSERT INTO last_seen(channel, member) VALUES('a', 'b')");
    sqlite3_close(db);
    store = search_open(1, COMET_STORE_WRITE);
    append(store, "a", "word typing", 60);
    assert_string_equal(kit_bodies(store, "a", 0, 9), "word,word typing");
    assert_string_equal(search_for(store, "a", "word", 9), "word");
    assert_int_equal(kit_number("SELECT count(*) FROM message_search"
                                " WHERE message_search MATCH 'word'"),
                     1);
    assert_int_equal(kit_number("SELECT unread FROM member"), 1);
    kit_run_outside("DELETE FROM message WHERE keep");
    kit_run_outside("INSERT INTO message_search(message_search)"
                    " VALUES('integrity-check')");
    comet_store_close(store);
    kit_assert_healthy();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        KIT_TEST(test_round_trip),     KIT_TEST(test_wrong_times),
        KIT_TEST(test_every_way),      KIT_TEST(test_every_way_when_rare),
        KIT_TEST(test_replay),         KIT_TEST(test_search),
        KIT_TEST(test_removed_late),   KIT_TEST(test_removal_refused),
        KIT_TEST(test_retention),      KIT_TEST(test_retention_by_age),
        KIT_TEST(test_clock_set_back), KIT_TEST(test_upgrade),
    };

    scratch_make();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
