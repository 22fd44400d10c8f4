/* SPDX-License-Identifier: Apache-2.0 */
/* Query strings, forms, cursors and names: which are accepted and which are
 * not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <apr_general.h>
#include <apr_strings.h>
#include <cmocka.h>

#include "wire/params.h"

static apr_pool_t *pool;

static int setup(void **state)
{
    return apr_initialize() != APR_SUCCESS
           || apr_pool_create(&pool, NULL) != APR_SUCCESS;
}

static int teardown(void **state)
{
    apr_pool_destroy(pool);
    apr_terminate();
    return 0;
}

static comet_params_t parse(const char *encoded)
{
    comet_params_t params;

    comet_params_parse(&params, comet_text(encoded), pool);
    return params;
}

static void assert_text(comet_text_t text, const char *expected)
{
    assert_int_equal(text.length, strlen(expected));
    if (text.length) {
        assert_memory_equal(text.data, expected, text.length);
    }
}

/* --- decoding ------------------------------------------------------------ */

static void test_decodes_values(void **state)
{
    static const struct {
        const char *encoded, *value;
    } cases[] = {
        { "msg=hello", "hello" },
        { "msg=a+b", "a b" },
        { "msg=a%20b", "a b" },
        { "msg=a%2Bb", "a+b" },
        { "msg=a%2bb", "a+b" },
        { "msg=%E4%B8%AD%e6%96%87", "中文" },
        { "msg=中文", "中文" },
        { "msg=a=b=c", "a=b=c" },
        { "msg=a;b", "a;b" },
        { "msg=a;msg=b", "a;msg=b" },
        { "msg=100%", "100%" },
        { "msg=%4", "%4" },
        { "msg=%", "%" },
        { "msg=%zz", "%zz" },
        { "msg=%g0", "%g0" },
        { "msg=%0g", "%0g" },
        { "msg=%%41", "%A" },
        { "msg=%2541", "%41" },
        { "msg=%41%", "A%" },
        { "msg=%26%3D", "&=" },
        { "msg=", "" },
        { "msg", "" },
        { "ms%67=x", "x" },
        { "msg=first&msg=last", "last" },
        { "msg=first&msg=", "" },
        { "timestamp=1&msg=x&other=2", "x" },
        { "&&msg=x&", "x" },
        { "Msg=no&msg=yes&MSG=no", "yes" },
        { "msg=%FF%fe", "\xFF\xFE" },
        { "msg=<b>\"'", "<b>\"'" },
    };
    size_t i;

    for (i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        comet_params_t params = parse(cases[i].encoded);
        comet_text_t value;

        assert_true(comet_params_get(&params, "msg", &value));
        assert_text(value, cases[i].value);
        assert_non_null(value.data);
    }
}

static void test_finds_nothing(void **state)
{
    static const char *const cases[] = {
        "",     "&",       "&&&",       "=",     "=msg",  "Msg=x",
        "msg+", "msg%00=", "msgs=x&ms", "%msg=", "a=msg", "msg%3Dx",
    };
    size_t i;

    for (i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        comet_params_t params = parse(cases[i]);
        comet_text_t value = comet_text("untouched");

        assert_false(comet_params_get(&params, "msg", &value));
        assert_null(value.data);
        assert_int_equal(value.length, 0);
    }
}

static void test_keeps_order_and_skips_empty_pairs(void **state)
{
    comet_params_t params = parse("&a=1&&b&=c&=&a=2");

    assert_int_equal(params.count, 5);
    assert_text(params.list[0].name, "a");
    assert_text(params.list[0].value, "1");
    assert_text(params.list[1].name, "b");
    assert_text(params.list[1].value, "");
    assert_text(params.list[2].name, "");
    assert_text(params.list[2].value, "c");
    assert_text(params.list[3].name, "");
    assert_text(params.list[4].value, "2");
    params = parse("");
    assert_int_equal(params.count, 0);
    comet_params_parse(&params, comet_text(NULL), pool);
    assert_int_equal(params.count, 0);
}

/* Decoding a short input uses little memory. */
static void test_too_many(void **state)
{
    char many[2 * COMET_PARAMS_MAX + 8];
    comet_params_t params;
    comet_text_t value;
    int i;

    for (i = 0; i <= COMET_PARAMS_MAX; i++) {
        memcpy(many + 2 * i, "a&", 3);
    }
    params = parse(many);
    assert_true(params.too_many);
    assert_int_equal(params.count, 0);
    assert_false(comet_params_get(&params, "a", &value));
    many[2 * COMET_PARAMS_MAX] = '\0';
    params = parse(many);
    assert_false(params.too_many);
    assert_int_equal(params.count, COMET_PARAMS_MAX);
}

