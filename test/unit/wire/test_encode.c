/* SPDX-License-Identifier: Apache-2.0 */
/* Buffers, UTF-8, HTML and JSON, compared with slow decoders. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "wire/encode.h"
#include "reference.h"

static void assert_buffer(const comet_buffer_t *buffer, const char *expected)
{
    assert_false(buffer->failed);
    assert_int_equal(buffer->length, strlen(expected));
    if (buffer->length) {
        assert_memory_equal(buffer->data, expected, buffer->length);
    }
}

static comet_text_t bytes(const void *data, size_t length)
{
    return (comet_text_t){ data, length };
}

/* --- buffers ------------------------------------------------------------- */

static void test_buffer_grows(void **state)
{
    comet_buffer_t buffer = { 0 };
    size_t i;

    for (i = 0; i < 100000; i++) {
        char c = (char)('a' + i % 26);

        comet_buffer_add(&buffer, &c, 1);
    }
    assert_false(buffer.failed);
    assert_int_equal(buffer.length, 100000);
    assert_true(buffer.size >= buffer.length);
    assert_true(buffer.size < 4 * buffer.length);
    for (i = 0; i < 100000; i++) {
        assert_int_equal(buffer.data[i], 'a' + i % 26);
    }
    comet_buffer_free(&buffer);
    assert_null(buffer.data);
    assert_int_equal(buffer.length, 0);
    assert_int_equal(buffer.size, 0);
}

static void test_buffer_adds_nothing(void **state)
{
    comet_buffer_t buffer = { 0 };

    comet_buffer_add(&buffer, NULL, 0);
    comet_buffer_puts(&buffer, "");
    comet_buffer_clear(&buffer);
    assert_null(buffer.data);
    comet_buffer_free(&buffer);
    comet_buffer_free(&buffer);
}

static void test_buffer_failure(void **state)
{
    comet_buffer_t buffer = { 0 };
    volatile apr_size_t huge = SIZE_MAX - 3; /* gcc warns of a constant */
    char *kept;

    comet_buffer_puts(&buffer, "before");
    kept = buffer.data;
    comet_buffer_add(&buffer, "x", huge);
    assert_true(buffer.failed);
    assert_int_equal(buffer.length, 6);
    comet_buffer_puts(&buffer, "after");
    comet_encode_json(&buffer, comet_text("after"));
    comet_encode_html(&buffer, comet_text("after"));
    comet_buffer_add_int(&buffer, 1);
    assert_true(buffer.failed);
    assert_int_equal(buffer.length, 6);
    comet_buffer_clear(&buffer);
    assert_ptr_equal(buffer.data, kept);
    comet_buffer_puts(&buffer, "again");
    assert_buffer(&buffer, "again");
    comet_buffer_free(&buffer);
}

static void test_buffer_integers(void **state)
{
    static const struct {
        apr_int64_t number;
        const char *text;
    } cases[] = {
        { 0, "0" },
        { 7, "7" },
        { -7, "-7" },
        { 10, "10" },
        { 99, "99" },
        { 100, "100" },
        { 10203, "10203" },
        { COMET_TIMESTAMP_MAX, "9007199254740991" },
        { INT64_MAX, "9223372036854775807" },
        { INT64_MIN, "-9223372036854775808" },
    };
    size_t i;

    for (i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        comet_buffer_t buffer = { 0 };

        comet_buffer_add_int(&buffer, cases[i].number);
        assert_buffer(&buffer, cases[i].text);
        comet_buffer_free(&buffer);
    }
}

/* --- UTF-8 --------------------------------------------------------------- */

static void compare_validity(const unsigned char *data, size_t length)
{
    int valid = comet_encode_is_utf8(bytes(data, length));

    if (!valid != !reference_utf8_valid(data, length)) {
        fail_msg("%02x %02x %02x %02x (%zu bytes): %d", data[0], data[1],
                 data[2], data[3], length, valid);
    }
}

static void test_utf8_all_up_to_3_bytes(void **state)
{
    unsigned char data[4] = { 0 };
    unsigned i;

    for (i = 0; i < 1u << 24; i++) {
        data[0] = (unsigned char)(i >> 16);
        data[1] = (unsigned char)(i >> 8);
        data[2] = (unsigned char)i;
        compare_validity(data, 3);
        if (data[2] == 0) {
            compare_validity(data, 2);
        }
        if (data[1] == 0 && data[2] == 0) {
            compare_validity(data, 1);
        }
    }
}

