/* SPDX-License-Identifier: Apache-2.0 */
/* Verify a token and read its claims. */
#include "token/token.h"

#include <apr_strings.h>
#include <cjose/cjose.h>
#include <jansson.h>
#include <openssl/err.h>
#include <stdlib.h>
#include <string.h>

#include "token/grant.h"
#include "token/mercure_priv.h"
#include "wire/params.h"

/* The last second of the year 9999.  A larger number cannot be in seconds. */
#define SECONDS_MAX 253402300799.0

#define PARTS 3

/* The maximum size of the claim comet.info.  The table in sql/presence.sql has
 * room for it. */
#define INFO_MAX_BYTES 2048

/* --- the compact form ----------------------------------------------------- */

/* The value of a character of base64url (RFC 4648, section 5); -1: it is no
 * such character */
static int digit(char c)
{
    return c >= 'A' && c <= 'Z'   ? c - 'A'
           : c >= 'a' && c <= 'z' ? c - 'a' + 26
           : c >= '0' && c <= '9' ? c - '0' + 52
           : c == '-'             ? 62
           : c == '_'             ? 63
                                  : -1;
}

/* Whether a text is the canonical base64url form of its bytes: it has no
 * padding, and its last character has no bits that decoders drop. */
static int is_canonical(comet_text_t text)
{
    apr_size_t i, rest = text.length % 4;
    int last = 0;

    for (i = 0; i < text.length; i++) {
        last = digit(text.data[i]);
        if (last < 0) {
            return 0;
        }
    }
    return rest == 0 || (rest == 2 && (last & 15) == 0)
           || (rest == 3 && (last & 3) == 0);
}

/* Split a token at its dots.  @return whether the text has the form of a
 * token */
static int split(comet_text_t text, comet_text_t parts[PARTS])
{
    const char *at = text.data, *end = text.data + text.length;
    int i;

    for (i = 0; i < PARTS; i++) {
        const char *dot = memchr(at, '.', (apr_size_t)(end - at));

        if ((i + 1 == PARTS) != !dot) {
            return 0;
        }
        parts[i] = (comet_text_t){ at, (apr_size_t)((dot ? dot : end) - at) };
        if (!parts[i].length || !is_canonical(parts[i])) {
            return 0;
        }
        at = dot + 1;
    }
    return 1;
}

/* --- the header ----------------------------------------------------------- */

/* Parse a JSON object.  The object is refused if a name occurs twice in it,
 * because programs differ in how they read such an object. */
static json_t *parse_object(const void *data, apr_size_t length)
{
    json_t *json = json_loadb(data, length, JSON_REJECT_DUPLICATES, NULL);

    if (json && !json_is_object(json)) {
        json_decref(json);
        json = NULL;
    }
    return json;
}

/* @return the header; NULL: the part is not a header.  The caller releases
 *         it */
static json_t *parse_header(comet_text_t part)
{
    uint8_t *bytes = NULL;
    size_t length = 0;
    cjose_err error;
    json_t *json = NULL;

    if (cjose_base64url_decode(part.data, part.length, &bytes, &length,
                               &error)) {
        json = parse_object(bytes, length);
    }
    free(bytes);
    return json;
}

/* The types of tokens that grant access.  Tokens of other types (a logout
 * token, for example) might be signed with the same key, but mean something
 * else. */
static int is_type_known(const json_t *type)
{
    static const char *const known[] = { "JWT", "at+jwt",
                                         "application/at+jwt" };
    const char *name = json_string_value(type);
    apr_size_t i = 0;

    while (name && i < sizeof(known) / sizeof(*known)
           && strcasecmp(name, known[i]) != 0) {
        i++;
    }
    return !type || (name && i < sizeof(known) / sizeof(*known));
}

/* Whether a token has the type of an access token (RFC 9068, section 4). */
static int is_access_token(const json_t *header)
{
    const char *type = json_string_value(json_object_get(header, "typ"));

    return type
           && (strcasecmp(type, "at+jwt") == 0
               || strcasecmp(type, "application/at+jwt") == 0);
}

