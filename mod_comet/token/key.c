/* SPDX-License-Identifier: Apache-2.0 */
/* Read the keys that tokens are verified with. */
#include "token/key.h"

#include <apr_file_io.h>
#include <apr_strings.h>
#include <cjose/cjose.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <stdlib.h>
#include <string.h>
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/lsan_interface.h>
#endif

/* The size of the largest file that is read.  A certificate with its chain is
 * about 10 KB long. */
#define FILE_MAX_BYTES 65536

/* A secret with fewer different bytes than this was probably typed by a person
 * and can be guessed. */
#define DIFFERENT_BYTES 10

#define RSA_LEAST_BITS 2048

typedef enum { KIND_SECRET, KIND_RSA, KIND_EC } kind_e;

typedef struct algorithm_t {
    const char *name;
    apr_size_t bytes; /* of a secret: the least length; of an elliptic curve:
                       * the length of a coordinate */
    const char *curve; /* OpenSSL's name of the curve; curve_name is that of RFC
                        * 7518 */
    const char *curve_name;
    kind_e kind;
    cjose_jwk_ec_curve curve_id;
} algorithm_t;

static const algorithm_t algorithms[] = {
    { .name = "HS256", .kind = KIND_SECRET, .bytes = 32 },
    { .name = "HS384", .kind = KIND_SECRET, .bytes = 48 },
    { .name = "HS512", .kind = KIND_SECRET, .bytes = 64 },
    { .name = "RS256", .kind = KIND_RSA },
    { .name = "RS384", .kind = KIND_RSA },
    { .name = "RS512", .kind = KIND_RSA },
    { "ES256", 32, "prime256v1", "P-256", KIND_EC, CJOSE_JWK_EC_P_256 },
    { "ES384", 48, "secp384r1", "P-384", KIND_EC, CJOSE_JWK_EC_P_384 },
    { "ES512", 66, "secp521r1", "P-521", KIND_EC, CJOSE_JWK_EC_P_521 },
};

static const algorithm_t *find_algorithm(const char *name)
{
    apr_size_t i;

    for (i = 0; i < sizeof(algorithms) / sizeof(*algorithms); i++) {
        if (strcmp(algorithms[i].name, name) == 0) {
            return &algorithms[i];
        }
    }
    return NULL;
}

/* --- the file ------------------------------------------------------------ */

/* The contents of a file.  The memory is erased before it is freed. */
typedef struct content_t {
    char *data;
    apr_size_t length;
} content_t;

static void forget(content_t *content)
{
    if (content->data) {
        OPENSSL_cleanse(content->data, content->length);
        free(content->data);
        content->data = NULL;
    }
}

static const char *check_file(const apr_finfo_t *info, kind_e kind,
                              const char *path, apr_pool_t *pool)
{
    if (info->filetype != APR_REG) {
        return apr_psprintf(pool, "%s is not a file", path);
    }
    if (kind == KIND_SECRET && (info->protection & APR_FPROT_WREAD)) {
        return apr_psprintf(pool,
                            "everybody on this host may read the secret: "
                            "chmod o-r %s",
                            path);
    }
    if (info->protection & APR_FPROT_WWRITE) {
        return apr_psprintf(pool,
                            "everybody on this host may replace the key: "
                            "chmod o-w %s",
                            path);
    }
    return info->size > FILE_MAX_BYTES
               ? apr_psprintf(pool, "%s is too long for a key", path)
               : NULL;
}

/* @param content  OUT: forget() frees it
 * @param is_hidden  set if this process lacks permission to read the file */
static const char *read_file(content_t *content, int *is_hidden, kind_e kind,
                             const char *path, apr_pool_t *pool)
{
    apr_file_t *file;
    apr_finfo_t info;
    const char *error;
    char buffer[200];
    apr_status_t status = apr_file_open(
        &file, path, APR_FOPEN_READ | APR_FOPEN_BINARY, APR_OS_DEFAULT, pool);

    *is_hidden = APR_STATUS_IS_EACCES(status);
    if (status != APR_SUCCESS) {
        return apr_psprintf(
            pool, "%s cannot be read: %s; expected a key file%s", path,
            apr_strerror(status, buffer, sizeof(buffer)),
            kind == KIND_SECRET ? ", as made by (umask 077; openssl rand -hex "
                                  "32 >FILE)"
                                : " or certificate in PEM");
    }
    status = apr_file_info_get(
        &info, APR_FINFO_SIZE | APR_FINFO_PROT | APR_FINFO_TYPE, file);
    error = status == APR_SUCCESS ? check_file(&info, kind, path, pool)
                                  : apr_psprintf(pool,
                                                 "the permissions of %s are "
                                                 "unknown",
                                                 path);
    if (!error) {
        content->length = (apr_size_t)info.size;
        content->data = malloc(content->length + 1);
        status = content->data ? apr_file_read_full(file, content->data,
                                                    content->length, NULL)
                               : APR_ENOMEM;
        error =
            status == APR_SUCCESS || !content->length
                ? NULL
                : apr_psprintf(pool, "%s cannot be read: %s", path,
                               apr_strerror(status, buffer, sizeof(buffer)));
    }
    apr_file_close(file);
    return error;
}

