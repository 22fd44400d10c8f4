/* SPDX-License-Identifier: Apache-2.0 */
/* The encoder returns the same bytes for equal messages, and different bytes
 * for different messages. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "transport/encoder.h"

static const comet_format_t text = { .json = 0 }, json = { .json = 1 };
static comet_encoder_t encoder;
static comet_message_t *messages[100];

static comet_message_t *make(comet_timestamp_t timestamp)
{
    comet_message_t *message = comet_message_create(&(comet_message_fields_t){
        .timestamp = timestamp,
        .channel = comet_text("chat"),
        .body = comet_text("hello"),
    });

    assert_non_null(message);
    return message;
}

static int setup(void **state)
{
    size_t i;

    for (i = 0; i < 100; i++) {
        messages[i] = make((comet_timestamp_t)(1000 + i));
    }
    return 0;
}

/* The encoder releases everything it holds; LeakSanitizer checks that. */
static int teardown(void **state)
{
    size_t i;

    comet_encoder_clear(&encoder);
    for (i = 0; i < 100; i++) {
        assert_int_equal(atomic_load(&messages[i]->refs), 1);
        comet_message_unref(messages[i]);
    }
    return 0;
}

static const comet_encoding_t *encode(size_t first, size_t count,
                                      const comet_format_t *format)
{
    comet_batch_t batch = { .messages = messages + first, .count = count };
    const comet_encoding_t *encoding =
        comet_encoder_encode(&encoder, &comet_transport_events, format, &batch);

    assert_non_null(encoding);
    return encoding;
}

static void assert_text(comet_text_t found, const char *expected)
{
    assert_int_equal(found.length, strlen(expected));
    assert_memory_equal(found.data, expected, found.length);
}

static void test_frames(void **state)
{
    const comet_encoding_t *encoding = encode(0, 1, &text);

    assert_text(encoding->body, "data: hello\nid: 1000\n\n");
    assert_text(encoding->chunk, "16\r\ndata: hello\nid: 1000\n\n\r\n");
}

/* The bytes are those that the transport makes without the encoder, even if
 * there are many. */
static void test_long(void **state)
{
    const comet_encoding_t *encoding = encode(0, 100, &text);
    comet_buffer_t expected = { .data = NULL }, chunk = { .data = NULL };

    comet_transport_events.encode(
        &expected, &(comet_answer_t){
                       .format = &text, .messages = messages, .count = 100 });
    assert_int_equal(encoding->body.length, expected.length);
    assert_memory_equal(encoding->body.data, expected.data, expected.length);
    comet_encoder_add_chunk(&chunk, encoding->body);
    assert_int_equal(encoding->chunk.length, chunk.length);
    assert_memory_equal(encoding->chunk.data, chunk.data, chunk.length);
    comet_buffer_free(&expected);
    comet_buffer_free(&chunk);
}

static void test_once(void **state)
{
    const comet_encoding_t *first = encode(0, 2, &text);
    const char *bytes = first->chunk.data;

    assert_ptr_equal(encode(0, 2, &text), first);
    assert_ptr_not_equal(encode(0, 2, &json), first);
    assert_ptr_not_equal(encode(0, 1, &text), first);
    assert_ptr_not_equal(encode(1, 2, &text), first);
    assert_ptr_equal(encode(0, 2, &text), first);
    assert_ptr_equal(first->chunk.data, bytes);
    assert_int_equal(atomic_load(&messages[0]->refs), 4);
}

/* A new message at the address of a freed one is not mistaken for the old
 * one. */
static void test_holds_on(void **state)
{
    const comet_encoding_t *first = encode(0, 1, &text);
    comet_message_t *old = messages[0];

    comet_message_unref(old);
    messages[0] = make(5000);
    assert_ptr_not_equal(messages[0], old);
    assert_ptr_not_equal(encode(0, 1, &text), first);
    assert_text(encode(0, 1, &text)->body, "data: hello\nid: 5000\n\n");
}

static void test_forgets(void **state)
{
    size_t i;

    for (i = 0; i < 100; i++) {
        encode(i, 1, &text);
        encode(i, 1, &text);
    }
    for (i = 0; i < 100 - COMET_ENCODER_SLOTS; i++) {
        assert_int_equal(atomic_load(&messages[i]->refs), 1);
    }
}

static void test_chunks(void **state)
{
    comet_buffer_t out = { .data = NULL };

    comet_encoder_add_chunk(&out, comet_text(""));
    assert_int_equal(out.length, 0);
    comet_encoder_add_chunk(&out, comet_text(":\n\n"));
    comet_encoder_add_chunk(&out, comet_text("0123456789abcdefg"));
    assert_text((comet_text_t){ out.data, out.length },
                "3\r\n:\n\n\r\n11\r\n0123456789abcdefg\r\n");
    comet_buffer_free(&out);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_frames),   TEST(test_long),    TEST(test_once),
        TEST(test_holds_on), TEST(test_forgets), TEST(test_chunks),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
