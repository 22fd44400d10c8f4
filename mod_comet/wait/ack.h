/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file wait/ack.h
 * Keep a parked client beyond the MPM's Timeout.  A socket option makes the
 * peer's ACK of the next bytes wake the MPM, whose hook parks the connection
 * again.  A peer that has vanished or does not read acknowledges nothing, so
 * its Timeout runs out.
 */
#ifndef MOD_COMET_ACK_H
#define MOD_COMET_ACK_H

#include "server/mod_comet.h"

/** What is known about the ACKs of one parked connection.  Used only by the
 * connection's owner. */
typedef struct mod_comet_ack_t {
    apr_interval_time_t every; /* how often an ACK is asked for */
    apr_time_t due; /* when the next ACK is asked for, by comet_monotonic() */
    int armed; /* an ACK will wake the MPM or has woken it */
    /** The bytes that are sent now ask for their ACK.  Only one write does so.
     * If later writes asked, too, their bytes could join a packet that has not
     * left yet, and move its mark to its new end: then a client with a backlog
     * would never acknowledge the marked byte. */
    int asking;
} mod_comet_ack_t;

/** Begin to ask for ACKs: for the first one after a third of Timeout.
 * @param timeout  the MPM's Timeout */
void mod_comet_ack_begin(mod_comet_ack_t *ack, apr_interval_time_t timeout);

/**
 * Ask for the ACK of the bytes that are sent next, if one is due.  Called
 * before each write.
 * @param length  how many bytes are sent next; a large answer always asks,
 *                since sending it may take long
 */
void mod_comet_ack_arm(mod_comet_ack_t *ack, int fd, apr_size_t length);

/** Take the ACKs that were reported.
 * @return whether there was any */
int mod_comet_ack_disarm(mod_comet_ack_t *ack, int fd);

#endif /* MOD_COMET_ACK_H */
