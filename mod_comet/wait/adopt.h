/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file wait/adopt.h
 * Event streams that leave httpd.  Over plain HTTP/1.1, and if all filters are
 * httpd's own, a stream needs nothing but its socket once its headers are sent.
 * The hub keeps a duplicate of the socket and writes to it; httpd ends the
 * request and closes its own descriptor.  Under every MPM such a client costs a
 * few hundred bytes, and no connection or thread of the MPM.
 *
 * Over TLS (CometAdoptTLS) the hub also keeps mod_ssl's SSL object, and
 * encrypts for each stream.  mod_ssl releases the object when the connection's
 * pool is cleared, and needs the connection to do so.  So the stream joins the
 * hub in the last of that pool's clean-ups, when nobody else has the object any
 * more.  Only a handshake would call mod_ssl, and the object makes no further
 * handshake.
 *
 * In all other respects the stream is like others.  The access log has one
 * line, written at the stream's real end (output/log.h).  Limits and gauges
 * count the stream.  It ends with its closing words after CometMaxLifetime, at
 * a stop and at a graceful reload.  A client that acknowledges nothing is
 * dropped within two heartbeats (base/pulse.h).
 */
#ifndef MOD_COMET_ADOPT_H
#define MOD_COMET_ADOPT_H

#include "output/tls.h"
#include "request/ask.h"

/** Whether the bytes of an answer reach the socket as they are, or encrypted by
 * an object that mod_comet may take over. */
int mod_comet_adopt_is_plain(const request_rec *r, const mod_comet_ask_t *ask);

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
 * @param before  from mod_comet_adopt_begin()
 * @return 1: adopted, the handler returns DONE; 0: the request is unchanged,
 *         because bytes are still to be sent, the client has sent something,
 *         a filter of another module is still in the way, or memory or
 *         descriptors have run out
 */
int mod_comet_adopt(request_rec *r, const mod_comet_ask_t *ask,
                    apr_int64_t before);

/** mod_ssl's optional hook pre_handshake: note the connection's SSL object. */
int mod_comet_adopt_pre_handshake(conn_rec *c, mod_comet_tls_t *tls,
                                  int is_proxy);

/** pre_connection hook, before mod_ssl's: register the clean-up that takes over
 * a stream over TLS.  It runs after mod_ssl's clean-up. */
int mod_comet_adopt_watch(conn_rec *c, void *socket);

#endif /* MOD_COMET_ADOPT_H */
