/* SPDX-License-Identifier: Apache-2.0 */
/* Group commit: a writer stops, whatever it is doing. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "writer_kit.h"

#include <signal.h>
#include <unistd.h>

#include "faulty_vfs.h"

static void test_stop_while_locked(void **state)
{
    publisher_t publishers[3];
    sqlite3 *db;
    apr_int64_t began;
    int i;

    writer_start();
    assert_int_equal(writer_publish(LONG), 0);
    db = kit_outsider();
    kit_must_run(db, "BEGIN IMMEDIATE");
    for (i = 0; i < 3; i++) {
        publisher_begin(&publishers[i], LONG);
    }
    assert_int_equal(writer_publish(50 * MS), COMET_ELOCKED);
    began = scratch_usec();
    writer_stop();
    for (i = 0; i < 3; i++) {
        assert_int_equal(publisher_finish(&publishers[i]), COMET_ESTOPPING);
    }
    assert_true(scratch_usec() - began < 10 * SECOND);
    assert_int_equal(writer_publish(LONG), COMET_ESTOPPING);
    writer_stop(); /* a second call does nothing */
    kit_must_run(db, "COMMIT");
    sqlite3_close(db);
    assert_int_equal(kit_number("SELECT count(*) FROM message"), 1);
}

/* If another child holds the bus for a long time, this writer does not wait for
 * the bus for ever. */
static void test_bus_is_held(void **state)
{
    publisher_t publishers[3];
    apr_int64_t began = scratch_usec();
    int i;

    kit_config.busy_timeout = 100 * MS;
    comet_bus_lock(writer_bus);
    writer_start();
    assert_int_equal(comet_writer_await(writer, 20 * MS), 0);
    for (i = 0; i < 3; i++) {
        publisher_begin(&publishers[i], LONG);
    }
    assert_int_equal(writer_publish(50 * MS), COMET_ELOCKED);
    wait_until(atomic_load(&writer_last_report) == COMET_ELOCKED);
    wait_until(comet_writer_is_stuck(writer, 500 * MS));
    writer_stop();
    for (i = 0; i < 3; i++) {
        assert_int_equal(publisher_finish(&publishers[i]), COMET_ESTOPPING);
    }
    assert_true(scratch_usec() - began < 10 * SECOND);
    writer_start();
    assert_int_equal(comet_writer_await(writer, 20 * MS), 0);
    comet_bus_unlock(writer_bus);
    assert_int_equal(comet_writer_await(writer, LONG), 1);
    assert_int_equal(writer_publish(LONG), APR_SUCCESS);
    writer_stop();
    assert_int_equal(kit_number("SELECT count(*) FROM message"), 1);
}

static void test_stop_while_hanging(void **state)
{
    publisher_t saved, queued;

    writer_start();
    publisher_hang(&saved, LONG);
    publisher_begin(&queued, LONG);
    assert_int_equal(comet_writer_stop(writer, 100 * MS), 0);
    atomic_store(&faulty_now, FAULTY_NOTHING);
    writer_stop();
    /* a commit that has begun is finished */
    assert_int_equal(publisher_finish(&saved), APR_SUCCESS);
    assert_int_equal(publisher_finish(&queued), COMET_ESTOPPING);
    assert_int_equal(kit_number("SELECT count(*) FROM message"), 2);
}

/* Nobody may wait any more, although the disk does not answer. */
static void test_dismiss_while_hanging(void **state)
{
    publisher_t saved, queued;

    writer_start();
    publisher_hang(&saved, LONG);
    publisher_begin(&queued, LONG);
    comet_writer_dismiss(writer);
    assert_int_equal(publisher_finish(&saved), COMET_EUNSURE);
    assert_int_equal(publisher_finish(&queued), COMET_ESTOPPING);
    assert_int_equal(writer_publish(LONG), COMET_ESTOPPING);
    assert_int_equal(atomic_load(&faulty_hanging), 1);
    atomic_store(&faulty_now, FAULTY_NOTHING);
    writer_stop();
    assert_int_equal(kit_number("SELECT count(*) FROM message"), 2);
    comet_message_unref(saved.message); /* the writer has given up its own
                                         * reference */
}

