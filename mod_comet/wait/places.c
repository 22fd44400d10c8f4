/* SPDX-License-Identifier: Apache-2.0 */
/* Find out whether one more client may wait. */
#include "wait/places.h"

#include "shared/metrics.h"
#include "hub/hub.h"
#include "server/child.h"
#include "server/mpm.h"
#include "wait/wait_priv.h"

int mod_comet_places_are_full(int adopted)
{
    const mod_comet_capacity_t *capacity = mod_comet_mpm_capacity();
    apr_size_t owned;
    apr_size_t members = comet_hub_members(mod_comet_child()->hub, &owned);
    int more = atomic_load(&mod_comet_child()->waiting->more_descriptors);

    return members + (apr_size_t)more >= capacity->descriptors
           || (capacity->parks && !adopted
               && members - owned >= capacity->per_child);
}

int mod_comet_places_find(int adopted)
{
    return !mod_comet_places_are_full(adopted)
           || comet_hub_make_room(mod_comet_child()->hub);
}

void mod_comet_places_refuse(mod_comet_refusal_t *refusal, const char *reason)
{
    comet_metrics_add(COMET_METRIC_turned_away, 1);
    *refusal = (mod_comet_refusal_t){ HTTP_SERVICE_UNAVAILABLE, reason };
}
