/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file wait/connection.h
 * What mod_comet keeps for each of httpd's connections, in the connection's
 * pool.
 */
#ifndef MOD_COMET_CONNECTION_H
#define MOD_COMET_CONNECTION_H

#include <stdatomic.h>

#include "base/text.h"
#include "server/mod_comet.h"

typedef struct mod_comet_connection_t {
    /** The record of the request that waits on the connection, or waited last
     * (wait/parked.h).  NULL: none has ever waited.  [owner thread] */
    struct mod_comet_parked_t *park;
    /** The connection's HTTP/2 streams that wait without a thread (wait/h2.h).
     * NULL: the connection cannot have any.  [owner thread] */
    struct mod_comet_h2_t *h2;
    /** mod_ssl's SSL object.  NULL: there is no TLS.  [owner thread] */
    struct ssl_st *tls;
    /** The stream that the hub continues when the connection has ended
     * (wait/adopt.h).  NULL: none.  [owner thread] */
    struct mod_comet_move_t *move;
    /** What the client had sent when httpd began to read its first request; the
     * data is NULL at all other times, or if nobody has looked.  [owner
     * thread] */
    comet_text_t beginning;
    /** How many HTTP/2 streams of the connection hold a thread while they
     * wait.  [atomic] */
    atomic_int blocked_streams;
} mod_comet_connection_t;

/** The record of a connection; NULL: the connection was made without
 * pre_connection hooks.  Any thread while the connection exists. */
mod_comet_connection_t *mod_comet_connection(const conn_rec *c);

/** pre_connection hook: make the record.
 * @return OK */
int mod_comet_connection_make(conn_rec *c, void *socket);

/** Return a connection's spare memory to the system, since a request may wait
 * on it for days.  Called by the connection's owner. */
void mod_comet_connection_trim(const conn_rec *c);

#endif /* MOD_COMET_CONNECTION_H */
