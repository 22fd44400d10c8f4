/* SPDX-License-Identifier: Apache-2.0 */
/* Tokens: which of several keys verifies a token, and what that key demands. */
#include "token_kit.h"

#define NEW_SECRET "another secret of at least 32 bytes"

static void test_two_keys_are_valid_at_a_time(void **state)
{
    comet_key_t keys[2] = { token_key(TOKEN_SECRET), token_key(NEW_SECRET) };
    comet_token_judge_t judge = token_judge(keys, 2);
    comet_token_t token;

    assert_null(token_read_by(&judge, token_claim("{}"), &token));
    assert_null(token_read_by(
        &judge, token_sign(NEW_SECRET, "SHA256", TOKEN_HEADER, "{}"), &token));
    assert_string_equal(
        token_read_by(&judge, token_claim("{\"exp\":1}"), &token),
        "exp: the token has expired"); /* not "the signature is wrong", which is
                                        * the error with the other key */
    judge = token_judge(keys + 1, 1);
    assert_string_equal(token_read_by(&judge, token_claim("{}"), &token),
                        "the signature is wrong");
}

static void test_kid_chooses_the_key(void **state)
{
    comet_key_t keys[2] = { token_key(TOKEN_SECRET), token_key(NEW_SECRET) };
    comet_token_judge_t judge = token_judge(keys, 2);
    const char *header = "{\"alg\":\"HS256\",\"kid\":\"new\"}";
    const char *unknown = "{\"alg\":\"HS256\",\"kid\":\"../../dev/null\"}";
    comet_token_t token;

    keys[0].kid = "old";
    keys[1].kid = "new";
    assert_null(token_read_by(
        &judge, token_sign(NEW_SECRET, "SHA256", header, "{}"), &token));
    assert_string_equal(
        token_read_by(&judge, token_sign(TOKEN_SECRET, "SHA256", header, "{}"),
                      &token),
        "the signature is wrong");
    assert_string_equal(
        token_read_by(&judge, token_sign(TOKEN_SECRET, "SHA256", unknown, "{}"),
                      &token),
        "kid: no key here has this name");
    assert_null(
        token_read_by(&judge, token_claim("{}"), &token)); /* this token has no
                                                            * kid */
}

static void test_issuer_and_audience_hold(void **state)
{
    comet_key_t key = token_key(TOKEN_SECRET);
    comet_token_judge_t judge = token_judge(&key, 1);
    comet_token_t token;

    assert_string_equal(
        token_read_by(&judge, token_claim("{\"aud\":\"other\"}"), &token),
        "aud: the token is meant for another server");
    key.audience = "https://here.example/comet";
    assert_non_null(token_read_by(&judge, token_claim("{}"), &token));
    assert_non_null(
        token_read_by(&judge, token_claim("{\"aud\":[\"a\",7]}"), &token));
    assert_null(token_read_by(
        &judge, token_claim("{\"aud\":\"https://here.example/comet\"}"),
        &token));
    assert_null(token_read_by(
        &judge, token_claim("{\"aud\":[\"a\",\"https://here.example/comet\"]}"),
        &token));
    key.audience = NULL;
    key.issuer = "shop";
    assert_null(
        token_read_by(&judge, token_claim("{\"iss\":\"shop\"}"), &token));
    assert_string_equal(token_read_by(&judge, token_claim("{}"), &token),
                        "iss: the token is from another issuer");
    assert_non_null(
        token_read_by(&judge, token_claim("{\"iss\":[\"shop\"]}"), &token));
}

static void test_a_key_may_be_for_one_use(void **state)
{
    static const char claims[] =
        "{\"comet\":{\"read\":[\"*\"],\"write\":[\"*\"]}}";
    comet_key_t key = token_key(TOKEN_SECRET);
    comet_token_judge_t judge = token_judge(&key, 1);
    comet_token_t token;

    key.uses = COMET_KEY_READ;
    assert_null(token_read_by(&judge, token_claim(claims), &token));
    assert_non_null(token.read);
    assert_null(token.write);
    judge.use = COMET_KEY_PUBLISH;
    assert_string_equal(token_read_by(&judge, token_claim(claims), &token),
                        "the token's key is only for reading (for=read)");
    key.uses = COMET_KEY_PUBLISH;
    assert_null(token_read_by(&judge, token_claim(claims), &token));
    assert_null(token.read);
    judge.use = COMET_KEY_READ;
    assert_string_equal(token_read_by(&judge, token_claim(claims), &token),
                        "the token's key is only for publishing (for=publish)");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_two_keys_are_valid_at_a_time),
        cmocka_unit_test(test_kid_chooses_the_key),
        cmocka_unit_test(test_issuer_and_audience_hold),
        cmocka_unit_test(test_a_key_may_be_for_one_use),
    };

    return cmocka_run_group_tests(tests, token_setup, token_teardown);
}
