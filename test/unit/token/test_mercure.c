/* SPDX-License-Identifier: Apache-2.0 */
/* The claims of the Mercure protocol. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <apr_strings.h>
#include <cmocka.h>
#include <string.h>

#include "token/token.h"
#include "token_kit.h"

#define V1_HEADER "{\"alg\":\"HS256\",\"typ\":\"at+jwt\"}"
#define V1_CLAIMS "\"iss\":\"us\",\"aud\":\"hub\",\"exp\":1800000100,"
#define V1_TYPE "\"type\":\"https://mercure.rocks/authorization-detail\","

static const char *read_by(comet_key_t key, const char *text,
                           comet_token_t *token)
{
    comet_token_judge_t judge = token_judge(&key, 1);

    judge.by_mercure = 1;
    judge.use = key.uses;
    return token_read_by(&judge, text, token);
}

static const char *read_v0(const char *claims, comet_token_t *token)
{
    return read_by(token_key(TOKEN_SECRET), token_claim(claims), token);
}

static const char *read_v1_with(const char *header, const char *claims,
                                comet_token_t *token)
{
    comet_key_t key = token_key(TOKEN_SECRET);

    key.issuer = "us";
    key.audience = "hub";
    return read_by(key, token_sign(TOKEN_SECRET, "SHA256", header, claims),
                   token);
}

static const char *read_v1(const char *details, comet_token_t *token)
{
    return read_v1_with(V1_HEADER,
                        apr_pstrcat(token_pool, "{", V1_CLAIMS,
                                    "\"authorization_details\":", details, "}",
                                    NULL),
                        token);
}

static int covers(const apr_array_header_t *patterns, const char *topic)
{
    return comet_mercure_covers(patterns, comet_text(topic));
}

static void assert_wrong(const char *wrong, const char *words)
{
    if (!wrong || !strstr(wrong, words)) {
        fail_msg("\"%s\", expected: %s", wrong ? wrong : "valid", words);
    }
}

static void test_v0(void **state)
{
    comet_token_t token;

    assert_null(read_v0("{\"mercure\":{\"publish\":[\"*\"],\"subscribe\":"
                        "[\"a\",\"https://example.com/books/{id}\"],"
                        "\"payload\":{\"x\":1}},\"comet\":5}",
                        &token));
    assert_false(token.mercure.is_v1);
    assert_true(covers(token.mercure.publish, "anything"));
    assert_true(covers(token.mercure.subscribe, "a"));
    assert_true(covers(token.mercure.subscribe, "https://example.com/books/1"));
    assert_false(covers(token.mercure.subscribe, "b"));
    assert_null(
        read_v0("{\"https://mercure.rocks/\":{\"publish\":[]}}", &token));
    assert_non_null(token.mercure.publish);
    assert_false(covers(token.mercure.publish, "a"));
    assert_null(token.mercure.subscribe);
    assert_null(read_v0("{}", &token));
    assert_null(token.mercure.publish);
    assert_null(read_v0("{\"mercure\":{\"publish\":null}}", &token));
    assert_null(token.mercure.publish);
}

static void test_wrong_v0(void **state)
{
    static const char *const claims[] = {
        "{\"mercure\":[]}",
        "{\"mercure\":\"*\"}",
        "{\"mercure\":{\"publish\":\"*\"}}",
        "{\"mercure\":{\"publish\":[1]}}",
        "{\"mercure\":{\"subscribe\":{\"a\":1}}}",
    };
    comet_token_t token;
    size_t i;

    for (i = 0; i < sizeof(claims) / sizeof(*claims); i++) {
        assert_wrong(read_v0(claims[i], &token), "mercure");
    }
}

/* A key for reading allows no publishing, and a key for publishing no
 * reading. */
static void test_uses(void **state)
{
    const char *text = token_claim(
        "{\"mercure\":{\"publish\":[\"*\"],\"subscribe\":[\"*\"]}}");
    comet_key_t key = token_key(TOKEN_SECRET);
    comet_token_t token;

    key.uses = COMET_KEY_READ;
    assert_null(read_by(key, text, &token));
    assert_null(token.mercure.publish);
    assert_non_null(token.mercure.subscribe);
    key.uses = COMET_KEY_PUBLISH;
    assert_null(read_by(key, text, &token));
    assert_non_null(token.mercure.publish);
    assert_null(token.mercure.subscribe);
}

