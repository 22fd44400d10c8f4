/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file wait/places.h
 * Whether there is a place for one more client that waits.
 */
#ifndef MOD_COMET_PLACES_H
#define MOD_COMET_PLACES_H

#include "server/mod_comet.h"

/** Whether as many clients wait as CometMaxSubscribers allows; 0: it does not
 * say.  Any thread. */
int mod_comet_places_are_taken(apr_int64_t cap);

/**
 * Whether this child can hold no more.  Any thread.
 * @param adopted  whether the client will need no place in the MPM
 */
int mod_comet_places_are_full(int adopted);

#endif /* MOD_COMET_PLACES_H */
