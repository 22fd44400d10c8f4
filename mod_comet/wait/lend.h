/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file wait/lend.h
 * Lend a parked connection's socket to the hub.  Meanwhile an eventfd has the
 * socket's number, and the MPM polls the eventfd.  So the hub can wake the MPM
 * at any moment without the client noticing.
 */
#ifndef MOD_COMET_LEND_H
#define MOD_COMET_LEND_H

#include "wait/wait_priv.h"

/**
 * Put an eventfd in a socket's place.  Called by the thread that owns the
 * connection.
 * @param fd  the connection's descriptor
 * @return the socket's new descriptor; -1: too few descriptors are left
 */
int mod_comet_lend(mod_comet_waiting_t *waiting, int fd);

/** Wake the MPM, which gives the connection to a worker.  Called by the hub's
 * thread.
 * @param fd  the connection's descriptor */
void mod_comet_lend_wake(int fd);

/**
 * Give the socket its number back.  Called by the thread that owns the
 * connection.
 * @param real  from mod_comet_lend(); this call closes it
 * @return whether this succeeded; if not, the connection has no socket
 */
int mod_comet_lend_end(mod_comet_waiting_t *waiting, int fd, int real);

#endif /* MOD_COMET_LEND_H */
