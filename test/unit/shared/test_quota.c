/* SPDX-License-Identifier: Apache-2.0 */
/* Limits that are shared by children, which wait, publish and are killed. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "quota_kit.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static apr_status_t enter(const char *client, apr_int64_t amount,
                          comet_quota_place_t *place)
{
    comet_quota_limit_t claim = quota_limit_of(client, amount);

    return comet_quota_enter(quota_table, &claim, 1, QUOTA_START, place, NULL);
}

static apr_int64_t waiting(const char *client)
{
    return comet_quota_waiting(quota_table, quota_limit_of(client, 1).key);
}

static void kill_child(int pid)
{
    kill(pid, SIGKILL);
    assert_int_equal(scratch_reap(pid), -SIGKILL);
}

/* --- Keys ---------------------------------------------------------------- */

static const char *hex_of(const char *address)
{
    static char text[64];
    unsigned char buffer[8];
    comet_text_t key = comet_quota_address(address, buffer);
    apr_size_t i;

    for (i = 0; i < key.length && i < 16; i++) {
        snprintf(text + 2 * i, 3, "%02x", (unsigned char)key.data[i]);
    }
    text[2 * i] = '\0';
    return text;
}

static void test_addresses(void **state)
{
    assert_string_equal(hex_of("192.0.2.1"), "c0000201");
    assert_string_equal(hex_of("::ffff:192.0.2.1"), "c0000201");
    assert_string_equal(hex_of("2001:db8:1:2:3:4:5:6"), "20010db800010002");
    assert_string_equal(hex_of("2001:db8:1:2::"), "20010db800010002");
    assert_string_equal(hex_of("2001:db8:1:3::"), "20010db800010003");
    assert_string_equal(hex_of("fe80::1%eth0"), "fe80000000000000");
    assert_string_equal(hex_of("::1"), "0000000000000000");
    assert_string_equal(hex_of("unix"), "756e6978");
    assert_string_equal(hex_of(""), "");
    assert_string_equal(hex_of("1.2.3.4.5.6.7.8.9.10.11.12.13.14.15.16.17.18"),
                        "312e322e332e342e352e362e372e382e");
}

static void test_keys(void **state)
{
    comet_text_t anna = comet_text("anna"), empty = { NULL, 0 };
    apr_uint64_t key;

    quota_make(1, 64);
    key = comet_quota_key(quota_table, 1, 'a', anna);
    assert_true(key
                == comet_quota_key(quota_table, 1, 'a', comet_text("anna")));
    assert_true(key
                != comet_quota_key(quota_table, 1, 'a', comet_text("anne")));
    assert_true(key != comet_quota_key(quota_table, 1, 'b', anna));
    assert_true(key != comet_quota_key(quota_table, 2, 'a', anna));
    assert_true(comet_quota_key(quota_table, 1, 'a', empty) != 0);
    assert_true(comet_quota_scope(anna)
                == comet_quota_scope(comet_text("anna")));
    assert_true(comet_quota_scope(anna)
                != comet_quota_scope(comet_text("anne")));
    quota_make(1, 64); /* a new table has another secret */
    assert_true(key != comet_quota_key(quota_table, 1, 'a', anna));
}

/* --- Waiting ------------------------------------------------------------- */

static void test_enter_and_leave(void **state)
{
    comet_quota_place_t places[4];
    int i;

    quota_join(1, 64);
    for (i = 0; i < 3; i++) {
        assert_int_equal(enter("anna", 3, &places[i]), APR_SUCCESS);
        assert_int_equal(places[i].count, 1);
    }
    assert_int_equal(enter("anna", 3, &places[3]), APR_EAGAIN);
    assert_int_equal(places[3].count, 0);
    assert_int_equal(enter("bert", 3, &places[3]), APR_SUCCESS);
    assert_int_equal(waiting("anna"), 3);
    comet_quota_leave(quota_table, &places[1]);
    comet_quota_leave(quota_table, &places[1]); /* a second call does nothing */
    assert_int_equal(waiting("anna"), 2);
    /* now the limit is lower than before */
    assert_int_equal(enter("anna", 2, &places[1]), APR_EAGAIN);
    assert_int_equal(enter("anna", 3, &places[1]), APR_SUCCESS);
    for (i = 0; i < 4; i++) {
        comet_quota_leave(quota_table, &places[i]);
    }
    assert_int_equal(waiting("anna"), 0);
    assert_int_equal(waiting("bert"), 0);
}