static const char *check_header(const json_t *header)
{
    const json_t *kid = json_object_get(header, "kid");

    if (!json_is_string(json_object_get(header, "alg"))) {
        return "alg: expected a text";
    }
    if (kid && !json_is_string(kid)) {
        return "kid: expected a text";
    }
    if (json_object_get(header, "crit")) {
        return "crit: no extension is supported";
    }
    return is_type_known(json_object_get(header, "typ"))
               ? NULL
               : "typ: expected JWT or at+jwt";
}

/* --- the claims ----------------------------------------------------------- */

/*
 * Read a date (RFC 7519, section 2: a number of seconds, which may have a
 * fraction).
 * @param date  OUT: in microseconds; stays as it is when the claim is absent
 */
static const char *read_date(const json_t *claims, const char *name,
                             apr_time_t *date, apr_pool_t *pool)
{
    const json_t *claim = json_object_get(claims, name);
    double seconds = claim ? json_number_value(claim) : 0;

    if (!claim) {
        return NULL;
    }
    if (!json_is_number(claim) || !(seconds >= 0 && seconds <= SECONDS_MAX)) {
        return apr_psprintf(pool, "%s: expected a number of seconds since 1970",
                            name);
    }
    *date = json_is_integer(claim)
                ? apr_time_from_sec(json_integer_value(claim))
                : (apr_time_t)(seconds * APR_USEC_PER_SEC);
    return NULL;
}

static const char *check_dates(const json_t *claims,
                               const comet_token_judge_t *judge,
                               apr_time_t *ends_at, apr_pool_t *pool)
{
    apr_time_t begins_at = 0, end = -1;
    const char *wrong = read_date(claims, "nbf", &begins_at, pool);

    if (!wrong) {
        wrong = read_date(claims, "exp", &end, pool);
    }
    if (wrong) {
        return wrong;
    }
    if (begins_at > judge->now + judge->skew) {
        return "nbf: the token is not valid yet";
    }
    *ends_at = end < 0 ? 0 : end + judge->skew;
    return end >= 0 && judge->now >= *ends_at ? "exp: the token has expired"
                                              : NULL;
}

static int is_text(const json_t *claim, const char *text)
{
    const char *value = json_string_value(claim);

    return value && strcmp(value, text) == 0;
}

/* Whether a claim names an audience.  The claim may be one text or a list of
 * texts (RFC 7519, section 4.1.3). */
static int is_listed(const json_t *claim, const char *audience)
{
    apr_size_t i;

    for (i = 0; i < json_array_size(claim); i++) {
        if (is_text(json_array_get(claim, i), audience)) {
            return 1;
        }
    }
    return is_text(claim, audience);
}

static const char *check_parties(const json_t *claims, const comet_key_t *key)
{
    const json_t *audience = json_object_get(claims, "aud");

    if (key->issuer && !is_text(json_object_get(claims, "iss"), key->issuer)) {
        return "iss: the token is from another issuer";
    }
    if (key->audience ? !is_listed(audience, key->audience)
                      : audience != NULL) {
        return "aud: the token is meant for another server";
    }
    return NULL;
}

static const char *read_user(const json_t *claims, comet_token_t *token,
                             apr_pool_t *pool)
{
    const json_t *claim = json_object_get(claims, "sub");
    const char *user = json_string_value(claim);
    const char *wrong;

    if (!claim) {
        return NULL;
    }
    wrong = comet_params_check_user(comet_text(user));
    if (wrong) {
        return apr_pstrcat(pool, "sub: ", wrong, NULL);
    }
    token->user = apr_pstrdup(pool, user);
    return NULL;
}

