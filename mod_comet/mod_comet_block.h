/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file mod_comet_block.h
 * Waiting with the request's own thread, where the MPM cannot park: under
 * prefork and worker, on HTTP/2, before httpd 2.4.63.
 */
#ifndef MOD_COMET_BLOCK_H
#define MOD_COMET_BLOCK_H

#include "mod_comet_ask.h"

/**
 * Wait and answer; returns when the request is over.
 * @param cap  the clients of all children that may wait so at a time
 * @return OK, or an answered refusal (also OK to return from the handler)
 */
int mod_comet_block(request_rec *r, mod_comet_ask_t *ask, int cap);

#endif /* MOD_COMET_BLOCK_H */
