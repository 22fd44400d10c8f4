/* SPDX-License-Identifier: Apache-2.0 */
/* HTTP/2 frames are made as RFC 9113 demands. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "wire/h2_scanner.h"

#define LITERAL(string) ((comet_text_t){ string, sizeof(string) - 1 })

static comet_text_t text(const comet_buffer_t *buffer)
{
    return (comet_text_t){ buffer->data, buffer->length };
}

static void assert_bytes(comet_text_t found, comet_text_t expected)
{
    assert_int_equal(found.length, expected.length);
    assert_memory_equal(found.data, expected.data, expected.length);
}

static void assert_made(comet_buffer_t *made, comet_text_t expected)
{
    assert_false(made->failed);
    assert_bytes(text(made), expected);
    comet_buffer_free(made);
}

static void test_data(void **state)
{
    comet_buffer_t out = { .data = NULL };

    comet_h2_frame_add_data(&out, 1, LITERAL("hello"), 16384, 0);
    assert_made(&out, LITERAL("\0\0\5\0\0\0\0\0\1hello"));
    comet_h2_frame_add_data(&out, 0x1234567, LITERAL("hello"), 16384, 1);
    assert_made(&out, LITERAL("\0\0\5\0\1\1\x23\x45\x67hello"));
}

static void test_data_without_text(void **state)
{
    comet_buffer_t out = { .data = NULL };

    comet_h2_frame_add_data(&out, 1, (comet_text_t){ NULL, 0 }, 16384, 0);
    assert_int_equal(out.length, 0);
    comet_h2_frame_add_data(&out, 1, (comet_text_t){ NULL, 0 }, 16384, 1);
    assert_made(&out, LITERAL("\0\0\0\0\1\0\0\0\1"));
}

/* Only the last frame ends the stream, even if that frame is full. */
static void test_data_in_pieces(void **state)
{
    comet_buffer_t out = { .data = NULL };

    comet_h2_frame_add_data(&out, 3, LITERAL("abcdef"), 3, 1);
    assert_made(&out, LITERAL("\0\0\3\0\0\0\0\0\3abc\0\0\3\0\1\0\0\0\3def"));
    comet_h2_frame_add_data(&out, 3, LITERAL("abcdefg"), 3, 1);
    assert_made(&out, LITERAL("\0\0\3\0\0\0\0\0\3abc\0\0\3\0\0\0\0\0\3def"
                              "\0\0\1\0\1\0\0\0\3g"));
    comet_h2_frame_add_data(&out, 3, LITERAL("abcd"), 3, 0);
    assert_made(&out, LITERAL("\0\0\3\0\0\0\0\0\3abc\0\0\1\0\0\0\0\0\3d"));
}

static void test_numbers(void **state)
{
    comet_buffer_t out = { .data = NULL };

    comet_h2_frame_add_reset(&out, 7, COMET_H2_FLOW_CONTROL_ERROR);
    assert_made(&out, LITERAL("\0\0\4\3\0\0\0\0\7\0\0\0\3"));
    comet_h2_frame_add_update(&out, 0, COMET_H2_31_BITS);
    assert_made(&out, LITERAL("\0\0\4\x08\0\0\0\0\0\x7f\xff\xff\xff"));
}

/* The frames of an overflow add up to more than any window can hold, even one
 * that is empty. */
static void test_overflow(void **state)
{
    comet_buffer_t out = { .data = NULL };
    comet_h2_scanner_t scanner;
    comet_text_t rest;
    apr_int64_t sum = 0;

    comet_h2_frame_add_overflow(&out);
    comet_h2_scanner_init(&scanner, 0);
    for (rest = text(&out); rest.length;) {
        assert_int_equal(comet_h2_scanner_take(&scanner, &rest),
                         COMET_H2_FRAME);
        assert_int_equal(scanner.frame.type, COMET_H2_WINDOW_UPDATE);
        assert_int_equal(scanner.frame.stream, 0);
        sum += scanner.value;
    }
    assert_true(sum > COMET_H2_31_BITS);
    comet_buffer_free(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_data),
        cmocka_unit_test(test_data_without_text),
        cmocka_unit_test(test_data_in_pieces),
        cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_overflow),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