/* A request counts against both limits or against neither. */
static void test_two_limits(void **state)
{
    comet_quota_limit_t claims[2];
    comet_quota_place_t first, second;
    apr_size_t reached = 9;

    quota_join(1, 64);
    claims[0] = quota_limit_of("anna", 5);
    claims[1] = quota_limit_of("192.0.2.1", 1);
    assert_int_equal(
        comet_quota_enter(quota_table, claims, 2, QUOTA_START, &first, NULL),
        APR_SUCCESS);
    assert_int_equal(first.count, 2);
    assert_int_equal(comet_quota_enter(quota_table, claims, 2, QUOTA_START,
                                       &second, &reached),
                     APR_EAGAIN);
    assert_int_equal(reached, 1);
    assert_int_equal(second.count, 0);
    assert_int_equal(waiting("anna"), 1);
    comet_quota_leave(quota_table, &first);
    assert_int_equal(waiting("anna") + waiting("192.0.2.1"), 0);
}

/* If the table is full, a new client is not counted, but its requests are not
 * refused.  Nothing is counted twice. */
static void test_full_table(void **state)
{
    comet_quota_place_t places[40];
    char name[24];
    int i;

    quota_join(1, 16);
    for (i = 0; i < 40; i++) {
        snprintf(name, sizeof(name), "user%d", i);
        assert_int_equal(enter(name, 1, &places[i]),
                         i < 16 ? APR_SUCCESS : APR_ENOSPC);
        assert_int_equal(places[i].count, i < 16);
    }
    assert_int_equal(enter("user3", 1, &places[39]), APR_EAGAIN);
    for (i = 0; i < 40; i++) {
        comet_quota_leave(quota_table, &places[i]);
    }
    assert_int_equal(enter("user39", 1, &places[39]), APR_SUCCESS);
    assert_int_equal(waiting("user39"), 1);
}

/* If no ticket is left, a request is neither counted nor refused. */
static void test_no_ticket(void **state)
{
    comet_quota_place_t places[33];
    int i;

    quota_join(1, 16);
    for (i = 0; i < 33; i++) {
        assert_int_equal(enter("anna", 100, &places[i]),
                         i < 32 ? APR_SUCCESS : APR_ENOSPC);
    }
    assert_int_equal(waiting("anna"), 32);
    for (i = 0; i < 33; i++) {
        comet_quota_leave(quota_table, &places[i]);
    }
    for (i = 0; i < 32; i++) {
        assert_int_equal(enter("bert", 100, &places[i]), APR_SUCCESS);
    }
    assert_int_equal(waiting("bert"), 32);
}

/* --- Children ------------------------------------------------------------ */

static int wait_in_child(void *baton)
{
    comet_quota_place_t place;
    int i;

    if (comet_quota_attach(quota_table) < 0) {
        return 1;
    }
    for (i = 0; i < 3; i++) {
        if (enter("anna", 100, &place) != APR_SUCCESS) {
            return 2;
        }
    }
    atomic_fetch_add(&quota_board->ready, 1);
    while (pause()) {
    }
    return 0;
}

static int start(void)
{
    int before = atomic_load(&quota_board->ready);
    int pid = scratch_fork(wait_in_child, NULL);

    wait_until(atomic_load(&quota_board->ready) > before);
    return pid;
}

