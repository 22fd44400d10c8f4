/* SPDX-License-Identifier: Apache-2.0 */
/* Tokens: which are valid, what they say, and why others are refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <apr_strings.h>
#include <cmocka.h>
#include <openssl/pem.h>
#include <string.h>

#include "token/token.h"
#include "token_kit.h"

static const char *try(const char *text, comet_token_t *token)
{
    comet_key_t key = token_key(TOKEN_SECRET);
    comet_token_judge_t judge = token_judge(&key, 1);

    return token_read_by(&judge, text, token);
}

static void assert_valid(const char *text)
{
    comet_token_t token;
    const char *wrong = try(text, &token);

    if (wrong) {
        fail_msg("%s: %s", text, wrong);
    }
}

static void assert_invalid(const char *text, const char *words)
{
    comet_token_t token;
    const char *wrong = try(text, &token);

    if (!wrong || !strstr(wrong, words)) {
        fail_msg("%s: \"%s\", expected: %s", text, wrong ? wrong : "valid",
                 words);
    }
}

static const char *with_header(const char *header)
{
    return token_sign(TOKEN_SECRET, "SHA256", header, "{}");
}

/* --- what tokens say --------------------------------------------------------- */

static void test_reads_claims(void **state)
{
    comet_token_t token;

    assert_null(try(token_claim("{\"sub\":\"anna\",\"exp\":1800000100,"
                                "\"nbf\":1800000000,\"other\":[1],"
                                "\"comet\":{\"read\":[\"room/*\",\"news\"],"
                                "\"write\":[\"news\"],\"info\":{\"a\":1}}}"),
                    &token));
    assert_string_equal(token.user, "anna");
    assert_int_equal(token.ends_at, apr_time_from_sec(1800000100));
    assert_int_equal(token.read->nelts, 2);
    assert_string_equal(APR_ARRAY_IDX(token.read, 0, const char *), "room/*");
    assert_int_equal(token.write->nelts, 1);
}

static void test_claims_may_be_absent(void **state)
{
    comet_token_t token;

    assert_null(try(token_claim("{}"), &token));
    assert_null(token.user);
    assert_int_equal(token.ends_at, 0);
    assert_null(token.read);
    assert_null(token.write);
}

/* A token that another implementation has made (symfony/mercure with HS256). */
static void test_reads_a_foreign_token(void **state)
{
    static const char header[] = "{\"typ\":\"JWT\",\"alg\":\"HS256\"}";

    assert_valid(token_sign(TOKEN_SECRET, "SHA256", header,
                            "{\"mercure\":{\"publish\":[\"*\"]}}"));
    assert_valid(with_header("{\"alg\":\"HS256\"}"));
    assert_valid(with_header("{\"alg\":\"HS256\",\"typ\":\"at+jwt\"}"));
    assert_valid(with_header("{\"alg\":\"HS256\",\"typ\":"
                             "\"Application/AT+JWT\"}"));
}

/* RFC 7519 allows fractions of seconds, and PHP's lcobucci/jwt writes them. */
static void test_dates_may_have_fractions(void **state)
{
    comet_token_t token;

    assert_null(try(token_claim("{\"exp\":1800000000.25}"), &token));
    assert_int_equal(token.ends_at, apr_time_from_sec(TOKEN_NOW_SEC)
                                        + apr_time_from_msec(250));
    assert_invalid(token_claim("{\"exp\":1799999999.75}"), "exp: ");
    assert_invalid(token_claim("{\"nbf\":1800000000.25}"), "nbf: ");
    assert_valid(token_claim("{\"nbf\":1799999999.75}"));
}

/* --- algorithms ---------------------------------------------------------------- */

static void test_verifies_each_algorithm(void **state)
{
    static const char *const rsa[][2] = { { "RS256", "SHA256" },
                                          { "RS384", "SHA384" },
                                          { "RS512", "SHA512" } };
    static const char *const ec[][3] = { { "ES256", "SHA256", "P-256" },
                                         { "ES384", "SHA384", "P-384" },
                                         { "ES512", "SHA512", "P-521" } };
    EVP_PKEY *pair = token_make_rsa(2048);
    size_t i;

    for (i = 0; i < 6; i++) {
        const char *name = i < 3 ? rsa[i][0] : ec[i - 3][0];
        const char *digest = i < 3 ? rsa[i][1] : ec[i - 3][1];
        EVP_PKEY *mine = i < 3 ? pair : token_make_ec(ec[i - 3][2]);
        comet_key_t key = { .uses = COMET_KEY_READ };
        comet_token_judge_t judge = token_judge(&key, 1);
        const char *header =
            apr_pstrcat(token_pool, "{\"alg\":\"", name, "\"}", NULL);
        char *text;
        comet_token_t token;

        assert_null(comet_key_read(
            &key, name, token_write_key("p.pem", mine, 0), token_pool));
        text = apr_pstrdup(
            token_pool, token_sign_by(mine, digest, header, "{\"sub\":\"x\"}"));
        assert_null(token_read_by(&judge, text, &token));
        text[strlen(text) - 10] ^= 1;
        assert_non_null(token_read_by(&judge, text, &token));
        if (i >= 3) {
            EVP_PKEY_free(mine);
        }
    }
    EVP_PKEY_free(pair);
}

