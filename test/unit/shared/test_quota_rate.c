/* SPDX-License-Identifier: Apache-2.0 */
/* Publishing rates shared by children: bursts, batches, and the clock. */
#include "quota_kit.h"

#include <stdio.h>

static apr_interval_time_t wait_time;

static apr_status_t spend(const char *client, apr_int64_t rate,
                          apr_size_t messages, apr_time_t now)
{
    comet_quota_limit_t claim = quota_limit_of(client, rate);

    return comet_quota_spend(quota_table, &claim, 1, messages, now, &wait_time,
                             NULL);
}

static void test_burst_and_rate(void **state)
{
    apr_time_t now = QUOTA_START;
    int i;

    quota_join(1, 64);
    for (i = 0; i < 10; i++) { /* the burst is at least 10 */
        assert_int_equal(spend("anna", 2, 1, now), APR_SUCCESS);
    }
    assert_int_equal(spend("anna", 2, 1, now), APR_EAGAIN);
    assert_int_equal(wait_time, SECOND / 2);
    assert_int_equal(spend("bert", 2, 1, now), APR_SUCCESS);
    assert_int_equal(spend("anna", 2, 1, now + SECOND / 2 - 1), APR_EAGAIN);
    assert_int_equal(wait_time, 1);
    for (i = 1; i <= 20; i++) { /* from now on, two messages a second */
        now = QUOTA_START + i * SECOND / 2;
        assert_int_equal(spend("anna", 2, 1, now), APR_SUCCESS);
        assert_int_equal(spend("anna", 2, 1, now), APR_EAGAIN);
    }
    now += 100 * SECOND; /* even after a pause, only the burst */
    for (i = 0; i < 10; i++) {
        assert_int_equal(spend("anna", 2, 1, now), APR_SUCCESS);
    }
    assert_int_equal(spend("anna", 2, 1, now), APR_EAGAIN);
    for (i = 0; i < 50; i++) { /* if the rate is above 10, the burst equals the
                                * rate */
        assert_int_equal(spend("carl", 50, 1, now), APR_SUCCESS);
    }
    assert_int_equal(spend("carl", 50, 1, now), APR_EAGAIN);
}

/* A batch is admitted if one message would be; then all its messages count. */
static void test_batches(void **state)
{
    quota_join(1, 64);
    assert_int_equal(spend("anna", 10, 1000, QUOTA_START), APR_SUCCESS);
    assert_int_equal(spend("anna", 10, 1, QUOTA_START), APR_EAGAIN);
    assert_int_equal(wait_time, 1000 * SECOND / 10 - 9 * SECOND / 10);
    assert_int_equal(spend("anna", 10, 1, QUOTA_START + wait_time - 1),
                     APR_EAGAIN);
    assert_int_equal(spend("anna", 10, 1,
                           QUOTA_START + 1000 * SECOND / 10 - 9 * SECOND / 10),
                     APR_SUCCESS);
}

/* A message that one of two limits refuses does not count against the other. */
static void test_two_rates(void **state)
{
    comet_quota_limit_t claims[2];
    apr_size_t reached = 9;
    int i;

    quota_join(1, 64);
    claims[0] = quota_limit_of("anna", 1);
    claims[1] = quota_limit_of("192.0.2.1", 20);
    for (i = 0; i < 100; i++) {
        assert_int_equal(comet_quota_spend(quota_table, claims, 2, 1,
                                           QUOTA_START, &wait_time, &reached),
                         i < 10 ? APR_SUCCESS : APR_EAGAIN);
    }
    assert_int_equal(reached, 0);
    for (i = 0; i < 10; i++) {
        assert_int_equal(spend("192.0.2.1", 20, 1, QUOTA_START), APR_SUCCESS);
    }
    assert_int_equal(spend("192.0.2.1", 20, 1, QUOTA_START), APR_EAGAIN);
}

/* If the table has room for only one of two limits, that limit still counts. */
static void test_room_for_one(void **state)
{
    comet_quota_limit_t claims[2];
    int i;

    quota_join(1, 1);
    claims[0] = quota_limit_of("anna", 1);
    claims[1] = quota_limit_of("192.0.2.1", 1);
    for (i = 0; i < 11; i++) {
        assert_int_equal(comet_quota_spend(quota_table, claims, 2, 1,
                                           QUOTA_START, &wait_time, NULL),
                         i < 10 ? APR_ENOSPC : APR_EAGAIN);
    }
    assert_int_equal(spend("192.0.2.1", 1, 1, QUOTA_START), APR_ENOSPC);
}

