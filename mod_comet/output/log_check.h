/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file output/log_check.h
 * Whether the configured access logs can write the line of a stream after its
 * request has ended.
 */
#ifndef MOD_COMET_LOG_CHECK_H
#define MOD_COMET_LOG_CHECK_H

#include <http_protocol.h>

#include "server/mod_comet.h"

/**
 * Check everything that reads a request when it ends: other modules' hooks, and
 * the formats and conditions of all virtual hosts.  Call it in post_config.
 * @param ours   the log_transaction hook of mod_comet itself
 * @param needs  OUT: bits of comet_logline_e: what the lines show
 * @return NULL: lines can be written later; or why not, in @a p
 */
const char *mod_comet_log_check_config(ap_HOOK_log_transaction_t *ours,
                                       unsigned *needs, apr_pool_t *p);

/**
 * Find out whether the end of a request may block: in another module's hook,
 * because a log is piped to a program, because httpd asks the client's host, or
 * because a format or a condition runs code of another module or a sub-request.
 * Call it in post_config.
 * @return NULL: it cannot block; otherwise the reason, in @a p
 */
const char *mod_comet_log_check_waits(ap_HOOK_log_transaction_t *ours,
                                      apr_pool_t *p);

#endif /* MOD_COMET_LOG_CHECK_H */
