/* SPDX-License-Identifier: Apache-2.0 */
/* Programs outside httpd write to the database, and clients soon get it. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "scratch.h"

#include <apr_general.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "hub/hub.h"
#include "store/engines.h"

#define INSERTS 20

/* --- The repeated looks, by a simulated clock --------------------------- */

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

/* Open the watch, and look for what happened before. */
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

/* The descriptor is readable; once the store must be looked at, all events are
 * taken. */
static void expect_event(void)
{
    assert_int_equal(readable(10000), 1);
    comet_watch_event(watch, now);
    assert_false(is_due(now)); /* too early to see the commit */
    assert_in_range(comet_watch_due(watch) - now, 1, MS);
    now = comet_watch_due(watch);
    comet_watch_look(watch, now);
    comet_watch_looked(watch, 0, now);
    assert_int_equal(readable(0), 0);
}

/* An engine without a watch is looked at from time to time. */
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
    open_watch(); /* again */
}

/* The commit becomes visible after the event: look again, less and less often,
 * and stop in the end. */
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
    assert_true(now - event >= SECOND); /* a slow disk */
    assert_true(now - event <= 10 * SECOND);
}

/* httpd itself commits again and again: its writes wake nobody before the next
 * look, and a foreign change is not forgotten. */
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

enum { STORES = 200 };

/* More stores than a user may have instances of inotify: one is enough for all,
 * and each is told of its own files alone. */
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
    touch("s1.db2"); /* begins like a database's name, and is none of them */
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

/* A failed look touched the folder itself: that must not cause another look at
 * once. */
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

/* The events may already belong to the next commit. */
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
    expect_event(); /* and again from the first step on */
    comet_watch_looked(watch, 0, now);
    assert_in_range(comet_watch_due(watch) - now, 1, MS);
}

/* Without permission to watch, it polls. */
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

static void test_root_folder(void **state)
{
    watch = open_at("/comet.db");
    assert_true(comet_watch_fd(watch) >= 0);
}

/* --- Real children, and a program outside httpd ------------------------- */

/** Seen by all processes. */
typedef struct board_t {
    atomic_int ready; /* how many clients wait */
    atomic_int wanted, inserted; /* set by the program outside */
    _Atomic apr_int64_t committed_at;
    atomic_int seen[2]; /* set by the children's clients */
    _Atomic apr_int64_t seen_at[2];
    atomic_int stop;
} board_t;

static apr_pool_t *pool;
static comet_bus_t *bus;
static comet_store_config_t config;
static board_t *board;

