/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file output/cookies.h
 * Keep other modules from setting a cookie or saving a session in an answer
 * that is sent after a wait: their data dates from before the wait.
 */
#ifndef MOD_COMET_COOKIES_H
#define MOD_COMET_COOKIES_H

#include "request/ask.h"

/**
 * Prepare the answer to a request that may wait, before any of the answer is
 * written.
 *
 * mod_session saves the session (a cookie, a row of mod_session_dbd) when the
 * headers are sent.  Its filter is removed.  The session that it loaded before
 * the wait would undo a logout, and a page that polls would renew its session
 * for ever.  If the headers are sent only after the wait (->transport->whole),
 * the answer also loses every Set-Cookie, whichever module has set it.  All
 * other headers of other modules stay.
 *
 * Called by the thread that owns the request.
 * @param ask  ->transport is already set
 */
void mod_comet_cookies_withhold(request_rec *r, const mod_comet_ask_t *ask);

/**
 * Do the same for an answer that is about to be written, if its request began
 * long ago: the body came slowly, or the store was locked.
 *
 * Called by the thread that owns the request.
 */
void mod_comet_cookies_withhold_late(request_rec *r);

/**
 * Leave the session unsaved that mod_session has loaded: remove its filter.
 *
 * Called by the thread that owns the request.
 */
void mod_comet_cookies_leave_session(request_rec *r);

/** The output filter that drops cookies.  It runs after all filters that set
 * cookies. */
apr_status_t mod_comet_cookies_filter(ap_filter_t *filter,
                                      apr_bucket_brigade *brigade);

#endif /* MOD_COMET_COOKIES_H */
