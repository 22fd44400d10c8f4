/* SPDX-License-Identifier: Apache-2.0 */
/* The wheel is punctual, whatever the clock does. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/wheel.h"
#include "reference.h"

#define TICK COMET_WHEEL_TICK_USEC
#define TURN (TICK * COMET_WHEEL_SLOTS)
#define SECOND APR_USEC_PER_SEC
#define YEAR (365 * 86400 * SECOND)
/* An arbitrary time that lies between two ticks. */
#define NOW (APR_INT64_C(1795229965) * SECOND + 12345)

static comet_wheel_t wheel;

static int setup(void **state)
{
    comet_wheel_init(&wheel, NOW);
    return 0;
}

static apr_size_t expire_all(apr_time_t now)
{
    apr_size_t count = 0;
    comet_timer_t *timer;

    while ((timer = comet_wheel_expire(&wheel, now))) {
        assert_int_equal(timer->due, 0);
        count++;
    }
    return count;
}

/* --- one timer ----------------------------------------------------------- */

static void test_empty(void **state)
{
    assert_null(comet_wheel_expire(&wheel, NOW));
    assert_null(comet_wheel_expire(&wheel, NOW + YEAR));
    assert_null(comet_wheel_expire(&wheel, NOW - YEAR));
    assert_int_equal(comet_wheel_due(&wheel), 0);
    assert_int_equal(wheel.count, 0);
}

/* Timers fire neither early nor more than a tick late, for all kinds of due
 * times. */
static void test_punctual(void **state)
{
    static const apr_interval_time_t waits[] = {
        1,           TICK - 1,    TICK,          TICK + 1,      SECOND,
        25 * SECOND, TURN - TICK, TURN - 1,      TURN,          TURN + 1,
        TURN + TICK, 2 * TURN,    10 * TURN + 7, 3600 * SECOND,
    };
    size_t i;

    for (i = 0; i < sizeof(waits) / sizeof(*waits); i++) {
        comet_timer_t timer = { 0 };
        apr_time_t now = NOW;

        comet_wheel_init(&wheel, NOW);
        comet_wheel_set(&wheel, &timer, NOW + waits[i]);
        for (; timer.due; now += TICK / 5) {
            comet_timer_t *fired = comet_wheel_expire(&wheel, now);

            assert_true(now <= NOW + waits[i] + TICK);
            if (fired) {
                assert_ptr_equal(fired, &timer);
                assert_true(now >= NOW + waits[i]);
            }
        }
        assert_int_equal(wheel.count, 0);
    }
}

static void test_clear(void **state)
{
    comet_timer_t timer = { 0 }, never = { 0 };

    comet_wheel_clear(&wheel, &never);
    comet_wheel_set(&wheel, &timer, NOW + SECOND);
    assert_int_equal(wheel.count, 1);
    comet_wheel_clear(&wheel, &timer);
    comet_wheel_clear(&wheel, &timer);
    assert_int_equal(wheel.count, 0);
    assert_int_equal(expire_all(NOW + 2 * SECOND), 0);
}

static void test_set_anew(void **state)
{
    comet_timer_t timer = { 0 };

    comet_wheel_set(&wheel, &timer, NOW + SECOND);
    comet_wheel_set(&wheel, &timer, NOW + 3 * SECOND);
    assert_int_equal(wheel.count, 1);
    assert_int_equal(expire_all(NOW + 2 * SECOND), 0);
    comet_wheel_set(&wheel, &timer, NOW + 2 * SECOND + 1);
    assert_int_equal(expire_all(NOW + 2 * SECOND + TICK), 1);
    comet_wheel_set(&wheel, &timer, NOW + 4 * SECOND);
    assert_int_equal(expire_all(NOW + 4 * SECOND + TICK), 1);
}

/* While one timer is served, another that is due in the same tick may be
 * cleared. */
static void test_clear_one_that_is_due(void **state)
{
    comet_timer_t timers[3] = { 0 };
    comet_timer_t *first;
    size_t i;

    for (i = 0; i < 3; i++) {
        comet_wheel_set(&wheel, &timers[i], NOW + SECOND);
    }
    first = comet_wheel_expire(&wheel, NOW + 2 * SECOND);
    assert_non_null(first);
    assert_int_equal(wheel.count, 2);
    for (i = 0; i < 3; i++) {
        comet_wheel_clear(&wheel, &timers[i]);
    }
    assert_int_equal(wheel.count, 0);
    assert_int_equal(expire_all(NOW + 2 * SECOND), 0);
}

