/* SPDX-License-Identifier: Apache-2.0 */
/* Batches of messages, one line of JSON each. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include <apr_general.h>
#include <apr_pools.h>
#include <apr_strings.h>

#include "wire/encode.h"
#include "wire/ndjson.h"

static apr_pool_t *pool;
static comet_ndjson_t lines;

static const char *parse(const char *text, apr_size_t length)
{
    /* an exact copy, so that the sanitizer notices reads beyond its end */
    char *exact = apr_pmemdup(pool, text, length);

    return comet_ndjson_parse(&lines, (comet_text_t){ exact, length }, 100,
                              pool);
}

static void test_messages(void **state)
{
    static const char text[] =
        "{\"body\":\"a\"}\n\r\n \t\n"
        " { \"type\" : \"t\" , \"body\" : \"\\u00fc\\ud83d\\ude00\\n\" }\r\n"
        "{\"channel\":\"x/y\",\"body\":\"c\"}";

    assert_null(parse(text, sizeof(text) - 1));
    assert_int_equal(lines.count, 3);
    assert_int_equal(lines.list[0].number, 1);
    assert_int_equal(lines.list[1].number, 4);
    assert_int_equal(lines.list[2].number, 5);
    assert_true(comet_text_equal(lines.list[0].body, comet_text("a")));
    assert_null(lines.list[0].type.data);
    assert_null(lines.list[0].channel.data);
    assert_true(comet_text_equal(lines.list[1].body,
                                 comet_text("\xc3\xbc\xf0\x9f\x98\x80\n")));
    assert_true(comet_text_equal(lines.list[1].type, comet_text("t")));
    assert_true(comet_text_equal(lines.list[2].channel, comet_text("x/y")));
}

static void test_keep(void **state)
{
    static const char text[] = "{\"body\":\"\",\"keep\":5}\n"
                               "{\"body\":\"\",\"keep\":\"2min\"}\n"
                               "{\"body\":\"\"}";
    static const char *const wrong[] = { "0",  "-1",   "1.5",   "true", "null",
                                         "[]", "\"\"", "86401", "1e3" };
    char line[80];
    size_t i;

    assert_null(parse(text, sizeof(text) - 1));
    assert_int_equal(lines.list[0].keep_sec, 5);
    assert_int_equal(lines.list[1].keep_sec, 120);
    assert_int_equal(lines.list[2].keep_sec, 0);
    for (i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
        snprintf(line, sizeof(line), "{\"body\":\"\",\"keep\":%s}", wrong[i]);
        assert_string_equal(parse(line, strlen(line)),
                            "line 1: keep: expected a time from 1s to 24h, "
                            "such as 5s or 10min");
    }
}

static void test_wrong(void **state)
{
    static const struct {
        const char *text, *wrong;
        int too_long;
    } cases[] = {
        { "", "line 1: there is no message", 0 },
        { "\n\n", "line 1: there is no message", 0 },
        { "{}", "line 1: body: the message has no body", 0 },
        { "{\"body\":\"a\"}\n{\"body\":1}", "line 2: body: expected a text",
          0 },
        { "\n\n[]", "line 3: expected a JSON object", 0 },
        { "{\"body\":\"a\",\"x\":1}",
          "line 1: x: there is no such member: expected body, type, "
          "channel or keep",
          0 },
        { "{\"body\":\"a\",\"type\":\"\"}", "line 1: type: ", 0 },
        { "{\"body\":\"a\",\"channel\":\"/\"}", "line 1: channel: ", 0 },
        { "{\"body\":\"a\",\"body\":\"a\"}",
          "line 1: expected a JSON object: ", 0 },
        { "{\"body\":\"\\ud83d\\u0041\"}",
          "line 1: expected a JSON object: ", 0 },
        { "{\"body\":\"\\u00g0\"}", "line 1: expected a JSON object: ", 0 },
        { "{\"body\":\"a\"} x", "line 1: expected a JSON object: ", 0 },
        { "{\"body\":\"\\u0000\"}", "line 1: expected a JSON object: ", 0 },
        { "{\"body\":\"\xff\"}", "line 1: expected a JSON object: ", 0 },
        { "{\"body\":\"0123456789012345678901234567890123456789012345678901234"
          "5678901234567890123456789012345678901234567890\"}",
          "line 1: body: the message is too long", 1 },
    };
    size_t i;

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const char *wrong = parse(cases[i].text, strlen(cases[i].text));

        assert_non_null(wrong);
        if (strncmp(wrong, cases[i].wrong, strlen(cases[i].wrong)) != 0) {
            fail_msg("%s\nis wrong by: %s", cases[i].text, wrong);
        }
        assert_int_equal(lines.too_long, cases[i].too_long);
    }
}

static void test_how_many(void **state)
{
    comet_buffer_t text = { .data = NULL };
    const char *wrong;
    int i;

    for (i = 0; i < COMET_LIMIT_MAX; i++) {
        comet_buffer_puts(&text, "{\"body\":\"a\"}\n\n");
    }
    assert_null(parse(text.data, text.length));
    assert_int_equal(lines.count, COMET_LIMIT_MAX);
    comet_buffer_puts(&text, "{\"body\":\"a\"}");
    wrong = parse(text.data, text.length);
    assert_non_null(wrong);
    assert_true(strstr(wrong, "line 2001: at most 1000 ") == wrong);
    assert_int_equal(lines.too_long, 1);
    comet_buffer_free(&text);
}

/* A text that is cut off anywhere yields messages that the store accepts, or an
 * error. */
static void test_cut_anywhere(void **state)
{
    static const char text[] =
        "{\"body\":\"\\ud83d\\ude00\xc3\xbc\",\"type\":\"t\"}\n"
        "{\"body\":\"b\",\"channel\":\"c/d\"}\n";
    size_t first = (size_t)(strchr(text, '\n') - text);
    size_t i;

    for (i = 0; i < sizeof(text); i++) {
        const char *wrong = parse(text, i);

        assert_int_equal(!wrong,
                         i == first || i == first + 1 || i + 2 >= sizeof(text));
        if (wrong) {
            assert_true(strncmp(wrong, i < first ? "line 1: " : "line 2: ", 8)
                        == 0);
        }
    }
}

static int setup(void **state)
{
    apr_initialize();
    return apr_pool_create(&pool, NULL);
}

static int teardown(void **state)
{
    apr_pool_destroy(pool);
    apr_terminate();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_messages),     cmocka_unit_test(test_keep),
        cmocka_unit_test(test_wrong),        cmocka_unit_test(test_how_many),
        cmocka_unit_test(test_cut_anywhere),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