static void test_v1(void **state)
{
    comet_token_t token;

    assert_null(
        read_v1("[{" V1_TYPE "\"actions\":[\"publish\",\"fly\"],\"topics\":"
                "[{\"match\":\"a\"},{\"match\":\"/b/:id\",\"match_type\":"
                "\"urlpattern\"}]},"
                "{\"type\":\"mercure\",\"actions\":[\"subscribe\"],\"topics\":"
                "[{\"match\":\"{x}\",\"matchType\":\"Exact\"}],\"payload\":{}},"
                "{\"type\":\"payment\",\"actions\":5}]",
                &token));
    assert_true(token.mercure.is_v1);
    assert_true(covers(token.mercure.publish, "a"));
    assert_true(covers(token.mercure.publish, "/b/1"));
    assert_false(covers(token.mercure.publish, "{x}"));
    assert_true(covers(token.mercure.subscribe, "{x}")); /* here this is not a
                                                          * template */
    assert_false(covers(token.mercure.subscribe, "x"));
    assert_null(read_v1("[]", &token));
    assert_null(token.mercure.publish);
    assert_null(read_v1("[{" V1_TYPE "\"actions\":[\"publish\"],\"topics\":"
                        "[{\"match\":\"*\"}]}]",
                        &token));
    assert_true(covers(token.mercure.publish, "anything"));
}

static void test_wrong_details(void **state)
{
    static const char *const details[] = {
        "{}",
        "[5]",
        "[{}]",
        "[{\"type\":5}]",
        "[{\"type\":\"mercure\"}]",
        "[{\"type\":\"mercure\",\"actions\":\"publish\",\"topics\":[]}]",
        "[{\"type\":\"mercure\",\"actions\":[],\"topics\":{}}]",
        "[{\"type\":\"mercure\",\"actions\":[\"publish\"],\"topics\":[5]}]",
        "[{\"type\":\"mercure\",\"actions\":[\"publish\"],\"topics\":[{}]}]",
        "[{\"type\":\"mercure\",\"actions\":[\"publish\"],\"topics\":"
        "[{\"match\":\"a\",\"match_type\":\"regexp\"}]}]",
        "[{\"type\":\"mercure\",\"actions\":[\"publish\"],\"topics\":"
        "[{\"match\":\"a\",\"match_type\":5}]}]",
        "[{\"type\":\"mercure\",\"actions\":[\"publish\"],\"topics\":"
        "[{\"match\":\"/(a)\",\"match_type\":\"urlpattern\"}]}]",
        /* a valid entry does not make up for an invalid one */
        "[{\"type\":\"mercure\",\"actions\":[\"publish\"],\"topics\":"
        "[{\"match\":\"a\"}]},{\"type\":\"mercure\"}]",
    };
    comet_token_t token;
    size_t i;

    for (i = 0; i < sizeof(details) / sizeof(*details); i++) {
        if (!read_v1(details[i], &token)) {
            fail_msg("%s is accepted", details[i]);
        }
    }
}

/* Mercure 1.0 demands more of a token: its type, issuer, audience and
 * expiry. */
static void test_access_tokens(void **state)
{
    static const char claims[] = "{" V1_CLAIMS "\"authorization_details\":[]}";
    comet_key_t key = token_key(TOKEN_SECRET);
    comet_token_t token;

    assert_null(read_v1_with(V1_HEADER, claims, &token));
    assert_null(read_v1_with(
        "{\"alg\":\"HS256\",\"typ\":\"application/AT+JWT\"}", claims, &token));
    assert_wrong(read_v1_with(TOKEN_HEADER, claims, &token), "typ");
    assert_wrong(read_v1_with("{\"alg\":\"HS256\"}", claims, &token), "typ");
    assert_wrong(read_v1_with(V1_HEADER,
                              "{\"iss\":\"us\",\"aud\":\"hub\","
                              "\"authorization_details\":[]}",
                              &token),
                 "exp");
    assert_wrong(read_v1_with(V1_HEADER,
                              "{\"iss\":\"us\",\"aud\":\"other\",\"exp\":"
                              "1800000100,\"authorization_details\":[]}",
                              &token),
                 "aud");
    assert_wrong(read_v1_with(V1_HEADER,
                              "{\"aud\":\"hub\",\"exp\":1800000100,"
                              "\"authorization_details\":[]}",
                              &token),
                 "iss");
    assert_wrong(read_by(key,
                         token_sign(TOKEN_SECRET, "SHA256", V1_HEADER,
                                    "{\"exp\":1800000100,"
                                    "\"authorization_details\":[]}"),
                         &token),
                 "issuer= and audience=");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_v0),
        cmocka_unit_test(test_wrong_v0),
        cmocka_unit_test(test_uses),
        cmocka_unit_test(test_v1),
        cmocka_unit_test(test_wrong_details),
        cmocka_unit_test(test_access_tokens),
    };

    return cmocka_run_group_tests(tests, token_setup, token_teardown);
}
