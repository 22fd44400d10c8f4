/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file wait/park.h
 * Parking a request: its connection waits in the MPM, without a thread.
 *
 * Event MPM, HTTP/1.1, httpd >= 2.4.63: the connection is parked in the MPM
 * (CONN_STATE_ASYNC_WAITIO).  The MPM owns it and watches for input and for its
 * Timeout; the hub borrows it, pinned, to write.  Whoever of the two comes first
 * wins under the hub's lock; the other one waits.
 *
 *   handler ------ PREPARED ---suspend hook---> JOINED --resume hook--+
 *                     ^                                               |
 *                     |  nothing for us: wait on                      v
 *                     +--------------------------------------- RESUMED (or
 *                                                        EMPTY when answered)
 *
 * park_hooks.h is what the MPM calls.
 */
#ifndef MOD_COMET_PARK_H
#define MOD_COMET_PARK_H

#include "request/ask.h"

/**
 * Let a large answer be sent as the client takes it, without a thread.
 * @param body  a whole answer with status 200, taken over; its headers are
 *              set here
 * @return what the handler returns, or DECLINED when this connection cannot
 *         be parked (the body is the caller's still)
 */
int mod_comet_park_body(request_rec *r, const mod_comet_ask_t *ask,
                        comet_buffer_t *body);

/**
 * Send a poll's answer that is there at once, and let the connection rest in
 * the MPM as that of a poll that has waited: where a client falls behind, the
 * MPM would close it between two requests for want of a thread.
 * @param body  of one piece at most; empty afterwards, unless declined
 * @return SUSPENDED, or DECLINED: send it otherwise
 */
int mod_comet_park_answer(request_rec *r, const mod_comet_ask_t *ask,
                          comet_buffer_t *body);

/** Whether a connection can be parked at all: the MPM can, and it is not an
 * HTTP/2 stream's.  The connection's owner. */
int mod_comet_park_can_hold(const conn_rec *c);

/**
 * Whether a request can be parked: besides, it is httpd's outermost one, and
 * no filter may keep what it is given, or sleep.
 */
int mod_comet_park_can_suspend(const request_rec *r);

/**
 * Park a request that has a place; its headers and what a stream opens with
 * are sent at once.  A stream that the hub can adopt is given away to it.
 * @param adopting  of mod_comet_adopt_begin()
 * @return SUSPENDED; DONE: it is adopted; OK: its client is lost
 */
int mod_comet_park_begin(request_rec *r, mod_comet_ask_t *ask,
                         apr_int64_t adopting);

#endif /* MOD_COMET_PARK_H */
