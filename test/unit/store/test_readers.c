/* SPDX-License-Identifier: Apache-2.0 */
/* The workers' connections are kept for reuse, never shared, and lead to the
 * right file. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "scratch.h"

#include <apr_general.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "store/readers.h"

#define KEEP 2
#define THREADS 8
#define PLACES 64
#define ROUNDS 150

static apr_pool_t *pool;
static comet_store_config_t config;
static comet_readers_t *readers;
static char database[800];
static sqlite3_int64 unused_memory, used_by_one;

/* --- Helpers ---------------------------------------------------------- */

/* How many connections are open, judged by how much memory SQLite uses. */
static int open_count(void)
{
    return (int)((sqlite3_memory_used() - unused_memory + used_by_one / 2)
                 / used_by_one);
}

static void make_database(const char *path, int messages)
{
    comet_store_config_t made = { .place = scratch_place(path),
                                  .busy_timeout = 1000000 };
    comet_store_t *store;
    int i;

    assert_int_equal(comet_store_open(&store, &made, COMET_STORE_WRITE, NULL),
                     0);
    for (i = 0; i < messages; i++) {
        comet_message_t *message =
            comet_message_create(&(comet_message_fields_t){
                .channel = comet_text("chat"), .body = comet_text("x") });
        apr_status_t result;

        assert_int_equal(scratch_append(store, &message, &result, 1), 0);
        assert_int_equal(result, 0);
        comet_message_unref(message);
    }
    comet_store_close(store);
}

static comet_store_t *take(void)
{
    comet_store_t *store;

    assert_int_equal(comet_readers_take(readers, &store), APR_SUCCESS);
    assert_non_null(store);
    return store;
}

static void give_back(comet_store_t *store)
{
    comet_readers_return(readers, store, APR_SUCCESS);
}

static int count_one(void *baton, comet_message_t *message)
{
    ++*(int *)baton;
    comet_message_unref(message);
    return 1;
}

static int messages_in(comet_store_t *store)
{
    int count = 0;

    assert_int_equal(comet_store_read(store, scratch_select(comet_text("chat")),
                                      0, 1000, count_one, &count),
                     APR_SUCCESS);
    return count;
}

static int setup(void **state)
{
    comet_store_t *store;

    scratch_clear();
    apr_pool_create(&pool, NULL);
    snprintf(database, sizeof(database), "%s", scratch_path("comet.db"));
    config = (comet_store_config_t){ .place = scratch_place(database) };
    make_database(database, 3);
    assert_int_equal(
        comet_readers_create(&readers, &config, KEEP, PLACES, pool), 0);
    unused_memory = sqlite3_memory_used();
    assert_int_equal(comet_store_open(&store, &config, COMET_STORE_READ, NULL),
                     0);
    used_by_one = sqlite3_memory_used() - unused_memory;
    comet_store_close(store);
    assert_int_equal(open_count(), 0);
    return 0;
}

static int teardown(void **state)
{
    comet_readers_close(readers);
    assert_int_equal(open_count(), 0);
    apr_pool_destroy(pool);
    return 0;
}

/* --- Tests ------------------------------------------------------------ */

/* If a store hangs, it holds up only as many threads as it has places. */
static void test_places(void **state)
{
    comet_store_t *held[2], *store;
    comet_readers_t *few;
    int64_t began;
    int i;

    assert_int_equal(comet_readers_create(&few, &config, KEEP, 2, pool), 0);
    for (i = 0; i < 2; i++) {
        assert_int_equal(comet_readers_take(few, &held[i]), APR_SUCCESS);
    }
    began = scratch_usec();
    for (i = 0; i < 100; i++) { /* only the first caller waits; the later ones
                                 * are refused at once */
        assert_int_equal(comet_readers_take(few, &store), COMET_EBUSY);
        assert_null(store);
        comet_readers_return(few, store, COMET_EBUSY);
    }
    assert_true(scratch_usec() - began < 2000000);
    comet_readers_return(few, held[0], APR_SUCCESS);
    assert_int_equal(comet_readers_take(few, &held[0]), APR_SUCCESS);
    comet_readers_return(few, held[0], APR_SUCCESS);
    comet_readers_return(few, held[1], APR_SUCCESS);
    comet_readers_close(few);
}

