/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file wait/wait.h
 * Letting a request wait: adopted by the hub, parked in the MPM, or with its
 * own thread where there is no other way (prefork, worker, HTTP/2, older httpd).
 */
#ifndef MOD_COMET_WAIT_H
#define MOD_COMET_WAIT_H

#include "request/ask.h"
#include "server/child.h"

/**
 * Let a request wait: for a message, for its time limit, for the client.
 * Its headers and what a stream opens with are sent at once.
 * @param ask  in the request's pool; what was found to be missing so far
 * @return what the handler returns: SUSPENDED, OK when it is over already,
 *         or an HTTP error (the headers are not sent then)
 */
int mod_comet_wait(request_rec *r, mod_comet_ask_t *ask);

/** Make what the waiting clients of a child share (->waiting).  Called when
 * the child starts, before its hub. */
void mod_comet_wait_start(mod_comet_child_t *child);

/** Free what mod_comet_wait_start() made, once the hub's thread has ended. */
void mod_comet_wait_end(mod_comet_child_t *child);

#endif /* MOD_COMET_WAIT_H */
