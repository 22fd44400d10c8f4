/* SPDX-License-Identifier: Apache-2.0 */
#include "scratch.h"

#include <unistd.h>

#include "base/allowance.h"

static int is_spent(comet_allowance_t *allowance)
{
    return comet_allowance_is_spent(allowance, comet_monotonic());
}

/* A thread that works uses up its allowance.  The measured time is off by at
 * most a quarter. */
static void test_work(void **state)
{
    apr_interval_time_t time = apr_time_from_msec(80), used;
    apr_time_t began = comet_thread_time();
    comet_allowance_t allowance = comet_allowance_begin(time);

    (void)state;
    assert_false(is_spent(&allowance));
    while (!is_spent(&allowance)) {
    }
    used = comet_thread_time() - began;
    assert_true(used >= 3 * time / 4);
    assert_true(used <= 5 * time / 4);
    assert_true(is_spent(&allowance));
}

/* A thread that sleeps uses up none of its allowance. */
static void test_sleep(void **state)
{
    comet_allowance_t allowance = comet_allowance_begin(apr_time_from_msec(40));
    int i;

    (void)state;
    for (i = 0; i < 10; i++) {
        usleep(20000);
        assert_false(is_spent(&allowance));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_work),
        cmocka_unit_test(test_sleep),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
