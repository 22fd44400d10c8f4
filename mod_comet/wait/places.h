/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file wait/places.h
 * Whether one more client may wait.
 */
#ifndef MOD_COMET_PLACES_H
#define MOD_COMET_PLACES_H

#include "server/mod_comet.h"

/** Whether as many clients wait as CometMaxSubscribers allows.  Any thread.
 * @param cap  the directive's value; 0: no limit */
int mod_comet_places_are_taken(apr_int64_t cap);

/**
 * Whether this child can hold no more waiting clients.  Any thread.
 * @param adopted  whether the client will need no connection of the MPM
 */
int mod_comet_places_are_full(int adopted);

#endif /* MOD_COMET_PLACES_H */
