/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file wait/park_hooks.h
 * Waiting without a thread, and with one where there is no other way.
 *
 * Event MPM, HTTP/1.1, httpd >= 2.4.63: the connection is parked in the MPM
 * (CONN_STATE_ASYNC_WAITIO).  The MPM owns it and watches for input and for
 * its Timeout; the hub borrows it, pinned, to write.  Whoever of the two
 * comes first wins under the hub's lock; the other one waits.
 *
 *   handler ------ PREPARED ---suspend hook---> JOINED --resume hook--+
 *                     ^                                               |
 *                     |  nothing for us: wait on                      v
 *                     +--------------------------------------- RESUMED (or
 *                                                        EMPTY when answered)
 *
 * Everywhere else (prefork, worker, HTTP/2, older httpd) the request's own
 * thread waits on a condition, under a cap.
 */
#ifndef MOD_COMET_PARK_HOOKS_H
#define MOD_COMET_PARK_HOOKS_H

#include "request/ask.h"

/**
 * Let a request wait: for a message, for its time limit, for the client.
 * Its headers and what a stream opens with are sent at once.
 * @param ask  in the request's pool; what was found to be missing so far
 * @return what the handler returns: SUSPENDED, OK when it is over already,
 *         or an HTTP error (the headers are not sent then)
 */
int mod_comet_wait(request_rec *r, mod_comet_ask_t *ask);

/**
 * Let a large answer be sent as the client takes it, without a thread.
 * @param body  a whole answer with status 200, taken over; its headers are
 *              set here
 * @return what the handler returns, or DECLINED when this connection cannot
 *         be parked (the body is the caller's still)
 */
int mod_comet_park_body(request_rec *r, const mod_comet_ask_t *ask,
                        comet_buffer_t *body);

/** Hooks. */
int mod_comet_park_hooks_process_connection(conn_rec *c);
void mod_comet_park_hooks_suspend(conn_rec *c, request_rec *r);
void mod_comet_park_hooks_resume(conn_rec *c, request_rec *r);

/**
 * Send a poll's answer that is there at once, and let the connection rest in
 * the MPM as that of a poll that has waited: where a client falls behind, the
 * MPM would close it between two requests for want of a thread.
 * @param body  of one piece at most; empty afterwards, unless declined
 * @return SUSPENDED, or DECLINED: send it otherwise
 */
int mod_comet_park_answer(request_rec *r, const mod_comet_ask_t *ask,
                          comet_buffer_t *body);

/** Whether as many clients wait as CometMaxSubscribers allows; 0: it does not
 * say.  Any thread. */
int mod_comet_places_are_taken(apr_int64_t cap);

#endif /* MOD_COMET_PARK_HOOKS_H */
