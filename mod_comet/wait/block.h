/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file wait/block.h
 * Wait in the request's own thread, if nothing else is possible: under
 * prefork and worker, on HTTP/2, and behind filters that may block.
 */
#ifndef MOD_COMET_BLOCK_H
#define MOD_COMET_BLOCK_H

#include "request/ask.h"
#include "server/child.h"
#include "wait/places.h"

/**
 * Wait and answer.  Returns when the request is over, or its stream was
 * adopted.
 * @param adopting  from mod_comet_adopt_begin()
 * @param refusal  OUT: why there is no place for the request, when DECLINED
 * @return what the handler returns; DECLINED: as mod_comet_wait()
 */
int mod_comet_block(request_rec *r, mod_comet_ask_t *ask, apr_int64_t adopting,
                    mod_comet_refusal_t *refusal);

/**
 * Make all waiting threads check at once whether the child is stopping.
 * Any thread, but not in a signal handler.
 */
void mod_comet_block_wake(mod_comet_child_t *child);

#endif /* MOD_COMET_BLOCK_H */