static void test_verifies_longer_secrets(void **state)
{
    static const char *const names[][2] = { { "HS384", "SHA384" },
                                            { "HS512", "SHA512" } };
    const char *secret = "abcdefghijklmnopqrstuvwxyz0123456789"
                         "abcdefghijklmnopqrstuvwxyz0123456789";
    size_t i;

    for (i = 0; i < 2; i++) {
        comet_key_t key = { .uses = COMET_KEY_READ };
        comet_token_judge_t judge = token_judge(&key, 1);
        const char *header =
            apr_pstrcat(token_pool, "{\"alg\":\"", names[i][0], "\"}", NULL);
        comet_token_t token;

        assert_null(comet_key_read(&key, names[i][0],
                                   token_write("s", secret, 0600), token_pool));
        assert_null(token_read_by(
            &judge, token_sign(secret, names[i][1], header, "{}"), &token));
        assert_non_null(token_read_by(
            &judge, token_sign(secret, "SHA256", header, "{}"), &token));
    }
}

static void test_refuses_alg_none(void **state)
{
    static const char *const names[] = { "none", "None", "NONE", "nOnE", "" };
    size_t i;

    for (i = 0; i < sizeof(names) / sizeof(*names); i++) {
        const char *header =
            apr_psprintf(token_pool, "{\"alg\":\"%s\"}", names[i]);
        const char *unsigned_text =
            apr_pstrcat(token_pool, token_encode(header, strlen(header)), ".",
                        token_encode("{}", 2), ".", NULL);

        assert_invalid(unsigned_text, "three parts");
        assert_invalid(apr_pstrcat(token_pool, unsigned_text, "AAAA", NULL),
                       "alg: ");
        assert_invalid(with_header(header), "alg: ");
    }
}

/* A public key is not a secret, so it must not be accepted as the secret of an
 * HMAC. */
static void test_refuses_a_public_key_as_secret(void **state)
{
    EVP_PKEY *pair = token_make_rsa(2048);
    comet_key_t key = { .uses = COMET_KEY_READ };
    comet_token_judge_t judge = token_judge(&key, 1);
    BIO *bio = BIO_new(BIO_s_mem());
    comet_token_t token;
    char *pem;
    long length;
    const char *text;

    assert_null(comet_key_read(&key, "RS256", token_write_key("p.pem", pair, 0),
                               token_pool));
    assert_true(PEM_write_bio_PUBKEY(bio, pair));
    length = BIO_get_mem_data(bio, &pem);
    text = token_sign(apr_pstrmemdup(token_pool, pem, (size_t)length), "SHA256",
                      TOKEN_HEADER, "{\"sub\":\"root\"}");
    assert_string_equal(token_read_by(&judge, text, &token),
                        "alg: no key here has this algorithm");
    BIO_free(bio);
    EVP_PKEY_free(pair);
}

static void test_refuses_another_algorithm_of_the_key(void **state)
{
    assert_invalid(
        token_sign(TOKEN_SECRET, "SHA512", "{\"alg\":\"HS512\"}", "{}"),
        "alg: ");
    assert_invalid(with_header("{\"alg\":\"hs256\"}"), "alg: ");
    assert_invalid(with_header("{\"alg\":256}"), "alg: expected a text");
    assert_invalid(with_header("{}"), "alg: expected a text");
}

/* --- the form --------------------------------------------------------------------- */

static void test_refuses_other_forms(void **state)
{
    const char *good = token_claim("{}");
    const char *const bad[] = {
        "",
        ".",
        "..",
        "...",
        "a.b",
        "a.b.c.d",
        "a.b.c.d.e",
        apr_pstrcat(token_pool, good, ".", NULL),
        apr_pstrcat(token_pool, good, "..", NULL),
        apr_pstrcat(token_pool, ".", good, NULL),
        apr_pstrcat(token_pool, good, "=", NULL),
        apr_pstrcat(token_pool, good, " ", NULL),
        apr_pstrcat(token_pool, " ", good, NULL),
        apr_pstrcat(token_pool, good, ", Bearer ", good, NULL),
        apr_pstrcat(token_pool, good, "\n", NULL),
    };
    size_t i;

    assert_valid(good);
    for (i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        assert_invalid(bad[i], "three parts");
    }
}

