/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file output/answer.h
 * Answers sent as a whole, and the headers that all answers of mod_comet have.
 */
#ifndef MOD_COMET_ANSWER_H
#define MOD_COMET_ANSWER_H

#include "request/ask.h"

/** Set the headers that every answer has, for a request that mod_comet has
 * claimed.  Error answers of httpd (401, 403 …) then have these headers,
 * too. */
void mod_comet_answer_claim(request_rec *r);

/** Set the headers that mod_comet_answer_claim() sets, for an answer that
 * mod_comet makes itself. */
void mod_comet_answer_headers(request_rec *r);

/**
 * Answer with a whole body.
 * @param status  the HTTP status
 * @return what the handler returns
 */
int mod_comet_answer_body(request_rec *r, int status, const char *content_type,
                          const comet_buffer_t *body);

/**
 * Count the client of a long answer as waiting while the answer is sent,
 * because the client may read slowly.
 * @param body  freed if the client may not have the answer
 * @return DECLINED: send the answer; otherwise an error was sent in its place
 */
int mod_comet_answer_count(request_rec *r, comet_buffer_t *body);

/** Whether a thread may send these messages to a client that is turned away.  If
 * so, mod_comet_answer_later() must be called next. */
int mod_comet_answer_may_send(const comet_buffer_t *body);

/**
 * Answer a reader with a whole body.  A long one may hold its thread until the
 * client has read it.  So only some of the threads send long answers; if they
 * are taken, the client gets 503.
 * @return what the handler returns
 */
int mod_comet_answer_reader(request_rec *r, const char *content_type,
                            const comet_buffer_t *body);

/**
 * Answer {"error": "…"}, or the text alone where the dialect's errors are plain.
 * The text names the parameter that is wrong, and the allowed values.  503 and
 * 429 carry Retry-After: 1, unless it was set before.  A client that would give up after such a status is answered by
 * mod_comet_answer_later() instead (see `softly` in request/request.h).
 * @return what the handler returns
 */
int mod_comet_answer_error(request_rec *r, int status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/** Whether a status asks the client to come back later.  Any thread. */
int mod_comet_answer_is_for_now(int status);

/**
 * Make the end of a soft landing, for a caller that sends the bytes itself.  Set
 * the headers, unless they have been sent.  Called by the request's thread.
 * @param transport, reason, body  as for mod_comet_answer_later(); OUT body: what
 *        the caller sends and frees
 * @return 0: there is no memory, and @a body is freed
 */
int mod_comet_answer_land(request_rec *r, const comet_transport_t *transport,
                          const char *reason, comet_buffer_t *body);

/**
 * The soft landing: end a stream in the normal way, and tell its client when to
 * come back.  After an HTTP error the client would give up for good.  Called by
 * the request's thread.
 * @param transport  has a close()
 * @param reason  why the client cannot be served now
 * @param body  what is sent first: the opening of the stream and messages, or
 *              nothing; this function frees it
 * @return what the handler returns
 */
int mod_comet_answer_later(request_rec *r, const comet_transport_t *transport,
                           const char *reason, comet_buffer_t *body);

/** Answer 405.
 * @param allow  the allowed methods, as the Allow header lists them */
int mod_comet_answer_not_allowed(request_rec *r, const char *allow);

/** Answer an OPTIONS request; @a allow as for
 * mod_comet_answer_not_allowed(). */
int mod_comet_answer_options(request_rec *r, const char *allow);

/** Check a request's conditions (If-Match, If-None-Match) against the ETag that
 * was set.  Conditions by date do not count, since answers of mod_comet have no
 * modification date.
 * @return OK: answer; otherwise what the handler returns */
int mod_comet_answer_conditions(request_rec *r);

/**
 * Whether all header fields of an answer are mod_comet's own, except those that
 * httpd itself adds.
 * @param transport  for which mod_comet_answer_prepare() was called; NULL: an
 *                   answer for mod_comet_answer_body(), not yet made
 */
int mod_comet_answer_is_ours(request_rec *r,
                             const comet_transport_t *transport);

/** Set the headers of an answer that a transport encodes, or accept the
 * handshake of a WebSocket. */
void mod_comet_answer_prepare(request_rec *r,
                              const comet_transport_t *transport);

#endif /* MOD_COMET_ANSWER_H */