/* All first bytes from E0 on, with every second byte, and with the third and
 * fourth bytes at the edges of their ranges. */
static void test_utf8_edges_of_4_bytes(void **state)
{
    static const unsigned char edges[] = { 0x00, 0x7F, 0x80, 0x8F, 0x90, 0x9F,
                                           0xA0, 0xBF, 0xC0, 0xC2, 0xF0, 0xFF };
    unsigned char data[4];
    unsigned i;
    size_t j, k;

    for (i = 0xE000; i <= 0xFFFF; i++) {
        data[0] = (unsigned char)(i >> 8);
        data[1] = (unsigned char)i;
        for (j = 0; j < sizeof(edges); j++) {
            for (k = 0; k < sizeof(edges); k++) {
                data[2] = edges[j];
                data[3] = edges[k];
                compare_validity(data, 4);
            }
        }
    }
}

static void test_utf8_every_code_point(void **state)
{
    uint32_t code;

    for (code = 0; code <= 0x10FFFF; code++) {
        unsigned char data[4];
        size_t length = reference_put(code, data);
        int surrogate = code >= 0xD800 && code <= 0xDFFF;

        assert_int_equal(comet_encode_is_utf8(bytes(data, length)), !surrogate);
    }
}

/* A bad byte is found at each position of a text that the fast path reads eight
 * bytes at a time.  The text is a block of its own, so that the sanitizer
 * notices reads beyond its end. */
static void test_utf8_bad_byte_anywhere(void **state)
{
    size_t length, at;

    for (length = 1; length <= 40; length++) {
        char *data = malloc(length);

        assert_non_null(data);
        memset(data, 'a', length);
        assert_true(comet_encode_is_utf8(bytes(data, length)));
        for (at = 0; at < length; at++) {
            data[at] = (char)0xFF;
            assert_false(comet_encode_is_utf8(bytes(data, length)));
            data[at] = 'a';
        }
        free(data);
    }
    assert_true(comet_encode_is_utf8(bytes(NULL, 0)));
}

/* --- HTML ---------------------------------------------------------------- */

static void test_html(void **state)
{
    comet_buffer_t buffer = { 0 };

    comet_encode_html(&buffer, comet_text("<b a=\"1\" c='2'>&amp; 中</b>"));
    assert_buffer(&buffer, "&lt;b a=&quot;1&quot; c=&#39;2&#39;&gt;&amp;amp; "
                           "中&lt;/b&gt;");
    comet_buffer_clear(&buffer);
    comet_encode_html(&buffer, bytes(NULL, 0));
    comet_encode_html(&buffer, comet_text("plain"));
    assert_buffer(&buffer, "plain");
    comet_buffer_free(&buffer);
}

static void check_html(const unsigned char *data, size_t length)
{
    comet_buffer_t buffer = { 0 };
    unsigned char *out;
    size_t written;

    comet_encode_html(&buffer, bytes(data, length));
    out = malloc(buffer.length + 1);
    assert_non_null(out);
    assert_true(reference_html(buffer.data, buffer.length, out, &written));
    assert_int_equal(written, length);
    if (length) {
        assert_memory_equal(out, data, length);
    }
    free(out);
    comet_buffer_free(&buffer);
}

static void test_html_pairs(void **state)
{
    unsigned i;

    for (i = 0; i <= 0xFFFF; i++) {
        unsigned char data[2] = { (unsigned char)(i >> 8), (unsigned char)i };

        check_html(data, 2);
    }
}

/* --- JSON ---------------------------------------------------------------- */

