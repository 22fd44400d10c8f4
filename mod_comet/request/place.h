/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file request/place.h
 * What a client holds while it waits: its tickets (CometLimitSubscribers) and
 * its seat (CometPresence).  They count the client in whatever way it waits.
 */
#ifndef MOD_COMET_PLACE_H
#define MOD_COMET_PLACE_H

#include "shared/quota.h"
#include "store/presence.h"

typedef struct mod_comet_place_t {
    comet_quota_place_t tickets;
    comet_seat_t *seat; /* NULL: none */
} mod_comet_place_t;

/** Give back what a client holds, before its request's end or after it.  Any
 * thread. */
void mod_comet_place_leave(mod_comet_place_t *place);

/** Give a client's seat back; the place has no seat any more.  Any thread. */
void mod_comet_place_stand_up(comet_seat_t **seat);

#endif /* MOD_COMET_PLACE_H */