static int is_pem(const content_t *content)
{
    return content->length > 11
           && memcmp(content->data, "-----BEGIN ", 11) == 0;
}

/* --- secrets -------------------------------------------------------------- */

static apr_size_t count_different(const content_t *content)
{
    char seen[256] = { 0 };
    apr_size_t i, count = 0;

    for (i = 0; i < content->length; i++) {
        char *mark = &seen[(unsigned char)content->data[i]];

        count += !*mark;
        *mark = 1;
    }
    return count;
}

/* Remove the line's end, which is not part of the secret. */
static void chop_line_end(content_t *content)
{
    if (content->length && content->data[content->length - 1] == '\n') {
        content->length--;
        if (content->length && content->data[content->length - 1] == '\r') {
            content->length--;
        }
    }
}

static const char *make_secret(const algorithm_t *algorithm, content_t *content,
                               cjose_jwk_t **jwk, apr_pool_t *pool)
{
    cjose_err error;

    if (is_pem(content)) {
        return apr_psprintf(pool,
                            "the file has a PEM key, but %s needs a secret; "
                            "for a public key write RS256 or ES256",
                            algorithm->name);
    }
    chop_line_end(content);
    if (content->length < algorithm->bytes) {
        return apr_psprintf(pool,
                            "the secret has %d bytes, but %s needs %d or more: "
                            "(umask 077; openssl rand -hex %d >FILE)",
                            (int)content->length, algorithm->name,
                            (int)algorithm->bytes, (int)algorithm->bytes);
    }
    if (count_different(content) < DIFFERENT_BYTES) {
        return apr_psprintf(pool,
                            "the secret can be guessed, since too few of its "
                            "bytes differ (%d): (umask 077; openssl rand -hex "
                            "%d >FILE)",
                            (int)count_different(content),
                            (int)algorithm->bytes);
    }
    *jwk = cjose_jwk_create_oct_spec((const uint8_t *)content->data,
                                     content->length, &error);
    return *jwk ? NULL : "there is no memory for the key";
}

/* --- public keys ---------------------------------------------------------- */

static EVP_PKEY *read_certificate(BIO *bio)
{
    X509 *certificate = PEM_read_bio_X509(bio, NULL, NULL, NULL);
    EVP_PKEY *key = certificate ? X509_get_pubkey(certificate) : NULL;

    X509_free(certificate);
    return key;
}

/* A callback that refuses a passphrase: OpenSSL would otherwise ask for it at
 * the terminal. */
static int give_no_passphrase(char *buffer, int size, int writing, void *baton)
{
    return -1;
}

/* @return NULL, or why there is no key */
static const char *parse_pem(const content_t *content, EVP_PKEY **key)
{
    BIO *bio = BIO_new_mem_buf(content->data, (int)content->length);
    int is_private;

    *key = PEM_read_bio_PUBKEY(bio, NULL, NULL, NULL);
    if (!*key) {
        (void)BIO_reset(bio);
        *key = read_certificate(bio);
    }
    is_private = 0;
    if (!*key) {
        EVP_PKEY *other;

        (void)BIO_reset(bio);
        other = PEM_read_bio_PrivateKey(bio, NULL, give_no_passphrase, NULL);
        is_private = other != NULL;
        EVP_PKEY_free(other);
    }
    BIO_free(bio);
    ERR_clear_error();
    return *key         ? NULL
           : is_private ? "the file has a private key, which only the "
                          "application needs: openssl pkey -pubout"
                        : "the file has no public key or certificate in PEM";
}

/* @return how many bytes were written; 0: the key lacks this number */
static apr_size_t get_number(const EVP_PKEY *key, const char *name,
                             unsigned char *bytes, apr_size_t size,
                             apr_size_t pad)
{
    BIGNUM *number = NULL;
    int length = 0;

    if (EVP_PKEY_get_bn_param(key, name, &number)
        && (apr_size_t)BN_num_bytes(number) <= size) {
        length = pad ? BN_bn2binpad(number, bytes, (int)pad)
                     : BN_bn2bin(number, bytes);
    }
    BN_free(number);
    return length > 0 ? (apr_size_t)length : 0;
}

