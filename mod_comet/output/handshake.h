/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file output/handshake.h
 * Check a WebSocket handshake (RFC 6455, section 4.2.1).  Only the thread that
 * owns the request calls these functions.
 */
#ifndef MOD_COMET_HANDSHAKE_H
#define MOD_COMET_HANDSHAKE_H

#include "server/mod_comet.h"

/** Whether a request asks for a WebSocket.  Its handshake may be malformed. */
int mod_comet_handshake_is_asked(const request_rec *r);

/**
 * Check a handshake, and where it comes from.
 * @return DECLINED: the handshake is valid; else what the handler returns,
 *         after an answer of 400, 403 or 426
 */
int mod_comet_handshake_check(request_rec *r);

/** Answer 426 to a request that names the transport, but is no handshake.
 * @return what the handler returns */
int mod_comet_handshake_demand(request_rec *r);

#endif /* MOD_COMET_HANDSHAKE_H */
