/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file hooks/handler.h
 * Handle a mapped request: parse it, publish or read, then answer or wait.
 */
#ifndef MOD_COMET_HANDLER_H
#define MOD_COMET_HANDLER_H

#include "request/request.h"

/** handler hook for mapped requests. */
int mod_comet_handler(request_rec *r);

#endif /* MOD_COMET_HANDLER_H */
