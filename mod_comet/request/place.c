/* SPDX-License-Identifier: Apache-2.0 */
/* What a client holds while it waits. */
#include "request/place.h"

#include "transport/transport.h"
#include "server/child.h"
#include "request/limits.h"

/* mod_comet_child() is NULL in two cases.  In a fork of a child, the seat still
 * belongs to the child.  When the child has ended, all its seats are gone
 * already. */
void mod_comet_place_stand_up(comet_seat_t **seat)
{
    if (*seat && mod_comet_child()) {
        comet_presence_leave(*seat);
    }
    *seat = NULL;
}

int mod_comet_place_reserve(comet_metric_e gauge, apr_int64_t cap)
{
    if (cap) {
        return comet_metrics_take(mod_comet_child_metrics(), gauge,
                                  comet_transport_gauges, COMET_TRANSPORT_COUNT,
                                  cap);
    }
    comet_metrics_add(gauge, 1);
    return 1;
}

int mod_comet_place_take(mod_comet_place_t *place, comet_metric_e gauge,
                         apr_int64_t cap)
{
    place->gauge = gauge;
    place->counted = mod_comet_place_reserve(gauge, cap);
    return place->counted;
}

void mod_comet_place_count(mod_comet_place_t *place, comet_metric_e gauge)
{
    if (!place->counted) {
        mod_comet_place_take(place, gauge, 0);
    }
}

void mod_comet_place_leave(mod_comet_place_t *place)
{
    if (place->counted) {
        place->counted = 0;
        comet_metrics_add(place->gauge, -1);
    }
    mod_comet_limits_leave(&place->tickets);
    mod_comet_place_stand_up(&place->seat);
}
