/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file server/share.h
 * Limits how many threads are held at a time by requests of a kind that can
 * take long.
 */
#ifndef MOD_COMET_SHARE_H
#define MOD_COMET_SHARE_H

#include <stdatomic.h>

#include "shared/metrics.h"

/** The share of one kind of request: a quarter of each child's threads, and a
 * quarter of all threads, but at least one. */
typedef struct mod_comet_share_t {
    comet_metric_e
        gauge; /* counts the places that are taken, in all children */
    atomic_int taken; /* [atomic] how many places are taken in this child */
} mod_comet_share_t;

/**
 * Take one of the places.  Any thread of a child.
 * @return 0: no place is free; else mod_comet_share_leave() gives it back
 */
int mod_comet_share_enter(mod_comet_share_t *share);
void mod_comet_share_leave(mod_comet_share_t *share);

#endif /* MOD_COMET_SHARE_H */
