/* SPDX-License-Identifier: Apache-2.0 */
/* Counters while children start, end and are killed. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "scratch.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "shared/memory.h"
#include "shared/metrics.h"

#define CHILDREN 4
#define THREADS 4
#define EACH 5000
#define CAP 3
#define COMINGS 3000

/** Shared by all processes of a test. */
typedef struct board_t {
    atomic_int ready;
    atomic_int go;
    atomic_int slots[16];
    atomic_int inside, most, taken; /* places under the cap */
} board_t;

static comet_metrics_t *metrics;
static comet_metrics_total_t total;
static board_t *board;

static int setup(void **state)
{
    board = scratch_shared(sizeof(*board));
    return 0;
}

static int teardown(void **state)
{
    comet_memory_unmap(board, sizeof(*board));
    return 0;
}

static void make(int slots)
{
    assert_int_equal(comet_metrics_create(&metrics, slots), APR_SUCCESS);
}

static apr_int64_t sum_of(comet_metric_e metric)
{
    comet_metrics_sum(metrics, &total);
    return total.values[metric];
}

static int reaches(apr_int64_t cap)
{
    static const comet_metric_e waiting = COMET_METRIC_waiting_poll;

    /* this process has no slot, so it takes no place itself */
    return !comet_metrics_take(metrics, waiting, &waiting, 1, cap);
}

static void wait_for_go(int at_least)
{
    while (atomic_load(&board->go) < at_least) {
        usleep(200);
    }
}

/* Count in a child, report its slot, and stay until the child is told to end or
 * is killed. */
static int live(void *baton)
{
    int slot = comet_metrics_attach(metrics);

    comet_metrics_add(COMET_METRIC_published, 5);
    comet_metrics_add(COMET_METRIC_published, 2);
    comet_metrics_add(COMET_METRIC_waiting_poll, 3);
    comet_metrics_add(COMET_METRIC_waiting_poll, -1);
    atomic_store(&board->slots[atomic_load(&board->ready)], slot);
    atomic_fetch_add(&board->ready, 1); /* the slot can be read now */
    wait_for_go(1);
    comet_metrics_detach();
    comet_metrics_add(COMET_METRIC_published, 1000); /* too late: not counted */
    comet_metrics_detach();
    return 0;
}

static int start(void)
{
    int before = atomic_load(&board->ready);
    int pid = scratch_fork(live, NULL);

    wait_until(atomic_load(&board->ready) > before);
    return pid;
}

static int last_slot(void)
{
    return atomic_load(&board->slots[atomic_load(&board->ready) - 1]);
}

static void kill_child(int pid)
{
    kill(pid, SIGKILL);
    assert_int_equal(scratch_reap(pid), -SIGKILL);
}

/* --- Tests --------------------------------------------------------------- */

static void test_table(void **state)
{
    int i, k;

    assert_string_equal(comet_metric_info[COMET_METRIC_published].name,
                        "published");
    assert_string_equal(comet_metric_info[COMET_METRIC_COUNT - 1].name,
                        "catch_ups");
    assert_int_equal(comet_metric_info[COMET_METRIC_waiting_clock].kind,
                     COMET_METRIC_KIND_GAUGE);
    assert_int_equal(comet_metric_info[COMET_METRIC_delivered].kind,
                     COMET_METRIC_KIND_COUNTER);
    for (i = 0; i < COMET_METRIC_COUNT; i++) {
        assert_true(*comet_metric_info[i].help);
        for (k = 0; k < i; k++) {
            assert_string_not_equal(comet_metric_info[i].name,
                                    comet_metric_info[k].name);
        }
    }
}

/* The parent has no slot. */
static void test_no_slot(void **state)
{
    make(2);
    comet_metrics_add(COMET_METRIC_published, 1);
    comet_metrics_detach();
    assert_int_equal(sum_of(COMET_METRIC_published), 0);
    assert_int_equal(total.children, 0);
}

