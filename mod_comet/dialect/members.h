/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file dialect/members.h
 * GET …/CHANNEL/@online?members: who is in a channel now.
 */
#ifndef MOD_COMET_MEMBERS_H
#define MOD_COMET_MEMBERS_H

#include "request/ask.h"

/**
 * Answer with the members of a channel, how many they are, and the timestamp
 * from which the channel's stream tells how they change, all from one view of
 * the store.
 * @param ask  ->channel is the sibling channel /@online
 * @return what the handler returns
 */
int mod_comet_members_answer(request_rec *r, const mod_comet_request_t *request,
                             mod_comet_ask_t *ask);

/**
 * The channel whose sibling /@online is named.
 * @param channel  OUT: a part of the sibling's name
 * @return 0: it is no such sibling.  Any thread.
 */
int mod_comet_members_channel(comet_text_t sibling, comet_text_t *channel);

#endif /* MOD_COMET_MEMBERS_H */
