/* SPDX-License-Identifier: Apache-2.0 */
/* A rate limit lets through as many messages as it promises, however a client
 * times them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/rate.h"

#define NOW (APR_INT64_C(1795229965) * APR_USEC_PER_SEC + 12345)

static const comet_rate_t rate = { .each = 100000, .burst = 5 };

/* How many times a client gets through between @a now and @a end, if it asks
 * again and again. */
static int count(apr_time_t *due, apr_time_t now, apr_time_t end,
                 apr_interval_time_t step)
{
    int times = 0;

    for (; now < end; now += step) {
        if (!comet_rate_wait(&rate, *due, now)) {
            comet_rate_spend(&rate, due, 1, now);
            times++;
        }
    }
    return times;
}

static void test_burst_then_rate(void **state)
{
    apr_time_t due = 0;

    assert_int_equal(count(&due, NOW, NOW + 5, 1), 5);
    assert_int_equal(comet_rate_wait(&rate, due, NOW + 5), 99995);
    assert_int_equal(comet_rate_wait(&rate, due, NOW + 99999), 1);
    assert_int_equal(comet_rate_wait(&rate, due, NOW + 100000), 0);
    assert_int_equal(count(&due, NOW + 5, NOW + 10 * APR_USEC_PER_SEC, 1000),
                     99);
}

/* A client that was silent may send one burst again, but no more. */
static void test_silence(void **state)
{
    apr_time_t due = 0, later = NOW + 3600 * APR_USEC_PER_SEC;

    assert_int_equal(count(&due, NOW, NOW + 5, 1), 5);
    assert_int_equal(count(&due, later, later + 50, 1), 5);
    later += 250000;
    assert_int_equal(count(&due, later, later + 50, 1), 2);
}

/* A batch is let through whenever a single message would be.  All messages of
 * the batch count towards the limit. */
static void test_batch(void **state)
{
    apr_time_t due = 0;

    comet_rate_spend(&rate, &due, 100, NOW);
    assert_int_equal(comet_rate_wait(&rate, due, NOW), 96 * rate.each);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_burst_then_rate),
        cmocka_unit_test(test_silence),
        cmocka_unit_test(test_batch),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