static void test_come_and_go(void **state)
{
    int pids[CHILDREN];
    int i;

    make(CHILDREN);
    for (i = 0; i < CHILDREN; i++) {
        pids[i] = start();
        assert_int_equal(last_slot(), i);
    }
    assert_int_equal(sum_of(COMET_METRIC_published), 7 * CHILDREN);
    assert_int_equal(total.values[COMET_METRIC_waiting_poll], 2 * CHILDREN);
    assert_int_equal(total.values[COMET_METRIC_delivered], 0);
    assert_int_equal(total.children, CHILDREN);
    assert_true(reaches(2 * CHILDREN));
    assert_false(reaches(2 * CHILDREN + 1));
    atomic_store(&board->go, 1);
    for (i = 0; i < CHILDREN; i++) {
        assert_int_equal(scratch_reap(pids[i]), 0);
    }
    assert_int_equal(sum_of(COMET_METRIC_published), 7 * CHILDREN);
    assert_int_equal(total.values[COMET_METRIC_waiting_poll], 0);
    assert_int_equal(total.children, 0);
    assert_false(reaches(1));
    start();
    assert_int_equal(last_slot(), 0);
    assert_int_equal(sum_of(COMET_METRIC_published), 7 * (CHILDREN + 1));
}

/* The slot of a killed child is reused, and only its gauges are lost. */
static void test_killed(void **state)
{
    int generation, pid;

    make(1);
    for (generation = 1; generation <= 5; generation++) {
        pid = start();
        assert_int_equal(last_slot(), 0);
        assert_int_equal(sum_of(COMET_METRIC_published), 7 * generation);
        assert_int_equal(total.values[COMET_METRIC_waiting_poll], 2);
        assert_true(reaches(2));
        assert_int_equal(total.children, 1);
        kill_child(pid);
        assert_int_equal(sum_of(COMET_METRIC_published), 7 * generation);
        assert_int_equal(total.values[COMET_METRIC_waiting_poll], 0);
        assert_false(reaches(1)); /* the clients of a dead child do not count */
        assert_int_equal(total.children, 0);
    }
}

/* A child without a slot does not disturb those that have one. */
static void test_more_than_slots(void **state)
{
    int first, second;

    make(2);
    first = start();
    second = start();
    start();
    assert_int_equal(last_slot(), -1);
    assert_true(sum_of(COMET_METRIC_published) >= 14);
    assert_int_equal(total.values[COMET_METRIC_waiting_poll], 4);
    kill_child(first);
    start();
    assert_int_equal(last_slot(), 0);
    assert_int_equal(sum_of(COMET_METRIC_waiting_poll), 4);
    assert_int_equal(total.children, 2);
    atomic_store(&board->go, 1);
    assert_int_equal(scratch_reap(second), 0);
}

static void *count_up(void *baton)
{
    int i;

    pthread_barrier_wait(baton);
    for (i = 0; i < EACH; i++) {
        comet_metrics_add(COMET_METRIC_delivered, 1);
        comet_metrics_add(COMET_METRIC_waiting_clock, 1);
        comet_metrics_add(COMET_METRIC_waiting_clock, -1);
    }
    return NULL;
}

