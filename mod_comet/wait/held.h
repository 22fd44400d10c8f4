/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file wait/held.h
 * Warn if another module holds a resource for a request while it waits.
 */
#ifndef MOD_COMET_HELD_H
#define MOD_COMET_HELD_H

#include "server/mod_comet.h"

/** Log, once in each child, that a request which begins to wait holds a
 * database connection of mod_dbd.  Called by the request's thread. */
void mod_comet_held_tell(const request_rec *r);

#endif /* MOD_COMET_HELD_H */
