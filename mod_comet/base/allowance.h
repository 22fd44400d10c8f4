/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file base/allowance.h
 * An allowance: the CPU time that a piece of work may use on one thread.
 */
#ifndef COMET_ALLOWANCE_H
#define COMET_ALLOWANCE_H

#include "base/comet.h"

/** An allowance of CPU time.  Begin it with comet_allowance_begin(). */
typedef struct comet_allowance_t {
    apr_interval_time_t time; /* the CPU time allowed, in microseconds */
    apr_time_t began; /* when the work began, by comet_monotonic() */
    apr_time_t spent_at; /* when the allowance is used up, by
                          * comet_thread_time(); 0: not yet known */
} comet_allowance_t;

/**
 * Begin to use an allowance.
 * @param time  the CPU time allowed, in microseconds
 * @return the allowance; only the thread that calls this may use it
 */
comet_allowance_t comet_allowance_begin(apr_interval_time_t time);

/**
 * Whether an allowance is used up.  Reading a thread's CPU time takes a system
 * call, which is too costly for short work.  So only the steady clock is read
 * for the first quarter of the allowance.
 * @param now  the time by comet_monotonic()
 */
int comet_allowance_is_spent(comet_allowance_t *allowance, apr_time_t now);

#endif /* COMET_ALLOWANCE_H */
