/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file output/upgrade.h
 * Turn a connection over to a WebSocket, after its handshake was checked
 * (output/handshake.h).  Only the thread that owns the request calls these
 * functions.
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

/** Answer the handshake with 101.  The answer is sent with the next bytes at
 * the latest.  Nothing blocks. */
void mod_comet_upgrade_accept(request_rec *r);

#endif /* MOD_COMET_UPGRADE_H */
