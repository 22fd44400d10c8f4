/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file request/authenticate.h
 * Check a password only once in a request.  A channel that a parameter names is
 * judged by a sub-request to its URL.  If that URL needs the same
 * authentication as a model (the request itself or an earlier sub-request), the
 * sub-request takes over the model's user.  Checking a bcrypt password for each
 * of 900 channels would take a minute.  Each channel is still authorised
 * (Require) separately.
 *
 * A sub-request whose password was checked becomes a model for later ones.
 * While there is none, the request itself is the model.  A sub-request gets its
 * model's cached walks through the <Location> and <If> sections.  httpd
 * therefore gives both the same configuration objects if, and only if, the same
 * sections apply to both.
 *
 * The request's thread calls all functions.
 */
#ifndef MOD_COMET_AUTHENTICATE_H
#define MOD_COMET_AUTHENTICATE_H

#include "server/mod_comet.h"

/** auth_checker hook, before all others: note the authenticated user and the
 * configuration. httpd runs this hook only after a successful authentication.
 * @return DECLINED */
int mod_comet_authenticate_note(request_rec *r);

/**
 * check_user_id hook, before all others: let a sub-request take over its
 * model's user.  It does so only if the same sections apply to both, if their
 * credentials, AuthType and AuthName are equal, and if only httpd's own modules
 * decide who the user is (a script might depend on the URL).
 * @return OK: r->user is set; DECLINED: the sub-request is authenticated like
 *         any other request
 */
int mod_comet_authenticate_again(request_rec *r);

/**
 * Make a sub-request for a channel that a request to mod_comet names.
 * @param method  GET or POST
 * @param path  the channel's URL path
 * @param url  the same path, percent-encoded
 * @return the sub-request; pass it to mod_comet_authenticate_release()
 */
request_rec *mod_comet_authenticate_look_up(request_rec *r, const char *method,
                                            const char *path, const char *url);

/** Release a sub-request: destroy it, or keep it as a model. */
void mod_comet_authenticate_release(request_rec *sub);

/** Pool pre-cleanup: destroy a request's models.
 * @param r  the request_rec
 * @return APR_SUCCESS */
apr_status_t mod_comet_authenticate_forget(void *r);

#endif /* MOD_COMET_AUTHENTICATE_H */
