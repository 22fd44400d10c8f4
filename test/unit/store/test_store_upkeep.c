/* SPDX-License-Identifier: Apache-2.0 */
/* The message log: retention and checkpoints. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "store_kit.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "faulty_vfs.h"

static int prune_all(comet_store_t *store, int limit)
{
    int steps = 0;
    int more = 1;

    while (more) {
        assert_true(steps++ < limit);
        assert_int_equal(comet_store_prune(store, apr_time_now(), &more), 0);
    }
    return steps;
}

static comet_timestamp_t floor_of(comet_store_t *store, const char *channel)
{
    comet_timestamp_t floor = 7;

    assert_int_equal(
        comet_store_floor(store, scratch_select(comet_text(channel)), &floor),
        0);
    return floor;
}

static void test_retain_all(void **state)
{
    comet_store_t *store = kit_open_store(COMET_STORE_WRITE);
    int more = 7;

    kit_append_many(store, "chat", 20);
    assert_int_equal(comet_store_prune(store, apr_time_now(), &more), 0);
    assert_int_equal(more, 0);
    assert_int_equal(kit_number("SELECT count(*) FROM message"), 20);
    assert_int_equal(floor_of(store, "chat"), 0);
    assert_int_equal(floor_of(store, "none"), 0);
    comet_store_close(store);
}

static void test_retain_count(void **state)
{
    comet_store_t *store;
    comet_store_state_t before, after;
    comet_timestamp_t removed;

    kit_config.retain_count = 3;
    store = kit_open_store(COMET_STORE_WRITE);
    kit_append_many(store, "few", 3);
    kit_append_many(store, "many", 7);
    kit_bodies(store, "many", 0, 99);
    removed = kit_list.messages[3]->timestamp;
    assert_int_equal(comet_store_state(store, &before), 0);
    prune_all(store, 9);
    assert_string_equal(kit_bodies(store, "many", 0, 99), "4,5,6");
    assert_string_equal(kit_bodies(store, "few", 0, 99), "0,1,2");
    assert_int_equal(floor_of(store, "many"), removed);
    assert_int_equal(floor_of(store, "few"), 0);
    assert_int_equal(comet_store_state(store, &after), 0);
    assert_int_equal(after.erased, before.erased + 4);
    assert_int_equal(after.last, before.last);
    /* in later rounds only channels that grew are pruned */
    prune_all(store, 1);
    kit_append_many(store, "few", 1);
    kit_run_outside("INSERT INTO message(channel, body) VALUES('new', 1)");
    prune_all(store, 9);
    assert_string_equal(kit_bodies(store, "few", 0, 99), "1,2,0");
    assert_true(floor_of(store, "few") > 0);
    assert_int_equal(floor_of(store, "new"), 0);
    /* a deletion by another program makes no gap; the floor stays even if no
     * message is left */
    kit_run_outside("DELETE FROM message WHERE channel IN ('few', 'many')");
    assert_int_equal(floor_of(store, "many"), removed);
    assert_int_equal(kit_number("SELECT count(*) FROM channel"), 3);
    comet_store_close(store);
}

/* Age counts from a channel's newest message, so that a wrong clock deletes
 * nothing. */
static void test_retain_age(void **state)
{
    comet_store_t *store;
    int more;

    kit_config.retain_age = 10 * APR_USEC_PER_SEC;
    store = kit_open_store(COMET_STORE_WRITE);
    kit_append_many(store, "chat", 1);
    kit_run_outside(
        "DELETE FROM message;"
        "INSERT INTO channel(id, name, floor) VALUES(1, 'old', 0), (2, 'chat', 0);"
        "INSERT INTO message_log(id, channel_id, body) VALUES"
        "(1000000, 1, 'a'), (2000000, 1, 'b'),"
        "(5000000, 2, 'a'), (9999999, 2, 'b'), (10000000, 2, 'c'),"
        "(20000000, 2, 'd')");
    /* age counts from now if the clock was ahead when the newest message was
     * stored */
    assert_int_equal(comet_store_prune(store, 15000000, &more), 0);
    assert_string_equal(kit_bodies(store, "chat", 0, 99), "a,b,c,d");
    assert_int_equal(more, 0);
    comet_store_close(store);
    store = kit_open_store(COMET_STORE_WRITE);
    prune_all(store, 9);
    assert_string_equal(kit_bodies(store, "old", 0, 99), "a,b");
    assert_string_equal(kit_bodies(store, "chat", 0, 99), "c,d");
    assert_int_equal(floor_of(store, "chat"), 9999999);
    assert_int_equal(floor_of(store, "old"), 0);
    comet_store_close(store);
}

