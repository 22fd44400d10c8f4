/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file request/place.h
 * What a client holds while it waits: its part of a gauge
 * (CometMaxSubscribers), its tickets (CometLimitSubscribers) and its seat
 * (CometPresence).  They count the client however it waits, and stay with it
 * when its way of waiting changes.
 */
#ifndef MOD_COMET_PLACE_H
#define MOD_COMET_PLACE_H

#include "shared/metrics.h"
#include "shared/quota.h"
#include "store/presence.h"

/** Zero-initialised: the client holds nothing. */
typedef struct mod_comet_place_t {
    comet_metric_e gauge; /* counts the client if `counted` is set */
    int counted;
    comet_quota_place_t tickets;
    comet_seat_t *seat; /* NULL: none */
} mod_comet_place_t;

/**
 * Raise the gauge of a transport, unless as many clients wait as
 * CometMaxSubscribers allows.  The check and the increment are one atomic step
 * for all children.  Any thread.
 * @param cap  the directive's value; 0: no limit
 * @return whether the gauge was raised
 */
int mod_comet_place_reserve(comet_metric_e gauge, apr_int64_t cap);

/**
 * Count a waiting client in a place, if mod_comet_place_reserve() allows it.
 * @param place  a place that counts no client yet
 * @return whether the place counts the client now
 */
int mod_comet_place_take(mod_comet_place_t *place, comet_metric_e gauge,
                         apr_int64_t cap);

/** Count a client in this gauge, without a limit.  Any thread.
 * @param place  can already count the client in this gauge; then nothing
 *               changes */
void mod_comet_place_count(mod_comet_place_t *place, comet_metric_e gauge);

/** Give back what a client holds, before or after the end of its request.  Any
 * thread. */
void mod_comet_place_leave(mod_comet_place_t *place);

/** Give a client's seat back; the place has no seat any more.  Any thread. */
void mod_comet_place_stand_up(comet_seat_t **seat);

#endif /* MOD_COMET_PLACE_H */
