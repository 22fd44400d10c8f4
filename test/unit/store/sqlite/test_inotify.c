/* SPDX-License-Identifier: Apache-2.0 */
/* When the watch of a database's files asks for a look.  The clock is
 * simulated. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "scratch.h"

#include <apr_general.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/engines.h"

static comet_watch_t *watch;
static apr_time_t now;
static char path[800];

static int setup(void **state)
{
    scratch_clear();
    snprintf(path, sizeof(path), "%s", scratch_path("comet.db"));
    watch = NULL;
    now = 1000 * SECOND;
    return 0;
}

static int teardown(void **state)
{
    comet_watch_close(watch);
    return 0;
}

static int readable(int timeout_ms)
{
    struct pollfd poll_fd = { .fd = comet_watch_fd(watch), .events = POLLIN };

    return poll(&poll_fd, 1, timeout_ms);
}

static int is_due(apr_time_t when)
{
    return comet_watch_due(watch) && comet_watch_due(watch) <= when;
}

static comet_watch_t *open_at(const char *database)
{
    comet_place_t place = scratch_place(database);
    comet_watch_t *made = comet_watch_open(&place, now);

    assert_non_null(made);
    return made;
}

/* Open the watch and do the first look, which covers what happened before. */
static void open_watch(void)
{
    watch = open_at(path);
    assert_true(comet_watch_fd(watch) >= 0);
    assert_true(is_due(now));
    comet_watch_looked(watch, 0, now);
    assert_false(is_due(now + 3600 * SECOND));
}

static void touch(const char *name)
{
    int fd = open(scratch_path(name), O_CREAT | O_WRONLY | O_APPEND, 0600);

    assert_int_equal(write(fd, "x", 1), 1);
    close(fd);
}

/* Check that the descriptor is readable, that a look is due soon after, and
 * that this look takes all events. */
static void expect_event(void)
{
    assert_int_equal(readable(10000), 1);
    comet_watch_event(watch, now);
    assert_false(is_due(now)); /* an immediate look would be too early to see
                                * the commit */
    assert_in_range(comet_watch_due(watch) - now, 1, MS);
    now = comet_watch_due(watch);
    comet_watch_look(watch, now);
    comet_watch_looked(watch, 0, now);
    assert_int_equal(readable(0), 0);
}

/* If an engine has no watch, its store is polled. */
static void test_no_watch(void **state)
{
    comet_engine_t blind = *comet_engines_own();
    comet_place_t place = { .engine = &blind, .own = path };

    blind.watch = NULL;
    assert_null(comet_watch_open(&place, now));
    comet_watch_close(NULL);
}

static void test_events(void **state)
{
    open_watch();
    assert_int_equal(readable(0), 0);
    touch("comet.db-wal");
    expect_event();
    touch("comet.db-wal");
    expect_event();
    rename(scratch_path("comet.db-wal"), path);
    expect_event();
    unlink(path);
    expect_event();
}

static void test_close(void **state)
{
    int fd;

    open_watch();
    fd = comet_watch_fd(watch);
    touch("comet.db");
    comet_watch_close(watch);
    assert_int_equal(fcntl(fd, F_GETFD), -1);
    open_watch(); /* it can be opened again */
}

/* A commit becomes visible only after its event.  The watch asks for looks at
 * growing intervals, and finally stops. */
static void test_ladder(void **state)
{
    apr_time_t event, before;
    apr_interval_time_t step = 0;
    int looks = 0;

    open_watch();
    touch("comet.db-wal");
    expect_event();
    event = before = now;
    do {
        assert_true(++looks < 1000);
        comet_watch_looked(watch, 0, now);
        if (!comet_watch_due(watch)) {
            break;
        }
        now = comet_watch_due(watch);
        assert_in_range(now - before, 1, 20 * MS);
        assert_true(now - before >= step);
        assert_false(is_due(now - 1));
        assert_true(is_due(now));
        step = now - before;
        before = now;
        assert_true(looks > 6 || now - event < 50 * MS);
    } while (1);
    assert_true(now - event >= SECOND); /* the disk may be slow */
    assert_true(now - event <= 10 * SECOND);
}

/* While httpd itself commits again and again, its writes wake nobody between
 * two looks, and a change by another program is not forgotten. */