static void *take_in_vain(void *few)
{
    comet_store_t *store;

    assert_int_equal(comet_readers_take(few, &store), COMET_ESTOPPING);
    return NULL;
}

/* Callers that were dismissed wait neither for a place nor for a lock; who has a
 * connection can read on. */
static void test_dismiss(void **state)
{
    comet_store_t *held;
    comet_readers_t *few;
    pthread_t thread;
    sqlite3 *db;

    assert_int_equal(comet_readers_create(&few, &config, KEEP, 1, pool), 0);
    assert_int_equal(comet_readers_take(few, &held), APR_SUCCESS);
    pthread_create(&thread, NULL, take_in_vain, few);
    comet_readers_dismiss(few);
    pthread_join(thread, NULL);
    take_in_vain(few);
    assert_int_equal(messages_in(held), 3);
    comet_readers_return(few, held, APR_SUCCESS);
    comet_readers_close(few);
    assert_int_equal(sqlite3_open(database, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db,
                                  "PRAGMA locking_mode = EXCLUSIVE;"
                                  "BEGIN EXCLUSIVE",
                                  NULL, NULL, NULL),
                     SQLITE_OK);
    take_in_vain(few);
    sqlite3_close(db);
}

static void test_reuse(void **state)
{
    comet_store_t *first = take(), *second = take();

    assert_ptr_not_equal(first, second);
    assert_int_equal(open_count(), 2);
    give_back(first);
    assert_int_equal(open_count(), 2);
    assert_ptr_equal(take(), first);
    assert_int_equal(messages_in(first), 3);
    give_back(second);
    give_back(first);
    assert_ptr_equal(take(), first); /* the connection that was used last is
                                      * given out first */
    assert_ptr_equal(take(), second);
    give_back(first);
    give_back(second);
    assert_int_equal(open_count(), 2);
}

/* Lock the whole file for a moment, as another program does when it is the last
 * to close the log, or the first to open it after a crash. */
static int hold_for_a_moment(void *baton)
{
    atomic_int *held = baton;
    sqlite3 *db;

    if (sqlite3_open(database, &db) != SQLITE_OK
        || sqlite3_exec(db,
                        "PRAGMA locking_mode = EXCLUSIVE;"
                        "INSERT INTO message(channel, body)"
                        " VALUES('even', 'x')",
                        NULL, NULL, NULL)
               != SQLITE_OK) {
        return 1;
    }
    atomic_store(held, 1);
    usleep(100000); /* long enough for the test to find it locked */
    return sqlite3_close(db);
}

