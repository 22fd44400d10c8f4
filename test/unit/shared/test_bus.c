/* SPDX-License-Identifier: Apache-2.0 */
/* The bus that children share.  The tests fork and kill children. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "scratch.h"

#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <apr_general.h>

#include "shared/bus.h"
#include "shared/memory.h"

#define CHILDREN 4
#define TURNS 1000

/** Shared by all processes of a test. */
typedef struct board_t {
    atomic_int ready;
    atomic_int seen[CHILDREN];
    atomic_int go;
    atomic_int finished;
    atomic_int claims;
    int unguarded; /* [write lock] it is not atomic: only the lock guards it */
    int turns[2]; /* [write lock] */
    int latest, changes; /* [write lock] */
} board_t;

static apr_pool_t *pool;
static comet_bus_t *bus;
static board_t *board;

static int setup(void **state)
{
    assert_int_equal(comet_bus_create(&bus, pool), APR_SUCCESS);
    board = scratch_shared(sizeof(*board));
    return 0;
}

static int teardown(void **state)
{
    comet_memory_unmap(board, sizeof(*board));
    return 0;
}

/* --- Notifications ------------------------------------------------------- */

static int listen_to_bell(void *baton)
{
    const int *index = baton;
    struct epoll_event event = { .events = EPOLLIN | EPOLLET };
    int epoll = epoll_create1(0);

    if (epoll_ctl(epoll, EPOLL_CTL_ADD, comet_bus_fd(bus), &event) != 0) {
        return 1;
    }
    atomic_fetch_add(&board->ready, 1);
    while (!atomic_load(&board->go)) {
        if (epoll_wait(epoll, &event, 1, 10000) != 1) {
            return 2;
        }
        atomic_fetch_add(&board->seen[*index], 1);
    }
    return 0;
}

static int all_seen(int count)
{
    int i;

    for (i = 0; i < CHILDREN; i++) {
        if (atomic_load(&board->seen[i]) < count) {
            return 0;
        }
    }
    return 1;
}

static void test_bell(void **state)
{
    int index[CHILDREN], pids[CHILDREN];
    int i;

    for (i = 0; i < CHILDREN; i++) {
        index[i] = i;
        pids[i] = scratch_fork(listen_to_bell, &index[i]);
    }
    wait_until(atomic_load(&board->ready) == CHILDREN);
    for (i = 1; i <= 50; i++) {
        comet_bus_notify(bus);
        wait_until(all_seen(i)); /* a notification reaches every process */
    }
    atomic_store(&board->go, 1);
    comet_bus_notify(bus);
    for (i = 0; i < CHILDREN; i++) {
        assert_int_equal(scratch_reap(pids[i]), 0);
    }
}

/* A server rests unless it has just committed or announced a commit.  What other
 * servers announce does not count. */
static void test_rests(void **state)
{
    comet_bus_counts_t before = comet_bus_counts(bus), now;
    apr_int64_t begun;
    int rests;

    wait_until(comet_bus_rests(bus));
    comet_bus_notify(bus);
    comet_bus_pass_on_announcement(bus);
    assert_true(comet_bus_rests(bus));
    do {
        begun = comet_monotonic();
        comet_bus_announce_commit(bus);
        rests = comet_bus_rests(bus);
    } while (comet_monotonic() - begun >= 10000); /* this process was stopped */
    assert_false(rests);
    wait_until(comet_bus_rests(bus));
    do {
        begun = comet_monotonic();
        comet_bus_notify_commit(bus);
        rests = comet_bus_rests(bus);
    } while (comet_monotonic() - begun >= 10000);
    assert_false(rests);
    now = comet_bus_counts(bus);
    assert_in_range(now.notifications - before.notifications, 2, 1000);
    assert_in_range(now.announcements - before.announcements, 1, 1000);
    assert_int_equal(now.passed_on - before.passed_on, 1);
}

/* --- The write lock ------------------------------------------------------ */

static int count_up(void *baton)
{
    int i;

    for (i = 0; i < 2000; i++) {
        comet_bus_lock(bus);
        board->unguarded++;
        comet_bus_unlock(bus);
    }
    return 0;
}

static void test_lock(void **state)
{
    int pids[CHILDREN];
    int i;

    for (i = 0; i < CHILDREN; i++) {
        pids[i] = scratch_fork(count_up, NULL);
    }
    count_up(NULL);
    for (i = 0; i < CHILDREN; i++) {
        assert_int_equal(scratch_reap(pids[i]), 0);
    }
    assert_int_equal(board->unguarded, 2000 * (CHILDREN + 1));
}

static int lock_and_hold(void *baton)
{
    comet_bus_lock(bus);
    atomic_fetch_add(&board->ready, 1);
    while (pause()) {
    }
    return 0;
}

