/* SPDX-License-Identifier: Apache-2.0 */
/* The feed when its file is replaced, restored, deleted, damaged or locked. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "feed_kit.h"

#include <sqlite3.h>
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

#include "shared/memory.h"

/* The feed checks only now and then, not at every look, whether the path leads
 * to another file. */
static void test_replaced(void **state)
{
    feed_append(10);
    feed_look();
    feed_close_writer();
    rename(feed_database, scratch_path("old.db"));
    feed_open_writer();
    feed_appended_count = 0;
    feed_append(4);
    assert_true(comet_feed_due(&feed) > feed_now);
    assert_true(comet_feed_due(&feed) <= feed_now + SECOND);
    feed_now = comet_feed_due(&feed);
    feed_look();
    feed_check_told(4, 0);
    feed_check_ring();
    assert_int_equal(feed.ring.count, 4);
    feed_append(1);
    feed_look();
    feed_check_told(1, 1);
}

/* Do what SQLite's .restore does: copy a database into the same file. */
static void restore(const char *copy)
{
    sqlite3 *from, *to;
    sqlite3_backup *backup;

    assert_int_equal(sqlite3_open(copy, &from), SQLITE_OK);
    assert_int_equal(sqlite3_open(feed_database, &to), SQLITE_OK);
    backup = sqlite3_backup_init(to, "main", from, "main");
    assert_non_null(backup);
    assert_int_equal(sqlite3_backup_step(backup, -1), SQLITE_DONE);
    assert_int_equal(sqlite3_backup_finish(backup), SQLITE_OK);
    sqlite3_close(from);
    sqlite3_close(to);
}

/* An older copy is restored in place, and gets newer messages before the next
 * look.  Messages that the copy lacks are gone from the ring. */
static void test_restored(void **state)
{
    const char *copy = scratch_path("copy.db");
    char sql[300];

    feed_append(5);
    feed_look();
    snprintf(sql, sizeof(sql), "VACUUM INTO '%s'", copy);
    feed_run_outside(sql);
    feed_append(3);
    feed_look();
    feed_check_told(3, 1);
    restore(copy);
    feed_appended_count -= 3;
    feed_append(2);
    feed_look();
    feed_check_told(2, 1);
    feed_check_ring();
    assert_int_equal(feed.ring.count, 7);
    assert_int_equal(feed.erased_until, feed_appended[6]);
    feed_append(1);
    feed_look();
    feed_check_told(1, 1);
    feed_check_ring();
}

static void test_deleted(void **state)
{
    feed_append(10);
    feed_look();
    feed_close_writer();
    scratch_clear();
    feed_now = comet_feed_due(&feed);
    assert_int_equal(feed_look_status(0), APR_ENOENT);
    assert_int_equal(feed.ring.state.last, -1);
    assert_int_equal(feed.ring.count, 0);
    assert_int_equal(comet_ring_covers(&feed.ring, feed_appended[9]), 0);
    feed_open_writer();
    feed_appended_count = 0;
    feed_append(2);
    feed_look(); /* every look tries to open the store while it is not open */
    feed_check_told(2, 0);
    feed_check_ring();
}

/* The store fails.  When it works again, its path leads to another file. */
static void test_replaced_while_failing(void **state)
{
    feed_append(10);
    feed_look();
    feed_run_outside("DROP TABLE comet_clock");
    assert_int_equal(feed_look_status(1), APR_EGENERAL);
    assert_null(feed.store);
    feed_close_writer();
    scratch_clear();
    feed_open_writer();
    feed_appended_count = 0;
    feed_append(4);
    feed_look();
    feed_check_told(4, 0);
    feed_check_ring();
    assert_int_equal(feed.ring.count, 4);
}

static void test_not_a_database(void **state)
{
    FILE *file;

    feed_close_writer();
    scratch_clear();
    file = fopen(feed_database, "w");
    fputs("Dear diary, this is not a database at all.\n", file);
    fclose(file);
    assert_int_equal(feed_look_status(1), COMET_ENOTDB);
    assert_null(feed.store);
    assert_int_equal(feed.ring.state.last, -1);
    assert_true(comet_feed_due(&feed) > feed_now); /* there is no busy loop */
    unlink(feed_database);
    feed_open_writer();
    feed_append(1);
    feed_look();
    feed_check_told(1, 0);
}

/* Another program locks the whole file before the feed opens it. */
typedef struct board_t {
    atomic_int locked;
    atomic_int go;
} board_t;

static int hold_it_all(void *baton)
{
    board_t *board = baton;
    sqlite3 *db;

    if (sqlite3_open(feed_database, &db) != SQLITE_OK
        || sqlite3_exec(db,
                        "PRAGMA locking_mode = EXCLUSIVE;"
                        "INSERT INTO message(channel, body)"
                        " VALUES('even', 'x')",
                        NULL, NULL, NULL)
               != SQLITE_OK) {
        return 1;
    }
    atomic_store(&board->locked, 1);
    while (!atomic_load(&board->go)) {
        usleep(500);
    }
    return sqlite3_close(db);
}

static void test_locked(void **state)
{
    board_t *board = scratch_shared(sizeof(*board));
    int64_t began;
    int pid;

    feed_append(3);
    feed_close_writer();
    pid = scratch_fork(hold_it_all, board);
    wait_until(atomic_load(&board->locked));
    began = scratch_usec();
    assert_int_equal(feed_look_status(1), COMET_ELOCKED);
    /* opening gives up soon */
    assert_true(scratch_usec() - began < 10 * SECOND);
    assert_int_equal(feed.ring.state.last, -1);
    atomic_store(&board->go, 1);
    assert_int_equal(scratch_reap(pid), 0);
    comet_memory_unmap(board, sizeof(*board));
    feed_open_writer();
    feed_look();
    assert_int_equal(feed_told.count, 4);
    feed_check_ring();
}

/* A writer's lock does not affect readers. */
static void test_locked_for_writing(void **state)
{
    feed_append(2);
    feed_look();
    feed_append(3);
    assert_int_equal(comet_store_reserve(feed_writer, SECOND), 0);
    feed_look();
    feed_check_told(3, 1);
    feed_append(1); /* this ends the transaction */
    feed_look();
    feed_check_told(1, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FEED_TEST(test_replaced),
        FEED_TEST(test_restored),
        FEED_TEST(test_deleted),
        FEED_TEST(test_replaced_while_failing),
        FEED_TEST(test_not_a_database),
        FEED_TEST(test_locked),
        FEED_TEST(test_locked_for_writing),
    };

    return cmocka_run_group_tests(tests, feed_begin, feed_end);
}