/* The last base64url digit of an HMAC-SHA256 carries four bits, and two more
 * that decoders drop.  If those two could have any value, four texts would mean
 * the same. */
static void test_refuses_non_canonical_base64url(void **state)
{
    char *text = apr_pstrdup(token_pool, token_claim("{}"));
    char *last = text + strlen(text) - 1;
    char first = *last;

    assert_valid(text);
    *last = (char)(first + 1);
    assert_invalid(text, "three parts");
    text = apr_pstrdup(token_pool, token_claim("{\"a\":\"~~~>?>?>?\"}"));
    assert_valid(text);
    assert_non_null(strpbrk(text, "-_"));
    *strpbrk(text, "-_") = '+';
    assert_invalid(text, "three parts");
}

static void test_refuses_long_tokens(void **state)
{
    char *filler = apr_palloc(token_pool, 8001);
    const char *text;

    memset(filler, 'x', 8000);
    filler[8000] = '\0';
    filler[5800] = '\0';
    text =
        token_claim(apr_pstrcat(token_pool, "{\"a\":\"", filler, "\"}", NULL));
    assert_true(strlen(text) <= COMET_TOKEN_MAX_BYTES);
    assert_valid(text);
    filler[5800] = 'x';
    filler[6050] = '\0';
    text =
        token_claim(apr_pstrcat(token_pool, "{\"a\":\"", filler, "\"}", NULL));
    assert_true(strlen(text) < 8192);
    assert_invalid(text, "longer than 8000");
}

static void test_refuses_other_headers(void **state)
{
    assert_invalid(with_header("[]"), "the header");
    assert_invalid(with_header("{\"alg\":\"HS256\"} x"), "the header");
    assert_invalid(with_header("{\"alg\":\"none\",\"alg\":\"HS256\"}"),
                   "occurs twice");
    assert_invalid(with_header("{\"alg\":\"HS256\",\"crit\":[\"b64\"],"
                               "\"b64\":false}"),
                   "crit: ");
    assert_invalid(with_header("{\"alg\":\"HS256\",\"typ\":\"logout+jwt\"}"),
                   "typ: ");
    assert_invalid(with_header("{\"alg\":\"HS256\",\"typ\":1}"), "typ: ");
    assert_invalid(with_header("{\"alg\":\"HS256\",\"kid\":1}"), "kid: ");
}

static void test_refuses_a_wrong_signature(void **state)
{
    char *text = apr_pstrdup(token_pool, token_claim("{}"));
    const char *short_one;

    text[strlen(text) - 10] ^= 1;
    assert_invalid(text, "signature");
    assert_invalid(token_sign(TOKEN_SECRET "x", "SHA256", TOKEN_HEADER, "{}"),
                   "signature");
    short_one = apr_pstrmemdup(token_pool, text, strlen(text) - 3);
    assert_invalid(short_one, "signature");
}

/* --- the claims ----------------------------------------------------------------------- */

static void test_refuses_claims_that_are_no_object(void **state)
{
    static const char *const bad[] = {
        "[]", "1", "{} {}", "{\"a\":1", "\"\"", "null", "{\"a\":\"\xff\"}"
    };
    size_t i;

    for (i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        assert_invalid(token_claim(bad[i]), "the claims");
    }
}

static void test_refuses_duplicate_claims(void **state)
{
    assert_invalid(token_claim("{\"sub\":\"anna\",\"sub\":\"root\"}"),
                   "occurs twice");
    assert_invalid(token_claim("{\"exp\":1,\"exp\":1900000000}"),
                   "occurs twice");
    assert_invalid(token_claim("{\"comet\":{\"read\":[],\"read\":[\"*\"]}}"),
                   "occurs twice");
    assert_invalid(token_claim("{\"sub\":\"anna\",\"s\\u0075b\":\"root\"}"),
                   "occurs twice");
}

static void test_refuses_dates_that_are_none(void **state)
{
    static const char *const bad[] = {
        "\"1900000000\"", "null",          "true", "[]", "-1",
        "-0.5",           "1900000000000", /* in milliseconds */
        "1e300"
    };
    size_t i;

    for (i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        assert_invalid(token_claim(apr_pstrcat(token_pool, "{\"exp\":", bad[i],
                                               "}", NULL)),
                       "exp: expected a number of seconds");
        assert_invalid(token_claim(apr_pstrcat(token_pool, "{\"nbf\":", bad[i],
                                               "}", NULL)),
                       "nbf: expected a number of seconds");
    }
    assert_invalid(token_claim("{\"exp\":1e400}"), "the claims");
}

