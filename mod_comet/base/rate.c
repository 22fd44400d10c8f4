/* SPDX-License-Identifier: Apache-2.0 */
/* Limits on how often a client may do something. */
#include "base/rate.h"

apr_interval_time_t comet_rate_wait(const comet_rate_t *rate, apr_time_t due,
                                    apr_time_t now)
{
    apr_interval_time_t left = due - now - rate->each * (rate->burst - 1);

    return left > 0 ? left : 0;
}

void comet_rate_spend(const comet_rate_t *rate, apr_time_t *due,
                      apr_int64_t times, apr_time_t now)
{
    if (*due < now) {
        *due = now;
    }
    *due += rate->each * times;
}