static void test_retain_both(void **state)
{
    comet_store_t *store;

    kit_config.retain_age = 10 * APR_USEC_PER_SEC;
    kit_config.retain_count = 2;
    store = kit_open_store(COMET_STORE_WRITE);
    kit_append_many(store, "chat", 1);
    kit_run_outside(
        "DELETE FROM message;"
        "INSERT INTO channel(id, name, floor) VALUES(1, 'a', 0), (2, 'b', 0);"
        "INSERT INTO message_log(id, channel_id, body) VALUES"
        "(1, 1, '1'), (2, 1, '2'), (3, 1, '3'),"
        "(5, 2, '1'), (30000000, 2, '2')");
    prune_all(store, 9);
    assert_string_equal(kit_bodies(store, "a", 0, 99), "2,3");
    assert_string_equal(kit_bodies(store, "b", 0, 99), "2");
    comet_store_close(store);
}

static void fill(int rows, const char *channel, int size)
{
    char sql[400];

    snprintf(sql, sizeof(sql),
             "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n"
             " WHERE i < %d) INSERT INTO message(channel, body)"
             " SELECT '%s', substr(hex(zeroblob(%d)), 1, %d) FROM n",
             rows, channel, size, size);
    kit_run_outside(sql);
}

/* No step takes long; appends run in between, and the file shrinks. */
static void test_prune_in_steps(void **state)
{
    comet_store_t *store, *reader;
    sqlite3_int64 pages, before, after;
    int more = 1;
    int steps = 0;

    kit_config.retain_count = 10;
    store = kit_open_store(COMET_STORE_WRITE);
    reader = kit_open_store(COMET_STORE_READ);
    fill(3500, "big", 2000);
    fill(20, "small", 10);
    pages = kit_number("PRAGMA page_count");
    before = kit_number("SELECT count(*) FROM message");
    while (more) {
        assert_int_equal(comet_store_prune(store, apr_time_now(), &more), 0);
        after = kit_number("SELECT count(*) FROM message");
        assert_true(before - after <= 1000);
        before = after;
        if (steps++ < 3) {
            assert_int_equal(kit_append(store, "small", "x", NULL), 0);
            before++;
        }
        assert_true(steps < 60);
        assert_int_equal(comet_store_checkpoint(store), 0);
    }
    prune_all(store, 3);
    assert_true(steps > 4);
    assert_int_equal(kit_number("SELECT count(*) FROM message"), 20);
    assert_true(kit_number("PRAGMA page_count") < pages / 2);
    kit_assert_healthy();
    comet_store_close(reader);
    comet_store_close(store);
}

/* A round looks only at messages that came after the last round. */
static void test_prune_looks_at_news(void **state)
{
    comet_store_t *store;

    kit_config.retain_count = 20000;
    store = kit_open_store(COMET_STORE_WRITE);
    fill(10000, "chat", 10);
    prune_all(store, 9);
    prune_all(store, 1);
    fill(10000, "chat", 10);
    assert_true(prune_all(store, 9) > 1);
    prune_all(store, 1);
    assert_int_equal(kit_number("SELECT count(*) FROM message"), 20000);
    comet_store_close(store);
}