/* --- overdue ------------------------------------------------------------- */

static void test_overdue_fires_with_the_next_tick(void **state)
{
    static const apr_time_t dues[] = { NOW,        NOW - 1,    NOW - TICK,
                                       NOW - TURN, NOW - YEAR, 1,
                                       0,          -1,         -YEAR };
    size_t i;

    for (i = 0; i < sizeof(dues) / sizeof(*dues); i++) {
        comet_timer_t timer = { 0 };

        comet_wheel_init(&wheel, NOW);
        comet_wheel_set(&wheel, &timer, dues[i]);
        assert_int_equal(wheel.count, 1);
        assert_int_equal(expire_all(NOW), 0);
        assert_int_equal(expire_all(NOW + TICK), 1);
        assert_int_equal(wheel.count, 0);
    }
}

/* A loop that takes timers comes to an end even if it sets each of them again,
 * to be due at once. */
static void test_loop_ends(void **state)
{
    comet_timer_t timers[10] = { 0 };
    comet_timer_t *timer;
    size_t i, count = 0;

    for (i = 0; i < 10; i++) {
        comet_wheel_set(&wheel, &timers[i], NOW + SECOND);
    }
    while ((timer = comet_wheel_expire(&wheel, NOW + YEAR))) {
        comet_wheel_set(&wheel, timer, NOW);
        assert_true(++count <= 10);
    }
    assert_int_equal(count, 10);
    assert_int_equal(wheel.count, 10);
    assert_int_equal(expire_all(NOW + YEAR + TICK), 10);
}

/* A timer is punctual even if the wheel was not used for a long time before the
 * timer was set. */
static void test_set_after_a_pause(void **state)
{
    comet_timer_t timer = { 0 };
    apr_time_t later = NOW + 7 * TURN + 3;

    comet_wheel_set(&wheel, &timer, later + SECOND);
    assert_int_equal(expire_all(later), 0);
    assert_int_equal(expire_all(later + SECOND - 1), 0);
    assert_int_equal(expire_all(later + SECOND + TICK), 1);
}

static void test_never(void **state)
{
    comet_timer_t timer = { 0 };

    comet_wheel_set(&wheel, &timer, INT64_MAX);
    assert_int_equal(expire_all(NOW + 100 * YEAR), 0);
    comet_wheel_clear(&wheel, &timer);
    assert_int_equal(wheel.count, 0);
}

/* --- the clock jumps ----------------------------------------------------- */

/* The clock jumps ahead by years.  A wheel that went through each tick in
 * between would take forever. */
static void test_forward_by_years(void **state)
{
    comet_timer_t soon = { 0 }, far = { 0 };
    apr_time_t now = NOW;
    int i;

    comet_wheel_set(&wheel, &far, NOW + 2000 * YEAR);
    for (i = 0; i < 1000; i++) {
        comet_wheel_set(&wheel, &soon, now + 25 * SECOND);
        now += YEAR;
        assert_ptr_equal(comet_wheel_expire(&wheel, now), &soon);
        assert_null(comet_wheel_expire(&wheel, now));
    }
    assert_int_equal(far.due, NOW + 2000 * YEAR);
    assert_int_equal(expire_all(NOW + 2000 * YEAR + TICK), 1);
}

/* However far the clock jumps ahead, no slot is skipped. */
static void test_forward_sees_every_slot(void **state)
{
    static comet_timer_t timers[COMET_WHEEL_SLOTS];
    static const apr_interval_time_t jumps[] = {
        TURN, TURN + TICK, TURN + 2 * TICK, 2 * TURN, YEAR, YEAR + TICK
    };
    size_t i, j;

    for (j = 0; j < sizeof(jumps) / sizeof(*jumps); j++) {
        comet_wheel_init(&wheel, NOW);
        for (i = 0; i < COMET_WHEEL_SLOTS; i++) {
            comet_wheel_set(&wheel, &timers[i], NOW + (apr_time_t)i * TICK);
        }
        assert_int_equal(expire_all(NOW + jumps[j]), COMET_WHEEL_SLOTS);
        assert_int_equal(wheel.count, 0);
    }
}

