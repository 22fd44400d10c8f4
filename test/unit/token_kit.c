/* SPDX-License-Identifier: Apache-2.0 */
/* Keys, and tokens that are signed by OpenSSL alone. */
#include "token_kit.h"

#include <apr_general.h>
#include <apr_strings.h>
#include <openssl/ec.h>
#include <openssl/hmac.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "scratch.h"

apr_pool_t *token_pool;

int token_setup(void **state)
{
    scratch_make();
    return apr_initialize() != APR_SUCCESS
           || apr_pool_create(&token_pool, NULL) != APR_SUCCESS;
}

int token_teardown(void **state)
{
    apr_pool_destroy(token_pool);
    apr_terminate();
    return 0;
}

const char *token_encode(const void *bytes, size_t length)
{
    size_t size = (length + 2) / 3 * 4 + 1;
    char *text = apr_palloc(token_pool, size), *at;

    EVP_EncodeBlock((unsigned char *)text, bytes, (int)length);
    for (at = text; *at && *at != '='; at++) {
        *at = (char)(*at == '+' ? '-' : *at == '/' ? '_' : *at);
    }
    *at = '\0';
    return text;
}

EVP_PKEY *token_make_rsa(unsigned bits)
{
    EVP_PKEY *key = EVP_RSA_gen(bits);

    assert_non_null(key);
    return key;
}

EVP_PKEY *token_make_ec(const char *curve)
{
    EVP_PKEY *key = EVP_EC_gen(curve);

    assert_non_null(key);
    return key;
}

const char *token_write(const char *name, const char *text, int mode)
{
    const char *path = scratch_path(name);
    FILE *file = fopen(path, "w");

    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(chmod(path, (mode_t)mode), 0);
    return path;
}

const char *token_write_key(const char *name, EVP_PKEY *key, int is_private)
{
    const char *path = scratch_path(name);
    FILE *file = fopen(path, "w");

    assert_non_null(file);
    assert_true(is_private
                    ? PEM_write_PrivateKey(file, key, NULL, NULL, 0, NULL, NULL)
                    : PEM_write_PUBKEY(file, key));
    assert_int_equal(fclose(file), 0);
    assert_int_equal(chmod(path, 0644), 0);
    return path;
}

static const char *join(const char *header, const char *claims)
{
    return apr_pstrcat(token_pool, token_encode(header, strlen(header)), ".",
                       token_encode(claims, strlen(claims)), NULL);
}

const char *token_sign(const char *secret, const char *digest,
                       const char *header, const char *claims)
{
    const char *text = join(header, claims);
    unsigned char bytes[EVP_MAX_MD_SIZE];
    unsigned length = 0;

    assert_non_null(HMAC(EVP_get_digestbyname(digest), secret,
                         (int)strlen(secret), (const unsigned char *)text,
                         strlen(text), bytes, &length));
    return apr_pstrcat(token_pool, text, ".", token_encode(bytes, length),
                       NULL);
}

/* The two numbers of an ECDSA signature, one after the other (RFC 7518, section
 * 3.4). */
static size_t flatten(EVP_PKEY *key, unsigned char *bytes, size_t length)
{
    int size = (EVP_PKEY_get_bits(key) + 7) / 8;
    const unsigned char *at = bytes;
    ECDSA_SIG *pair = d2i_ECDSA_SIG(NULL, &at, (long)length);

    assert_non_null(pair);
    BN_bn2binpad(ECDSA_SIG_get0_r(pair), bytes, size);
    BN_bn2binpad(ECDSA_SIG_get0_s(pair), bytes + size, size);
    ECDSA_SIG_free(pair);
    return 2 * (size_t)size;
}

const char *token_sign_by(EVP_PKEY *key, const char *digest, const char *header,
                          const char *claims)
{
    const char *text = join(header, claims);
    unsigned char bytes[1024];
    size_t length = sizeof(bytes);
    EVP_MD_CTX *context = EVP_MD_CTX_new();

    assert_true(EVP_DigestSignInit(context, NULL, EVP_get_digestbyname(digest),
                                   NULL, key));
    assert_true(EVP_DigestSign(context, bytes, &length,
                               (const unsigned char *)text, strlen(text)));
    EVP_MD_CTX_free(context);
    if (EVP_PKEY_is_a(key, "EC")) {
        length = flatten(key, bytes, length);
    }
    return apr_pstrcat(token_pool, text, ".", token_encode(bytes, length),
                       NULL);
}

comet_key_t token_key(const char *secret)
{
    comet_key_t key = { .uses = COMET_KEY_READ | COMET_KEY_PUBLISH };
    const char *line = apr_pstrcat(token_pool, secret, "\n", NULL);

    assert_null(comet_key_read(&key, "HS256", token_write("secret", line, 0600),
                               token_pool));
    return key;
}

comet_token_judge_t token_judge(const comet_key_t *keys, size_t count)
{
    return (comet_token_judge_t){ .keys = keys,
                                  .count = count,
                                  .use = COMET_KEY_READ,
                                  .now = apr_time_from_sec(TOKEN_NOW_SEC) };
}

const char *token_read_by(const comet_token_judge_t *judge, const char *text,
                          comet_token_t *token)
{
    return comet_token_read(token, comet_text(text), judge, token_pool);
}

const char *token_claim(const char *claims)
{
    return token_sign(TOKEN_SECRET, "SHA256", TOKEN_HEADER, claims);
}
