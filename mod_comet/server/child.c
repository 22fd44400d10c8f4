/* SPDX-License-Identifier: Apache-2.0 */
/* What this process has: the counters and, in a child, its hub and stores. */
#include "server/child.h"

#include <stdatomic.h>

#include "server/config.h"

static mod_comet_child_t *_Atomic child;
static atomic_int must_end; /* [atomic] */
static comet_metrics_t
    *metrics; /* set in post_config, inherited by the children */

void mod_comet_child_set(mod_comet_child_t *made)
{
    atomic_store(&child, made);
}

void mod_comet_child_set_metrics(comet_metrics_t *made)
{
    metrics = made;
}

mod_comet_child_t *mod_comet_child(void)
{
    return comet_process_is_fork() ? NULL : atomic_load(&child);
}

void mod_comet_child_note_end(void)
{
    atomic_store(&must_end, 1);
}

int mod_comet_child_must_end(void)
{
    return atomic_load(&must_end);
}

const mod_comet_child_store_t *mod_comet_child_store(const request_rec *r)
{
    return &mod_comet_child()
                ->stores[mod_comet_config_server(r->server)->store];
}

comet_metrics_t *mod_comet_child_metrics(void)
{
    return metrics;
}