/* Run a function in several threads of a child. */
static int run_threads(void *(*function)(void *))
{
    pthread_t threads[THREADS];
    pthread_barrier_t together;
    int i;

    if (comet_metrics_attach(metrics) < 0) {
        return 1;
    }
    pthread_barrier_init(&together, NULL, THREADS);
    for (i = 0; i < THREADS; i++) {
        pthread_create(&threads[i], NULL, function, &together);
    }
    for (i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
    atomic_fetch_add(&board->ready, 1);
    return 0; /* the counts are kept although this child does not detach */
}

static int count_by_threads(void *baton)
{
    return run_threads(count_up);
}

/* While children count, sums never decrease; the last sum is complete. */
static void test_concurrent_counting(void **state)
{
    const apr_int64_t all = (apr_int64_t)CHILDREN * THREADS * EACH;
    apr_int64_t before = 0;
    int64_t end = scratch_usec() + 30000000;
    int pids[CHILDREN];
    int i;

    make(CHILDREN);
    for (i = 0; i < CHILDREN; i++) {
        pids[i] = scratch_fork(count_by_threads, NULL);
    }
    while (atomic_load(&board->ready) < CHILDREN) {
        apr_int64_t now = sum_of(COMET_METRIC_delivered);

        assert_true(scratch_usec() < end);
        assert_true(now >= before && now <= all);
        assert_in_range(total.values[COMET_METRIC_waiting_clock], 0,
                        CHILDREN * THREADS);
        before = now;
    }
    for (i = 0; i < CHILDREN; i++) {
        assert_int_equal(scratch_reap(pids[i]), 0);
    }
    assert_int_equal(sum_of(COMET_METRIC_delivered), all);
    assert_int_equal(total.values[COMET_METRIC_waiting_clock], 0);
}

static void *crowd(void *baton)
{
    static const comet_metric_e gauges[] = { COMET_METRIC_waiting_poll,
                                             COMET_METRIC_waiting_clock };
    int i, inside, most;

    pthread_barrier_wait(baton);
    for (i = 0; i < EACH; i++) {
        if (!comet_metrics_take(metrics, gauges[i % 2], gauges, 2, CAP)) {
            continue;
        }
        inside = atomic_fetch_add(&board->inside, 1) + 1;
        most = atomic_load(&board->most);
        while (inside > most
               && !atomic_compare_exchange_weak(&board->most, &most, inside)) {
        }
        atomic_fetch_add(&board->taken, 1);
        sched_yield();
        atomic_fetch_sub(&board->inside, 1);
        comet_metrics_add(gauges[i % 2], -1);
    }
    return NULL;
}

static int crowd_by_threads(void *baton)
{
    return run_threads(crowd);
}

/* When many threads and processes compete for places, all places are taken at
 * some moment, but never more than that. */
static void test_places_under_a_cap(void **state)
{
    int pids[CHILDREN];
    int i;

    make(CHILDREN);
    for (i = 0; i < CHILDREN; i++) {
        pids[i] = scratch_fork(crowd_by_threads, NULL);
    }
    for (i = 0; i < CHILDREN; i++) {
        assert_int_equal(scratch_reap(pids[i]), 0);
    }
    assert_int_equal(atomic_load(&board->most), CAP);
    assert_true(atomic_load(&board->taken) > CAP);
    assert_int_equal(sum_of(COMET_METRIC_waiting_poll), 0);
    assert_int_equal(total.values[COMET_METRIC_waiting_clock], 0);
}

static int attach_at_once(void *baton)
{
    int slot;

    atomic_fetch_add(&board->ready, 1);
    while (!atomic_load(&board->go)) {
    }
    slot = comet_metrics_attach(metrics);
    comet_metrics_add(COMET_METRIC_resumed, 1);
    if (slot >= 0) {
        atomic_fetch_add(&board->slots[slot], 1);
    }
    atomic_fetch_sub(&board->ready, 1);
    while (pause()) {
    }
    return 0;
}

/* Many children compete for the slots of dead ones.  Each slot goes to one
 * child, and its counters are counted once. */
static void test_race_for_slots(void **state)
{
    int pids[8];
    int i, round;

    make(2);
    for (round = 1; round <= 10; round++) {
        memset(board, 0, sizeof(*board));
        for (i = 0; i < 8; i++) {
            pids[i] = scratch_fork(attach_at_once, NULL);
        }
        wait_until(atomic_load(&board->ready) == 8);
        atomic_store(&board->go, 1);
        wait_until(atomic_load(&board->ready) == 0);
        assert_int_equal(atomic_load(&board->slots[0]), 1);
        assert_int_equal(atomic_load(&board->slots[1]), 1);
        comet_metrics_sum(metrics, &total);
        assert_int_equal(total.children, 2);
        for (i = 0; i < 8; i++) {
            kill_child(pids[i]);
        }
    }
}

/* Give another process time to take a sum. */
static void spin(void)
{
    int64_t end = scratch_usec() + 5;

    while (scratch_usec() < end) {
    }
}

static int come_and_go_often(void *baton)
{
    int i;

    for (i = 0; i < COMINGS; i++) {
        if (comet_metrics_attach(metrics) < 0) {
            return 1;
        }
        comet_metrics_add(COMET_METRIC_published, 1000);
        spin();
        comet_metrics_detach();
        spin();
    }
    atomic_fetch_add(&board->ready, 1);
    return 0;
}

/* A counter never decreases, because monitoring computes rates from it. */
static void test_counters_only_grow(void **state)
{
    int64_t end = scratch_usec() + 30000000;
    apr_int64_t before = 0, now;
    int pids[2];
    int i;

    make(2);
    for (i = 0; i < 2; i++) {
        pids[i] = scratch_fork(come_and_go_often, NULL);
    }
    while (atomic_load(&board->ready) < 2) {
        now = sum_of(COMET_METRIC_published);
        assert_true(scratch_usec() < end);
        assert_true(now >= before);
        before = now;
    }
    for (i = 0; i < 2; i++) {
        assert_int_equal(scratch_reap(pids[i]), 0);
    }
    assert_int_equal(sum_of(COMET_METRIC_published), 2 * COMINGS * 1000);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_table),
        TEST(test_no_slot),
        TEST(test_come_and_go),
        TEST(test_killed),
        TEST(test_more_than_slots),
        TEST(test_concurrent_counting),
        TEST(test_places_under_a_cap),
        TEST(test_race_for_slots),
        TEST(test_counters_only_grow),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
