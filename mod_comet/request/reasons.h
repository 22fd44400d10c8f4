/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file request/reasons.h
 * Why requests are refused, in httpd's error log.
 */
#ifndef MOD_COMET_REASONS_H
#define MOD_COMET_REASONS_H

#include "server/mod_comet.h"

/**
 * Log why a request is refused, with the id that tables/refusals.def gives to
 * the status.  A shortage is logged at most once a minute in each child; the
 * line says how many refusals were not logged before it.  Called by the
 * request's thread.
 * @param status  the HTTP status; if the table does not have it, nothing is
 *                logged
 * @param reason  what the client is told
 */
void mod_comet_reasons_log(request_rec *r, int status, const char *reason);

/** Like mod_comet_reasons_log(), but for a message that a client has sent on a
 * WebSocket.  Any thread.
 * @param address  the client's address */
void mod_comet_reasons_log_said(const server_rec *s, const char *address,
                                int status, const char *reason);

/** The HTTP status for a message that the store has not stored, or may not have
 * stored.  Any thread. */
int mod_comet_reasons_store_code(apr_status_t status);

/** Say in words what mod_comet_reasons_store_code() says with a status.  The
 * text is in @a pool. */
const char *mod_comet_reasons_store_text(apr_status_t status, apr_pool_t *pool);

#endif /* MOD_COMET_REASONS_H */
