/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file base/wheel.h
 * A hashed timer wheel for tens of thousands of waiting clients.  Setting and
 * clearing a timer cost O(1).  A timer fires at most one tick late and never
 * early.  The wheel has no lock: its owner guards the wheel and its timers
 * together.
 *
 * The wheel also works with a clock that jumps:
 * - forward: every timer that is due by the new time fires at once.  This costs
 *   one turn of the wheel, however far the clock jumped;
 * - back by more than COMET_WHEEL_STEP_TICKS: every timer keeps the time it had
 *   left to wait.  A timer that was set between the jump and the next call of
 *   comet_wheel_expire() can be off by the size of the jump;
 * - back by less, as happens when threads read the time and then compete for a
 *   lock: the wheel stands still until the clock has caught up.
 *
 * Invariants:
 * 1. a timer is in a ring if and only if its `due` is not 0, and `count` is the
 *    number of such timers;
 * 2. a timer in a slot is in the slot of its due tick or, if it was overdue
 *    when it was set, in the slot of tick + 1.  So a timer that is due at or
 *    before `tick` stays in a slot for one tick at most;
 * 3. a timer in `ready` is due, and comet_wheel_expire() takes it next.
 */
#ifndef COMET_WHEEL_H
#define COMET_WHEEL_H

#include <stddef.h> /* must precede APR, which uses its offsetof */

#include <apr_ring.h>

#include "base/comet.h"

#define COMET_WHEEL_SLOTS 512
/** The length of a tick, and so the most that a timer may be late. */
#define COMET_WHEEL_TICK_USEC APR_INT64_C(50000)
/** If time goes back by more than this many ticks, the clock was set back. */
#define COMET_WHEEL_STEP_TICKS 20

/** Embedded in the object that is timed.  Zero-initialised, it is not set. */
typedef struct comet_timer_t comet_timer_t;
struct comet_timer_t {
    APR_RING_ENTRY(comet_timer_t) link;
    apr_time_t due; /* 0 if not set; shifted when the clock is set back */
};

APR_RING_HEAD(comet_timer_ring_t, comet_timer_t);

typedef struct comet_wheel_t {
    struct comet_timer_ring_t slots[COMET_WHEEL_SLOTS];
    /** Timers that are due and not yet taken. */
    struct comet_timer_ring_t ready;
    /** The last tick that was processed. */
    apr_int64_t tick;
    /** The number of timers that are set, including those in `ready`. */
    apr_size_t count;
} comet_wheel_t;

/**
 * Make an empty wheel.
 * @param now  the time by any clock, but by the same one in every call
 */
void comet_wheel_init(comet_wheel_t *wheel, apr_time_t now);

/**
 * Set a timer.  If it is set already, its due time changes.
 * @param due  when it fires.  A time in the past means the next tick, so a loop
 *             over comet_wheel_expire() ends even if it sets timers
 */
void comet_wheel_set(comet_wheel_t *wheel, comet_timer_t *timer,
                     apr_time_t due);

/** Clear a timer; one that is not set is ignored. */
void comet_wheel_clear(comet_wheel_t *wheel, comet_timer_t *timer);

/**
 * Take and clear one timer that is due.  Timers that are due together come in
 * no particular order.  All calls up to the one that returns NULL cost O(timers
 * taken + slots passed + timers in these slots) together.
 * @return NULL if no timer is due; call this again until it returns NULL
 */
comet_timer_t *comet_wheel_expire(comet_wheel_t *wheel, apr_time_t now);

/**
 * When to call comet_wheel_expire() next: no later than the tick at which the
 * first timer fires, and at most one turn of the wheel (25.6 s) ahead.  The
 * call looks at each slot at most once.
 * @return 0 if no timer is set
 */
apr_time_t comet_wheel_due(const comet_wheel_t *wheel);

#endif /* COMET_WHEEL_H */
