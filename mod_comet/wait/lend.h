/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file wait/lend.h
 * Lending a parked connection's socket to the hub.  The MPM polls an eventfd
 * under the socket's number meanwhile, so the hub can wake it at any moment
 * without a word to the client.
 */
#ifndef MOD_COMET_LEND_H
#define MOD_COMET_LEND_H

#include "wait/wait_priv.h"

/**
 * Put an eventfd in a socket's place.  The thread that owns the connection.
 * @param fd  the connection's number
 * @return the socket's other number; -1: too few descriptors are left
 */
int mod_comet_lend(mod_comet_waiting_t *waiting, int fd);

/** Wake the MPM, which gives the connection to a worker.  The hub's thread.
 * @param fd  the connection's number */
void mod_comet_lend_wake(int fd);

/**
 * Put the socket back.  The thread that owns the connection.
 * @param real  of mod_comet_lend(); closed
 * @return whether it is back; if not, the connection has none
 */
int mod_comet_lend_end(mod_comet_waiting_t *waiting, int fd, int real);

#endif /* MOD_COMET_LEND_H */
