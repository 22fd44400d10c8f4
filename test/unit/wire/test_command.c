/* SPDX-License-Identifier: Apache-2.0 */
/* Commands that clients send on WebSockets. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <apr_general.h>
#include <apr_strings.h>

#include "wire/command.h"

static apr_pool_t *pool;
static comet_command_t command;

static const char *parse(const char *text)
{
    /* an exact copy, so that the sanitizer notices reads beyond its end */
    char *exact = apr_pmemdup(pool, text, strlen(text));

    return comet_command_parse(&command, (comet_text_t){ exact, strlen(text) },
                               20, pool);
}

static void test_right(void **state)
{
    assert_null(parse("{\"publish\":{\"body\":\"\"}}"));
    assert_int_equal(command.body.length, 0);
    assert_null(command.ref);
    assert_null(command.type.data);
    assert_null(parse("{\"ref\":1, \"publish\":{\"body\":\"a\\n\\u00fc\","
                      "\"type\":\"t\",\"channel\":\"a/b\",\"key\":\"k\"}}"));
    assert_true(comet_text_equal(command.body, comet_text("a\n\xc3\xbc")));
    assert_true(comet_text_equal(command.type, comet_text("t")));
    assert_true(comet_text_equal(command.channel, comet_text("a/b")));
    assert_true(comet_text_equal(command.key, comet_text("k")));
    assert_string_equal(command.ref, "1");
    assert_null(parse("{\"publish\":{\"body\":\"a\"},\"ref\":\"\\\"x\"}"));
    assert_string_equal(command.ref, "\"\\\"x\"");
    assert_int_equal(command.keep_sec, 0);
    assert_null(parse("{\"publish\":{\"body\":\"a\",\"keep\":\"1min\"}}"));
    assert_int_equal(command.keep_sec, 60);
}

static void test_channels(void **state)
{
    assert_null(parse("{\"subscribe\":[\"a\",\"r/*\"],\"ref\":\"x\"}"));
    assert_int_equal(command.kind, COMET_COMMAND_SUBSCRIBE);
    assert_int_equal(command.channel_count, 2);
    assert_true(comet_text_equal(command.channels[1], comet_text("r/*")));
    assert_int_equal(command.since, -1);
    assert_string_equal(command.ref, "\"x\"");
    assert_null(parse("{\"subscribe\":[\"a\"],\"since\":1795981834757886}"));
    assert_int_equal(command.since, APR_INT64_C(1795981834757886));
    assert_null(parse("{\"subscribe\":[\"a\"],\"since\":\"12\"}"));
    assert_int_equal(command.since, 12);
    assert_null(parse("{\"subscribe\":[\"a\"],\"since\":\"\"}"));
    assert_int_equal(command.since, -1);
    assert_null(parse("{\"unsubscribe\":[\"a\"]}"));
    assert_int_equal(command.kind, COMET_COMMAND_UNSUBSCRIBE);
}

/* A command that subscribes or unsubscribes is recognised.  A text that merely
 * contains one of these words is not mistaken for such a command. */
static void test_live(void **state)
{
    static const struct {
        const char *text;
        int is_live;
    } cases[] = {
        { "{\"subscribe\":[\"a\"]}", 1 },
        { "{\"unsubscribe\":1,\"x\":2}", 1 },
        { "{\"publish\":{\"body\":\"subscribe\"}}", 0 },
        { "{\"publish\":{\"body\":\"a\",\"type\":\"unsubscribe\"}}", 0 },
        { "{\"publish\":{\"body\":\"\\\"subscribe\\\"\"}}", 0 },
        { "{\"subscribe\":[\"a\"],\"publish\":{\"body\":\"\"}}", 0 },
        { "{\"subscribe\"", 0 },
        { "\"subscribe\"", 0 },
        { "", 0 },
    };
    size_t i;

    for (i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        assert_int_equal(comet_command_is_live(comet_text(cases[i].text)),
                         cases[i].is_live);
    }
}

static void test_wrong(void **state)
{
    static const struct {
        const char *text, *wrong;
        int too_long;
    } cases[] = {
        { "", "expected a JSON object: ", 0 },
        { "{", "expected a JSON object: ", 0 },
        { "1", "expected a JSON object", 0 },
        { "[]", "expected a JSON object", 0 },
        { "{}", "expected {\"publish\"", 0 },
        { "{\"ref\":1}", "expected {\"publish\"", 0 },
        { "{\"ref\":{},\"publish\":{\"body\":\"a\"}}", "ref: expected", 0 },
        { "{\"ref\":null,\"publish\":{\"body\":\"a\"}}", "ref: expected", 0 },
        { "{\"publish\":{\"body\":\"a\"},\"x\":1}", "there is an unknown", 0 },
        { "{\"publish\":{\"body\":\"a\"},\"publish\":1}",
          "expected a JSON object: duplicate", 0 },
        { "{\"publish\":\"a\"}", "publish: expected an object", 0 },
        { "{\"publish\":{}}", "body: the message has no body", 0 },
        { "{\"publish\":{\"body\":1}}", "body: expected a text", 0 },
        { "{\"publish\":{\"text\":\"a\"}}", "text: publish has no such", 0 },
        { "{\"publish\":{\"body\":\"123456789012345678901\"}}",
          "body: the message is too long: at most 20", 1 },
        { "{\"subscribe\":[]}", "subscribe: expected a list of 1 to 100", 0 },
        { "{\"subscribe\":{}}", "subscribe: expected a list", 0 },
        { "{\"unsubscribe\":[1]}", "unsubscribe: expected a text", 0 },
        { "{\"subscribe\":[\"a\"],\"since\":-1}", "since must be", 0 },
        { "{\"subscribe\":[\"a\"],\"since\":1.5}", "since: expected", 0 },
        { "{\"subscribe\":[\"a\"],\"since\":null}", "since: expected", 0 },
        { "{\"unsubscribe\":[\"a\"],\"since\":1}", "there is an unknown", 0 },
        { "{\"subscribe\":[\"a\"],\"unsubscribe\":[\"a\"]}",
          "there is an unknown", 0 },
        { "{\"publish\":{\"body\":\"a\",\"channel\":\"/\"}}", "channel: ", 0 },
        { "{\"publish\":{\"body\":\"a\",\"type\":\"\"}}", "type: ", 0 },
        { "{\"publish\":{\"body\":\"a\",\"keep\":0}}", "keep: expected a time",
          0 },
        { "{\"publish\":{\"body\":\"a\",\"key\":\"\"}}", "key: expected", 0 },
        { "{\"publish\":{\"body\":\"a\",\"key\":\"a b\"}}", "key: expected",
          0 },
    };
    size_t i;

    for (i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        const char *wrong = parse(cases[i].text);

        assert_non_null(wrong);
        if (strncmp(wrong, cases[i].wrong, strlen(cases[i].wrong)) != 0) {
            assert_string_equal(wrong, cases[i].wrong);
        }
        assert_int_equal(command.too_long, cases[i].too_long);
    }
    assert_non_null(parse("{\"publish\":{},\"ref\":7}"));
    assert_string_equal(command.ref, "7"); /* so the error can name the
                                            * command */
}

static int set_up(void **state)
{
    return apr_initialize() != APR_SUCCESS
           || apr_pool_create(&pool, NULL) != APR_SUCCESS;
}

static int tear_down(void **state)
{
    apr_pool_destroy(pool);
    apr_terminate();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_right),
        cmocka_unit_test(test_channels),
        cmocka_unit_test(test_live),
        cmocka_unit_test(test_wrong),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