static int lock_once(void *baton)
{
    comet_bus_lock(bus);
    comet_bus_unlock(bus);
    return 0;
}

static void test_holder_killed(void **state)
{
    int i;

    for (i = 1; i <= 3; i++) {
        int holder = scratch_fork(lock_and_hold, NULL);
        int waiter, late;

        wait_until(atomic_load(&board->ready) == i);
        waiter = scratch_fork(lock_once, NULL);
        kill(holder, SIGKILL);
        assert_int_equal(scratch_reap(holder), -SIGKILL);
        late = scratch_fork(lock_once, NULL);
        assert_int_equal(scratch_reap(waiter), 0);
        assert_int_equal(scratch_reap(late), 0);
    }
    count_up(NULL);
    assert_int_equal(board->unguarded, 2000);
}

/* While a process that holds the lock is stopped, a caller waits no longer than
 * its limit. */
static void test_holder_stopped(void **state)
{
    int holder = scratch_fork(lock_and_hold, NULL);
    int64_t began;

    wait_until(atomic_load(&board->ready) == 1);
    kill(holder, SIGSTOP);
    began = scratch_usec();
    assert_int_equal(comet_bus_lock_within(bus, 100000), COMET_ELOCKED);
    assert_true(scratch_usec() - began >= 100000);
    assert_true(scratch_usec() - began < 10 * SECOND);
    kill(holder, SIGKILL);
    assert_int_equal(scratch_reap(holder), -SIGKILL);
    assert_int_equal(comet_bus_lock_within(bus, 100000), APR_SUCCESS);
    comet_bus_unlock(bus);
}

static void spin(int64_t usec)
{
    int64_t end = scratch_usec() + usec;

    while (scratch_usec() < end) {
    }
}

/* Take the lock again and again, in competition with another process. */
static int take_turns(void *baton)
{
    const int *index = baton;

    atomic_fetch_add(&board->ready, 1);
    while (atomic_load(&board->ready) < 2) {
        sched_yield();
    }
    while (!atomic_load(&board->go)) {
        comet_bus_lock(bus);
        board->turns[*index]++;
        if (board->turns[0] + board->turns[1] >= TURNS) {
            atomic_store(&board->go, 1);
        }
        board->changes += board->latest != *index;
        board->latest = *index;
        spin(100);
        comet_bus_unlock(bus);
    }
    return 0;
}

static void test_fair(void **state)
{
    int index[2] = { 0, 1 };
    int pids[2];
    int i;

    for (i = 0; i < 2; i++) {
        pids[i] = scratch_fork(take_turns, &index[i]);
    }
    for (i = 0; i < 2; i++) {
        assert_int_equal(scratch_reap(pids[i]), 0);
    }
    assert_true(board->turns[0] >= TURNS / 5);
    assert_true(board->turns[1] >= TURNS / 5);
    assert_true(board->changes >= TURNS / 4); /* the processes also take
                                               * turns */
}

/* Whether programs outside httpd write, and how many times the bus has
 * checked. */
typedef struct guests_t {
    int there, looks;
} guests_t;

static int look(void *baton)
{
    guests_t *guests = baton;

    guests->looks++;
    return guests->there;
}

/* Work until the bus has looked for outside writers more than `looks` times, or
 * owes them a rest.
 * @return the rest that is owed */
static apr_interval_time_t work(guests_t *guests, int looks)
{
    int64_t start = scratch_usec();
    apr_interval_time_t owed = 0;

    while (!owed && guests->looks <= looks
           && scratch_usec() - start < 60000000) {
        comet_bus_lock(bus);
        owed = comet_bus_owed_rest(bus, look, guests);
        spin(owed ? 0 : 500);
        comet_bus_unlock(bus);
    }
    return owed;
}

/* After a tenth of a second of work one rest is owed to outside writers. */
static void test_owes_outsiders_a_rest(void **state)
{
    guests_t guests = { .there = 1 };
    apr_interval_time_t owed = work(&guests, INT_MAX);
    int64_t before;

    assert_true(owed >= 25000);
    comet_bus_lock(bus);
    assert_int_equal(comet_bus_owed_rest(bus, look, &guests), 0);
    before = scratch_usec();
    comet_bus_rest(bus, owed);
    assert_true(scratch_usec() - before >= owed);
    comet_bus_unlock(bus);
}

/* Looking for outside writers is expensive, so it is rare.  A writer that has
 * come between two looks might have waited since the first one, so the rest for
 * it is longer. */
static void test_looks_rarely(void **state)
{
    guests_t guests = { .there = 0 };
    int64_t before;

    assert_int_equal(work(&guests, 0), 0);
    before = scratch_usec();
    guests.there = 1;
    assert_true(work(&guests, INT_MAX) >= 100000);
    assert_true(scratch_usec() - before >= 900000);
    assert_int_equal(guests.looks, 2);
    assert_in_range(work(&guests, INT_MAX), 25000, 60000);
    assert_int_equal(guests.looks, 2);
}

