/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file output/upgrade.h
 * Turning a connection over to a WebSocket, once its handshake was checked
 * (output/handshake.h).  All of these calls belong to the thread that owns the
 * request.
 */
#ifndef MOD_COMET_UPGRADE_H
#define MOD_COMET_UPGRADE_H

#include "server/mod_comet.h"

/**
 * Turn the connection over.  From now on its bytes bypass the filters of
 * requests and answers in both directions, and httpd closes the connection when
 * the request ends. A second call does nothing.
 */
void mod_comet_upgrade_begin(request_rec *r);

/** Answer the handshake by 101.  The bytes are sent with the next ones at the
 * latest; nothing blocks. */
void mod_comet_upgrade_accept(request_rec *r);

#endif /* MOD_COMET_UPGRADE_H */
