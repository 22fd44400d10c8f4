/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file wait/park_talk.h
 * A parked WebSocket whose client has said something.
 */
#ifndef MOD_COMET_PARK_TALK_H
#define MOD_COMET_PARK_TALK_H

#include "wait/parked.h"

/**
 * Read what the client has said, and send the answers that are ready.  If the
 * client says more than there is room for, the call waits for the speaker,
 * because the MPM cannot ignore the client's input.  Called by the thread to
 * which the MPM has given the connection.
 * @return whether the WebSocket goes on; if not, the caller must end the
 *         request
 */
int mod_comet_park_talk_go_on(mod_comet_parked_t *park);

#endif /* MOD_COMET_PARK_TALK_H */
