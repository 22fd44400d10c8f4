/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file wait/adopt.h
 * Event streams that leave httpd.  Over plain HTTP/1.1, and if all filters are
 * httpd's own, a stream needs nothing but its socket once its headers are sent.
 * The hub keeps a duplicate of the socket and writes to it; httpd ends the
 * request and closes its own descriptor.  Under every MPM such a client costs a
 * few hundred bytes, and no connection or thread of the MPM.
 *
 * What stays the same: the access log has one line, written at the stream's
 * real end (output/log.h); limits and gauges count the stream; it ends with its
 * closing words after CometMaxLifetime, at a stop and at a graceful reload; a
 * client that acknowledges nothing is dropped within two heartbeats
 * (base/pulse.h).
 */
#ifndef MOD_COMET_ADOPT_H
#define MOD_COMET_ADOPT_H

#include "request/ask.h"

/** Whether a request's stream could be adopted if its output filters allowed
 * it.  Called by the request's thread. */
int mod_comet_adopt_may(request_rec *r, const mod_comet_ask_t *ask);

/**
 * Whether a request's stream can be adopted once it is open.  Called before
 * its headers are sent.
 * @return how many bytes its connection has sent so far, for
 *         mod_comet_adopt(); -1: it cannot be adopted
 */
apr_int64_t mod_comet_adopt_begin(request_rec *r, const mod_comet_ask_t *ask);

/**
 * Adopt a stream.  The socket has already taken its headers and its opening.
 * @param before  of mod_comet_adopt_begin()
 * @return 1: adopted, the handler returns DONE; 0: the request is unchanged,
 *         because bytes are still to be sent, the client has sent something,
 *         a filter of another module is still in the way, or memory or
 *         descriptors have run out
 */
int mod_comet_adopt(request_rec *r, const mod_comet_ask_t *ask,
                    apr_int64_t before);

#endif /* MOD_COMET_ADOPT_H */