static void test_decodes_nul(void **state)
{
    static const char raw[] = { 'm', '=', 'a', '\0', 'b', '&', 'n', '=', 'c' };
    comet_params_t params = parse("m=a%00b");
    comet_text_t value;

    assert_true(comet_params_get(&params, "m", &value));
    assert_int_equal(value.length, 3);
    assert_memory_equal(value.data, "a\0b", 3);
    comet_params_parse(&params, (comet_text_t){ raw, sizeof(raw) }, pool);
    assert_int_equal(params.count, 2);
    assert_int_equal(params.list[0].value.length, 3);
    assert_text(params.list[1].value, "c");
}

/* The result outlives the input.  Nothing beyond the input's end is read; the
 * sanitizer checks this. */
static void test_copies_and_stays_inside(void **state)
{
    static const char *const cases[] = { "m=x%4", "m=x%", "m", "m=", "m=%41" };
    size_t i;

    for (i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        size_t length = strlen(cases[i]);
        char *exact = malloc(length);
        comet_params_t params;
        comet_text_t value;

        assert_non_null(exact);
        memcpy(exact, cases[i], length);
        comet_params_parse(&params, (comet_text_t){ exact, length }, pool);
        memset(exact, '#', length);
        free(exact);
        assert_true(comet_params_get(&params, "m", &value));
    }
}

static void test_every_escape(void **state)
{
    static const char digits[] = "0123456789abcdef0123456789ABCDEF";
    int i;

    for (i = 0; i < 512; i++) {
        const char *hex = digits + i / 256 * 16;
        comet_params_t params = parse(
            apr_psprintf(pool, "m=%%%c%c", hex[i % 256 / 16], hex[i % 16]));

        assert_int_equal(params.count, 1);
        assert_int_equal(params.list[0].value.length, 1);
        assert_int_equal((unsigned char)params.list[0].value.data[0], i % 256);
    }
}

/* --- numbers ------------------------------------------------------------- */

static void test_good_cursors(void **state)
{
    static const struct {
        const char *text;
        apr_int64_t cursor;
    } cases[] = {
        { "", -1 },
        { "0", 0 },
        { "1", 1 },
        { "007", 7 },
        { "000000000000000000000000000000000000000042", 42 },
        { "1795229965123456", 1795229965123456 },
        { "9007199254740990", COMET_TIMESTAMP_MAX - 1 },
        { "9007199254740991", COMET_TIMESTAMP_MAX },
    };
    size_t i;

    for (i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        comet_timestamp_t cursor = -7;

        assert_null(comet_params_cursor(comet_text(cases[i].text), "since",
                                        &cursor, pool));
        assert_int_equal(cursor, cases[i].cursor);
    }
}

static void test_keep(void **state)
{
    static const struct {
        const char *text;
        int seconds; /* 0: the text is refused */
    } cases[] = {
        { "1", 1 },       { "5s", 5 },        { "10min", 600 },
        { "24h", 86400 }, { "86400", 86400 }, { "007s", 7 },
        { "", 0 },        { "0", 0 },         { "s", 0 },
        { "86401", 0 },   { "1441min", 0 },   { "25h", 0 },
        { "-1", 0 },      { "5 s", 0 },       { "5S", 0 },
        { "1.5", 0 },     { "500ms", 0 },     { "99999999999999999999", 0 },
        { "1d", 0 },      { "5s5", 0 },
    };
    size_t i;

    for (i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        int seconds = 0;
        const char *wrong =
            comet_params_keep(comet_text(cases[i].text), &seconds);

        assert_int_equal(seconds, cases[i].seconds);
        assert_int_equal(wrong == NULL, seconds != 0);
    }
}

static void test_age(void **state)
{
    static const struct {
        const char *text;
        apr_int64_t seconds; /* 0: the text is refused */
    } cases[] = {
        { "1", 1 },         { "90s", 90 },
        { "10min", 600 },   { "48h", 172800 },
        { "30d", 2592000 }, { "36500d", COMET_AGE_MAX_SEC },
        { "36501d", 0 },    { "3153600001", 0 },
        { "0d", 0 },        { "d", 0 },
        { "", 0 },          { "1.5d", 0 },
        { "1D", 0 },        { "1w", 0 },
        { "-1d", 0 },       { "99999999999999999999d", 0 },
    };
    size_t i;

    for (i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        apr_int64_t seconds = 0;
        const char *wrong =
            comet_params_age(comet_text(cases[i].text), &seconds);

        assert_int_equal(seconds, cases[i].seconds);
        assert_int_equal(wrong == NULL, seconds != 0);
    }
}

