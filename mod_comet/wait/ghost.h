/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file wait/ghost.h
 * A request of HTTP/2 that waits without a thread.  mod_http2 ends its stream,
 * the client does not learn of that end, and the hub continues the stream
 * (wait/h2.h).
 */
#ifndef MOD_COMET_GHOST_H
#define MOD_COMET_GHOST_H

#include "request/ask.h"

/**
 * Let a request wait as a ghost.  If a request of HTTP/2 cannot be one, it is
 * counted, and each reason is logged once.  Called by the request's thread.
 * @return OK: the handler is done; DECLINED: the request has to wait in its
 *         thread, and nothing was sent
 */
int mod_comet_ghost_wait(request_rec *r, const mod_comet_ask_t *ask);

#endif /* MOD_COMET_GHOST_H */
