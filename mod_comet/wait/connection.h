/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file wait/connection.h
 * What mod_comet keeps for each of httpd's connections, in the connection's
 * pool.
 */
#ifndef MOD_COMET_CONNECTION_H
#define MOD_COMET_CONNECTION_H

#include <stdatomic.h>

#include "server/mod_comet.h"

typedef struct mod_comet_connection_t {
    /** What waits on it, or has waited: wait/parked.h.  NULL: nothing ever
     * did.  [owner thread] */
    struct mod_comet_parked_t *park;
    /** How many of its HTTP/2 streams wait with a thread each.  [atomic] */
    atomic_int blocked_streams;
} mod_comet_connection_t;

/** The connection's own; NULL: it was made without pre_connection hooks.
 * Any thread while the connection exists. */
mod_comet_connection_t *mod_comet_connection(const conn_rec *c);

/** pre_connection hook: make it.
 * @return OK */
int mod_comet_connection_make(conn_rec *c, void *socket);

#endif /* MOD_COMET_CONNECTION_H */
