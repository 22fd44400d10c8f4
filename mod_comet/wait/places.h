/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file wait/places.h
 * Find out whether one more client may wait.
 */
#ifndef MOD_COMET_PLACES_H
#define MOD_COMET_PLACES_H

#include "server/mod_comet.h"

/** Why a client may not wait now. */
typedef struct mod_comet_refusal_t {
    int status; /* HTTP's: 503 or 429 */
    const char *reason; /* names the limit */
} mod_comet_refusal_t;

/**
 * Whether this child can hold no more waiting clients.  Any thread.
 * @param adopted  whether the client will need no connection of the MPM
 */
int mod_comet_places_are_full(int adopted);

/**
 * Find a place in this child.  If all places are taken, make a client give up
 * its place: one that has its answer and only keeps its connection open.  Any
 * thread.
 * @param adopted  as for mod_comet_places_are_full()
 * @return whether there is a place
 */
int mod_comet_places_find(int adopted);

/** Refuse a place to a client, with status 503, and count the client
 * (turned_away).
 * @param refusal  OUT
 * @param reason  names the limit; the pointer is kept */
void mod_comet_places_refuse(mod_comet_refusal_t *refusal, const char *reason);

#endif /* MOD_COMET_PLACES_H */
