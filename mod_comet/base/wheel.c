/* SPDX-License-Identifier: Apache-2.0 */
/* A hashed timer wheel: one slot for each tick of a turn. */
#include "base/wheel.h"

static apr_int64_t tick_before(apr_time_t time)
{
    return time > 0 ? time / COMET_WHEEL_TICK_USEC : 0;
}

/* The first tick at which a timer with this due time is not early. */
static apr_int64_t tick_after(apr_time_t due)
{
    return due / COMET_WHEEL_TICK_USEC + (due % COMET_WHEEL_TICK_USEC > 0);
}

static struct comet_timer_ring_t *slot_of(comet_wheel_t *wheel,
                                          apr_int64_t tick)
{
    return &wheel->slots[tick % COMET_WHEEL_SLOTS];
}

/* Put a timer into the slot for its `due`, which is already set. */
static void place(comet_wheel_t *wheel, comet_timer_t *timer)
{
    apr_int64_t tick = tick_after(timer->due);

    if (tick <= wheel->tick) {
        tick = wheel->tick + 1;
    }
    APR_RING_INSERT_TAIL(slot_of(wheel, tick), timer, comet_timer_t, link);
}

/* Take the timers that are due by a tick out of a slot, into `ready`.  The slot
 * can also hold timers of later turns. */
static void collect(comet_wheel_t *wheel, struct comet_timer_ring_t *slot,
                    apr_int64_t tick)
{
    comet_timer_t *timer, *next;

    for (timer = APR_RING_FIRST(slot);
         timer != APR_RING_SENTINEL(slot, comet_timer_t, link); timer = next) {
        next = APR_RING_NEXT(timer, link);
        if (tick_after(timer->due) <= tick) {
            APR_RING_REMOVE(timer, link);
            APR_RING_INSERT_TAIL(&wheel->ready, timer, comet_timer_t, link);
        }
    }
}

/* The clock was set back to this tick: let each timer keep the time it has
 * left. */
static void rewind(comet_wheel_t *wheel, apr_int64_t tick)
{
    struct comet_timer_ring_t all;
    apr_int64_t before = wheel->tick;
    int i;

    APR_RING_INIT(&all, comet_timer_t, link);
    for (i = 0; i < COMET_WHEEL_SLOTS; i++) {
        APR_RING_CONCAT(&all, &wheel->slots[i], comet_timer_t, link);
    }
    wheel->tick = tick;
    while (!APR_RING_EMPTY(&all, comet_timer_t, link)) {
        comet_timer_t *timer = APR_RING_FIRST(&all);

        APR_RING_REMOVE(timer, link);
        /* A timer that was due by the old time would have fired already.  So
         * this one was set by the new time. */
        if (tick_after(timer->due) > before) {
            timer->due -= (before - tick) * COMET_WHEEL_TICK_USEC;
        }
        place(wheel, timer);
    }
}

/* Advance the wheel to a time in one go, so that a timer which the caller's
 * loop sets waits for the next tick. */
static void advance(comet_wheel_t *wheel, apr_time_t now)
{
    apr_int64_t tick = tick_before(now);
    apr_int64_t at = wheel->tick;

    if (wheel->count == 0) {
        wheel->tick = tick;
        return;
    }
    if (at - tick > COMET_WHEEL_STEP_TICKS) {
        rewind(wheel, tick);
        return;
    }
    if (tick - at > COMET_WHEEL_SLOTS) {
        at = tick - COMET_WHEEL_SLOTS; /* enough to visit every slot once */
    }
    while (at < tick) {
        at++;
        collect(wheel, slot_of(wheel, at), tick);
    }
    wheel->tick = at;
}

void comet_wheel_init(comet_wheel_t *wheel, apr_time_t now)
{
    int i;

    for (i = 0; i < COMET_WHEEL_SLOTS; i++) {
        APR_RING_INIT(&wheel->slots[i], comet_timer_t, link);
    }
    APR_RING_INIT(&wheel->ready, comet_timer_t, link);
    wheel->tick = tick_before(now);
    wheel->count = 0;
}

void comet_wheel_set(comet_wheel_t *wheel, comet_timer_t *timer, apr_time_t due)
{
    comet_wheel_clear(wheel, timer);
    timer->due = due > 0 ? due : 1;
    wheel->count++;
    place(wheel, timer);
}

void comet_wheel_clear(comet_wheel_t *wheel, comet_timer_t *timer)
{
    if (timer->due) {
        APR_RING_REMOVE(timer, link);
        APR_RING_ELEM_INIT(timer, link);
        timer->due = 0;
        wheel->count--;
    }
}

comet_timer_t *comet_wheel_expire(comet_wheel_t *wheel, apr_time_t now)
{
    comet_timer_t *timer = NULL;

    if (APR_RING_EMPTY(&wheel->ready, comet_timer_t, link)) {
        advance(wheel, now);
    }
    if (!APR_RING_EMPTY(&wheel->ready, comet_timer_t, link)) {
        timer = APR_RING_FIRST(&wheel->ready);
        comet_wheel_clear(wheel, timer);
    }
    return timer;
}

apr_time_t comet_wheel_due(const comet_wheel_t *wheel)
{
    apr_int64_t tick = wheel->tick;
    apr_int64_t last = tick + COMET_WHEEL_SLOTS;

    if (wheel->count == 0) {
        return 0;
    }
    if (APR_RING_EMPTY(&wheel->ready, comet_timer_t, link)) {
        do {
            tick++;
        } while (tick < last
                 && APR_RING_EMPTY(&wheel->slots[tick % COMET_WHEEL_SLOTS],
                                   comet_timer_t, link));
    }
    return tick * COMET_WHEEL_TICK_USEC;
}