static void test_waits_a_moment(void **state)
{
    atomic_int *held = mmap(NULL, sizeof(*held), PROT_READ | PROT_WRITE,
                            MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    comet_store_t *store;
    int pid = scratch_fork(hold_for_a_moment, held);

    wait_until(atomic_load(held));
    assert_int_equal(
        comet_store_open(&store, &config, COMET_STORE_READ_AT_ONCE, NULL),
        COMET_ELOCKED);
    store = take();
    assert_int_equal(messages_in(store), 3);
    give_back(store);
    assert_int_equal(scratch_reap(pid), 0);
    munmap(held, sizeof(*held));
}

static void test_keep(void **state)
{
    comet_store_t *stores[5];
    int i;

    for (i = 0; i < 5; i++) {
        stores[i] = take();
        assert_int_equal(messages_in(stores[i]), 3);
    }
    assert_int_equal(open_count(), 5);
    for (i = 0; i < 5; i++) {
        give_back(stores[i]);
    }
    assert_int_equal(open_count(), KEEP);
    assert_ptr_equal(take(), stores[1]);
    assert_ptr_equal(take(), stores[0]);
    give_back(stores[0]);
    give_back(stores[1]);
    comet_readers_close(readers);
    assert_int_equal(open_count(), 0);
    comet_readers_close(readers); /* a second call does nothing */
}

static void test_keep_none(void **state)
{
    comet_readers_t *others;
    comet_store_t *store;

    assert_int_equal(comet_readers_create(&others, &config, 0, PLACES, pool),
                     0);
    assert_int_equal(comet_readers_take(others, &store), 0);
    assert_int_equal(messages_in(store), 3);
    comet_readers_return(others, store, APR_SUCCESS);
    assert_int_equal(open_count(), 0);
    comet_readers_close(others);
}

static void test_closed_after_a_failure(void **state)
{
    comet_store_t *store = take();

    comet_readers_return(readers, store, COMET_ELOCKED);
    assert_int_equal(open_count(), 0);
    store = take();
    assert_int_equal(messages_in(store), 3);
    comet_readers_return(readers, store, APR_EGENERAL);
    assert_int_equal(open_count(), 0);
}

static void test_replaced(void **state)
{
    comet_store_t *first = take(), *second = take();
    const char *other = scratch_path("other.db");

    make_database(other, 5);
    give_back(first);
    give_back(second);
    assert_int_equal(rename(other, database), 0);
    unlink(scratch_path("comet.db-wal"));
    unlink(scratch_path("comet.db-shm"));
    first = take();
    assert_int_equal(messages_in(first), 5);
    second = take();
    assert_int_equal(messages_in(second), 5);
    assert_int_equal(open_count(), 2);
    give_back(first);
    give_back(second);
}

/* Take connections until this status is returned.  A connection that was used a
 * moment ago is not checked at once. */
static apr_status_t take_soon(apr_status_t status)
{
    comet_store_t *store;
    apr_status_t now;
    int tries = 1000;

    while ((now = comet_readers_take(readers, &store)) != status && tries--) {
        give_back(store);
        apr_sleep(100);
    }
    assert_null(store);
    return now;
}

static void test_deleted_and_made_again(void **state)
{
    comet_store_t *store = take();

    give_back(store);
    rename(database, scratch_path("away.db"));
    assert_int_equal(take_soon(APR_ENOENT), APR_ENOENT);
    assert_int_equal(open_count(), 0);
    make_database(database, 1);
    store = take();
    assert_int_equal(messages_in(store), 1);
    give_back(store);
}

static void test_not_ours(void **state)
{
    comet_store_t *store;
    FILE *file;

    scratch_clear();
    file = fopen(database, "w");
    fputs("Dear diary, this is not a database at all.\n", file);
    fclose(file);
    assert_int_equal(comet_readers_take(readers, &store), COMET_ENOTDB);
    assert_null(store);
}

/** Shared by the threads: no connection may be given to two of them at a
 * time. */
static struct {
    pthread_mutex_t lock;
    comet_store_t *stores[THREADS]; /* [lock] */
    atomic_int faults;
} used = { .lock = PTHREAD_MUTEX_INITIALIZER };

static void note_use(size_t self, comet_store_t *store)
{
    int i;

    pthread_mutex_lock(&used.lock);
    for (i = 0; store && i < THREADS; i++) {
        if (used.stores[i] == store) {
            atomic_fetch_add(&used.faults, 1);
        }
    }
    used.stores[self] = store;
    pthread_mutex_unlock(&used.lock);
}

static void *use(void *baton)
{
    size_t self = (size_t)baton;
    int i;

    for (i = 0; i < ROUNDS; i++) {
        comet_store_state_t now;
        comet_store_t *store;
        apr_status_t status = comet_readers_take(readers, &store);

        if (status != APR_SUCCESS) {
            atomic_fetch_add(&used.faults, 1);
            continue;
        }
        note_use(self, store);
        if (comet_store_begin(store, &now) == APR_SUCCESS) {
            comet_store_end(store);
        }
        else {
            atomic_fetch_add(&used.faults, 1);
        }
        note_use(self, NULL);
        comet_readers_return(readers, store, i % 16 ? 0 : APR_EGENERAL);
    }
    return NULL;
}

static void test_many_threads(void **state)
{
    pthread_t threads[THREADS];
    size_t i;

    for (i = 0; i < THREADS; i++) {
        pthread_create(&threads[i], NULL, use, (void *)i);
    }
    for (i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
    assert_int_equal(atomic_load(&used.faults), 0);
    assert_in_range(open_count(), 0, KEEP);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_places),         TEST(test_dismiss),
        TEST(test_reuse),          TEST(test_keep),
        TEST(test_keep_none),      TEST(test_closed_after_a_failure),
        TEST(test_replaced),       TEST(test_deleted_and_made_again),
        TEST(test_not_ours),       TEST(test_many_threads),
        TEST(test_waits_a_moment),
    };
    int failed;

    apr_initialize();
    scratch_make();
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    apr_terminate();
    return failed;
}
