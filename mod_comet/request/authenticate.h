/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file request/authenticate.h
 * Check a password only once in a request.  A channel that a parameter names is
 * judged by a sub-request to its URL.  If that URL is authenticated exactly as
 * the request itself, the sub-request takes over the request's user: checking a
 * bcrypt password for each of 900 channels would take a minute.  Each channel
 * is still authorised (Require) by itself.
 */
#ifndef MOD_COMET_AUTHENTICATE_H
#define MOD_COMET_AUTHENTICATE_H

#include "server/mod_comet.h"

/** auth_checker hook, first: note how a request was authenticated.  Runs only
 * when that has succeeded.  @return DECLINED */
int mod_comet_authenticate_note(request_rec *r);

/**
 * check_user_id hook, first: let a sub-request take over the user of the
 * request that it was made for.  This is done only if the same sections apply
 * to both, if their credentials, AuthType and AuthName are equal, and if only
 * httpd's own modules decide who the user is (a script might look at the URL).
 * @return OK: r->user is set; DECLINED: the sub-request is authenticated as any
 *         other
 */
int mod_comet_authenticate_again(request_rec *r);

#endif /* MOD_COMET_AUTHENTICATE_H */
