/* SPDX-License-Identifier: Apache-2.0 */
/* Group commit: faults of the store, and its upkeep. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "writer_kit.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "faulty_vfs.h"

/* --- Faults ----------------------------------------------------------- */

static void test_unusable_then_repaired(void **state)
{
    FILE *file = fopen(kit_database, "w");
    apr_int64_t began;

    fputs("Dear diary,\n", file);
    fclose(file);
    writer_start();
    wait_until(atomic_load(&writer_reports) == 1);
    assert_int_equal(atomic_load(&writer_last_report), COMET_ENOTDB);
    began = scratch_usec();
    assert_int_equal(writer_publish(LONG), COMET_ENOTDB);
    assert_int_equal(writer_publish(LONG), COMET_ENOTDB);
    assert_true(scratch_usec() - began < 20 * SECOND); /* both calls fail at
                                                        * once */
    assert_int_equal(atomic_load(&writer_reports), 1);
    unlink(kit_database);
    wait_until(writer_publish(LONG) == APR_SUCCESS);
    writer_stop();
    assert_int_equal(atomic_load(&writer_reports), 2);
    assert_int_equal(atomic_load(&writer_last_report), APR_SUCCESS);
    assert_int_equal(kit_number("SELECT count(*) FROM message"), 1);
}

/* Another program locks the file while the writer opens it, and nobody
 * publishes.  Readers wait until the lock is released. */
static void test_locked_at_the_start(void **state)
{
    apr_int64_t began;
    sqlite3 *db;

    writer_start();
    writer_stop();
    db = kit_outsider();
    kit_must_run(db, "PRAGMA locking_mode = EXCLUSIVE; BEGIN IMMEDIATE");
    writer_start();
    wait_until(atomic_load(&writer_last_report) == COMET_ELOCKED);
    assert_int_equal(comet_writer_await(writer, 20 * MS), 0);
    kit_must_run(db, "COMMIT");
    sqlite3_close(db);
    began = scratch_usec();
    assert_int_equal(comet_writer_await(writer, LONG), 1);
    assert_true(scratch_usec() - began < 3 * SECOND);
    wait_until(atomic_load(&writer_last_report) == APR_SUCCESS);
    writer_stop();
}

static void test_moved(void **state)
{
    apr_status_t status;

    writer_start();
    assert_int_equal(writer_publish(LONG), 0);
    rename(kit_database, scratch_path("saved.db"));
    status =
        writer_publish(LONG); /* COMET_EMOVED, unless the writer notices first
                               * that the file has moved */
    assert_true(status == COMET_EMOVED || status == APR_SUCCESS);
    assert_int_equal(writer_publish(LONG), 0);
    writer_stop();
    assert_int_equal(kit_number("SELECT count(*) FROM message"),
                     status == APR_SUCCESS ? 2 : 1);
    snprintf(kit_database, sizeof(kit_database), "%s",
             scratch_path("saved.db"));
    assert_int_equal(kit_number("SELECT count(*) FROM message"), 1);
    assert_int_equal(atomic_load(&writer_reports), 2);
}

/* The writer makes a new file even without a publisher, because readers need
 * it. */
static void test_moved_while_idle(void **state)
{
    writer_start();
    assert_int_equal(writer_publish(LONG), 0);
    rename(kit_database, scratch_path("saved.db"));
    wait_until(access(kit_database, F_OK) == 0);
    wait_until(atomic_load(&writer_reports) == 2);
    assert_int_equal(atomic_load(&writer_last_report), APR_SUCCESS);
    assert_int_equal(writer_publish(LONG), 0);
    writer_stop();
}

static void test_full(void **state)
{
    writer_start();
    assert_int_equal(writer_publish(LONG), 0);
    atomic_store(&faulty_now, FAULTY_FULL);
    assert_int_equal(writer_publish(LONG), APR_ENOSPC);
    assert_int_equal(writer_publish(LONG), APR_ENOSPC);
    assert_int_equal(atomic_load(&writer_reports), 1);
    assert_int_equal(atomic_load(&writer_last_report), APR_ENOSPC);
    atomic_store(&faulty_now, FAULTY_NOTHING);
    assert_int_equal(writer_publish(LONG), 0);
    writer_stop();
    assert_int_equal(atomic_load(&writer_reports), 2);
    assert_int_equal(kit_number("SELECT count(*) FROM message"), 2);
}

