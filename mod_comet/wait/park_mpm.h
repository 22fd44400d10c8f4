/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file wait/park_mpm.h
 * Hand a connection back to the event MPM: to wait, to send the rest of an
 * answer, or to close.  The thread that owns the connection calls these
 * functions.
 */
#ifndef MOD_COMET_PARK_MPM_H
#define MOD_COMET_PARK_MPM_H

#include "output/peek.h"
#include "wait/parked.h"

/** The state of a connection that waits in the MPM. */
conn_state_e mod_comet_park_mpm_state(void);

/** Undo what mod_comet_park_mpm_wait() or _await_input() has set before httpd
 * 2.4.63. */
void mod_comet_park_mpm_unclog(conn_rec *c);

/** Let the MPM wait for input, with Timeout. */
void mod_comet_park_mpm_await_input(conn_rec *c);

/** Park a connection in the MPM, which waits for input or, while an answer is
 * being sent, for the socket to become writable; each event restarts Timeout. */
void mod_comet_park_mpm_wait(mod_comet_parked_t *park);

/** Let the MPM send what the filters hold.  Only then does it read the client's
 * next request, wait for it, or close.
 * @param found  what the client has sent */
void mod_comet_park_mpm_hand_on(conn_rec *c, mod_comet_peek_e found);

/** Decide what happens next, after all of the answer was given to the filters.
 * @return whether it is left to the MPM to send the rest, or to close */
int mod_comet_park_mpm_is_left(const mod_comet_parked_t *park);

/** Whether mod_http2 has given a connection back to the MPM, to wait for its
 * client.
 * @param rv  what process_connection returned */
int mod_comet_park_mpm_may_wait(const conn_rec *c, int rv);

/** Whether the MPM can wait for the socket to become writable.  Before httpd
 * 2.4.63 it closes each connection afterwards that is not kept alive. */
int mod_comet_park_mpm_can_await_output(const conn_rec *c);

/** Let the MPM close a connection, without lingering if output is left. */
void mod_comet_park_mpm_close(conn_rec *c);

#endif /* MOD_COMET_PARK_MPM_H */