static int setup_children(void **state)
{
    comet_store_t *store;

    setup(state);
    apr_pool_create(&pool, NULL);
    config = (comet_store_config_t){ .place = scratch_place(path),
                                     .busy_timeout = SECOND };
    assert_int_equal(comet_bus_create(&bus, pool), 0);
    assert_int_equal(comet_store_open(&store, &config, COMET_STORE_WRITE, NULL),
                     0);
    comet_store_close(store);
    board = mmap(NULL, sizeof(*board), PROT_READ | PROT_WRITE,
                 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return 0;
}

static int teardown_children(void **state)
{
    munmap(board, sizeof(*board));
    close(comet_bus_fd(bus));
    apr_pool_destroy(pool);
    return teardown(state);
}

typedef struct client_t {
    comet_subscriber_t subscriber; /* first: serve() gets its address */
    int child;
} client_t;

static comet_outcome_e serve(comet_subscriber_t *subscriber,
                             const comet_delivery_t *delivery)
{
    client_t *client = (client_t *)subscriber;

    if (delivery->batch->count) {
        atomic_store(&board->seen_at[client->child], scratch_usec());
        atomic_fetch_add(&board->seen[client->child],
                         (int)delivery->batch->count);
    }
    return COMET_WAIT;
}

/* A child of httpd with one client, until it is killed. */
static int be_a_child(void *baton)
{
    const comet_store_config_t *stores[] = { &config };
    comet_hub_config_t hub_config = { .stores = stores,
                                      .buses = &bus,
                                      .count = 1 };
    client_t client = {
        .subscriber = { .serve = serve, .limit = 100, .blocked_fd = -1 },
        .child = *(const int *)baton
    };
    comet_hub_t *hub;

    if (comet_hub_create(&hub, &hub_config, pool) != APR_SUCCESS
        || comet_hub_join(hub, &client.subscriber, 0,
                          scratch_select(comet_text("chat")))
               != APR_SUCCESS) {
        return 1;
    }
    atomic_fetch_add(&board->ready, 1);
    while (pause()) {
    }
    return 0;
}

/* Like the sqlite3 command line: a new connection for each insert. */
static int insert(void)
{
    sqlite3 *db;
    int code = sqlite3_open(path, &db);

    sqlite3_busy_timeout(db, 5000);
    if (code == SQLITE_OK) {
        code = sqlite3_exec(db,
                            "INSERT INTO message(channel, body)"
                            " VALUES('chat', 'x')",
                            NULL, NULL, NULL);
        atomic_store(&board->committed_at, scratch_usec());
    }
    sqlite3_close(db);
    return code;
}

/* The program outside inserts when the test tells it to. */
static int be_outside(void *baton)
{
    while (!atomic_load(&board->stop)) {
        if (atomic_load(&board->inserted) < atomic_load(&board->wanted)) {
            if (insert() != SQLITE_OK) {
                return 1;
            }
            atomic_fetch_add(&board->inserted, 1);
        }
        usleep(100);
    }
    return 0;
}

/* Insert one by one. @return the usual time until a child sees the message */
static apr_int64_t median_latency(int child, int inserts)
{
    apr_int64_t took[INSERTS];
    int i;

    for (i = 0; i < inserts; i++) {
        int before = atomic_load(&board->seen[child]);
        int inserted = atomic_fetch_add(&board->wanted, 1) + 1;

        wait_until(atomic_load(&board->seen[child]) == before + 1
                   && atomic_load(&board->inserted) == inserted);
        took[i] = atomic_load(&board->seen_at[child])
                  - atomic_load(&board->committed_at);
        assert_true(took[i] < 2 * SECOND); /* a loaded machine */
    }
    qsort(took, (size_t)inserts, sizeof(*took), scratch_ascending);
    print_message("# seen by child %d after %d us (median), %d us (most)\n",
                  child, (int)took[inserts / 2], (int)took[inserts - 1]);
    return took[inserts / 2];
}

static int start_child(int *number)
{
    int before = atomic_load(&board->ready);
    int pid = scratch_fork(be_a_child, number);

    wait_until(atomic_load(&board->ready) > before);
    return pid;
}

static void kill_child(int pid)
{
    kill(pid, SIGKILL);
    assert_int_equal(scratch_reap(pid), -SIGKILL);
}

/* Wait until a child is the watcher. */
static int is_watched(void)
{
    int free_now = comet_bus_claim_watch(bus);

    if (free_now) {
        comet_bus_release_watch(bus);
    }
    return !free_now;
}

/* Both children see it soon, although only one of them watches. When the
 * watcher is killed, the other takes over and has missed nothing. */
static void test_inserts_from_outside(void **state)
{
    int numbers[] = { 0, 1 };
    int pids[2], outsider;

    outsider = scratch_fork(be_outside, NULL);
    pids[0] = start_child(&numbers[0]);
    wait_until(is_watched());
    pids[1] = start_child(&numbers[1]);
    assert_true(median_latency(0, INSERTS) < 150 * MS);
    wait_until(atomic_load(&board->seen[1]) == INSERTS);
    assert_true(median_latency(1, INSERTS) < 150 * MS);
    kill_child(pids[0]);
    atomic_fetch_add(&board->wanted, 1);
    wait_until(atomic_load(&board->seen[1]) == 2 * INSERTS + 1);
    wait_until(is_watched());
    assert_true(median_latency(1, INSERTS) < 150 * MS);
    atomic_store(&board->stop, 1);
    assert_int_equal(scratch_reap(outsider), 0);
    kill_child(pids[1]);
}

/* A transaction that takes long: the events are long past when its rows become
 * visible. */
static void test_slow_transaction(void **state)
{
    int number = 0;
    int pid = start_child(&number);
    sqlite3 *db;

    wait_until(is_watched());
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db,
                                  "PRAGMA cache_size = 5; BEGIN IMMEDIATE;"
                                  "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL"
                                  " SELECT i + 1 FROM n WHERE i < 100)"
                                  " INSERT INTO message(channel, body)"
                                  " SELECT 'chat', hex(zeroblob(20000))"
                                  " FROM n",
                                  NULL, NULL, NULL),
                     SQLITE_OK);
    assert_int_equal(atomic_load(&board->seen[0]), 0);
    assert_int_equal(sqlite3_exec(db, "COMMIT", NULL, NULL, NULL), SQLITE_OK);
    wait_until(atomic_load(&board->seen[0]) == 100);
    sqlite3_close(db);
    kill_child(pid);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
#define TEST_CHILDREN(name) \
    cmocka_unit_test_setup_teardown(name, setup_children, teardown_children)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_no_watch),
        TEST(test_events),
        TEST(test_close),
        TEST(test_ladder),
        TEST(test_looks_between),
        TEST(test_many_in_a_folder),
        TEST(test_pause),
        TEST(test_ladder_after_a_commit),
        TEST(test_refused),
        TEST(test_root_folder),
        TEST_CHILDREN(test_inserts_from_outside),
        TEST_CHILDREN(test_slow_transaction),
    };
    int failed;

    apr_initialize();
    scratch_make();
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    apr_terminate();
    return failed;
}
