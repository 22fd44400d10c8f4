/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file dialect/select.h
 * Which channels a request reads, each authorised as its own URL would be.
 */
#ifndef MOD_COMET_SELECT_H
#define MOD_COMET_SELECT_H

#include "request/ask.h"

/**
 * Find the channels a request to the endpoint names: in its path, and with
 * CometMulti in its parameters `channel`, wildcards ("room/" and a star)
 * expanded to the channels that exist.  Channels that the path does not name
 * are authorised by sub-requests to their own URLs.  If one of them is refused,
 * the request is refused.
 * @param ask  ->channel is what the path names, ->transport is chosen;
 *             ->selection, ->format.json, ->authenticated and ->lifetime (by
 *             the channels' own URLs) are set
 * @return DECLINED: go on; else the request was answered: what the handler
 *         returns
 */
int mod_comet_select_find(request_rec *r, const mod_comet_request_t *request,
                          mod_comet_ask_t *ask);

/** Select the one channel of ask->channel. @return as above */
int mod_comet_select_one(request_rec *r, mod_comet_ask_t *ask);

/**
 * Decide whether a client may use a channel, by a sub-request to the channel's
 * own URL below its endpoint.
 * @param channel  without the endpoint's prefix; "room/" stands for all
 *                 channels below it
 * @param ask  of a reader: ->authenticated and ->lifetime become those of the
 *             strictest channel; NULL: the client publishes
 * @param objection  OUT: why the channel can be used by its own URL only;
 *                   NULL: that is not the reason
 * @return OK, or the HTTP status of the refusal (for a 401 the request has its
 *         WWW-Authenticate)
 */
int mod_comet_select_authorise(request_rec *r,
                               const mod_comet_mapping_t *mapping,
                               comet_text_t channel, mod_comet_ask_t *ask,
                               const char **objection);

#endif /* MOD_COMET_SELECT_H */
