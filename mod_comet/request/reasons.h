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
 * the status.  A lack of room is logged once a minute and child at most, with
 * the number of refusals that were not logged since.  The request's thread.
 * @param status  the HTTP status; nothing is logged if the table has it not
 * @param reason  what the client is told
 */
void mod_comet_reasons_log(request_rec *r, int status, const char *reason);

#endif /* MOD_COMET_REASONS_H */
