/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file wait/incoming.h
 * Limit how many bytes a child keeps of incomplete WebSocket messages.  A short
 * message needs no permission.  A longer one reserves as many bytes as it may
 * have; while there is no room for them, nothing is read from its client.  If
 * others wait for room, a client that does not complete its message in time is
 * disconnected.
 */
#ifndef MOD_COMET_INCOMING_H
#define MOD_COMET_INCOMING_H

#include "wait/talk.h"

/** What all clients of a child have reserved. */
typedef struct mod_comet_incoming_t mod_comet_incoming_t;

/** Create the record.  Called when the child starts. */
mod_comet_incoming_t *mod_comet_incoming_create(apr_pool_t *pool);

/**
 * Reserve bytes for a client's message.  Called by the talk's owner.
 * @param bytes  how long the message may become, in all
 * @return 0: there is no room now
 */
int mod_comet_incoming_reserve(mod_comet_talk_t *talk, apr_size_t bytes);

/** Give back what a talk has reserved.  Called by the talk's owner, or when
 * nobody uses the talk any more. */
void mod_comet_incoming_release(mod_comet_talk_t *talk);

/** Whether a talk that waits for room must be closed, because it has waited for
 * too long or because too many talks wait.  Called by the talk's owner. */
int mod_comet_incoming_is_hopeless(const mod_comet_talk_t *talk);

/** Find a talk that has held its room for too long while others wait; the
 * caller closes it.
 * @return a reference, once for each talk; NULL: there is none.  Any thread. */
mod_comet_talk_t *mod_comet_incoming_find_late(void);

#endif /* MOD_COMET_INCOMING_H */