static const char *make_rsa(const algorithm_t *algorithm, const EVP_PKEY *key,
                            cjose_jwk_t **jwk, apr_pool_t *pool)
{
    unsigned char modulus[2048], exponent[64];
    cjose_jwk_rsa_keyspec spec = { .n = modulus, .e = exponent };
    cjose_err error;

    if (!EVP_PKEY_is_a(key, "RSA")) {
        return apr_psprintf(pool, "%s needs an RSA key", algorithm->name);
    }
    if (EVP_PKEY_get_bits(key) < RSA_LEAST_BITS) {
        return apr_psprintf(pool,
                            "the RSA key has %d bits, but needs at least %d",
                            EVP_PKEY_get_bits(key), RSA_LEAST_BITS);
    }
    spec.nlen =
        get_number(key, OSSL_PKEY_PARAM_RSA_N, modulus, sizeof(modulus), 0);
    spec.elen =
        get_number(key, OSSL_PKEY_PARAM_RSA_E, exponent, sizeof(exponent), 0);
    if (spec.nlen && spec.elen) {
        *jwk = cjose_jwk_create_RSA_spec(&spec, &error);
    }
    return *jwk ? NULL : "this RSA key cannot be used";
}

static const char *make_ec(const algorithm_t *algorithm, const EVP_PKEY *key,
                           cjose_jwk_t **jwk, apr_pool_t *pool)
{
    unsigned char x[66], y[66];
    char curve[40] = "";
    cjose_jwk_ec_keyspec spec = { .crv = algorithm->curve_id, .x = x, .y = y };
    cjose_err error;

    EVP_PKEY_get_utf8_string_param(key, OSSL_PKEY_PARAM_GROUP_NAME, curve,
                                   sizeof(curve), NULL);
    if (!EVP_PKEY_is_a(key, "EC") || strcmp(curve, algorithm->curve) != 0) {
        return apr_psprintf(
            pool, "%s needs a key of the elliptic curve %s (%s)",
            algorithm->name, algorithm->curve_name, algorithm->curve);
    }
    spec.xlen = get_number(key, OSSL_PKEY_PARAM_EC_PUB_X, x, sizeof(x),
                           algorithm->bytes);
    spec.ylen = get_number(key, OSSL_PKEY_PARAM_EC_PUB_Y, y, sizeof(y),
                           algorithm->bytes);
    if (spec.xlen && spec.ylen) {
        *jwk = cjose_jwk_create_EC_spec(&spec, &error);
    }
    return *jwk ? NULL : "this key cannot be used";
}

static const char *make_public(const algorithm_t *algorithm,
                               const content_t *content, cjose_jwk_t **jwk,
                               apr_pool_t *pool)
{
    EVP_PKEY *key;
    const char *error = parse_pem(content, &key);

    if (!error) {
        error = algorithm->kind == KIND_RSA
                    ? make_rsa(algorithm, key, jwk, pool)
                    : make_ec(algorithm, key, jwk, pool);
    }
    EVP_PKEY_free(key);
    ERR_clear_error();
    return error;
}

/* Verify a token that nobody has signed, to make OpenSSL load its algorithms in
 * the parent.  That takes 60 ms, and the children inherit the result. */
static void warm_up(const algorithm_t *algorithm, const cjose_jwk_t *jwk,
                    apr_pool_t *pool)
{
    const char *header =
        apr_pstrcat(pool, "{\"alg\":\"", algorithm->name, "\"}", NULL);
    char *encoded = NULL;
    size_t length = 0;
    cjose_jws_t *jws = NULL;
    const char *text;
    cjose_err error;

    if (cjose_base64url_encode((const uint8_t *)header, strlen(header),
                               &encoded, &length, &error)) {
        text = apr_pstrcat(pool, encoded, ".e30.AAAA", NULL);
        jws = cjose_jws_import(text, strlen(text), &error);
        free(encoded);
    }
    if (jws) {
        cjose_jws_verify(jws, jwk, &error);
        cjose_jws_release(jws);
    }
    ERR_clear_error();
}

/* --- a key ---------------------------------------------------------------- */

static apr_status_t release(void *jwk)
{
    cjose_jwk_release(jwk);
    return APR_SUCCESS;
}

const char *comet_key_read(comet_key_t *key, const char *algorithm_name,
                           const char *path, apr_pool_t *pool)
{
    const algorithm_t *algorithm = find_algorithm(algorithm_name);
    content_t content = { .data = NULL };
    cjose_jwk_t *jwk = NULL;
    const char *error;

    if (!algorithm) {
        return apr_pstrcat(pool, algorithm_name,
                           " is no algorithm: expected HS256, HS384, HS512, "
                           "RS256, RS384, RS512, ES256, ES384 or ES512",
                           NULL);
    }
    error = read_file(&content, &key->is_hidden, algorithm->kind, path, pool);
    if (!error) {
        error = algorithm->kind == KIND_SECRET
                    ? make_secret(algorithm, &content, &jwk, pool)
                    : make_public(algorithm, &content, &jwk, pool);
    }
    forget(&content);
    if (error) {
        return error;
    }
#ifdef __SANITIZE_ADDRESS__
    /* the pool of the configuration releases the key, and a child ends without
     * destroying that pool */
    __lsan_ignore_object(jwk);
#endif
    key->algorithm = algorithm->name;
    key->material = jwk;
    warm_up(algorithm, jwk, pool);
    apr_pool_cleanup_register(pool, jwk, release, apr_pool_cleanup_null);
    return NULL;
}
