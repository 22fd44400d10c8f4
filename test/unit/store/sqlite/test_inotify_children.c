/* SPDX-License-Identifier: Apache-2.0 */
/* Another program writes to the database, and the clients of real children soon
 * get its messages. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "scratch.h"

#include <apr_general.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "hub/hub.h"

#define INSERTS 20

/** Shared by all processes of a test. */
typedef struct board_t {
    atomic_int ready; /* how many clients wait */
    atomic_int wanted, inserted; /* inserts: asked for by the test, done by the
                                  * other program */
    _Atomic apr_int64_t committed_at;
    atomic_int seen[2]; /* set by the children's clients */
    _Atomic apr_int64_t seen_at[2];
    atomic_int stop;
} board_t;

static apr_pool_t *pool;
static comet_bus_t *bus;
static comet_store_config_t config;
static char path[800];
static board_t *board;

static int setup(void **state)
{
    comet_store_t *store;

    scratch_clear();
    snprintf(path, sizeof(path), "%s", scratch_path("comet.db"));
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

static int teardown(void **state)
{
    munmap(board, sizeof(*board));
    close(comet_bus_fd(bus));
    apr_pool_destroy(pool);
    return 0;
}

typedef struct client_t {
    comet_subscriber_t subscriber; /* first member: serve() takes its address */
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

/* A child of httpd with one client.  It runs until it is killed. */
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

/* Insert as the sqlite3 command line does: through a new connection each
 * time. */
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

/* The other program.  It inserts when the test tells it to. */
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

/* Insert messages one by one.  @return the median time until a child sees
 * one */
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
        assert_true(took[i] < 2 * SECOND); /* the machine may be loaded */
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

/* Whether a child has the watching role. */
static int is_watched(void)
{
    int free_now = comet_bus_claim_watch(bus);

    if (free_now) {
        comet_bus_release_watch(bus);
    }
    return !free_now;
}

/* Both children soon see an insert, although only one of them watches.  When
 * the watcher is killed, the other takes over and misses nothing. */
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

/* In a long transaction, the events are long past when the rows become
 * visible. */
static void test_slow_transaction(void **state)
{
    int number = 0;
    int pid = start_child(&number);
    sqlite3 *db;

    wait_until(is_watched());
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    sqlite3_busy_timeout(db, 10000); /* the child may still be writing */
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_inserts_from_outside),
        TEST(test_slow_transaction),
    };
    int failed;

    apr_initialize();
    scratch_make();
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    apr_terminate();
    return failed;
}