/* @param patterns  OUT: NULL when the claim is absent */
static const char *read_patterns(const json_t *grant, const char *name,
                                 const apr_array_header_t **patterns,
                                 apr_pool_t *pool)
{
    const json_t *list = json_object_get(grant, name);
    apr_array_header_t *found;
    apr_size_t i;

    *patterns = NULL;
    if (!list) {
        return NULL;
    }
    if (!json_is_array(list)) {
        return apr_psprintf(pool, "comet.%s: expected a list of channels",
                            name);
    }
    found = apr_array_make(pool, (int)json_array_size(list) + 1,
                           sizeof(const char *));
    for (i = 0; i < json_array_size(list); i++) {
        const char *pattern = json_string_value(json_array_get(list, i));
        const char *wrong = pattern ? comet_grant_check(comet_text(pattern))
                                    : "expected a text";

        if (wrong) {
            return apr_psprintf(pool, "comet.%s[%d]: %s", name, (int)i, wrong);
        }
        APR_ARRAY_PUSH(found, const char *) = apr_pstrdup(pool, pattern);
    }
    *patterns = found;
    return NULL;
}

/* Read what the site's application says about the user. */
static const char *read_info(const json_t *grant, comet_token_t *token,
                             apr_pool_t *pool)
{
    const json_t *info = json_object_get(grant, "info");
    char *text = info ? json_dumps(info, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;

    if (text && strlen(text) > INFO_MAX_BYTES) {
        free(text);
        return "comet.info: it is longer than " APR_STRINGIFY(
            INFO_MAX_BYTES) " bytes of JSON";
    }
    token->info = text ? apr_pstrdup(pool, text) : NULL;
    free(text);
    return NULL;
}

static const char *read_grant(const json_t *claims, unsigned uses,
                              comet_token_t *token, apr_pool_t *pool)
{
    const json_t *grant = json_object_get(claims, "comet");
    const char *wrong;

    if (!grant) {
        return NULL;
    }
    if (!json_is_object(grant)) {
        return "comet: expected an object";
    }
    wrong = read_patterns(grant, "read", &token->read, pool);
    if (!wrong) {
        wrong = read_patterns(grant, "write", &token->write, pool);
    }
    if (!wrong) {
        wrong = read_info(grant, token, pool);
    }
    if (!(uses & COMET_KEY_READ)) {
        token->read = NULL;
    }
    if (!(uses & COMET_KEY_PUBLISH)) {
        token->write = NULL;
    }
    return wrong;
}

/* Check what only Mercure 1.0 demands of a token: that it is meant for this
 * hub, that its issuer is known, and that it expires. */
static const char *check_v1(const json_t *header, const comet_key_t *key,
                            const comet_token_t *token)
{
    if (!is_access_token(header)) {
        return "typ: a token with authorization_details must be an at+jwt";
    }
    if (!token->ends_at) {
        return "exp: a token with authorization_details must expire";
    }
    return key->issuer && key->audience
               ? NULL
               : "authorization_details: the CometTokenKey must have issuer= "
                 "and audience=";
}

static const char *read_mercure(const json_t *claims, const json_t *header,
                                const comet_key_t *key, comet_token_t *token,
                                apr_pool_t *pool)
{
    comet_mercure_t *mercure = &token->mercure;
    const char *wrong = comet_mercure_read(mercure, claims, pool);

    if (!(key->uses & COMET_KEY_READ)) {
        mercure->subscribe = NULL;
    }
    if (!(key->uses & COMET_KEY_PUBLISH)) {
        mercure->publish = NULL;
    }
    return !wrong && mercure->is_v1 ? check_v1(header, key, token) : wrong;
}

static const char *read_claims(const json_t *claims, const json_t *header,
                               const comet_key_t *key,
                               const comet_token_judge_t *judge,
                               comet_token_t *token, apr_pool_t *pool)
{
    const char *wrong = check_parties(claims, key);

    *token = (comet_token_t){ .user = NULL };
    if (!wrong) {
        wrong = check_dates(claims, judge, &token->ends_at, pool);
    }
    if (!wrong) {
        wrong = read_user(claims, token, pool);
    }
    if (wrong) {
        return wrong;
    }
    return judge->by_mercure ? read_mercure(claims, header, key, token, pool)
                             : read_grant(claims, key->uses, token, pool);
}

/* --- verifying ------------------------------------------------------------ */

/* Verify a token with one key.
 * @param claims  OUT: the caller releases them
 * @return NULL, or what is wrong */
static const char *verify(comet_text_t text, const comet_key_t *key,
                          json_t **claims)
{
    cjose_err error;
    cjose_jws_t *jws = cjose_jws_import(text.data, text.length, &error);
    const char *wrong = "the signature is wrong";
    uint8_t *bytes = NULL;
    size_t length = 0;

    *claims = NULL;
    if (jws && cjose_jws_verify(jws, key->material, &error)
        && cjose_jws_get_plaintext(jws, &bytes, &length, &error)) {
        *claims = parse_object(bytes, length);
        wrong = *claims ? NULL
                        : "the claims are not a JSON object, or a name "
                          "occurs twice in it";
    }
    if (jws) {
        cjose_jws_release(jws);
    }
    ERR_clear_error(); /* mod_ssl would take an error left in OpenSSL's queue
                        * for one of its own */
    return wrong;
}

/* How far the verification of a token with one key got, and why it went no
 * further. */
typedef struct verdict_t {
    enum { OTHER_ALGORITHM, NOT_MEANT, NOT_SIGNED, NOT_VALID, VALID } stage;
    const char *wrong; /* NULL: the token is valid */
} verdict_t;

static verdict_t try_key(comet_token_t *token, comet_text_t text,
                         const json_t *header, const comet_token_judge_t *judge,
                         const comet_key_t *key, apr_pool_t *pool)
{
    json_t *claims;
    verdict_t verdict = { NOT_SIGNED, verify(text, key, &claims) };

    if (!verdict.wrong) {
        verdict.wrong = read_claims(claims, header, key, judge, token, pool);
        verdict.stage = verdict.wrong ? NOT_VALID : VALID;
    }
    json_decref(claims);
    return verdict;
}

static verdict_t judge_by(comet_token_t *token, comet_text_t text,
                          const json_t *header,
                          const comet_token_judge_t *judge,
                          const comet_key_t *key, apr_pool_t *pool)
{
    const json_t *kid = json_object_get(header, "kid");

    if (!is_text(json_object_get(header, "alg"), key->algorithm)) {
        return (verdict_t){ OTHER_ALGORITHM,
                            "alg: no key here has this algorithm" };
    }
    if (kid && key->kid && !is_text(kid, key->kid)) {
        return (verdict_t){ NOT_MEANT, "kid: no key here has this name" };
    }
    if (!(key->uses & judge->use)) {
        return (verdict_t){ NOT_MEANT, judge->use == COMET_KEY_READ
                                           ? "the token's key is only for "
                                             "publishing (for=publish)"
                                           : "the token's key is only for "
                                             "reading (for=read)" };
    }
    return try_key(token, text, header, judge, key, pool);
}

/* Try the keys in their order until one verifies the token.
 * @return NULL, or the error of the key with which the verification got
 *         furthest */
static const char *try_keys(comet_token_t *token, comet_text_t text,
                            const json_t *header,
                            const comet_token_judge_t *judge, apr_pool_t *pool)
{
    verdict_t best = { OTHER_ALGORITHM, "alg: no key here has this algorithm" };
    apr_size_t i;

    for (i = 0; i < judge->count && best.stage != VALID; i++) {
        verdict_t verdict =
            judge_by(token, text, header, judge, &judge->keys[i], pool);

        if (verdict.stage > best.stage) {
            best = verdict;
        }
    }
    return best.wrong;
}

const char *comet_token_read(comet_token_t *token, comet_text_t text,
                             const comet_token_judge_t *judge, apr_pool_t *pool)
{
    comet_text_t parts[PARTS];
    const char *wrong;
    json_t *header;

    if (text.length > COMET_TOKEN_MAX_BYTES) {
        return apr_psprintf(pool, "the token is longer than %d bytes",
                            COMET_TOKEN_MAX_BYTES);
    }
    if (!split(text, parts)) {
        return "the token is not three parts of base64url (a signed JWT)";
    }
    header = parse_header(parts[0]);
    if (!header) {
        return "the header is not a JSON object, or a name occurs twice in "
               "it";
    }
    wrong = check_header(header);
    if (!wrong) {
        wrong = try_keys(token, text, header, judge, pool);
    }
    json_decref(header);
    return wrong;
}