static void test_json_examples(void **state)
{
    static const struct {
        const char *text, *json;
    } cases[] = {
        { "", "\"\"" },
        { "a", "\"a\"" },
        { "say \"hi\" \\ /", "\"say \\\"hi\\\" \\\\ /\"" },
        { "\b\t\n\f\r", "\"\\b\\t\\n\\f\\r\"" },
        { "\x01\x1b\x1f\x7f", "\"\\u0001\\u001b\\u001f\\u007f\"" },
        { "</script><!-- & '",
          "\"\\u003c/script\\u003e\\u003c!-- \\u0026 '\"" },
        { "\xE2\x80\xA7\xE2\x80\xA8\xE2\x80\xA9\xE2\x80\xAA",
          "\"\xE2\x80\xA7\\u2028\\u2029\xE2\x80\xAA\"" },
        { "中文 \xF0\x9F\x98\x80", "\"中文 \xF0\x9F\x98\x80\"" },
        { "a\xFF"
          "b",
          "\"a\xEF\xBF\xBD"
          "b\"" },
        /* maximal subparts: Unicode 15, table 3-11 */
        { "\xE1\x80\xE2\xF0\x91\x92\xF1\xBF\x41",
          "\"\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD"
          "A\"" },
        { "\xED\xA0\x80", "\"\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\"" },
    };
    size_t i;

    for (i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        comet_buffer_t buffer = { 0 };

        comet_encode_json(&buffer, comet_text(cases[i].text));
        assert_buffer(&buffer, cases[i].json);
        comet_buffer_free(&buffer);
    }
}

/* Check what must hold for any bytes: the result decodes to the same text,
 * repaired, and is harmless wherever it is inserted. */
static void check_json(const unsigned char *data, size_t length)
{
    comet_buffer_t buffer = { 0 };
    unsigned char *out, *expected;
    size_t written, wanted, i;

    comet_encode_json(&buffer, bytes(data, length));
    out = malloc(buffer.length + 1);
    expected = malloc(3 * length + 1);
    assert_non_null(out);
    assert_non_null(expected);
    assert_true(reference_json(buffer.data, buffer.length, out, &written));
    wanted = reference_repair(data, length, expected);
    assert_int_equal(written, wanted);
    assert_memory_equal(out, expected, wanted);
    for (i = 0; i < buffer.length; i++) {
        unsigned char c = (unsigned char)buffer.data[i];

        assert_true(c >= 0x20 && c != 0x7F && !strchr("<>&", c));
        if (c == 0xE2 && (unsigned char)buffer.data[i + 1] == 0x80) {
            assert_int_not_equal((unsigned char)buffer.data[i + 2] & 0xFE,
                                 0xA8);
        }
    }
    free(expected);
    free(out);
    comet_buffer_free(&buffer);
}

static void test_json_all_1_and_2_bytes(void **state)
{
    unsigned i;

    check_json((const unsigned char *)"", 0);
    for (i = 0; i <= 0xFFFF; i++) {
        unsigned char data[2] = { (unsigned char)(i >> 8), (unsigned char)i };

        check_json(data, 2);
        if (data[1] == 0) {
            check_json(data, 1);
        }
    }
}

static size_t random_text(uint64_t *seed, unsigned char *data, size_t most)
{
    static const uint32_t below[] = { 0x80, 0x80, 0x800, 0x10000, 0x110000 };
    size_t target = reference_random(seed) % most, length = 0;

    while (length < target) {
        uint64_t chance = reference_random(seed);
        uint32_t code = (uint32_t)((chance >> 8) % below[chance % 5]);

        if (code >= 0xD800 && code <= 0xDFFF) {
            code = 0x2028 + code % 2;
        }
        length += reference_put(code, data + length);
    }
    return length;
}

static void test_json_random_text(void **state)
{
    uint64_t seed = 20261121;
    unsigned char data[300 + 4];
    int i;

    for (i = 0; i < 20000; i++) {
        size_t length = random_text(&seed, data, 300);

        assert_true(comet_encode_is_utf8(bytes(data, length)));
        check_json(data, length);
        check_html(data, length);
    }
}

/* Texts from which bytes were removed, and random sequences of special
 * bytes. */
static void test_json_random_bytes(void **state)
{
    static const unsigned char telling[] = {
        0x00, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xA8, 0xBF, 0xC0, 0xC2, 0xDF,
        0xE0, 0xE2, 0xED, 0xEF, 0xF0, 0xF1, 0xF4, 0xF5, 0xFF, '"',  '\\', '<'
    };
    uint64_t seed = 4711;
    unsigned char data[60 + 4];
    int i;

    for (i = 0; i < 50000; i++) {
        size_t length = random_text(&seed, data, 60), at;

        for (at = 0; at < length; at++) {
            uint64_t chance = reference_random(&seed);

            if (i % 2 || chance % 8 == 0) {
                data[at] = telling[(chance >> 8) % sizeof(telling)];
            }
        }
        compare_validity(data, length);
        check_json(data, length);
        check_html(data, length);
    }
}

