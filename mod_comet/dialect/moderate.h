/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file dialect/moderate.h
 * Carry out what moderators ask for (CometModerate): delete a message, or throw
 * a member out.
 */
#ifndef MOD_COMET_MODERATE_H
#define MOD_COMET_MODERATE_H

#include "request/ask.h"
#include "store/store.h"

/**
 * Answer a moderator's POST.  At a channel's URL the parameter "delete" has the
 * timestamp of a message; at the URL of its sibling /@online the parameter
 * "remove" has the name of a member.
 * @param ask  names the channel of the URL
 * @return what the handler returns
 */
int mod_comet_moderate(request_rec *r, const mod_comet_request_t *request,
                       const mod_comet_ask_t *ask);

/**
 * Commit a moderator's change.  Answer 204, or say why the change was not made.
 * The request's thread calls this, and waits for at most CometPublishTimeout.
 * @param group  holds the change, and no messages
 * @param missing  the text of the 404, if there is nothing to change
 * @return what the handler returns
 */
int mod_comet_moderate_change(request_rec *r, const comet_store_group_t *group,
                              const char *missing);

#endif /* MOD_COMET_MODERATE_H */