/* After the clock is set back, each timer still waits for as long as it had
 * left. */
static void test_back_by_a_year(void **state)
{
    static comet_timer_t timers[600];
    apr_time_t back = NOW - YEAR;
    size_t i;

    for (i = 0; i < 600; i++) {
        comet_wheel_set(&wheel, &timers[i], NOW + (apr_time_t)(i + 1) * TICK);
    }
    assert_int_equal(expire_all(back), 0);
    assert_int_equal(wheel.count, 600);
    for (i = 1; i <= 602; i++) {
        apr_size_t fired = expire_all(back + (apr_time_t)i * TICK);

        assert_true(fired <= 2);
        assert_true(wheel.count + i >= 599);
        assert_true(wheel.count <= 602 - i);
    }
    assert_int_equal(wheel.count, 0);
}

/* A timer that is set just after the clock was set back is due according to the
 * new time, even before the wheel has seen that time. */
static void test_set_just_after_going_back(void **state)
{
    comet_timer_t timer = { 0 };
    apr_time_t back = NOW - YEAR;

    comet_wheel_set(&wheel, &timer, back + SECOND);
    assert_int_equal(expire_all(back), 0);
    assert_int_equal(expire_all(back + SECOND - 1), 0);
    assert_int_equal(expire_all(back + SECOND + TICK), 1);
}

/* Threads that call the wheel with slightly old times change nothing. */
static void test_back_by_less_than_a_step(void **state)
{
    comet_timer_t timer = { 0 };
    int i;

    comet_wheel_set(&wheel, &timer, NOW + 2 * SECOND);
    for (i = 0; i < COMET_WHEEL_STEP_TICKS; i++) {
        assert_int_equal(expire_all(NOW - i * TICK), 0);
        assert_int_equal(timer.due, NOW + 2 * SECOND);
    }
    assert_int_equal(expire_all(NOW + 2 * SECOND - TICK), 0);
    assert_int_equal(expire_all(NOW + 2 * SECOND + TICK), 1);
}

/* The wheel loses no timer when the clock jumps back and forth. */
static void test_to_and_fro(void **state)
{
    static comet_timer_t timers[100];
    apr_size_t fired = 0;
    uint64_t seed = 99;
    apr_time_t now = NOW;
    int i;

    for (i = 0; i < 100; i++) {
        comet_wheel_set(&wheel, &timers[i], NOW + (i + 1) * SECOND);
    }
    for (i = 0; i < 2000 && fired < 100; i++) {
        if (i % 10 == 0) {
            now -= (apr_time_t)(reference_random(&seed) % (uint64_t)YEAR);
        }
        now += SECOND;
        fired += expire_all(now);
    }
    assert_int_equal(fired, 100);
    assert_int_equal(wheel.count, 0);
}

/* --- next ---------------------------------------------------------------- */

static void test_next(void **state)
{
    comet_timer_t timer = { 0 }, far = { 0 };
    apr_time_t next;

    comet_wheel_set(&wheel, &timer, NOW + SECOND);
    next = comet_wheel_due(&wheel);
    assert_true(next >= NOW + SECOND && next <= NOW + SECOND + TICK);
    assert_int_equal(expire_all(next - 1), 0);
    assert_int_equal(expire_all(next), 1);
    assert_int_equal(comet_wheel_due(&wheel), 0);
    comet_wheel_set(&wheel, &far, next + YEAR);
    assert_true(comet_wheel_due(&wheel) > next);
    assert_true(comet_wheel_due(&wheel) <= next + TURN);
}

static void test_next_when_some_are_due(void **state)
{
    comet_timer_t timers[2] = { 0 };

    comet_wheel_set(&wheel, &timers[0], NOW + SECOND);
    comet_wheel_set(&wheel, &timers[1], NOW + SECOND);
    assert_non_null(comet_wheel_expire(&wheel, NOW + 2 * SECOND));
    assert_true(comet_wheel_due(&wheel) <= NOW + 2 * SECOND);
    assert_true(comet_wheel_due(&wheel) > 0);
}

