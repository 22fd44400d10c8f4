/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file wait/parked_stream.h
 * Encode the bytes for a parked stream's client.  Called by the hub's thread
 * while the stream is pinned, otherwise by the thread that owns the connection.
 */
#ifndef MOD_COMET_PARKED_STREAM_H
#define MOD_COMET_PARKED_STREAM_H

#include "wait/parked.h"

/** Take the answers for the client of a WebSocket, which are sent before any
 * message.  A Close frame among them ends the stream.
 * @param bytes  appended to
 * @return whether nothing may follow the answers */
int mod_comet_parked_stream_answers(mod_comet_parked_t *park,
                                    comet_buffer_t *bytes);

/** Give a WebSocket back to the hub if there are answers for its client, or if
 * the WebSocket can end now. */
void mod_comet_parked_stream_go_on_talking(mod_comet_parked_t *park);

/**
 * Encode what comes next: answers, messages, a heartbeat, the end.
 * @param batch  the messages; none: there is no news
 * @param reasons  why the stream is served
 * @param bytes  appended to; stays empty if there is nothing to send
 * @return 0: the stream cannot go on, because a part of a long message was sent
 *         and the rest of the message cannot be
 */
int mod_comet_parked_stream_encode(mod_comet_parked_t *park,
                                   const comet_batch_t *batch, unsigned reasons,
                                   comet_buffer_t *bytes);

#endif /* MOD_COMET_PARKED_STREAM_H */
