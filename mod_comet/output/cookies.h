/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file output/cookies.h
 * What other modules must not do with the answer to a client that waits: set
 * a cookie, or save a session, from what they knew before the wait.
 */
#ifndef MOD_COMET_COOKIES_H
#define MOD_COMET_COOKIES_H

#include "request/ask.h"

/**
 * Prepare the answer to a request that may wait, before any of it is written.
 *
 * mod_session saves the session (a cookie, a row of mod_session_dbd) when the
 * headers go out.  It is taken out of the answer: what it loaded before the
 * wait would undo a logout, and a page that polls would renew its session for
 * ever.  Where the headers go out only after the wait (->transport->whole),
 * the answer also loses every Set-Cookie, whichever module has made it.  All
 * other headers of other modules stay.
 *
 * By the thread that owns the request.
 * @param ask  its transport is known
 */
void mod_comet_cookies_withhold(request_rec *r, const mod_comet_ask_t *ask);

/** The output filter that drops cookies; it comes after all that set any. */
apr_status_t mod_comet_cookies_filter(ap_filter_t *filter,
                                      apr_bucket_brigade *brigade);

#endif /* MOD_COMET_COOKIES_H */
