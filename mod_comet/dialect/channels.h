/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file dialect/channels.h
 * GET …?channels=PREFIX*: list the channels that exist.
 */
#ifndef MOD_COMET_CHANNELS_H
#define MOD_COMET_CHANNELS_H

#include "request/ask.h"

/**
 * Answer with the channels that a wildcard stands for, and the timestamp of the
 * newest message of each.  Each channel is authorised as for reading by that
 * wildcard.  If one is refused, the whole list is refused.
 * @param ask  as ->handle of a dialect gets it; the URL names no channel
 * @return what the handler returns
 */
int mod_comet_channels_answer(request_rec *r,
                              const mod_comet_request_t *request,
                              mod_comet_ask_t *ask);

#endif /* MOD_COMET_CHANNELS_H */
