/* SPDX-License-Identifier: Apache-2.0 */
/* Reading keys: invalid ones are refused, each with its own error text. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <apr_strings.h>
#include <cmocka.h>
#include <string.h>
#include <sys/stat.h>

#include "scratch.h"
#include "token/key.h"
#include "token_kit.h"

static void assert_refused(const char *algorithm, const char *path,
                           const char *words)
{
    comet_key_t key = { .algorithm = NULL };
    const char *error = comet_key_read(&key, algorithm, path, token_pool);

    if (!error || !strstr(error, words)) {
        fail_msg("%s %s: \"%s\", expected: %s", algorithm, path,
                 error ? error : "no error", words);
    }
    assert_null(key.material);
}

static void assert_taken(const char *algorithm, const char *path)
{
    comet_key_t key = { .algorithm = NULL };
    const char *error = comet_key_read(&key, algorithm, path, token_pool);

    if (error) {
        fail_msg("%s %s: %s", algorithm, path, error);
    }
    assert_string_equal(key.algorithm, algorithm);
    assert_non_null(key.material);
}

static const char *letters(int count)
{
    char *text = apr_pcalloc(token_pool, (size_t)count + 1);
    int i;

    for (i = 0; i < count; i++) {
        text[i] = (char)('a' + i % 26);
    }
    return text;
}

static void test_takes_secrets(void **state)
{
    assert_taken("HS256", token_write("s", letters(32), 0600));
    assert_taken("HS384", token_write("s", letters(48), 0640));
    assert_taken("HS512", token_write("s", letters(64), 0600));
}

static void test_refuses_weak_secrets(void **state)
{
    const char *line = apr_pstrcat(token_pool, letters(31), "\r\n", NULL);

    assert_refused("HS256", token_write("s", "", 0600), "has 0 bytes");
    assert_refused("HS256", token_write("s", letters(31), 0600),
                   "has 31 bytes, but HS256 needs 32 or more");
    assert_refused("HS256", token_write("s", line, 0600), "has 31 bytes");
    assert_refused("HS384", token_write("s", letters(47), 0600), "needs 48");
    assert_refused("HS512", token_write("s", letters(63), 0600), "needs 64");
    assert_refused(
        "HS256", token_write("s", "abababababababababababababababababab", 0600),
        "can be guessed");
}

static void test_refuses_files_of_everybody(void **state)
{
    EVP_PKEY *rsa = token_make_rsa(2048);
    const char *path = token_write_key("p.pem", rsa, 0);

    assert_refused("HS256", token_write("s", letters(40), 0644), "chmod o-r");
    assert_refused("HS256", token_write("s", letters(40), 0602), "chmod o-w");
    assert_int_equal(chmod(path, 0646), 0);
    assert_refused("RS256", path, "chmod o-w");
    EVP_PKEY_free(rsa);
}

static void test_refuses_what_is_no_file(void **state)
{
    const char *path = scratch_path("folder");

    assert_refused("HS256", scratch_path("absent"), "cannot be read");
    assert_int_equal(mkdir(path, 0700), 0);
    assert_refused("HS256", path, "is not a file");
    assert_refused("RS256", path, "is not a file");
}

static void test_refuses_unknown_algorithms(void **state)
{
    static const char *const names[] = { "none", "NONE",  "",      "hs256",
                                         "HS1",  "PS256", "HS2561" };
    size_t i;

    for (i = 0; i < sizeof(names) / sizeof(*names); i++) {
        assert_refused(names[i], token_write("s", letters(64), 0600),
                       "is no algorithm: expected HS256");
    }
}

static void test_takes_public_keys(void **state)
{
    static const char *const curves[][2] = { { "P-256", "ES256" },
                                             { "P-384", "ES384" },
                                             { "P-521", "ES512" } };
    EVP_PKEY *rsa = token_make_rsa(2048);
    size_t i;

    assert_taken("RS256", token_write_key("p.pem", rsa, 0));
    assert_taken("RS512", token_write_key("p.pem", rsa, 0));
    EVP_PKEY_free(rsa);
    for (i = 0; i < sizeof(curves) / sizeof(*curves); i++) {
        EVP_PKEY *ec = token_make_ec(curves[i][0]);

        assert_taken(curves[i][1], token_write_key("p.pem", ec, 0));
        EVP_PKEY_free(ec);
    }
}

static void test_refuses_other_keys(void **state)
{
    EVP_PKEY *rsa = token_make_rsa(1024), *good = token_make_rsa(2048);
    EVP_PKEY *ec = token_make_ec("P-384");
    const char *path;

    assert_refused("RS256", token_write_key("p.pem", rsa, 0), "has 1024 bits");
    path = token_write_key("p.pem", good, 0);
    assert_refused("ES256", path, "elliptic curve P-256");
    assert_int_equal(chmod(path, 0640), 0);
    assert_refused("HS256", path, "PEM key");
    assert_refused("RS256", token_write_key("p.pem", good, 1), "private key");
    assert_refused("ES256", token_write_key("p.pem", ec, 0), "P-256");
    assert_refused("RS256", token_write_key("p.pem", ec, 0), "needs an RSA");
    assert_refused("RS256", token_write("p.pem", letters(64), 0644),
                   "no public key");
    assert_refused("RS256", token_write("p.pem", "", 0644), "no public key");
    EVP_PKEY_free(rsa);
    EVP_PKEY_free(good);
    EVP_PKEY_free(ec);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_takes_secrets),
        cmocka_unit_test(test_refuses_weak_secrets),
        cmocka_unit_test(test_refuses_files_of_everybody),
        cmocka_unit_test(test_refuses_what_is_no_file),
        cmocka_unit_test(test_refuses_unknown_algorithms),
        cmocka_unit_test(test_takes_public_keys),
        cmocka_unit_test(test_refuses_other_keys),
    };

    return cmocka_run_group_tests(tests, token_setup, token_teardown);
}