/* After a reload to a higher rate, a client does not pay off an old debt for
 * hours at the old rate. */
static void test_rate_changes(void **state)
{
    comet_quota_limit_t slow;

    quota_join(1, 64);
    slow = quota_limit_of("anna", 1);
    slow.per = 60 * SECOND;
    assert_int_equal(comet_quota_spend(quota_table, &slow, 1, 1000, QUOTA_START,
                                       &wait_time, NULL),
                     APR_SUCCESS);
    assert_int_equal(spend("anna", 1000, 1, QUOTA_START), APR_EAGAIN);
    assert_true(wait_time <= 2 * SECOND);
    assert_int_equal(spend("anna", 1000, 1, QUOTA_START + wait_time),
                     APR_SUCCESS);
}

/* An entry can be used for another key once its messages are paid off.  Before
 * that, a message for which no entry is free is neither counted nor refused. */
static void test_entries_expire(void **state)
{
    char name[24];
    int i;

    quota_join(1, 16);
    for (i = 0; i < 20; i++) {
        snprintf(name, sizeof(name), "user%d", i);
        assert_int_equal(spend(name, 1, 10, QUOTA_START),
                         i < 16 ? APR_SUCCESS : APR_ENOSPC);
    }
    assert_int_equal(spend("user0", 1, 1, QUOTA_START), APR_EAGAIN);
    for (i = 0; i < 16; i++) {
        snprintf(name, sizeof(name), "other%d", i);
        assert_int_equal(spend(name, 1, 1, QUOTA_START + 10 * SECOND),
                         APR_SUCCESS);
    }
}

/* The caller supplies the time.  The rate holds even if the time stands still
 * or jumps ahead. */
static void test_clock(void **state)
{
    apr_time_t now = QUOTA_START;
    int i, stored = 0;

    quota_join(1, 64);
    for (i = 0; i < 1000; i++) {
        stored += spend("anna", 5, 1, now) == APR_SUCCESS;
    }
    assert_int_equal(stored, 10);
    now += apr_time_from_sec(86400);
    for (i = 0; i < 1000; i++) {
        stored += spend("anna", 5, 1, now) == APR_SUCCESS;
    }
    assert_int_equal(stored, 20);
    /* the process was checkpointed, and restored on another machine: its steady
     * clock is far behind */
    assert_int_equal(spend("anna", 5, 1, SECOND), APR_EAGAIN);
    assert_true(wait_time <= 250 * SECOND);
}

static void *publish_much(void *baton)
{
    int i;

    for (i = 0; i < QUOTA_ROUNDS; i++) {
        comet_quota_limit_t claim = quota_limit_of("anna", 500);
        apr_interval_time_t left;
        apr_status_t status = comet_quota_spend(quota_table, &claim, 1, 1,
                                                QUOTA_START, &left, NULL);

        atomic_fetch_add(status == APR_SUCCESS ? &quota_board->entered
                                               : &quota_board->refused,
                         1);
    }
    return NULL;
}

static int publish_much_in_child(void *baton)
{
    return quota_run_threads(publish_much);
}

/* All children together may publish as much as one child could. */
static void test_concurrent_publishing(void **state)
{
    int pids[2];
    int i;

    quota_join(3, 64);
    for (i = 0; i < 2; i++) {
        pids[i] = scratch_fork(publish_much_in_child, NULL);
    }
    for (i = 0; i < 2; i++) {
        assert_int_equal(scratch_reap(pids[i]), 0);
    }
    assert_int_equal(atomic_load(&quota_board->entered), 500);
    assert_int_equal(atomic_load(&quota_board->refused),
                     2 * QUOTA_THREADS * QUOTA_ROUNDS - 500);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        QUOTA_TEST(test_burst_and_rate), QUOTA_TEST(test_batches),
        QUOTA_TEST(test_two_rates),      QUOTA_TEST(test_room_for_one),
        QUOTA_TEST(test_rate_changes),   QUOTA_TEST(test_entries_expire),
        QUOTA_TEST(test_clock),          QUOTA_TEST(test_concurrent_publishing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
