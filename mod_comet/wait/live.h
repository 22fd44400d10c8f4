/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file wait/live.h
 * Change the channels of an open WebSocket, when its client asks for it.
 *
 * A stream has one cursor for all its channels.  If a channel is added with a
 * cursor `since` that differs from the stream's cursor, one of the two is
 * behind.  The hub first lets the stream read only the channels that are
 * behind, up to the other cursor (subscriber->until).  Then the client gets the
 * answer, with the cursor at which the two have met, and all channels continue
 * as one selection.  So no message is lost, none comes twice, and after the
 * answer all are in order.
 *
 * Several changes are made one after the other.  The thread that owns the
 * request judges a change as soon as it is heard.  The thread that owns the
 * subscriber makes the change: it is the same thread, or the hub's.
 */
#ifndef MOD_COMET_LIVE_H
#define MOD_COMET_LIVE_H

#include "hub/subscriber.h"
#include "request/ask.h"

/** The channels of a WebSocket that may change; in the request's pool. */
typedef struct mod_comet_live_t mod_comet_live_t;

/**
 * Let a WebSocket change its channels: set ask->live.  Called by the request's
 * thread.
 * @param ask  ->talk, ->selection and ->asked are set; the pointer is kept
 * @return 0: no memory is left
 */
int mod_comet_live_begin(request_rec *r, mod_comet_ask_t *ask);

/** The selection that a subscriber reads now; ask->selection if its channels
 * cannot change.  Called by the subscriber's owner. */
comet_selection_t *mod_comet_live_selection(const mod_comet_ask_t *ask);

/** Prepare a subscriber to join the hub again, in the middle of a change or
 * between changes.  Called by the subscriber's owner. */
void mod_comet_live_prepare(const mod_comet_ask_t *ask,
                            comet_subscriber_t *subscriber);

/**
 * Judge what the client has said, and begin the first change.  Called by the
 * thread that owns the request, while the subscriber has not joined.
 * @param begins  whether changes may begin; 0 in the middle of a message
 * @param ends_at  when the WebSocket ends (mod_comet_ask_end()); a change may
 *                 make this earlier
 */
void mod_comet_live_listen(const mod_comet_ask_t *ask,
                           comet_subscriber_t *subscriber, int begins,
                           apr_time_t *ends_at);

/**
 * Go on after the subscriber was served: if it has caught up, answer the client
 * and begin the next change.  Called by the subscriber's owner, when the
 * messages of the delivery are written.
 * @param reasons  of the delivery
 * @return whether the subscriber reads another selection now
 */
int mod_comet_live_go_on(const mod_comet_ask_t *ask,
                         comet_subscriber_t *subscriber, unsigned reasons);

/** Do the same as mod_comet_live_go_on(), but within the subscriber's serve().
 * The hub moves the subscriber to the selection that it reads now. */
void mod_comet_live_serve(const mod_comet_ask_t *ask,
                          comet_subscriber_t *subscriber, unsigned reasons);

#endif /* MOD_COMET_LIVE_H */
