/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file dialect/judge.h
 * Decide whether a request may use a channel that its URL does not name.  It
 * may if the same client may use the channel's own URL.
 */
#ifndef MOD_COMET_JUDGE_H
#define MOD_COMET_JUDGE_H

#include "request/ask.h"
#include "request/dialect.h"

/**
 * Decide whether a client may use a channel, by a sub-request to the channel's
 * own URL below its endpoint.
 * @param channel  without the endpoint's prefix; "room/" stands for all
 *                 channels below it
 * @param ask  the reader's ask; its ->authenticated and ->lifetime become those
 *             of the strictest channel; NULL: the client publishes
 * @param is_named  whether the client names the channel, and so is present in
 *                  it (CometPresence); 0: a wildcard stands for it
 * @param objection  OUT: why only the channel's own URL can be used; NULL: the
 *                   channel was not refused, or was refused for another reason
 * @return OK, or the HTTP status of the refusal (for a 401, WWW-Authenticate is
 *         set)
 */
int mod_comet_judge_channel(request_rec *r, const mod_comet_mapping_t *mapping,
                            comet_text_t channel, mod_comet_ask_t *ask,
                            int is_named, const char **objection);

/**
 * Find out whether the client of a WebSocket may also publish to a channel.  A
 * token that grants reading does not help here: httpd judges a POST to the
 * channel's own URL.
 * @param ask  its ->until becomes no later than the end of the permission to
 *             publish
 * @return OK; or HTTP_UNAUTHORIZED, HTTP_FORBIDDEN, or
 *         HTTP_SERVICE_UNAVAILABLE: the server cannot find out now
 */
int mod_comet_judge_writing(request_rec *r, const mod_comet_mapping_t *mapping,
                            comet_text_t channel, mod_comet_ask_t *ask);

/**
 * Find out whether a client may moderate a channel.  The client may moderate if
 * it may publish to the channel, and CometModerate is on for the channel's URL.
 * @param channel  as for mod_comet_judge_channel()
 * @return as mod_comet_judge_channel()
 */
int mod_comet_judge_moderating(request_rec *r,
                               const mod_comet_mapping_t *mapping,
                               comet_text_t channel);

#endif /* MOD_COMET_JUDGE_H */
