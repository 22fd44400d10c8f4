/* SPDX-License-Identifier: Apache-2.0 */
/* An allowance of CPU time. */
#include "base/allowance.h"

comet_allowance_t comet_allowance_begin(apr_interval_time_t time)
{
    return (comet_allowance_t){ .time = time, .began = comet_monotonic() };
}

int comet_allowance_is_spent(comet_allowance_t *allowance, apr_time_t now)
{
    apr_interval_time_t quarter = allowance->time / 4;

    if (now < allowance->began + quarter) {
        return 0;
    }
    if (!allowance->spent_at) {
        allowance->spent_at = comet_thread_time() + 3 * quarter;
    }
    return comet_thread_time() >= allowance->spent_at;
}