/* A thread that always sleeps until the next due time is as punctual as one
 * that wakes at every tick. */
static void test_sleeping_until_next(void **state)
{
    comet_timer_t timer = { 0 };
    apr_time_t due = NOW + 5 * TURN + 77, now = NOW;
    int wakes = 0;

    comet_wheel_set(&wheel, &timer, due);
    while (timer.due) {
        now = comet_wheel_due(&wheel);
        comet_wheel_expire(&wheel, now);
        assert_true(++wakes <= 7);
    }
    assert_true(now >= due && now <= due + TICK);
}

/* --- many ---------------------------------------------------------------- */

#define MANY 2000

/* Timers that are set and cleared at random are neither early nor late, and
 * none is lost. */
static void test_against_a_model(void **state)
{
    static comet_timer_t timers[MANY];
    static apr_time_t dues[MANY]; /* 0: not set */
    uint64_t seed = 1;
    apr_time_t now = NOW, before;
    apr_size_t set = 0, fired = 0;
    int round;

    memset(timers, 0, sizeof(timers));
    for (round = 0; round < 3000; round++) {
        comet_timer_t *timer;
        int i;

        for (i = 0; i < 10; i++) {
            size_t at = reference_random(&seed) % MANY;
            uint64_t chance = reference_random(&seed);

            set -= dues[at] != 0;
            if (chance % 4) {
                dues[at] = now + 1
                           + (apr_time_t)((chance >> 8) % (uint64_t)(3 * TURN));
                comet_wheel_set(&wheel, &timers[at], dues[at]);
                set++;
            }
            else {
                dues[at] = 0;
                comet_wheel_clear(&wheel, &timers[at]);
            }
        }
        before = now;
        now += (apr_time_t)(reference_random(&seed) % (uint64_t)(4 * TICK));
        while ((timer = comet_wheel_expire(&wheel, now))) {
            apr_time_t *due = &dues[timer - timers];

            assert_true(*due && *due <= now);
            assert_true(*due + TICK > before);
            *due = 0;
            set--;
            fired++;
        }
        assert_int_equal(wheel.count, set);
        for (i = 0; i < MANY; i++) {
            assert_true(!dues[i] || dues[i] + TICK > now);
        }
    }
    assert_true(fired > 5000);
}

/* A slot may be full of timers that are due many turns later.  If each call
 * scanned them, this test would take 10^10 steps. */
static void test_crowded_slot(void **state)
{
    static comet_timer_t later[100000], now[100000];
    size_t i;

    for (i = 0; i < 100000; i++) {
        comet_wheel_set(&wheel, &later[i], NOW + SECOND + TURN);
    }
    for (i = 0; i < 100000; i++) {
        comet_wheel_set(&wheel, &now[i], NOW + SECOND);
    }
    assert_int_equal(expire_all(NOW + SECOND + TICK), 100000);
    assert_int_equal(wheel.count, 100000);
    assert_int_equal(expire_all(NOW + SECOND + TURN + TICK), 100000);
    assert_int_equal(wheel.count, 0);
}

#define WHEEL_TEST(test) cmocka_unit_test_setup(test, setup)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WHEEL_TEST(test_empty),
        WHEEL_TEST(test_punctual),
        WHEEL_TEST(test_clear),
        WHEEL_TEST(test_set_anew),
        WHEEL_TEST(test_clear_one_that_is_due),
        WHEEL_TEST(test_overdue_fires_with_the_next_tick),
        WHEEL_TEST(test_loop_ends),
        WHEEL_TEST(test_set_after_a_pause),
        WHEEL_TEST(test_never),
        WHEEL_TEST(test_forward_by_years),
        WHEEL_TEST(test_forward_sees_every_slot),
        WHEEL_TEST(test_back_by_a_year),
        WHEEL_TEST(test_set_just_after_going_back),
        WHEEL_TEST(test_back_by_less_than_a_step),
        WHEEL_TEST(test_to_and_fro),
        WHEEL_TEST(test_next),
        WHEEL_TEST(test_next_when_some_are_due),
        WHEEL_TEST(test_sleeping_until_next),
        WHEEL_TEST(test_against_a_model),
        WHEEL_TEST(test_crowded_slot),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
