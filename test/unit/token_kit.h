/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file token_kit.h
 * Keys, and tokens that are signed by OpenSSL alone.
 */
#ifndef TOKEN_KIT_H
#define TOKEN_KIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <openssl/evp.h>

#include "token/token.h"

#define TOKEN_SECRET "correct horse battery staple: 32+"
#define TOKEN_HEADER "{\"alg\":\"HS256\",\"typ\":\"JWT\"}"
#define TOKEN_NOW_SEC 1800000000 /* the time at which token_judge() judges */

/** The pool from which this kit takes its memory, and the functions that make
 * and destroy it before and after a group of tests. */
extern apr_pool_t *token_pool;
int token_setup(void **state);
int token_teardown(void **state);

/** Encode bytes in base64url. */
const char *token_encode(const void *bytes, size_t length);

/** Make a private key: RSA with this many bits, or EC on this curve. */
EVP_PKEY *token_make_rsa(unsigned bits);
EVP_PKEY *token_make_ec(const char *curve);

/** Write a file in the scratch folder with these permissions.  @return its
 * path */
const char *token_write(const char *name, const char *text, int mode);

/** Write a public key, or a private one, as PEM. @return its path */
const char *token_write_key(const char *name, EVP_PKEY *key, int is_private);

/** Sign a header and claims, both JSON, by HMAC with a secret and a digest
 * ("SHA256"). */
const char *token_sign(const char *secret, const char *digest,
                       const char *header, const char *claims);

/** Like token_sign(), but sign with a private key. */
const char *token_sign_by(EVP_PKEY *key, const char *digest, const char *header,
                          const char *claims);

/** Sign claims with TOKEN_SECRET and TOKEN_HEADER. */
const char *token_claim(const char *claims);

/** A key for reading and publishing, made from a secret. */
comet_key_t token_key(const char *secret);

/** A judge of tokens for reading.  The keys must outlive it. */
comet_token_judge_t token_judge(const comet_key_t *keys, size_t count);

/** Judge a token for reading.  @return NULL, or what is wrong with the token */
const char *token_read_by(const comet_token_judge_t *judge, const char *text,
                          comet_token_t *token);

#endif /* TOKEN_KIT_H */
