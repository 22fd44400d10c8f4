/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file dialect/members.h
 * GET …/CHANNEL/@online?members: list who is in a channel now.
 */
#ifndef MOD_COMET_MEMBERS_H
#define MOD_COMET_MEMBERS_H

#include "request/ask.h"

/**
 * Answer with the members of a channel, their number, and the store's newest
 * timestamp, all from one view of the store.  The stream of the sibling channel
 * says how the members change after that timestamp.
 * @param ask  ->channel is the sibling channel /@online
 * @return what the handler returns
 */
int mod_comet_members_answer(request_rec *r, const mod_comet_request_t *request,
                             mod_comet_ask_t *ask);

/**
 * Find the channel to which a sibling channel /@online belongs.
 * @param channel  OUT: a part of the sibling's name
 * @return 0: @a sibling is not the name of such a channel.  Any thread.
 */
int mod_comet_members_channel(comet_text_t sibling, comet_text_t *channel);

#endif /* MOD_COMET_MEMBERS_H */