static void test_sync_fails(void **state)
{
    writer_start();
    assert_int_equal(writer_publish(LONG), 0);
    atomic_store(&faulty_now, FAULTY_SYNC);
    assert_int_equal(writer_publish(LONG), COMET_EUNSURE);
    atomic_store(&faulty_now, FAULTY_NOTHING);
    wait_until(writer_publish(LONG) == APR_SUCCESS);
    writer_stop();
    assert_int_equal(atomic_load(&writer_last_report), APR_SUCCESS);
    assert_in_range(kit_number("SELECT count(*) FROM message"), 2, 3);
}

/* --- Upkeep ----------------------------------------------------------- */

/* Nobody publishes through the writer here; another program inserts. */
static void test_retention(void **state)
{
    sqlite3 *db;

    kit_config.retain_count = 10;
    writer_start();
    assert_int_equal(writer_publish(LONG), 0);
    db = kit_outsider();
    kit_must_run(db,
                 "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1"
                 " FROM n WHERE i < 3000) INSERT INTO message(channel, body)"
                 " SELECT 'chat', i FROM n");
    wait_until(kit_number("SELECT count(*) FROM message") == 10);
    sqlite3_close(db);
    writer_stop();
    assert_int_equal(kit_number("SELECT erased FROM comet_clock"), 2991);
}

/* A round of upkeep finds the store locked by another program.  The writer makes
 * up for it soon: it does not wait until the next round is due, which this test
 * puts off again and again. */
static void test_retention_beside_a_lock(void **state)
{
    sqlite3 *db;
    int i;

    kit_config.retain_count = 10;
    writer_start();
    assert_int_equal(writer_publish(LONG), 0);
    writer_stop();
    db = kit_outsider();
    kit_must_run(db, "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1"
                     " FROM n WHERE i < 30) INSERT INTO message(channel, body)"
                     " SELECT 'chat', i FROM n");
    kit_must_run(db, "BEGIN IMMEDIATE");
    comet_bus_claim_upkeep(writer_bus, 0, 0); /* a round is due at once */
    writer_start();
    assert_int_equal(comet_writer_await(writer, LONG), 1);
    for (i = 0; i < 5; i++) {
        assert_int_equal(writer_publish(50 * MS), COMET_ELOCKED);
    }
    assert_int_equal(kit_number("SELECT count(*) FROM message"), 31);
    kit_must_run(db, "COMMIT");
    wait_until(
        comet_bus_claim_upkeep(writer_bus, apr_time_now() + 4 * SECOND, 0)
        && kit_number("SELECT count(*) FROM message") == 10);
    sqlite3_close(db);
    writer_stop();
}

/* Publish `count` messages, each of which takes 15 pages of the database. */
static void publish_long(int count)
{
    static char body[60001];
    comet_message_t *message;
    int i;

    memset(body, 'x', sizeof(body) - 1);
    message = comet_message_create(&(comet_message_fields_t){
        .channel = comet_text("chat"), .body = comet_text(body) });
    for (i = 0; i < count; i++) {
        assert_int_equal(writer_publish_by(writer, message, LONG), 0);
    }
    comet_message_unref(message);
}

/* @return how many pages the log file holds */
static long log_pages(void)
{
    struct stat info;

    assert_int_equal(stat(scratch_path("comet.db-wal"), &info), 0);
    return (long)info.st_size / (4096 + 24);
}

static void test_checkpoints(void **state)
{
    writer_start();
    publish_long(300);
    assert_in_range(log_pages(), 1, 2100);
    writer_stop();
}

/* While the disk confirms nothing, publishers continue until the log has grown
 * long.  Then they wait. */
static void test_checkpoint_beside_publishers(void **state)
{
    kit_config.sync_full = 0;
    writer_start();
    publish_long(1);
    atomic_store(&faulty_now, FAULTY_HANG);
    publish_long(50);
    wait_until(atomic_load(&faulty_hanging) == 1);
    while (log_pages() < 2000) {
        publish_long(1);
    }
    assert_int_equal(writer_publish(20 * MS), COMET_ELOCKED);
    atomic_store(&faulty_now, FAULTY_NOTHING);
    publish_long(50);
    assert_true(log_pages() < 2100);
    writer_stop();
    assert_true(access(scratch_path("comet.db-wal"), F_OK) != 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WRITER_TEST(test_unusable_then_repaired),
        WRITER_TEST(test_locked_at_the_start),
        WRITER_TEST(test_moved),
        WRITER_TEST(test_moved_while_idle),
        WRITER_TEST(test_full),
        WRITER_TEST(test_sync_fails),
        WRITER_TEST(test_retention),
        WRITER_TEST(test_retention_beside_a_lock),
        WRITER_TEST(test_checkpoints),
        WRITER_TEST(test_checkpoint_beside_publishers),
    };

    return cmocka_run_group_tests(tests, writer_begin, writer_end);
}
