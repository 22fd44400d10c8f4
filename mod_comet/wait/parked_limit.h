/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file wait/parked_limit.h
 * Until when a parked client must have taken its bytes.
 *
 * While the child works, the limit is the MPM's Timeout for a poll, and the pulse
 * for a stream.  When the child ends, a stream's client has a short time, since it
 * comes back for the rest.  A poll's client cannot get the rest of its answer
 * elsewhere.  So at a graceful stop it has as long as it needs, like somebody who
 * downloads a file; but if it is stuck, it shall not hold the old child.  All
 * functions are called by the owner of the connection, or by the hub's thread while
 * the connection is pinned.
 */
#ifndef MOD_COMET_PARKED_LIMIT_H
#define MOD_COMET_PARKED_LIMIT_H

#include "wait/parked.h"

/** Limit the time of a client whose stream ends with its child, whose WebSocket
 * ends, or whose child must end at once.  A client that takes a few bytes now and
 * then does not extend it.
 * @return when the limit ends, by comet_monotonic() */
apr_time_t mod_comet_parked_limit_close(mod_comet_parked_t *park);

/** Whether such a limit is over. */
int mod_comet_parked_limit_is_over(const mod_comet_parked_t *park);

/** Whether the client of a poll may take the rest of its answer although the child
 * stops. */
int mod_comet_parked_limit_may_finish(const mod_comet_parked_t *park);

/** Give such a client more time, if it has acknowledged anything lately.
 * @return 0: the client is stuck */
int mod_comet_parked_limit_finish(mod_comet_parked_t *park);

/** Whether the MPM must not be made to close the connection of an answered client
 * yet, because the client has not acknowledged all of its answer.  Ending the
 * input wakes the MPM, but keeps it from a lingering close.  If the client then
 * sends something, the kernel resets the connection, and neither sends the rest
 * nor repeats what was lost on the way.  Without TLS the first call ends the
 * output, so that the client learns at once that nothing follows.
 * @return 0: the connection may be closed: the client has everything, or has
 *         acknowledged nothing for MOD_COMET_CLOSING_LIMIT; else the client is
 *         served again soon */
int mod_comet_parked_limit_linger(mod_comet_parked_t *park);

/** How long to wait before it is checked again whether a client has acknowledged
 * everything.
 * @param last  the wait before; 0: none */
apr_interval_time_t mod_comet_parked_limit_step(apr_interval_time_t last);

/** Set until when a client that has not taken all of its answer is served next.
 * @param reasons  why it is served now
 * @return 0: the client has exceeded its limit */
int mod_comet_parked_limit_keep(mod_comet_parked_t *park, unsigned reasons);

#endif /* MOD_COMET_PARKED_LIMIT_H */
