/* SPDX-License-Identifier: Apache-2.0 */
/* What a client holds while it waits. */
#include "request/place.h"

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

void mod_comet_place_leave(mod_comet_place_t *place)
{
    mod_comet_limits_leave(&place->tickets);
    mod_comet_place_stand_up(&place->seat);
}
