/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file dialect/change.h
 * Judge a change of the channels of an open WebSocket.
 */
#ifndef MOD_COMET_CHANGE_H
#define MOD_COMET_CHANGE_H

#include "wire/command.h"
#include "request/dialect.h"

/** Implements ->change of mod_comet_dialect_t. */
const char *mod_comet_change_judge(request_rec *r, mod_comet_ask_t *more,
                                   const comet_command_t *command,
                                   const comet_selection_t *held,
                                   apr_pool_t *pool, int *status);

/**
 * Find the channels and wildcards that the URL of a WebSocket names.
 * @param ask  ->asked is set; the request's pool releases it
 * @return 0: out of memory.  Called by the request's thread.
 */
int mod_comet_change_begin(request_rec *r, const mod_comet_request_t *request,
                           mod_comet_ask_t *ask);

#endif /* MOD_COMET_CHANGE_H */
