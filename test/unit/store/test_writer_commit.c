/* SPDX-License-Identifier: Apache-2.0 */
/* Group commit: every publisher of every child gets exactly one answer, and the
 * answer is true. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "writer_kit.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <unistd.h>

#include "faulty_vfs.h"

#define EACH 25

/** What children report before they are killed. */
typedef struct board_t {
    atomic_int count;
    atomic_int stop;
    _Atomic apr_int64_t acknowledged[100000];
} board_t;

static board_t *board;

static int setup(void **state)
{
    writer_setup(state);
    board = mmap(NULL, sizeof(*board), PROT_READ | PROT_WRITE,
                 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return 0;
}

static int teardown(void **state)
{
    munmap(board, sizeof(*board));
    return writer_teardown(state);
}

static void test_one(void **state)
{
    struct epoll_event bell = { .events = EPOLLIN | EPOLLET };
    comet_timestamp_t first, second;
    int epoll = epoll_create1(0);

    epoll_ctl(epoll, EPOLL_CTL_ADD, comet_bus_fd(writer_bus), &bell);
    writer_start();
    assert_int_equal(writer_publish_at("chat", LONG, &first), 0);
    assert_int_equal(epoll_wait(epoll, &bell, 1, 0), 1);
    assert_int_equal(epoll_wait(epoll, &bell, 1, 0), 0);
    assert_int_equal(writer_publish_at("chat", LONG, &second), 0);
    assert_int_equal(epoll_wait(epoll, &bell, 1, 0), 1); /* the bell rang before
                                                          * publish()
                                                          * returned */
    close(epoll);
    assert_true(second > first);
    assert_int_equal(kit_number("SELECT max(timestamp) FROM message"), second);
    assert_int_equal(writer_publish_at("a/../b", LONG, NULL), COMET_EINVALID);
    writer_stop();
    assert_int_equal(kit_number("SELECT count(*) FROM message"), 2);
    assert_int_equal(atomic_load(&writer_reports), 0);
}

static void *publish_each(void *baton)
{
    int i;

    for (i = 0; i < EACH; i++) {
        comet_timestamp_t timestamp = 0;
        apr_status_t status = writer_publish_at("chat", LONG, &timestamp);

        if (status != APR_SUCCESS) {
            fprintf(stderr, "publish: %d\n", status);
            return baton;
        }
        atomic_store(&board->acknowledged[atomic_fetch_add(&board->count, 1)],
                     timestamp);
    }
    return NULL;
}

static int publish_by_many(void *baton)
{
    pthread_t threads[WRITER_THREADS];
    void *failed = NULL;
    int i;

    writer_start();
    for (i = 0; i < WRITER_THREADS; i++) {
        pthread_create(&threads[i], NULL, publish_each, board);
    }
    for (i = 0; i < WRITER_THREADS; i++) {
        void *result;

        pthread_join(threads[i], &result);
        failed = failed ? failed : result;
    }
    writer_stop();
    return failed != NULL;
}

/* Check that all acknowledged timestamps are in the log.
 * @param exactly  whether the log must hold no others */
static void check_acknowledged(int exactly)
{
    sqlite3 *db = kit_outsider();
    sqlite3_stmt *find;
    int count = atomic_load(&board->count);
    int i;

    sqlite3_prepare_v2(db, "SELECT 1 FROM message_log WHERE id = ?1", -1, &find,
                       NULL);
    for (i = 0; i < count; i++) {
        apr_int64_t id = atomic_load(&board->acknowledged[i]);

        if (id == 0 && !exactly) {
            continue; /* the child was killed between counting and noting */
        }
        sqlite3_bind_int64(find, 1, id);
        if (sqlite3_step(find) != SQLITE_ROW) {
            fail_msg("lost: %lld", (long long)id);
        }
        sqlite3_reset(find);
    }
    sqlite3_finalize(find);
    sqlite3_close(db);
    if (exactly) {
        assert_int_equal(kit_number("SELECT count(*) FROM message"), count);
    }
}

static void check_unique(void)
{
    int count = atomic_load(&board->count);
    apr_int64_t *ids = malloc((size_t)count * sizeof(*ids));
    int i;

    for (i = 0; i < count; i++) {
        ids[i] = atomic_load(&board->acknowledged[i]);
    }
    qsort(ids, (size_t)count, sizeof(*ids), scratch_ascending);
    for (i = 1; i < count; i++) {
        assert_true(ids[i] > ids[i - 1]);
    }
    free(ids);
}

static void test_many_threads(void **state)
{
    assert_int_equal(publish_by_many(NULL), 0);
    assert_int_equal(atomic_load(&board->count), WRITER_THREADS * EACH);
    check_unique();
    check_acknowledged(1);
}

/* Publish like a client that needs a moment before it sends its next
 * message. */
static void *publish_with_pauses(void *baton)
{
    static const struct timespec moment = { .tv_nsec = 300000 };
    int i;

    for (i = 0; i < EACH; i++) {
        nanosleep(&moment, NULL);
        if (writer_publish_at("chat", LONG, NULL) != APR_SUCCESS) {
            return baton;
        }
    }
    return NULL;
}

/* On a slow disk, publishers that publish all the time share each commit. */
static void test_slow_disk(void **state)
{
    pthread_t threads[8];
    int rounds = 5, syncs, i;

    writer_start();
    atomic_store(&faulty_now, FAULTY_SLOW);
    do { /* on a busy machine a round may fail */
        syncs = atomic_load(&faulty_syncs);
        for (i = 0; i < 8; i++) {
            pthread_create(&threads[i], NULL, publish_with_pauses, board);
        }
        for (i = 0; i < 8; i++) {
            void *failed;

            pthread_join(threads[i], &failed);
            assert_null(failed);
        }
        syncs = atomic_load(&faulty_syncs) - syncs;
    } while (syncs > EACH * 3 / 2 && --rounds);
    atomic_store(&faulty_now, FAULTY_NOTHING);
    writer_stop();
    assert_true(rounds > 0); /* without gathering there are 2 * EACH commits */
}

/* There are more publishers than places, but each one is answered. */
static void test_few_places(void **state)
{
    publisher_t publishers[8];
    int busy = 0;
    int i;

    writer_config.places = 2;
    writer_start();
    for (i = 0; i < 8; i++) {
        publisher_begin(&publishers[i], LONG);
    }
    for (i = 0; i < 8; i++) {
        apr_status_t status = publisher_finish(&publishers[i]);

        assert_true(status == APR_SUCCESS || status == COMET_EBUSY);
        busy += status == COMET_EBUSY;
    }
    writer_stop();
    assert_int_equal(kit_number("SELECT count(*) FROM message"), 8 - busy);
}

static void test_two_processes(void **state)
{
    int pids[2];
    int i;

    for (i = 0; i < 2; i++) {
        pids[i] = scratch_fork(publish_by_many, NULL);
    }
    for (i = 0; i < 2; i++) {
        assert_int_equal(scratch_reap(pids[i]), 0);
    }
    assert_int_equal(atomic_load(&board->count), 2 * WRITER_THREADS * EACH);
    check_unique();
    check_acknowledged(1);
}

static void *publish_until_stopped(void *baton)
{
    while (!atomic_load(&board->stop) && atomic_load(&board->count) < 90000) {
        comet_timestamp_t timestamp = 0;

        if (writer_publish_at("chat", LONG, &timestamp) != APR_SUCCESS) {
            return baton;
        }
        atomic_store(&board->acknowledged[atomic_fetch_add(&board->count, 1)],
                     timestamp);
    }
    return NULL;
}

static int publish_for_ever(void *baton)
{
    pthread_t threads[8];
    void *failed = NULL;
    int i;

    writer_start();
    for (i = 0; i < 8; i++) {
        pthread_create(&threads[i], NULL, publish_until_stopped, board);
    }
    for (i = 0; i < 8; i++) {
        void *result;

        pthread_join(threads[i], &result);
        failed = failed ? failed : result;
    }
    writer_stop();
    return failed != NULL;
}

/* A child is killed at any moment (kill -9): the other child continues, and
 * nothing is lost. */
static void test_killed(void **state)
{
    int survivor = scratch_fork(publish_for_ever, NULL);
    int i;

    for (i = 0; i < 8; i++) {
        int before = atomic_load(&board->count);
        int victim = scratch_fork(publish_for_ever, NULL);

        wait_until(atomic_load(&board->count) > before + 300 + 37 * i);
        kill(victim, SIGKILL);
        assert_int_equal(scratch_reap(victim), -SIGKILL);
        before = atomic_load(&board->count);
        wait_until(atomic_load(&board->count) > before + 100);
    }
    atomic_store(&board->stop, 1);
    assert_int_equal(scratch_reap(survivor), 0);
    check_acknowledged(0);
}

/* Busy publishers do not starve another program's INSERTs. */
static void test_outsiders_get_in(void **state)
{
    int pids[2];
    apr_int64_t longest = 0;
    int i, before;

    for (i = 0; i < 2; i++) {
        pids[i] = scratch_fork(publish_for_ever, NULL);
    }
    wait_until(atomic_load(&board->count) > 100);
    for (i = 0; i < 15; i++) {
        apr_int64_t began = scratch_usec();
        sqlite3 *db = kit_outsider();

        kit_must_run(db,
                     "INSERT INTO message(channel, body) VALUES('cli', 'x')");
        sqlite3_close(db);
        began = scratch_usec() - began;
        longest = began > longest ? began : longest;
        before = atomic_load(&board->count);
        wait_until(atomic_load(&board->count) > before + 20);
    }
    atomic_store(&board->stop, 1);
    for (i = 0; i < 2; i++) {
        assert_int_equal(scratch_reap(pids[i]), 0);
    }
    assert_int_equal(
        kit_number("SELECT count(*) FROM message WHERE channel = 'cli'"), 15);
    assert_true(longest < 3 * SECOND); /* generous, because the machine may be
                                        * busy or a sanitizer may run */
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_one),
        TEST(test_many_threads),
        TEST(test_few_places),
        TEST(test_two_processes),
        TEST(test_slow_disk),
        TEST(test_killed),
        TEST(test_outsiders_get_in),
    };

    return cmocka_run_group_tests(tests, writer_begin, writer_end);
}