static void test_bad_cursors(void **state)
{
    static const char *const cases[] = {
        "-1",
        "-0",
        "+1",
        "1e9",
        "1E9",
        "0x10",
        "1.5",
        "1.",
        ".5",
        "NaN",
        "Infinity",
        "null",
        "undefined",
        "abc",
        "1abc",
        " 1",
        "1 ",
        "1\n",
        "\t1",
        " ",
        "1,2",
        "1_000",
        "10^30",
        "0' OR 1=1",
        "\xFF\xFE",
        "\xD9\xA1", /* ARABIC-INDIC DIGIT ONE */
        "\xEF\xBC\x91", /* FULLWIDTH DIGIT ONE */
        "9007199254740992", /* 2^53 */
        "9007199254740993",
        "9223372036854775807",
        "9223372036854775808",
        "18446744073709551615",
        "18446744073709551616",
        "1000000000000000000000000000000",
        "99999999999999999999999999999999999999999999999999999999999999999999",
    };
    size_t i;

    for (i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        comet_timestamp_t cursor = -7;
        const char *error =
            comet_params_cursor(comet_text(cases[i]), "since", &cursor, pool);

        assert_non_null(error);
        assert_ptr_equal(strstr(error, "since"), error);
        assert_non_null(strstr(error, "9007199254740991"));
        assert_int_equal(cursor, -7);
    }
}

static void test_cursor_with_nul(void **state)
{
    comet_timestamp_t cursor;

    assert_non_null(comet_params_cursor((comet_text_t){ "1\0", 2 }, "since",
                                        &cursor, pool));
    assert_non_null(
        comet_params_cursor((comet_text_t){ "\0", 1 }, "since", &cursor, pool));
    assert_null(comet_params_cursor((comet_text_t){ "12345", 2 }, "since",
                                    &cursor, pool));
    assert_int_equal(cursor, 12);
    assert_null(comet_params_cursor(comet_text(NULL), "since", &cursor, pool));
    assert_int_equal(cursor, -1);
}

static void test_integers(void **state)
{
    static const struct {
        const char *text;
        apr_int64_t minimum, maximum, number; /* number: -1 if the text is
                                               * refused */
    } cases[] = {
        { "1", 1, 1000, 1 },
        { "1000", 1, 1000, 1000 },
        { "0", 1, 1000, -1 },
        { "1001", 1, 1000, -1 },
        { "", 0, 1000, -1 },
        { "0", 0, 0, 0 },
        { "00", 0, 0, 0 },
        { "1", 0, 0, -1 },
        { "5", 0, 3, -1 },
        { "3", 0, 3, 3 },
        { "9223372036854775807", 0, INT64_MAX, INT64_MAX },
        { "9223372036854775808", 0, INT64_MAX, -1 },
        { "9223372036854775810", 0, INT64_MAX, -1 },
        { "10000000000000000000", 0, INT64_MAX, -1 },
        { "-5", 0, 10, -1 },
    };
    size_t i;

    for (i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        apr_int64_t number = -1;
        const char *error =
            comet_params_int(comet_text(cases[i].text), "limit",
                             cases[i].minimum, cases[i].maximum, &number, pool);

        assert_int_equal(number, cases[i].number);
        assert_true(!error == (number >= 0));
    }
}

static void test_integer_error_names_what_is_allowed(void **state)
{
    apr_int64_t number;
    const char *error =
        comet_params_int(comet_text("many"), "limit", 1, 1000, &number, pool);

    assert_string_equal(error, "limit must be a whole number from 1 to 1000,"
                               " written in digits only");
}

/* --- names and texts ----------------------------------------------------- */

static char *repeat(const char *unit, size_t count)
{
    size_t length = strlen(unit), i;
    char *text = apr_pcalloc(pool, length * count + 1);

    for (i = 0; i < count; i++) {
        memcpy(text + i * length, unit, length);
    }
    return text;
}

static void test_good_channels(void **state)
{
    static const char *const cases[] = {
        "chat", "room/42", "a",   "...",      ".a",    "a.",       "..a/b..",
        "a b",  "中文/表", " ",   "a/.../b",  "%2e",   "a\\b",     "*",
        "a?b",  "<b>",     "~/x", "\xC2\xA0", "a:b@c", "\xC3\x80",
    };
    size_t i;

    for (i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        assert_null(comet_params_check_channel(comet_text(cases[i])));
    }
    assert_null(comet_params_check_channel(comet_text(repeat("x", 255))));
    assert_null(comet_params_check_channel(comet_text(repeat("中", 85))));
}

