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

/** For cmocka's group: where everything of this kit lives. */
extern apr_pool_t *token_pool;
int token_setup(void **state);
int token_teardown(void **state);

/** base64url of bytes. */
const char *token_encode(const void *bytes, size_t length);

/** A private key: "RSA" of so many bits, or "EC" of a curve. */
EVP_PKEY *token_make_rsa(unsigned bits);
EVP_PKEY *token_make_ec(const char *curve);

/** Write a file of the scratch folder with these permissions. @return its path
 */
const char *token_write(const char *name, const char *text, int mode);

/** Write a public key, or a private one, as PEM. @return its path */
const char *token_write_key(const char *name, EVP_PKEY *key, int is_private);

/** Sign a header and claims, both JSON, by HMAC with a secret and a digest
 * ("SHA256"). */
const char *token_sign(const char *secret, const char *digest,
                       const char *header, const char *claims);

/** The same by a private key. */
const char *token_sign_by(EVP_PKEY *key, const char *digest, const char *header,
                          const char *claims);

#endif /* TOKEN_KIT_H */
