/* SPDX-License-Identifier: Apache-2.0 */
/* Patterns of channels: which texts are patterns, and what they cover. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <apr_strings.h>
#include <cmocka.h>

#include "token/grant.h"
#include "token_kit.h"

static void test_patterns_are_checked(void **state)
{
    static const char *const good[] = { "*",     "room", "room/42", "room/*",
                                        "a/b/*", "a.b",  "ä/*" };
    static const char *const bad[] = { "",      "/",     "room/",  "/room",
                                       "**",    "room*", "r*m",    "*/room",
                                       "a/*/b", "/*",    "a//*",   "../*",
                                       "a/./b", "a\nb",  "\xff/*", "a*/*" };
    size_t i;

    for (i = 0; i < sizeof(good) / sizeof(*good); i++) {
        assert_null(comet_grant_check(comet_text(good[i])));
    }
    for (i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        if (!comet_grant_check(comet_text(bad[i]))) {
            fail_msg("%s is taken for a pattern", bad[i]);
        }
    }
}

static int covers(const char *pattern, const char *channel)
{
    apr_array_header_t *list =
        apr_array_make(token_pool, 2, sizeof(const char *));

    APR_ARRAY_PUSH(list, const char *) = "another/one";
    APR_ARRAY_PUSH(list, const char *) = pattern;
    return comet_grant_covers(list, channel);
}

static void test_patterns_cover_what_they_name(void **state)
{
    assert_true(covers("room/42", "room/42"));
    assert_false(covers("room/42", "room/421"));
    assert_false(covers("room/42", "room/4"));
    assert_false(covers("room/42", "room/42/x"));
    assert_false(covers("room/42", "room/42/"));
    assert_false(covers("room/42", "Room/42"));
    assert_true(covers("room/*", "room/42"));
    assert_true(covers("room/*", "room/42/x"));
    assert_true(covers("room/*", "room/"));
    assert_true(covers("room/*", "room/42/"));
    assert_false(covers("room/*", "room"));
    assert_false(covers("room/*", "rooms/42"));
    assert_false(covers("room/*", ""));
    assert_true(covers("*", "room/42"));
    assert_true(covers("*", ""));
    assert_false(comet_grant_covers(NULL, "room"));
}

/* A sibling channel (name/@online) is not below its channel. */
static void test_siblings(void **state)
{
    assert_true(covers("room/*", "room/42/@online"));
    assert_false(covers("room/*", "room/@online"));
    assert_true(covers("room/@online", "room/@online"));
    assert_false(covers("room", "room/@online"));
    /* the pattern covers the channel another/one, too */
    assert_true(covers("another/*", "another/one/@online"));
    assert_true(covers("another/one/*", "another/one/@online"));
    assert_true(covers("*", "room/@online"));
    assert_true(covers("*", "@online"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_patterns_are_checked),
        cmocka_unit_test(test_patterns_cover_what_they_name),
        cmocka_unit_test(test_siblings),
    };

    return cmocka_run_group_tests(tests, token_setup, token_teardown);
}
