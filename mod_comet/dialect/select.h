/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file dialect/select.h
 * Select the channels that a request reads.  Each channel is authorised like a
 * request to its own URL.
 */
#ifndef MOD_COMET_SELECT_H
#define MOD_COMET_SELECT_H

#include "request/ask.h"

/**
 * Find the channels that a request to the endpoint names: in its path and, with
 * CometMulti, in its parameters `channel`.  Wildcards ("room/" and a star) are
 * expanded to the channels that exist.  Channels that the path does not name
 * are authorised by sub-requests to their own URLs.  If one of them is refused,
 * the request is refused.
 * @param ask  IN: ->channel is what the path names; ->transport is chosen.
 *             OUT: ->selection, ->format.json and, as the channels' own URLs
 *             require, ->authenticated and ->lifetime
 * @return DECLINED: go on; or what the handler returns: the request was
 *         answered
 */
int mod_comet_select_find(request_rec *r, const mod_comet_request_t *request,
                          mod_comet_ask_t *ask);

/** Select only the channel ask->channel.
 * @return as mod_comet_select_find() */
int mod_comet_select_one(request_rec *r, mod_comet_ask_t *ask);

/**
 * Let a request read a selection.
 * @param selection  this function takes over the caller's reference; NULL:
 *                   there was no memory
 * @param ask  ->selection is set; the request's pool releases it
 * @return DECLINED: go on; or what the handler returns: the request was
 *         answered
 */
int mod_comet_select_keep(request_rec *r, mod_comet_ask_t *ask,
                          comet_selection_t *selection);

/**
 * Find the channels that a WebSocket's client may publish to.  They are those
 * of the URL's channels to whose own URLs the client may POST.
 * @param ask  ->writes, ->mute and ->author are set
 * @return DECLINED: go on; or what the handler returns: the request was
 *         answered
 */
int mod_comet_select_writes(request_rec *r, const mod_comet_request_t *request,
                            mod_comet_ask_t *ask);

#endif /* MOD_COMET_SELECT_H */