/* Nothing is owed if the lock is free most of the time. */
static void test_owes_nothing_at_leisure(void **state)
{
    int64_t start = scratch_usec();

    guests_t guests = { .there = 1 };

    while (scratch_usec() - start < 250000) {
        comet_bus_lock(bus);
        assert_int_equal(comet_bus_owed_rest(bus, look, &guests), 0);
        comet_bus_unlock(bus);
        usleep(1000);
    }
    assert_int_equal(guests.looks, 0);
}

/* --- Roles --------------------------------------------------------------- */

static int watch_until_killed(void *baton)
{
    if (!comet_bus_claim_watch(bus)) {
        return 1;
    }
    atomic_fetch_add(&board->ready, 1);
    while (pause()) {
    }
    return 0;
}

static void *watch_and_end(void *baton)
{
    int *got = baton;

    *got = comet_bus_claim_watch(bus);
    return NULL;
}

static void test_watch(void **state)
{
    pthread_t thread;
    int got = 0;
    int pid;

    assert_int_equal(comet_bus_claim_watch(bus), 1);
    assert_int_equal(comet_bus_claim_watch(bus), 0);
    pid = scratch_fork(watch_until_killed, NULL);
    assert_int_equal(scratch_reap(pid), 1);
    comet_bus_release_watch(bus);
    pid = scratch_fork(watch_until_killed, NULL);
    wait_until(atomic_load(&board->ready) == 1);
    assert_int_equal(comet_bus_claim_watch(bus), 0);
    kill(pid, SIGKILL);
    scratch_reap(pid);
    assert_int_equal(comet_bus_claim_watch(bus), 1);
    comet_bus_release_watch(bus);
    /* the role is given up when the thread that has it ends */
    pthread_create(&thread, NULL, watch_and_end, &got);
    pthread_join(thread, NULL);
    assert_int_equal(got, 1);
    assert_int_equal(comet_bus_claim_watch(bus), 1);
    comet_bus_release_watch(bus);
}

#define CLAIMERS 2
#define ROUNDS 5000

static int claim_rounds(void *baton)
{
    const apr_time_t start = APR_INT64_C(1795229965) * SECOND;
    int i, spins;

    for (i = 0; i < ROUNDS; i++) {
        atomic_fetch_add(&board->ready, 1);
        spins = 0;
        while (atomic_load(&board->ready) < CLAIMERS * (i + 1)) {
            if (++spins > 5000) { /* perhaps there is only one processor */
                sched_yield();
            }
        }
        if (comet_bus_claim_upkeep(bus, start + i * 5 * SECOND, 5 * SECOND)) {
            atomic_fetch_add(&board->claims, 1);
        }
    }
    return 0;
}

static void test_upkeep_is_done_once(void **state)
{
    int pids[CLAIMERS];
    int i;

    for (i = 0; i < CLAIMERS; i++) {
        pids[i] = scratch_fork(claim_rounds, NULL);
    }
    for (i = 0; i < CLAIMERS; i++) {
        assert_int_equal(scratch_reap(pids[i]), 0);
    }
    assert_int_equal(atomic_load(&board->claims), ROUNDS);
}

static void test_upkeep(void **state)
{
    const apr_time_t now = APR_INT64_C(1795229965) * SECOND;

    assert_true(comet_bus_claim_upkeep(bus, now, 5 * SECOND));
    assert_false(comet_bus_claim_upkeep(bus, now, 5 * SECOND));
    assert_false(comet_bus_claim_upkeep(bus, now + 5 * SECOND - 1, 5 * SECOND));
    assert_true(comet_bus_claim_upkeep(bus, now + 5 * SECOND, 5 * SECOND));
    assert_false(comet_bus_claim_upkeep(bus, now + 5 * SECOND, 5 * SECOND));
    /* if the system clock is set back by a day, the next round is still on
     * time */
    assert_true(comet_bus_claim_upkeep(bus, now - 86400 * SECOND, 5 * SECOND));
    assert_false(comet_bus_claim_upkeep(bus, now - 86400 * SECOND, 5 * SECOND));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_bell),
        TEST(test_rests),
        TEST(test_lock),
        TEST(test_holder_killed),
        TEST(test_holder_stopped),
        TEST(test_fair),
        TEST(test_owes_outsiders_a_rest),
        TEST(test_looks_rarely),
        TEST(test_owes_nothing_at_leisure),
        TEST(test_watch),
        TEST(test_upkeep_is_done_once),
        TEST(test_upkeep),
    };
    int failed;

    apr_initialize();
    apr_pool_create(&pool, NULL);
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    apr_pool_destroy(pool);
    apr_terminate();
    return failed;
}
