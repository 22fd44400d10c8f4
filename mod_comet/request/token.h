/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file request/token.h
 * The token that a request bears: in the header Authorization, in the cookie
 * that CometTokenCookie names, or in the parameter that CometTokenParameter
 * names.  The token is verified once per request, when it is first needed.
 */
#ifndef MOD_COMET_TOKEN_H
#define MOD_COMET_TOKEN_H

#include "token/token.h"
#include "request/request.h"

typedef enum mod_comet_token_state_e {
    MOD_COMET_TOKEN_ABSENT,
    MOD_COMET_TOKEN_MALFORMED, /* the request has more than one token: 400 */
    MOD_COMET_TOKEN_INVALID, /* 401 */
    MOD_COMET_TOKEN_VALID
} mod_comet_token_state_e;

/** A request's token, in the pool of the request. */
typedef struct mod_comet_token_t {
    mod_comet_token_state_e state;
    const char *wrong; /* why the token is not valid; NULL if it is valid */
    comet_token_t claims; /* set only if the token is valid */
    apr_time_t until; /* when the token ends, by comet_monotonic(); 0: never */

    /* what the token was checked against */
    const apr_array_header_t *keys;
    unsigned use;
} mod_comet_token_t;

/**
 * Find the token of a request to mod_comet, and verify it with the keys of its
 * location.  A sub-request bears the token of its main request.  Called by the
 * request's thread.
 * @return never NULL
 */
const mod_comet_token_t *mod_comet_token_find(request_rec *r);

/**
 * check_user_id hook: if keys apply, a valid token names the user (claim
 * `sub`), and an invalid one is answered with a challenge (RFC 6750).
 * @return OK; 401 or 400; DECLINED: no keys apply, or there is no token and the
 *         location has an AuthType that may name the user instead
 */
int mod_comet_token_authenticate(request_rec *r);

/**
 * Set the challenge of RFC 6750 for a request that a dialect refuses.
 * @param error     an error code of section 3.1 of that RFC; NULL: there was no
 *                  token
 * @param wrong     what is wrong with the token
 * @param metadata  the URL of the resource's metadata (RFC 9728, section 5.1);
 *                  NULL: the resource has none.  The request's thread.
 */
void mod_comet_token_challenge(request_rec *r, const char *error,
                               const char *wrong, const char *metadata);

/** Refuse a request whose token is valid but does not grant what the request
 * wants: set the challenge of RFC 6750, and log the refusal. */
void mod_comet_token_tell_insufficient(request_rec *r);

/** Take back what mod_comet_token_tell_insufficient() has set, because another
 * `Require` has granted the request. */
void mod_comet_token_untell(request_rec *r);

/** post_perdir_config hook: hide a token in the query (CometTokenParameter)
 * from the logs and from mod_status. */
int mod_comet_token_hide(request_rec *r);

#endif /* MOD_COMET_TOKEN_H */
