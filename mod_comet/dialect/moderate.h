/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file dialect/moderate.h
 * What moderators do (CometModerate): delete a message, throw a member out.
 */
#ifndef MOD_COMET_MODERATE_H
#define MOD_COMET_MODERATE_H

#include "request/ask.h"

/**
 * Answer a POST with "delete", a timestamp, to a channel's URL; or with
 * "remove", a member's name, to the URL of its sibling /@online.
 * @param ask  names the channel of the URL
 * @return what the handler returns
 */
int mod_comet_moderate(request_rec *r, const mod_comet_request_t *request,
                       const mod_comet_ask_t *ask);

#endif /* MOD_COMET_MODERATE_H */
