/* SPDX-License-Identifier: Apache-2.0 */
/* The scanner finds HTTP/2 frames wherever the bytes are cut. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "wire/h2_scanner.h"
#include "reference.h"

#define PREFACE "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
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

/* What a scanner found, in words, and the bytes that it let pass. */
typedef struct record_t {
    comet_h2_scanner_t scanner;
    comet_buffer_t words, bytes;
    apr_size_t payload; /* how many bytes of payload came since words were last
                         * added */
} record_t;

static void say(record_t *record, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void say(record_t *record, const char *format, ...)
{
    char line[100];
    va_list list;

    if (record->payload) {
        snprintf(line, sizeof(line), "+%zu\n", (size_t)record->payload);
        comet_buffer_puts(&record->words, line);
        record->payload = 0;
    }
    va_start(list, format);
    vsnprintf(line, sizeof(line), format, list);
    va_end(list);
    comet_buffer_puts(&record->words, line);
}

static void say_frame(record_t *record)
{
    const comet_h2_frame_t *frame = &record->scanner.frame;

    say(record, "%d.%d of %u: %u", frame->type, frame->flags,
        (unsigned)frame->stream, (unsigned)frame->length);
    if (record->scanner.has_value) {
        say(record, " =%u", (unsigned)record->scanner.value);
    }
    say(record, "\n");
}

static void skip_payload(record_t *record, comet_text_t *bytes)
{
    apr_size_t length = comet_h2_scanner_left(&record->scanner);

    if (length > bytes->length) {
        length = bytes->length;
    }
    comet_h2_scanner_skip(&record->scanner, length);
    comet_buffer_add(&record->bytes, bytes->data, length);
    /* the number of foreign bytes that the scanner gathers depends on the
     * cut */
    if (record->scanner.place != COMET_H2_IN_FOREIGN) {
        record->payload += length;
    }
    bytes->data += length;
    bytes->length -= length;
}

static void scan(record_t *record, comet_text_t bytes)
{
    comet_h2_scanner_t *scanner = &record->scanner;

    while (bytes.length) {
        comet_h2_piece_e piece = comet_h2_scanner_take(scanner, &bytes);

        switch (piece) {
        case COMET_H2_MORE:
            assert_int_equal(bytes.length, 0);
            continue;
        case COMET_H2_PAYLOAD:
            assert_true(comet_h2_scanner_left(scanner) > 0);
            skip_payload(record, &bytes);
            continue;
        case COMET_H2_FRAME:
            say_frame(record);
            break;
        case COMET_H2_SETTING:
            say(record, "set %d=%u\n", scanner->setting,
                (unsigned)scanner->value);
            break;
        case COMET_H2_PREFACE:
            say(record, "preface\n");
            break;
        case COMET_H2_FOREIGN:
            say(record, "foreign\n");
            break;
        }
        assert_true(scanner->length <= sizeof(scanner->bytes));
        comet_buffer_add(&record->bytes, (const char *)scanner->bytes,
                         scanner->length);
    }
}

static void begin(record_t *record, int client)
{
    *record = (record_t){ .payload = 0 };
    comet_h2_scanner_init(&record->scanner, client);
}

static void end(record_t *record)
{
    comet_buffer_free(&record->words);
    comet_buffer_free(&record->bytes);
}

/* Wherever the bytes are cut, the scanner finds the same pieces and lets the
 * same bytes pass. */
static void assert_found(int client, comet_text_t bytes, const char *expected)
{
    apr_size_t cut;

    for (cut = 0; cut <= bytes.length; cut++) {
        comet_text_t first = { bytes.data, cut };
        comet_text_t rest = { bytes.data + cut, bytes.length - cut };
        record_t record;

        begin(&record, client);
        scan(&record, first);
        if (cut == 0) { /* each byte separately */
            for (; rest.length > 1; rest.data++, rest.length--) {
                scan(&record, (comet_text_t){ rest.data, 1 });
            }
        }
        scan(&record, rest);
        say(&record, "%s", "");
        assert_bytes(text(&record.words),
                     (comet_text_t){ expected, strlen(expected) });
        assert_bytes(text(&record.bytes), bytes);
        end(&record);
    }
}

static void test_header(void **state)
{
    static const comet_h2_frame_t frames[] = {
        { .length = 0, .type = COMET_H2_DATA },
        { .length = 1, .type = COMET_H2_GOAWAY, .stream = 1 },
        { .length = 0x123456,
          .type = 0xfe,
          .flags = 0xa5,
          .stream = 0x1234567 },
        { .length = COMET_H2_FRAME_MOST,
          .type = 255,
          .flags = 255,
          .stream = COMET_H2_31_BITS },
    };
    size_t i;

    for (i = 0; i < sizeof(frames) / sizeof(*frames); i++) {
        unsigned char bytes[COMET_H2_HEADER_BYTES];
        comet_text_t all = { (char *)bytes, sizeof(bytes) };
        comet_h2_scanner_t scanner;

        comet_h2_frame_write(bytes, &frames[i]);
        comet_h2_scanner_init(&scanner, 0);
        assert_int_equal(comet_h2_scanner_take(&scanner, &all), COMET_H2_FRAME);
        assert_int_equal(scanner.frame.length, frames[i].length);
        assert_int_equal(scanner.frame.type, frames[i].type);
        assert_int_equal(scanner.frame.flags, frames[i].flags);
        assert_int_equal(scanner.frame.stream, frames[i].stream);
        assert_int_equal(comet_h2_scanner_left(&scanner), frames[i].length);
    }
}

static void test_client_begins(void **state)
{
    assert_found(1,
                 LITERAL(PREFACE "\0\0\x0c\4\0\0\0\0\0"
                                 "\0\4\0\1\0\0"
                                 "\0\5\0\0\x40\0"
                                 "\0\0\4\x08\0\0\0\0\0\0\xef\0\1"
                                 "\0\0\3\1\5\0\0\0\1abc"),
                 "preface\n"
                 "4.0 of 0: 12\nset 4=65536\nset 5=16384\n"
                 "8.0 of 0: 4 =15663105\n"
                 "1.5 of 1: 3\n+3\n");
}

static void test_server_writes(void **state)
{
    assert_found(0,
                 LITERAL("\0\0\0\4\1\0\0\0\0"
                         "\0\0\0\0\1\0\0\0\3"
                         "\0\0\4\3\0\0\0\0\5\0\0\0\2"
                         "\0\0\2\0\1\0\0\0\7hi"),
                 "4.1 of 0: 0\n0.1 of 3: 0\n3.0 of 5: 4 =2\n"
                 "0.1 of 7: 2\n+2\n");
}

/* The reserved bit of a stream's number and of an increment is ignored.  An
 * error code has no such bit. */
static void test_reserved_bits(void **state)
{
    assert_found(0,
                 LITERAL("\0\0\4\x08\0\x80\0\0\1\x80\0\0\2"
                         "\0\0\4\3\0\xff\xff\xff\xff\x80\0\0\2"),
                 "8.0 of 1: 4 =2\n3.0 of 2147483647: 4 =2147483650\n");
}

/* Frames that break the protocol pass without being interpreted. */
static void test_malformed(void **state)
{
    assert_found(0,
                 LITERAL("\0\0\5\x08\0\0\0\0\0\1\2\3\4\5"
                         "\0\0\0\x08\0\0\0\0\0"
                         "\0\0\3\3\0\0\0\0\1\1\2\3"
                         "\0\0\7\4\0\0\0\0\0\0\4\0\0\0\1\xff"
                         "\0\0\5\4\0\0\0\0\0\0\4\0\0\0"
                         "\0\0\6\4\0\0\0\0\1\0\4\0\0\0\1"
                         "\0\0\6\4\1\0\0\0\0\0\4\0\0\0\1"
                         "\0\0\1\xee\xff\0\0\0\0!"),
                 "8.0 of 0: 5\n+5\n8.0 of 0: 0\n3.0 of 1: 3\n+3\n"
                 "4.0 of 0: 7\nset 4=1\n+1\n"
                 "4.0 of 0: 5\n+5\n"
                 "4.0 of 1: 6\n+6\n"
                 "4.1 of 0: 6\n+6\n"
                 "238.255 of 0: 1\n+1\n");
}

static void test_foreign(void **state)
{
    assert_found(1, LITERAL("PRI * HTTP/2.0\r\n\r\nSM\r\n\rX0123456789"),
                 "foreign\n");
    assert_found(1, LITERAL("GET / HTTP/1.1\r\n\r\n"), "foreign\n");
}

/* The payload of the longest frames is counted, not kept. */
static void test_long_payload(void **state)
{
    comet_h2_scanner_t scanner;
    comet_text_t header = LITERAL("\xff\xff\xff\0\1\0\0\0\1");
    comet_text_t more = LITERAL("anything");

    comet_h2_scanner_init(&scanner, 0);
    assert_int_equal(comet_h2_scanner_take(&scanner, &header), COMET_H2_FRAME);
    comet_h2_scanner_skip(&scanner, COMET_H2_FRAME_MOST - 1);
    assert_int_equal(comet_h2_scanner_left(&scanner), 1);
    assert_int_equal(comet_h2_scanner_take(&scanner, &more), COMET_H2_PAYLOAD);
    assert_int_equal(more.length, 8);
    assert_false(comet_h2_scanner_is_between(&scanner));
    comet_h2_scanner_skip(&scanner, 1);
    assert_int_equal(comet_h2_scanner_left(&scanner), 0);
    assert_true(comet_h2_scanner_is_between(&scanner));
}

/* Check at which places of a text another frame may be inserted: those marked
 * '|'. */
static void assert_between(int client, comet_text_t bytes, const char *marks)
{
    record_t record;
    apr_size_t i;

    begin(&record, client);
    for (i = 0; i < bytes.length; i++) {
        int between = comet_h2_scanner_is_between(&record.scanner);

        assert_int_equal(between, marks[i] == '|');
        scan(&record, (comet_text_t){ bytes.data + i, 1 });
    }
    assert_int_equal(comet_h2_scanner_is_between(&record.scanner),
                     marks[i] == '|');
    end(&record);
}

static void test_between(void **state)
{
    assert_between(1, LITERAL(PREFACE "\0\0\0\4\1\0\0\0\0"),
                   "........................|........|");
    assert_between(0, LITERAL("\0\0\6\4\0\0\0\0\0abcdef\0\0\4\3\0\0\0\0\1xxxx"),
                   "|..............|............|");
    /* no frame may be inserted before the end of a header block */
    assert_between(0,
                   LITERAL("\0\0\1\1\1\0\0\0\1a\0\0\1\x09\0\0\0\0\1b"
                           "\0\0\0\x09\4\0\0\0\1\0\0\0\0\1\0\0\0\1"),
                   "|...................." /* HEADERS, CONTINUATION */
                   "........|........|");
    assert_between(0, LITERAL("\0\0\1\5\0\0\0\0\1a\0\0\0\x09\4\0\0\0\1"),
                   "|..................|");
    assert_between(1, LITERAL("X"), "..");
}

/* --- many frames, cut anywhere -------------------------------------------- */

static unsigned below(uint64_t *seed, unsigned limit)
{
    return (unsigned)(reference_random(seed) % limit);
}

/* Append HEADERS that hold a whole header block. */
static void add_headers(comet_buffer_t *bytes, apr_uint32_t stream,
                        comet_text_t block)
{
    unsigned char header[COMET_H2_HEADER_BYTES];

    comet_h2_frame_write(header, &(comet_h2_frame_t){
                                     .length = (apr_uint32_t)block.length,
                                     .type = COMET_H2_HEADERS,
                                     .flags = COMET_H2_FLAG_END_HEADERS,
                                     .stream = stream,
                                 });
    comet_buffer_add(bytes, (const char *)header, sizeof(header));
    comet_buffer_add(bytes, block.data, block.length);
}

/* Append a random frame, and note what the scanner must find in it. */
static void add_any(uint64_t *seed, comet_buffer_t *bytes, record_t *expected)
{
    static const char zeros[300] = { 0 };
    unsigned kind = below(seed, 6), stream = below(seed, 50);
    unsigned number = 1 + below(seed, 100000);

    if (kind == 0) {
        comet_h2_frame_add_update(bytes, stream, number);
        say(expected, "8.0 of %u: 4 =%u\n", stream, number);
    }
    else if (kind == 1) {
        comet_h2_frame_add_reset(bytes, stream, COMET_H2_CANCEL);
        say(expected, "3.0 of %u: 4 =8\n", stream);
    }
    else if (kind == 2) {
        unsigned length = 1 + below(seed, sizeof(zeros));

        add_headers(bytes, stream, (comet_text_t){ zeros, length });
        say(expected, "1.4 of %u: %u\n", stream, length);
        expected->payload = length;
    }
    else if (kind == 3) {
        unsigned char frame[15] = { 0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 4 };

        frame[14] = (unsigned char)number;
        comet_buffer_add(bytes, (const char *)frame, sizeof(frame));
        say(expected, "4.0 of 0: 6\nset 4=%u\n", frame[14]);
    }
    else {
        unsigned length = below(seed, sizeof(zeros));

        comet_h2_frame_add_data(bytes, stream, (comet_text_t){ zeros, length },
                                16384, 1);
        say(expected, "0.1 of %u: %u\n", stream, length);
        expected->payload = length;
    }
}

static void test_any_frames_cut_anywhere(void **state)
{
    uint64_t seed = 9113;
    int round;

    for (round = 0; round < 2000; round++) {
        comet_buffer_t bytes = { .data = NULL };
        record_t expected, found;
        comet_text_t rest;
        unsigned count = 1 + below(&seed, 20);
        unsigned longest = 1 + below(&seed, 400);

        begin(&expected, 0);
        while (count--) {
            add_any(&seed, &bytes, &expected);
        }
        say(&expected, "%s", "");
        begin(&found, 0);
        rest = text(&bytes);
        while (rest.length) {
            comet_text_t part = { rest.data, 1 + below(&seed, longest) };

            if (part.length > rest.length) {
                part.length = rest.length;
            }
            scan(&found, part);
            rest.data += part.length;
            rest.length -= part.length;
        }
        say(&found, "%s", "");
        assert_bytes(text(&found.words), text(&expected.words));
        assert_bytes(text(&found.bytes), text(&bytes));
        assert_true(comet_h2_scanner_is_between(&found.scanner));
        end(&expected);
        end(&found);
        comet_buffer_free(&bytes);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_header),
        cmocka_unit_test(test_client_begins),
        cmocka_unit_test(test_server_writes),
        cmocka_unit_test(test_reserved_bits),
        cmocka_unit_test(test_malformed),
        cmocka_unit_test(test_foreign),
        cmocka_unit_test(test_long_payload),
        cmocka_unit_test(test_between),
        cmocka_unit_test(test_any_frames_cut_anywhere),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