static void test_looks_between(void **state)
{
    int i;

    touch("comet.db-wal");
    open_watch();
    touch("comet.db-wal");
    assert_int_equal(readable(10000), 1);
    comet_watch_event(watch, now);
    now += 60 * SECOND;
    for (i = 0; i < 100; i++) {
        now = comet_watch_due(watch) - 1;
        comet_watch_look(watch, now);
        comet_watch_looked(watch, i % 2, now);
        touch("comet.db-wal");
        assert_int_equal(readable(0), 0);
        assert_in_range(comet_watch_due(watch) - now, 1, MS);
    }
    now = comet_watch_due(watch);
    comet_watch_look(watch, now);
    assert_int_equal(readable(0), 0);
    comet_watch_looked(watch, 0, now);
    assert_in_range(comet_watch_due(watch) - now, 1, MS);
    touch("comet.db-wal");
    expect_event();
}

/* Writing to a file that has lost its name wakes nobody. */
static void test_moved_away(void **state)
{
    touch("comet.db-wal");
    open_watch();
    rename(scratch_path("comet.db-wal"), scratch_path("moved"));
    expect_event();
    touch("comet.db-wal");
    expect_event();
    touch("moved");
    assert_int_equal(readable(0), 0);
    touch("comet.db-wal");
    expect_event();
}

enum { STORES = 200 };

/* There are more stores here than a user may have inotify instances.  One
 * instance is enough for all, and each store is told of its own files only. */
static void test_many_in_a_folder(void **state)
{
    comet_watch_t *watches[STORES];
    char names[STORES][20], paths[STORES][800], log[40];
    int i, k;

    for (i = 0; i < STORES; i++) {
        snprintf(names[i], sizeof(names[i]), "s%d.db", i);
        snprintf(paths[i], sizeof(paths[i]), "%s", scratch_path(names[i]));
        touch(names[i]);
    }
    for (i = 0; i < STORES; i++) {
        watches[i] = open_at(paths[i]);
        assert_true(comet_watch_fd(watches[i]) >= 0);
        assert_int_equal(comet_watch_fd(watches[i]),
                         comet_watch_fd(watches[0]));
        comet_watch_looked(watches[i], 0, now);
        assert_int_equal(comet_watch_due(watches[i]), 0);
    }
    touch("s1.db2"); /* begins like a database's name, but is not one of its
                      * files */
    comet_watch_event(watches[0], now);
    for (k = 0; k < STORES; k++) {
        assert_int_equal(comet_watch_due(watches[k]), 0);
    }
    for (i = 0; i < STORES; i += 41) {
        snprintf(log, sizeof(log), "%s-wal", names[i]);
        touch(i % 2 ? names[i] : log);
        comet_watch_event(watches[STORES - 1], now);
        for (k = 0; k < STORES; k++) {
            assert_int_equal(comet_watch_due(watches[k]) != 0, k == i);
        }
        now = comet_watch_due(watches[i]);
        comet_watch_look(watches[i], now);
        now += 10 * SECOND;
        comet_watch_looked(watches[i], 0, now);
    }
    for (i = 0; i < STORES; i++) {
        comet_watch_close(watches[i]);
    }
}

/* Stores in different folders also share one inotify instance.  Closing a store
 * changes nothing for the others. */
static void test_many_folders(void **state)
{
    static char paths[STORES][800];
    comet_watch_t *watches[STORES];
    char name[40];
    int i, k;

    for (i = 0; i < STORES; i++) {
        snprintf(name, sizeof(name), "f%d", i);
        mkdir(scratch_path(name), 0700);
        snprintf(name, sizeof(name), "f%d/comet.db", i);
        touch(name);
        snprintf(paths[i], sizeof(paths[i]), "%s", scratch_path(name));
        watches[i] = open_at(paths[i]);
        assert_true(comet_watch_fd(watches[i]) >= 0);
        assert_int_equal(comet_watch_fd(watches[i]),
                         comet_watch_fd(watches[0]));
        comet_watch_looked(watches[i], 0, now);
    }
    for (i = 0; i < STORES; i += 2) {
        comet_watch_close(watches[i]);
    }
    for (i = 1; i < STORES; i += 40) {
        snprintf(name, sizeof(name), "f%d/comet.db", i);
        touch(name);
        comet_watch_event(watches[STORES - 1], now);
        for (k = 1; k < STORES; k += 2) {
            assert_int_equal(comet_watch_due(watches[k]) != 0, k == i);
        }
        comet_watch_look(watches[i], comet_watch_due(watches[i]));
        now += 10 * SECOND;
        comet_watch_looked(watches[i], 0, now);
    }
    for (i = 0; i < STORES; i++) {
        if (i % 2) {
            comet_watch_close(watches[i]);
        }
        unlink(paths[i]);
        snprintf(name, sizeof(name), "f%d", i);
        rmdir(scratch_path(name));
    }
}

