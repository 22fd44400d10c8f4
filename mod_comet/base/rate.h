/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file base/rate.h
 * How often something may happen: at a steady rate, and after a silence several
 * times at once.  What has happened is kept in one time for each client (GCRA,
 * ITU-T I.371): when all of it would have been due at the steady rate.
 */
#ifndef COMET_RATE_H
#define COMET_RATE_H

#include "base/comet.h"

/** A rate. */
typedef struct comet_rate_t {
    apr_interval_time_t each; /* the steady rate: one in this time */
    apr_int64_t burst; /* how many may happen at once after a silence */
} comet_rate_t;

/**
 * How long a client must wait until it may do it once more.
 * @param due  when all that it has done would have been due; 0: it has done
 *             nothing
 * @param now  by the clock of @a due
 * @return microseconds; 0: it may do it now.  Any thread.
 */
apr_interval_time_t comet_rate_wait(const comet_rate_t *rate, apr_time_t due,
                                    apr_time_t now);

/**
 * Note that a client has done it.
 * @param due  as for comet_rate_wait(); moved on
 * @param times  how often.  Any thread; the caller guards @a due.
 */
void comet_rate_spend(const comet_rate_t *rate, apr_time_t *due,
                      apr_int64_t times, apr_time_t now);

#endif /* COMET_RATE_H */
