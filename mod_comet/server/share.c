/* SPDX-License-Identifier: Apache-2.0 */
/* Limits how many threads requests of one kind hold at a time. */
#include "server/share.h"

#include "server/child.h"
#include "server/mpm.h"

/* A share is one out of this many threads. */
#define SHARE 4

static int share_of(int threads)
{
    return threads / SHARE ? threads / SHARE : 1;
}

int mod_comet_share_enter(mod_comet_share_t *share)
{
    const mod_comet_capacity_t *capacity = mod_comet_mpm_capacity();

    if (atomic_fetch_add(&share->taken, 1) < share_of(capacity->threads)
        && comet_metrics_take(
            mod_comet_child_metrics(), share->gauge, &share->gauge, 1,
            share_of(capacity->threads * capacity->children))) {
        return 1;
    }
    atomic_fetch_sub(&share->taken, 1);
    return 0;
}

void mod_comet_share_leave(mod_comet_share_t *share)
{
    atomic_fetch_sub(&share->taken, 1);
    comet_metrics_add(share->gauge, -1);
}
