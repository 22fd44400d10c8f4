/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file wait/wait.h
 * Let a request wait: adopted by the hub, parked in the MPM, as a ghost
 * (HTTP/2), or in its own thread if nothing else is possible.
 */
#ifndef MOD_COMET_WAIT_H
#define MOD_COMET_WAIT_H

#include "request/ask.h"
#include "server/child.h"
#include "wait/places.h"

/**
 * Let a request wait until a message comes, its time is up, or its client is
 * gone.  A stream's headers and opening are sent at once.
 * @param ask  what the client asks for; in the request's pool
 * @param refusal  OUT: why the client may not wait, when DECLINED
 * @return what the handler returns: SUSPENDED; OK: the request is over; DONE:
 *         its stream was adopted.  DECLINED: there is no place for it, and the
 *         caller answers; the headers of a stream, and its opening, may have
 *         been sent (r->sent_bodyct)
 */
int mod_comet_wait(request_rec *r, mod_comet_ask_t *ask,
                   mod_comet_refusal_t *refusal);

/** Create the data that the waiting clients of a child share (->waiting).
 * Called when the child starts, before its hub. */
void mod_comet_wait_start(mod_comet_child_t *child);

/** Free what mod_comet_wait_start() made, once the hub's thread has ended. */
void mod_comet_wait_end(mod_comet_child_t *child);

#endif /* MOD_COMET_WAIT_H */