/* A round begins with more channels than one step can handle. */
static void test_prune_many_channels(void **state)
{
    comet_store_t *store;

    kit_config.retain_count = 1;
    store = kit_open_store(COMET_STORE_WRITE);
    kit_run_outside("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1"
                    " FROM n WHERE i < 2100) INSERT INTO message(channel, body)"
                    " SELECT i % 700, i FROM n");
    prune_all(store, 999);
    assert_int_equal(kit_number("SELECT count(*) FROM message"), 700);
    kit_run_outside("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1"
                    " FROM n WHERE i < 2100) INSERT INTO message(channel, body)"
                    " SELECT i % 900, i FROM n");
    prune_all(store, 999);
    assert_int_equal(kit_number("SELECT count(*) FROM message"), 900);
    assert_int_equal(kit_number("SELECT count(*) FROM channel WHERE floor >= "
                                "(SELECT min(timestamp) FROM message"
                                " WHERE channel = name)"),
                     0);
    comet_store_close(store);
}

static void test_prune_locked(void **state)
{
    comet_store_t *store;
    sqlite3 *db;
    int more;

    kit_config.retain_count = 1;
    store = kit_open_store(COMET_STORE_WRITE);
    kit_append_many(store, "chat", 3);
    db = kit_outsider();
    kit_must_run(db, "BEGIN IMMEDIATE");
    assert_int_equal(comet_store_prune(store, apr_time_now(), &more),
                     COMET_ELOCKED);
    assert_int_equal(more, 0);
    kit_must_run(db, "COMMIT");
    atomic_store(&faulty_now, FAULTY_FULL);
    assert_int_equal(comet_store_prune(store, apr_time_now(), &more),
                     APR_ENOSPC);
    assert_int_equal(kit_number("SELECT count(*) FROM message"), 3);
    atomic_store(&faulty_now, FAULTY_NOTHING);
    prune_all(store, 3);
    assert_int_equal(kit_number("SELECT count(*) FROM message"), 1);
    sqlite3_close(db);
    comet_store_close(store);
}

static void test_checkpoint(void **state)
{
    comet_store_t *store = kit_open_store(COMET_STORE_WRITE);
    char body[8001];
    struct stat info;
    int i, due = 0;

    memset(body, 'x', sizeof(body) - 1);
    body[sizeof(body) - 1] = '\0';
    assert_int_equal(comet_store_checkpoint(store), 0);
    for (i = 0; i < 2000; i++) {
        assert_int_equal(kit_append(store, "chat", body, NULL), 0);
        if (comet_store_checkpoint_due(store)) {
            due++;
            assert_int_equal(comet_store_checkpoint(store), 0);
            assert_int_equal(comet_store_checkpoint_due(store), 0);
        }
    }
    assert_true(due > 5 && due < 50);
    assert_int_equal(stat(scratch_path("comet.db-wal"), &info), 0);
    assert_true(info.st_size < 600 * 4200);
    comet_store_close(store);
}

/* While a reader keeps its snapshot, the log grows and checkpoints become
 * rare. */
static void test_checkpoint_held_back(void **state)
{
    comet_store_t *store = kit_open_store(COMET_STORE_WRITE);
    comet_store_t *reader = kit_open_store(COMET_STORE_READ);
    comet_store_state_t view;
    char body[8001];
    int i, due = 0;

    memset(body, 'x', sizeof(body) - 1);
    body[sizeof(body) - 1] = '\0';
    assert_int_equal(comet_store_begin(reader, &view), 0);
    for (i = 0; i < 1000; i++) {
        assert_int_equal(kit_append(store, "chat", body, NULL), 0);
        if (comet_store_checkpoint_due(store)) {
            due++;
            assert_int_equal(comet_store_checkpoint(store), 0);
        }
    }
    comet_store_end(reader);
    assert_true(due > 2 && due < 20);
    comet_store_close(reader);
    comet_store_close(store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        KIT_TEST(test_retain_all),          KIT_TEST(test_retain_count),
        KIT_TEST(test_retain_age),          KIT_TEST(test_retain_both),
        KIT_TEST(test_prune_in_steps),      KIT_TEST(test_prune_looks_at_news),
        KIT_TEST(test_prune_many_channels), KIT_TEST(test_prune_locked),
        KIT_TEST(test_checkpoint),          KIT_TEST(test_checkpoint_held_back),
    };

    scratch_make();
    faulty_install();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
