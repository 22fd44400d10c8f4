/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file wait/park.h
 * Park a request: its connection waits in the MPM, without a thread.
 *
 * Event MPM, HTTP/1.1: the connection is parked in the MPM
 * (CONN_STATE_ASYNC_WAITIO; before httpd 2.4.63 CONN_STATE_WRITE_COMPLETION).
 * The MPM owns it and watches for input and for its Timeout; the hub borrows
 * it, pinned, to write.  If both want it, the first to get the hub's lock takes
 * it, and the other one waits.
 *
 *   handler ------ PREPARED ---suspend hook---> JOINED --resume hook--+
 *                     ^                                               |
 *                     |  nothing to do: wait again                    v
 *                     +--------------------------------------- RESUMED (or
 *                                                        EMPTY when answered)
 *
 * The hooks that the MPM calls are in wait/park_hooks.h.
 */
#ifndef MOD_COMET_PARK_H
#define MOD_COMET_PARK_H

#include "request/ask.h"
#include "store/store.h"

/**
 * Send a large answer as fast as the client takes it, without holding a thread.
 * @param body  a whole answer with status 200; taken over, unless declined.
 *              The call sets the headers
 * @return what the handler returns, or DECLINED when this connection cannot
 *         be parked
 */
int mod_comet_park_body(request_rec *r, const mod_comet_ask_t *ask,
                        comet_buffer_t *body);

/**
 * Send the answer of a poll that need not wait, and let its connection rest in
 * the MPM like one that has waited.  Without this, when threads are scarce, the
 * MPM would close the connection between two requests of a client that catches
 * up.
 * @param body  at most MOD_COMET_PIECE_BYTES long; empty afterwards, unless
 *              declined
 * @return SUSPENDED, or DECLINED: the caller sends the answer itself
 */
int mod_comet_park_answer(request_rec *r, const mod_comet_ask_t *ask,
                          comet_buffer_t *body);

/** Until when the hub may publish what comes in requests like this POST
 * (CometFastPublish).  Called before its body is read.
 * @return as mod_comet_fast_may_publish() */
apr_time_t mod_comet_park_may_publish(const request_rec *r);

/** The message of such a POST is stored, and its answer is about to be made: let
 * the hub learn what the request and the answer look like.
 * @param fields  of the message
 * @param until  from mod_comet_park_may_publish() */
void mod_comet_park_learn_publish(request_rec *r,
                                  const comet_message_fields_t *fields,
                                  apr_time_t until);

/**
 * If the hub has submitted the message of this request already, wait for the
 * outcome.
 * @param group  the message; its timestamp is set on success
 * @param status  OUT: as from comet_writer_publish()
 * @return 0: it has not, so the message must be published
 */
int mod_comet_park_finish_publish(const request_rec *r,
                                  const comet_store_group_t *group,
                                  apr_status_t *status);

/** Whether a connection can be parked at all: the MPM can park, and the
 * connection is not that of an HTTP/2 stream.  Called by the connection's
 * owner. */
int mod_comet_park_can_hold(const conn_rec *c);

/**
 * Whether a request can be parked.  Its connection must be one that can be
 * parked.  The request must be httpd's outermost one, since a sub-request, or
 * the request of an internal redirect, is ended by the code that made it.
 */
int mod_comet_park_can_suspend(const request_rec *r);

/**
 * Park a request that has a place.  A stream's headers and opening are sent at
 * once.  A stream that the hub can adopt is given to the hub.
 * @param adopting  from mod_comet_adopt_begin()
 * @return SUSPENDED; DONE: the hub has adopted it; OK: its client is lost
 */
int mod_comet_park_begin(request_rec *r, mod_comet_ask_t *ask,
                         apr_int64_t adopting);

/**
 * Park a stream after the filters have taken its headers and its opening.
 * @return whether it is parked; then the handler returns SUSPENDED
 */
int mod_comet_park_opened(request_rec *r, mod_comet_ask_t *ask);

#endif /* MOD_COMET_PARK_H */