static void test_bad_channels(void **state)
{
    static const char *const cases[] = {
        "",         "/",         "/a",   "a/",    "a//b",         ".",
        "..",       "a/.",       "a/..", "./a",   "../a",         "a/./b",
        "a/../b",   "a\x01z",    "a\n",  "\x1f",  "a\x7f",        "a\xC2\x80",
        "\xC2\x9F", "\xC2\x85z", "\xFF", "a\xC3", "\xED\xA0\x80", "\xC0\xAF",
    };
    size_t i;

    for (i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        assert_non_null(comet_params_check_channel(comet_text(cases[i])));
    }
    assert_non_null(comet_params_check_channel((comet_text_t){ "a\0b", 3 }));
    assert_non_null(comet_params_check_channel(comet_text(NULL)));
    assert_non_null(comet_params_check_channel(comet_text(repeat("x", 256))));
    assert_non_null(comet_params_check_channel(comet_text(repeat("中", 86))));
}

static void test_sizes_are_named(void **state)
{
    assert_string_equal(comet_params_check_channel(comet_text("")),
                        "the channel's name must be 1 to 255 bytes long");
    assert_string_equal(comet_params_check_type(comet_text("")),
                        "the type must be 1 to 255 bytes long");
}

static void test_types(void **state)
{
    assert_null(comet_params_check_type(comet_text("message")));
    assert_null(comet_params_check_type(comet_text("a/b .. 中")));
    assert_null(comet_params_check_type(comet_text(repeat("x", 255))));
    assert_non_null(comet_params_check_type(comet_text("")));
    assert_non_null(comet_params_check_type(comet_text("gap")));
    assert_null(comet_params_check_type(comet_text("gaps")));
    assert_non_null(comet_params_check_type(comet_text(repeat("x", 256))));
    assert_non_null(comet_params_check_type(comet_text("a\nb")));
    assert_non_null(comet_params_check_type(comet_text("a\rb")));
    assert_non_null(comet_params_check_type(comet_text("\xC2\x85")));
    assert_non_null(comet_params_check_type(comet_text("\x80")));
    assert_non_null(comet_params_check_type((comet_text_t){ "\0", 1 }));
}

static void test_bodies(void **state)
{
    assert_null(comet_params_check_body(comet_text("0")));
    assert_null(comet_params_check_body(comet_text(" ")));
    assert_null(comet_params_check_body(comet_text("\x01\x1b\x7f\xC2\x80")));
    assert_null(comet_params_check_body(comet_text("\xF0\x9F\x98\x80")));
    assert_null(comet_params_check_body(comet_text(repeat("中", 100000))));
    assert_null(comet_params_check_body(comet_text("")));
    assert_non_null(comet_params_check_body(comet_text(NULL)));
    assert_non_null(comet_params_check_body((comet_text_t){ "a\0b", 3 }));
    assert_non_null(comet_params_check_body((comet_text_t){ "ab\0", 3 }));
    assert_non_null(comet_params_check_body(comet_text("a\xFF")));
    assert_non_null(comet_params_check_body(comet_text("\xE4\xB8")));
}

static void test_hides_values(void **state)
{
    static const struct {
        const char *text, *expected;
    } cases[] = {
        { "token=abc", "token=-" },
        { "since=0&token=abc&x=1", "since=0&token=-&x=1" },
        { "token=abc HTTP/1.1", "token=- HTTP/1.1" },
        { "a=1&tok%65n=abc&token=b", "a=1&tok%65n=-&token=-" },
        { "token", "token-" },
        { "token=", "token=-" },
        { "tokens=abc&my_token=abc", "tokens=abc&my_token=abc" },
        { "a=token=abc", "a=token=abc" },
        { "&&token=a&", "&&token=-&" },
        { "", "" },
        { " HTTP/1.1", " HTTP/1.1" },
    };
    size_t i;

    for (i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        assert_string_equal(comet_params_hide(cases[i].text, "token", pool),
                            cases[i].expected);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_decodes_values),
        cmocka_unit_test(test_finds_nothing),
        cmocka_unit_test(test_keeps_order_and_skips_empty_pairs),
        cmocka_unit_test(test_too_many),
        cmocka_unit_test(test_decodes_nul),
        cmocka_unit_test(test_copies_and_stays_inside),
        cmocka_unit_test(test_every_escape),
        cmocka_unit_test(test_good_cursors),
        cmocka_unit_test(test_age),
        cmocka_unit_test(test_keep),
        cmocka_unit_test(test_bad_cursors),
        cmocka_unit_test(test_cursor_with_nul),
        cmocka_unit_test(test_integers),
        cmocka_unit_test(test_integer_error_names_what_is_allowed),
        cmocka_unit_test(test_good_channels),
        cmocka_unit_test(test_bad_channels),
        cmocka_unit_test(test_sizes_are_named),
        cmocka_unit_test(test_types),
        cmocka_unit_test(test_bodies),
        cmocka_unit_test(test_hides_values),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