static void test_holds_exp_and_nbf_to_the_second(void **state)
{
    assert_invalid(token_claim("{\"exp\":1800000000}"), "has expired");
    assert_invalid(token_claim("{\"exp\":0}"), "has expired");
    assert_valid(token_claim("{\"exp\":1800000001}"));
    assert_valid(token_claim("{\"nbf\":1800000000}"));
    assert_invalid(token_claim("{\"nbf\":1800000001}"), "not valid yet");
}

static void test_allows_for_skew_on_both_sides(void **state)
{
    comet_key_t key = token_key(TOKEN_SECRET);
    comet_token_judge_t judge = token_judge(&key, 1);
    comet_token_t token;

    judge.skew = apr_time_from_sec(10);
    assert_null(
        token_read_by(&judge, token_claim("{\"exp\":1799999991}"), &token));
    assert_int_equal(token.ends_at, apr_time_from_sec(1800000001));
    assert_non_null(
        token_read_by(&judge, token_claim("{\"exp\":1799999990}"), &token));
    assert_null(
        token_read_by(&judge, token_claim("{\"nbf\":1800000010}"), &token));
    assert_non_null(
        token_read_by(&judge, token_claim("{\"nbf\":1800000011}"), &token));
}

static void test_refuses_users_that_are_none(void **state)
{
    static const char *const bad[] = { "\"\"",         "7",
                                       "null",         "\"a\\nb\"",
                                       "\"a\\u007f\"", "\"\\u0085\"",
                                       "[\"anna\"]" };
    char name[300];
    size_t i;

    for (i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        assert_invalid(token_claim(apr_pstrcat(token_pool, "{\"sub\":", bad[i],
                                               "}", NULL)),
                       "sub: ");
    }
    memset(name, 'n', sizeof(name));
    name[256] = '\0';
    assert_invalid(
        token_claim(apr_pstrcat(token_pool, "{\"sub\":\"", name, "\"}", NULL)),
        "sub: ");
    name[255] = '\0';
    assert_valid(
        token_claim(apr_pstrcat(token_pool, "{\"sub\":\"", name, "\"}", NULL)));
    assert_invalid(token_claim("{\"sub\":\"a\\u0000b\"}"), "the claims");
}

static void test_refuses_grants_that_are_none(void **state)
{
    assert_invalid(token_claim("{\"comet\":[]}"), "comet: ");
    assert_invalid(token_claim("{\"comet\":{\"read\":\"*\"}}"),
                   "comet.read: expected a list");
    assert_invalid(token_claim("{\"comet\":{\"write\":[\"a\",7]}}"),
                   "comet.write[1]: expected a text");
    assert_invalid(token_claim("{\"comet\":{\"read\":[\"room*\"]}}"),
                   "comet.read[0]: a star");
    assert_invalid(token_claim("{\"comet\":{\"read\":[\"a/../b\"]}}"),
                   "comet.read[0]: ");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reads_claims),
        cmocka_unit_test(test_claims_may_be_absent),
        cmocka_unit_test(test_reads_a_foreign_token),
        cmocka_unit_test(test_dates_may_have_fractions),
        cmocka_unit_test(test_verifies_each_algorithm),
        cmocka_unit_test(test_verifies_longer_secrets),
        cmocka_unit_test(test_refuses_alg_none),
        cmocka_unit_test(test_refuses_a_public_key_as_secret),
        cmocka_unit_test(test_refuses_another_algorithm_of_the_key),
        cmocka_unit_test(test_refuses_other_forms),
        cmocka_unit_test(test_refuses_non_canonical_base64url),
        cmocka_unit_test(test_refuses_long_tokens),
        cmocka_unit_test(test_refuses_other_headers),
        cmocka_unit_test(test_refuses_a_wrong_signature),
        cmocka_unit_test(test_refuses_claims_that_are_no_object),
        cmocka_unit_test(test_refuses_duplicate_claims),
        cmocka_unit_test(test_refuses_dates_that_are_none),
        cmocka_unit_test(test_holds_exp_and_nbf_to_the_second),
        cmocka_unit_test(test_allows_for_skew_on_both_sides),
        cmocka_unit_test(test_refuses_users_that_are_none),
        cmocka_unit_test(test_refuses_grants_that_are_none),
    };

    return cmocka_run_group_tests(tests, token_setup, token_teardown);
}