/* After children are killed, only the clients of living ones count. */
static void test_killed(void **state)
{
    comet_quota_place_t place, refused;
    int first, second, i;

    quota_join(3, 64);
    first = start();
    for (i = 0; i < 5; i++) {
        second = start();
        assert_int_equal(waiting("anna"), 6);
        assert_int_equal(enter("anna", 6, &refused), APR_EAGAIN);
        kill_child(second);
        assert_int_equal(enter("anna", 6, &place), APR_SUCCESS);
        assert_int_equal(waiting("anna"), 4);
        assert_int_equal(enter("anna", 4, &refused), APR_EAGAIN);
        comet_quota_leave(quota_table, &place);
        assert_int_equal(waiting("anna"), 3);
        kill_child(first);
        first = start(); /* the new child takes over the number of the dead
                          * one */
        assert_int_equal(waiting("anna"), 3);
    }
    kill_child(first);
    assert_int_equal(enter("anna", 1, &place), APR_SUCCESS);
}

static int stop_itself(void *baton)
{
    apr_int64_t count = 0;

    atomic_fetch_add(&quota_board->ready, 1);
    for (;;) { /* this loop holds the lock most of the time */
        count += waiting("anna");
        atomic_fetch_add(&quota_board->ready, 1);
    }
    return (int)count;
}

/* A process that is stopped while it holds the lock delays no other process.  A
 * place that is given up meanwhile does not count afterwards. */
static void test_holder_stopped(void **state)
{
    comet_quota_place_t place, other;
    apr_int64_t began;
    int pid, i, held = 0;

    quota_join(2, 65536); /* a large table, so that each search takes long */
    assert_int_equal(enter("anna", 1, &place), APR_SUCCESS);
    pid = scratch_fork(stop_itself, NULL);
    wait_until(atomic_load(&quota_board->ready) > 0);
    for (i = 0; i < 200 && !held; i++) {
        kill(pid, SIGSTOP);
        waitpid(pid, NULL, WUNTRACED);
        held = enter("bert", 1, &other) == APR_ENOSPC;
        if (!held) {
            int before = atomic_load(&quota_board->ready);

            comet_quota_leave(quota_table, &other);
            kill(pid, SIGCONT);
            wait_until(atomic_load(&quota_board->ready) > before);
        }
    }
    assert_true(held);
    began = scratch_usec();
    comet_quota_leave(quota_table, &place);
    for (i = 0; i < 100; i++) {
        assert_int_equal(enter("carl", 1, &other), APR_ENOSPC);
    }
    assert_true(scratch_usec() - began < 2000000);
    kill_child(pid);
    assert_int_equal(waiting("anna"), 0);
    assert_int_equal(enter("anna", 1, &place), APR_SUCCESS);
}

/* If there are more children than the table provides for, the requests of the
 * last ones are not counted. */
static void test_more_than_children(void **state)
{
    comet_quota_place_t place;
    int pid;

    quota_join(1, 64);
    pid = scratch_fork(wait_in_child, NULL);
    assert_int_equal(scratch_reap(pid), 1);
    assert_int_equal(enter("anna", 1, &place), APR_SUCCESS);
}

/* A child without a number in the table refuses no request. */
static void test_unattached(void **state)
{
    comet_quota_place_t place;

    quota_join(1, 64);
    quota_make(0, 64);
    assert_int_equal(comet_quota_attach(quota_table), -1);
    assert_int_equal(enter("anna", 1, &place), APR_ENOSPC);
    assert_int_equal(enter("anna", 1, &place), APR_ENOSPC);
    comet_quota_leave(quota_table, &place);
}

/* --- Many at once -------------------------------------------------------- */

#define CAP 20

