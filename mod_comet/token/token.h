/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file token/token.h
 * A token that the site's application has signed: who its client is, which
 * channels the client may read and write, and until when.
 *
 * It is a JSON Web Token (RFC 7519) in the compact form of RFC 7515.  The
 * advice of RFC 8725 is followed: the key, never the token, determines the
 * algorithm; anything that could be read in two ways is refused.
 */
#ifndef COMET_TOKEN_H
#define COMET_TOKEN_H

#include <apr_tables.h>

#include "base/text.h"
#include "token/key.h"
#include "token/mercure.h"

/** The longest token. httpd's default for a header field is 8190 bytes. */
#define COMET_TOKEN_MAX_BYTES 8000

/** What a token says.  The struct lives in the pool of the request that brought
 * the token. */
typedef struct comet_token_t {
    const char *user; /* claim `sub`; NULL: the token names nobody */
    apr_time_t ends_at; /* claim `exp` plus the skew; 0: it never ends */
    /** Claim `comet`: patterns (const char *, see token/grant.h); NULL: none.
     * Patterns for a use that the token's key does not have are left out. */
    const apr_array_header_t *read;
    const apr_array_header_t *write;
    const char *info; /* claim `comet.info`, as JSON; NULL: none */
    comet_mercure_t mercure; /* the claims of the Mercure protocol if the judge
                              * has by_mercure; patterns for a use that the key
                              * does not have are left out */
} comet_token_t;

/** What a token is checked against. */
typedef struct comet_token_judge_t {
    const comet_key_t *keys;
    apr_size_t count;
    unsigned use; /* a bit of comet_key_use_e: what the token's client wants to
                   * do */
    apr_time_t now; /* the time by the system clock */
    apr_interval_time_t skew; /* how far the signer's clock may differ from this
                               * one */
    int by_mercure; /* read the claims of the Mercure protocol instead of the
                     * claim `comet` */
} comet_token_judge_t;

/**
 * Verify a token, and read its claims.
 * @param token  OUT: set on success
 * @param text  as the client sent it
 * @return NULL, or what is wrong with the token, in a text for the log and the
 *         client that contains nothing of the token.  Any thread.
 */
const char *comet_token_read(comet_token_t *token, comet_text_t text,
                             const comet_token_judge_t *judge,
                             apr_pool_t *pool);

#endif /* COMET_TOKEN_H */
