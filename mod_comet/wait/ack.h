/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file wait/ack.h
 * Keeping a parked client past the MPM's Timeout: with a socket option, the
 * peer's ACK of what is sent next wakes the MPM, whose hook parks it anew.  A
 * peer that is gone, or takes nothing, acknowledges nothing, and its time
 * runs out.
 */
#ifndef MOD_COMET_ACK_H
#define MOD_COMET_ACK_H

#include "server/mod_comet.h"

/** One parked connection's.  Owned by whoever owns the connection. */
typedef struct mod_comet_ack_t {
    apr_interval_time_t every; /* a part of the MPM's Timeout */
    apr_time_t due; /* when the next ACK is asked for, by comet_monotonic() */
    int armed; /* an ACK will wake the MPM, or has */
} mod_comet_ack_t;

/** Begin: the first is due with the first heartbeat, long before Timeout.
 * @param timeout  the MPM's */
void mod_comet_ack_begin(mod_comet_ack_t *ack, apr_interval_time_t timeout);

/**
 * Ask for the ACK of what is sent next, if one is due.
 * @param length  of what is sent next: much of it may take long, so it is due
 */
void mod_comet_ack_arm(mod_comet_ack_t *ack, int fd, apr_size_t length);

/** Take the ACKs that were reported. @return whether any was */
int mod_comet_ack_disarm(mod_comet_ack_t *ack, int fd);

#endif /* MOD_COMET_ACK_H */