static void *come_and_go(void *baton)
{
    comet_quota_place_t place;
    int i;

    for (i = 0; i < QUOTA_ROUNDS; i++) {
        apr_status_t status = enter("anna", CAP, &place);

        if (status == APR_SUCCESS) {
            int now = atomic_fetch_add(&quota_board->entered, 1) + 1;
            int most = atomic_load(&quota_board->most);

            while (now > most
                   && !atomic_compare_exchange_weak(&quota_board->most, &most,
                                                    now)) {
            }
            atomic_fetch_sub(&quota_board->entered, 1);
            comet_quota_leave(quota_table, &place);
        }
        else if (status == APR_EAGAIN) {
            atomic_fetch_add(&quota_board->refused, 1);
        }
        else {
            atomic_fetch_add(&quota_board->failed, 1);
        }
    }
    return NULL;
}

static int come_and_go_in_child(void *baton)
{
    if (comet_quota_attach(quota_table) < 0) {
        return 1;
    }
    return quota_run_threads(come_and_go);
}

/* While requests come and go, at no time do more of them wait than the limit
 * allows.  In the end none waits. */
static void test_concurrent_waiting(void **state)
{
    comet_quota_place_t places[CAP];
    int pids[3];
    int i;

    quota_join(4, 64);
    for (i = 0; i < CAP - 2; i++) { /* leave room for only two */
        assert_int_equal(enter("anna", CAP, &places[i]), APR_SUCCESS);
    }
    for (i = 0; i < 3; i++) {
        pids[i] = scratch_fork(come_and_go_in_child, NULL);
    }
    for (i = 0; i < 3; i++) {
        assert_int_equal(scratch_reap(pids[i]), 0);
    }
    assert_true(atomic_load(&quota_board->most) <= 2);
    assert_true(atomic_load(&quota_board->most) > 0);
    assert_int_equal(atomic_load(&quota_board->failed), 0);
    for (i = 0; i < CAP - 2; i++) {
        comet_quota_leave(quota_table, &places[i]);
    }
    assert_int_equal(waiting("anna"), 0);
}

static int churn_for_ever(void *baton)
{
    if (comet_quota_attach(quota_table) < 0) {
        return 1;
    }
    atomic_fetch_add(&quota_board->ready, 1);
    for (;;) {
        quota_run_threads(come_and_go);
    }
    return 0;
}

/* Children that are killed at any moment, even inside the lock, leave nothing
 * behind. */
static void test_killed_while_busy(void **state)
{
    comet_quota_place_t place;
    int pids[2];
    int i, round;

    quota_join(3, 64);
    for (round = 0; round < 60; round++) {
        atomic_store(&quota_board->ready, 0);
        for (i = 0; i < 2; i++) {
            pids[i] = scratch_fork(churn_for_ever, NULL);
        }
        wait_until(atomic_load(&quota_board->ready) == 2);
        usleep((useconds_t)(500 + 97 * round)); /* kill at another moment each
                                                 * time */
        for (i = 0; i < 2; i++) {
            kill_child(pids[i]);
        }
        assert_int_equal(enter("anna", 1, &place), APR_SUCCESS);
        assert_int_equal(waiting("anna"), 1);
        comet_quota_leave(quota_table, &place);
        assert_int_equal(waiting("anna"), 0);
    }
    for (i = 0; i < 128; i++) { /* no ticket was lost */
        assert_int_equal(enter("anna", 1000, &place), APR_SUCCESS);
    }
    assert_int_equal(waiting("anna"), 128);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        QUOTA_TEST(test_addresses),
        QUOTA_TEST(test_keys),
        QUOTA_TEST(test_enter_and_leave),
        QUOTA_TEST(test_two_limits),
        QUOTA_TEST(test_full_table),
        QUOTA_TEST(test_no_ticket),
        QUOTA_TEST(test_killed),
        QUOTA_TEST(test_holder_stopped),
        QUOTA_TEST(test_more_than_children),
        QUOTA_TEST(test_unattached),
        QUOTA_TEST(test_concurrent_waiting),
        QUOTA_TEST(test_killed_while_busy),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