/* Another program has locked the store, so the writer cannot open it. */
static void test_dismiss_while_opening(void **state)
{
    sqlite3 *db;
    publisher_t queued;

    writer_start();
    writer_stop();
    db = kit_outsider();
    kit_must_run(db, "PRAGMA locking_mode = EXCLUSIVE");
    kit_must_run(db, "BEGIN EXCLUSIVE");
    writer_start();
    publisher_begin(&queued, LONG);
    assert_int_equal(comet_writer_await(writer, 50 * MS), 0);
    comet_writer_dismiss(writer);
    assert_int_equal(comet_writer_await(writer, LONG), 0);
    assert_int_equal(publisher_finish(&queued), COMET_ESTOPPING);
    writer_stop();
    sqlite3_close(db);
}

/* Close the writer as the store's last user.
 * @return whether the log is left */
static int leaves_log(int keeps)
{
    writer_start();
    assert_int_equal(writer_publish(LONG), APR_SUCCESS);
    if (keeps) {
        atomic_store(&faulty_now, FAULTY_HANG);
        comet_writer_keep_log(writer);
    }
    writer_stop();
    atomic_store(&faulty_now, FAULTY_NOTHING);
    return access(scratch_path("comet.db-wal"), F_OK) == 0;
}

/* A writer that keeps its log stops although the disk does not answer.  The
 * next writer continues with the log. */
static void test_keep_log(void **state)
{
    assert_true(leaves_log(1));
    assert_true(leaves_log(1));
    assert_false(leaves_log(0));
    assert_int_equal(kit_number("SELECT count(*) FROM message"), 3);
}

static void test_stop_while_idle(void **state)
{
    int i;

    for (i = 0; i < 20; i++) {
        writer_start();
        writer_stop();
    }
    kit_config.place = scratch_place("/nowhere/comet.db");
    writer_start();
    writer_stop();
}

static void stop_in_handler(int signal)
{
    comet_writer_stop(writer, 20 * SECOND);
}

static atomic_int signals;

static void count_signal(int signal)
{
    atomic_fetch_add(&signals, 1);
}

/* The writer's thread blocks signals: they are meant for httpd. */
static void test_takes_no_signals(void **state)
{
    sigset_t set, pending;

    signal(SIGUSR2, count_signal);
    writer_start();
    sigemptyset(&set);
    sigaddset(&set, SIGUSR2);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    kill(getpid(), SIGUSR2);
    assert_int_equal(writer_publish(LONG), 0);
    assert_int_equal(atomic_load(&signals), 0);
    sigpending(&pending);
    assert_true(sigismember(&pending, SIGUSR2));
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
    assert_int_equal(atomic_load(&signals), 1);
    signal(SIGUSR2, SIG_DFL);
    writer_stop();
}

/* httpd's prefork may stop a child in a signal handler. */
static void test_stop_in_a_signal_handler(void **state)
{
    publisher_t publisher;
    sqlite3 *db;

    writer_start();
    assert_int_equal(writer_publish(LONG), 0);
    db = kit_outsider();
    kit_must_run(db, "BEGIN IMMEDIATE");
    publisher_begin(&publisher, LONG);
    assert_int_equal(writer_publish(50 * MS), COMET_ELOCKED);
    signal(SIGUSR1, stop_in_handler);
    pthread_kill(publisher.thread, SIGUSR1); /* this thread waits in
                                              * publish() */
    assert_int_equal(publisher_finish(&publisher), COMET_ESTOPPING);
    signal(SIGUSR1, SIG_DFL);
    writer_stop();
    sqlite3_close(db);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WRITER_TEST(test_stop_while_locked),
        WRITER_TEST(test_bus_is_held),
        WRITER_TEST(test_stop_while_hanging),
        WRITER_TEST(test_dismiss_while_hanging),
        WRITER_TEST(test_dismiss_while_opening),
        WRITER_TEST(test_keep_log),
        WRITER_TEST(test_stop_while_idle),
        WRITER_TEST(test_takes_no_signals),
        WRITER_TEST(test_stop_in_a_signal_handler),
    };

    return cmocka_run_group_tests(tests, writer_begin, writer_end);
}
