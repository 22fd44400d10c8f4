/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file wait/verdicts.h
 * Keep the verdicts on which channels a client may read.  When a channel
 * appears under a client's wildcard, the client comes back to be authorised for
 * it.  Its other channels are not judged again: had the new channel not
 * appeared, the client would still be reading them.  So a verdict lasts no
 * longer than that wait would have lasted, and is kept for at most 30 s until
 * the client is back.
 */
#ifndef MOD_COMET_VERDICTS_H
#define MOD_COMET_VERDICTS_H

#include "request/ask.h"
#include "server/child.h"

/** Make the table of verdicts; NULL: no random keys, so nothing is kept. */
mod_comet_verdicts_t *mod_comet_verdicts_create(apr_pool_t *pool);

/** Free all verdicts.  Called when the child's threads have ended. */
void mod_comet_verdicts_clear(mod_comet_verdicts_t *verdicts);

/** Forget all verdicts, since some permissions may have been withdrawn.  Any
 * thread. */
void mod_comet_verdicts_forget(mod_comet_verdicts_t *verdicts);

/**
 * Set ask->judged.identity to a hash of everything that may affect how a
 * request is judged: its server, URL, parameters, headers, addresses, user and
 * certificate, without the cursor.  Called by the request's thread, after its
 * authentication.
 */
void mod_comet_verdicts_identify(request_rec *r, mod_comet_ask_t *ask);

/**
 * Keep the verdicts of a client that must come back.  Any thread.
 * @param identity  from mod_comet_verdicts_identify(); zeros: nothing is kept
 * @param selection  the channels it may read; the call takes a reference
 * @param authenticated  as in mod_comet_ask_t
 * @param ends_at  when its wait would have ended; 0: never
 */
void mod_comet_verdicts_keep(mod_comet_verdicts_t *verdicts,
                             const apr_uint64_t identity[2],
                             comet_selection_t *selection, int authenticated,
                             apr_time_t ends_at);

/**
 * Find the verdicts of a client that has come back.  It may wait no longer than
 * its earlier wait would have lasted.
 * @param ask  ->until and ->authenticated are changed
 * @return a reference, which the caller releases; NULL: there are none
 */
comet_selection_t *mod_comet_verdicts_find(mod_comet_verdicts_t *verdicts,
                                           mod_comet_ask_t *ask);

#endif /* MOD_COMET_VERDICTS_H */