/* A failed look has itself touched the folder; that must not cause another look
 * at once. */
static void test_pause(void **state)
{
    int i;

    open_watch();
    for (i = 0; i < 100; i++) {
        touch("comet.db");
        assert_int_equal(readable(10000), 1);
        comet_watch_event(watch, now);
        assert_in_range(comet_watch_due(watch) - now, i ? 20 * MS : 0, 60 * MS);
        now = comet_watch_due(watch);
        comet_watch_look(watch, now);
        comet_watch_looked(watch, 0, now);
        comet_watch_pause(watch, now);
        assert_in_range(comet_watch_due(watch) - now, 20 * MS, 60 * MS);
    }
    now += SECOND;
    touch("comet.db");
    comet_watch_event(watch, now);
    assert_true(comet_watch_due(watch) <= now + MS);
}

/* After a look has found a commit, the events may already belong to the next
 * commit. */
static void test_ladder_after_a_commit(void **state)
{
    int i;

    open_watch();
    touch("comet.db-wal");
    expect_event();
    for (i = 0; i < 10; i++) {
        comet_watch_looked(watch, 0, now);
        now = comet_watch_due(watch);
    }
    comet_watch_looked(watch, 1, now);
    assert_in_range(comet_watch_due(watch) - now, 1, MS);
    now = comet_watch_due(watch);
    comet_watch_looked(watch, 0, now);
    assert_in_range(comet_watch_due(watch) - now, 1, 2 * MS);
    now += 60 * SECOND;
    comet_watch_looked(watch, 0, now);
    assert_int_equal(comet_watch_due(watch), 0);
    touch("comet.db-wal");
    expect_event(); /* the intervals begin again with the shortest */
    comet_watch_looked(watch, 0, now);
    assert_in_range(comet_watch_due(watch) - now, 1, MS);
}

/* If inotify cannot be used, the watch polls the database. */
static void test_refused(void **state)
{
    int i;

    watch = open_at("/nowhere/comet.db");
    assert_int_equal(comet_watch_fd(watch), -1);
    for (i = 0; i < 1000; i++) {
        assert_true(is_due(now));
        comet_watch_looked(watch, i % 10 == 0, now);
        assert_in_range(comet_watch_due(watch) - now, MS, 50 * MS);
        assert_false(is_due(comet_watch_due(watch) - 1));
        now = comet_watch_due(watch);
    }
}

/* If many watches cannot use inotify, together they look no more often than a
 * few would, and each one still looks. */
static void test_many_refused(void **state)
{
    enum { REFUSED = 100 };
    comet_watch_t *watches[REFUSED];
    apr_time_t end = now + 10 * SECOND;
    int looks[REFUSED] = { 0 }, all = 0, i;

    for (i = 0; i < REFUSED; i++) {
        watches[i] = open_at("/nowhere/comet.db");
        assert_int_equal(comet_watch_fd(watches[i]), -1);
    }
    for (; now < end; now += MS) {
        for (i = 0; i < REFUSED; i++) {
            if (comet_watch_due(watches[i]) <= now) {
                comet_watch_looked(watches[i], 0, now);
                looks[i]++;
                all++;
            }
        }
    }
    assert_in_range(all, 10 * 100, 10 * 250);
    for (i = 0; i < REFUSED; i++) {
        assert_in_range(looks[i], 10, 25);
    }
    for (i = 1; i < REFUSED; i++) {
        comet_watch_close(watches[i]);
    }
    watch = watches[0]; /* a single watch looks as often as ever */
    comet_watch_looked(watch, 0, now);
    assert_in_range(comet_watch_due(watch) - now, MS, 50 * MS);
}

static void test_root_folder(void **state)
{
    watch = open_at("/comet.db");
    assert_true(comet_watch_fd(watch) >= 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_no_watch),      TEST(test_events),
        TEST(test_close),         TEST(test_ladder),
        TEST(test_looks_between), TEST(test_many_in_a_folder),
        TEST(test_pause),         TEST(test_ladder_after_a_commit),
        TEST(test_refused),       TEST(test_many_refused),
        TEST(test_root_folder),   TEST(test_many_folders),
        TEST(test_moved_away),
    };
    int failed;

    apr_initialize();
    scratch_make();
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    apr_terminate();
    return failed;
}
