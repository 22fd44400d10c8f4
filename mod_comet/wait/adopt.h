/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file wait/adopt.h
 * Event streams that httpd no longer knows: over plain HTTP/1.1 with nothing
 * but httpd's own filters, all that a stream needs once its headers are out
 * is its socket.  The hub takes a duplicate of it and writes to that; httpd
 * ends the request and closes its own.  A waiting client is a few hundred
 * bytes then, in every MPM, and none of the MPM's connections or threads.
 *
 * What stays true: the access log has one line, at the stream's real end
 * (mod_comet_log); the limits and the gauges count it; CometMaxLifetime, a stop
 * and a graceful reload end it in words; a client that acknowledges nothing is
 * dropped within two heartbeats (comet_pulse).
 */
#ifndef MOD_COMET_ADOPT_H
#define MOD_COMET_ADOPT_H

#include "request/ask.h"

/**
 * Whether a request's stream can be adopted once it is open.  Called before
 * its headers are sent.
 * @return what its connection has sent so far, in bytes, for
 *         mod_comet_adopt(); -1: it cannot
 */
apr_int64_t mod_comet_adopt_begin(request_rec *r, const mod_comet_ask_t *ask);

/**
 * Adopt a stream whose headers and opening were taken by the client's socket.
 * @param before  of mod_comet_adopt_begin()
 * @return whether it was: the handler is to return DONE then.  If not (more is
 *         to be sent; the client speaks; no memory; no descriptor is left) the
 *         request is as it was
 */
int mod_comet_adopt(request_rec *r, const mod_comet_ask_t *ask,
                    apr_int64_t before);

#endif /* MOD_COMET_ADOPT_H */