static void test_json_appends(void **state)
{
    comet_buffer_t buffer = { 0 };

    comet_buffer_puts(&buffer, "x=");
    comet_encode_json(&buffer, comet_text("<"));
    comet_encode_json(&buffer, bytes(NULL, 0));
    assert_buffer(&buffer, "x=\"\\u003c\"\"\"");
    comet_buffer_free(&buffer);
}

/* --- lines --------------------------------------------------------------- */

static void check_lines(const char *text, const char *expected)
{
    comet_buffer_t buffer = { 0 };

    comet_encode_lines(&buffer, "d: ", comet_text(text));
    assert_buffer(&buffer, expected);
    comet_buffer_free(&buffer);
}

static void test_lines(void **state)
{
    comet_buffer_t buffer = { 0 };

    check_lines("", "d: \n");
    check_lines("a", "d: a\n");
    check_lines("a\nb\rc\r\nd", "d: a\nd: b\nd: c\nd: d\n");
    check_lines("\r", "d: \nd: \n");
    check_lines("\r\n", "d: \nd: \n");
    check_lines("\n\r", "d: \nd: \nd: \n");
    check_lines("\r\r\n\n", "d: \nd: \nd: \nd: \n");
    check_lines("\t \v\f", "d: \t \v\f\n");
    check_lines("\xC3\n\xB6", "d: \xEF\xBF\xBD\nd: \xEF\xBF\xBD\n");
    comet_encode_lines(&buffer, "d: ", bytes(NULL, 0));
    comet_encode_lines(&buffer, "d: ", bytes("a\0b", 3));
    assert_int_equal(buffer.length, 11);
    assert_memory_equal(buffer.data, "d: \nd: a\0b\n", 11);
    comet_buffer_free(&buffer);
}

/* Compare with a simple loop that splits lines, and with the reference, which
 * repairs them. */
static void check_lines_by_reference(const unsigned char *data, size_t length)
{
    comet_buffer_t buffer = { 0 }, expected = { 0 };
    unsigned char *line = malloc(3 * length + 1);
    size_t start = 0, at = 0;

    assert_non_null(line);
    while (start <= length) {
        size_t written;

        for (at = start; at < length && data[at] != '\r' && data[at] != '\n';) {
            at++;
        }
        comet_buffer_puts(&expected, "d: ");
        written = reference_repair(data + start, at - start, line);
        comet_buffer_add(&expected, (const char *)line, written);
        comet_buffer_puts(&expected, "\n");
        at += at + 1 < length && data[at] == '\r' && data[at + 1] == '\n';
        start = at + 1;
    }
    comet_encode_lines(&buffer, "d: ", bytes(data, length));
    assert_int_equal(buffer.length, expected.length);
    assert_memory_equal(buffer.data, expected.data, expected.length);
    free(line);
    comet_buffer_free(&buffer);
    comet_buffer_free(&expected);
}

static void test_lines_random(void **state)
{
    static const unsigned char telling[] = {
        '\r', '\n', '\r', '\n', 'a', ':', 0x00, 0x80, 0xC3, 0xE2, 0xF0, 0xBF
    };
    uint64_t seed = 815;
    int i;

    for (i = 0; i < 30000; i++) {
        unsigned char data[40 + 4];
        size_t length = random_text(&seed, data, 40), at;

        for (at = 0; at < length; at++) {
            uint64_t chance = reference_random(&seed);

            if (chance % 3 == 0) {
                data[at] = telling[(chance >> 8) % sizeof(telling)];
            }
        }
        check_lines_by_reference(data, length);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_buffer_grows),
        cmocka_unit_test(test_buffer_adds_nothing),
        cmocka_unit_test(test_buffer_failure),
        cmocka_unit_test(test_buffer_integers),
        cmocka_unit_test(test_utf8_all_up_to_3_bytes),
        cmocka_unit_test(test_utf8_edges_of_4_bytes),
        cmocka_unit_test(test_utf8_every_code_point),
        cmocka_unit_test(test_utf8_bad_byte_anywhere),
        cmocka_unit_test(test_html),
        cmocka_unit_test(test_html_pairs),
        cmocka_unit_test(test_json_examples),
        cmocka_unit_test(test_json_all_1_and_2_bytes),
        cmocka_unit_test(test_json_random_text),
        cmocka_unit_test(test_json_random_bytes),
        cmocka_unit_test(test_json_appends),
        cmocka_unit_test(test_lines),
        cmocka_unit_test(test_lines_random),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
