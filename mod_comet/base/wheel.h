/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file base/wheel.h
 * Timers for tens of thousands of waiting clients: a hashed wheel.  Setting
 * and clearing cost O(1); a timer fires at most one tick late, never early.
 * Not locked: the owner guards the wheel and its timers together.
 *
 * A clock that is not monotonic may jump:
 * - forward: what is due by the new time fires at once, at the cost of one
 *   turn of the wheel, however far the jump was;
 * - back by more than COMET_WHEEL_STEP_TICKS: every timer keeps the wait it
 *   had left (one that was set between the jump and the next call of
 *   comet_wheel_expire() may be off by the jump);
 * - back by less, as when threads race to the lock with the time in hand:
 *   time stands still until it has caught up.
 *
 * Invariants:
 * 1. a timer is in a ring if and only if due is not 0, and `count` is the
 *    number of these;
 * 2. a timer in a slot stands in that of its due tick, or in that of tick + 1
 *    when it was overdue as it was set; so no slot holds one that is due at
 *    or before `tick` for longer than a tick;
 * 3. a timer in `ready` was due, and is taken by comet_wheel_expire() next.
 */
#ifndef COMET_WHEEL_H
#define COMET_WHEEL_H

#include <stddef.h> /* before APR, whose rings use offsetof if it is there */

#include <apr_ring.h>

#include "base/comet.h"

#define COMET_WHEEL_SLOTS 512
/** A tick: how late a timer may be. */
#define COMET_WHEEL_TICK_USEC APR_INT64_C(50000)
/** A step back in time of more ticks than these is the clock's. */
#define COMET_WHEEL_STEP_TICKS 20

/** Embedded in what is timed; zero-initialised is "not set". */
typedef struct comet_timer_t comet_timer_t;
struct comet_timer_t {
    APR_RING_ENTRY(comet_timer_t) link;
    apr_time_t due; /* 0: not set; moves with a clock that is set back */
};

APR_RING_HEAD(comet_timer_ring_t, comet_timer_t);

typedef struct comet_wheel_t {
    struct comet_timer_ring_t slots[COMET_WHEEL_SLOTS];
    /** Due, and not yet taken. */
    struct comet_timer_ring_t ready;
    /** The last tick that was run. */
    apr_int64_t tick;
    /** Timers set, those in `ready` too. */
    apr_size_t count;
} comet_wheel_t;

/** @param now  monotonic or not, but the same clock in every call */
void comet_wheel_init(comet_wheel_t *wheel, apr_time_t now);

/**
 * Set a timer, or set it anew.
 * @param due  when it fires; one in the past fires with the next tick, so
 *             that a loop of comet_wheel_expire() which sets timers ends
 */
void comet_wheel_set(comet_wheel_t *wheel, comet_timer_t *timer,
                     apr_time_t due);

/** Clear a timer; one that is not set is ignored. */
void comet_wheel_clear(comet_wheel_t *wheel, comet_timer_t *timer);

/**
 * Take one timer that is due, cleared; in no particular order.  All calls
 * until NULL together cost O(taken + slots passed + what is in these).
 * @return NULL when none is.  Call until then.
 */
comet_timer_t *comet_wheel_expire(comet_wheel_t *wheel, apr_time_t now);

/**
 * When to call comet_wheel_expire() next: not after the first timer fires,
 * and at most a turn of the wheel (25.6 s) ahead.  Costs one turn.
 * @return 0 when no timer is set
 */
apr_time_t comet_wheel_next(const comet_wheel_t *wheel);

#endif /* COMET_WHEEL_H */
