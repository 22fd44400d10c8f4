/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file base/rate.h
 * A limit on how often a client may do something: at a steady rate and, after a
 * silence, several times at once.  The state of a client is a single time
 * (GCRA, ITU-T I.371): the time at which everything it has done would have been
 * due at the steady rate.
 */
#ifndef COMET_RATE_H
#define COMET_RATE_H

#include "base/comet.h"

/** A rate. */
typedef struct comet_rate_t {
    apr_interval_time_t each; /* the steady rate: once in this time */
    apr_int64_t burst; /* how many times it may happen at once after a
                        * silence */
} comet_rate_t;

/**
 * How long a client must wait before the rate allows it to act again.
 * @param due  the client's state; 0: it has done nothing yet
 * @param now  by the same clock as @a due
 * @return microseconds; 0: the client need not wait.  Any thread.
 */
apr_interval_time_t comet_rate_wait(const comet_rate_t *rate, apr_time_t due,
                                    apr_time_t now);

/**
 * Count what a client has just done.
 * @param due  IN OUT: the client's state, which the caller guards
 * @param times  how many times the client has done it.  Any thread.
 */
void comet_rate_spend(const comet_rate_t *rate, apr_time_t *due,
                      apr_int64_t times, apr_time_t now);

#endif /* COMET_RATE_H */
