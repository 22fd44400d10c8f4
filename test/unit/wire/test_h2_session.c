/* SPDX-License-Identifier: Apache-2.0 */
/* An HTTP/2 connection with streams that mod_http2 believes to be closed.  The
 * client never learns that mod_http2 has ended them, and everything else passes
 * unchanged. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "wire/h2_session.h"
#include "reference.h"

#define PREFACE "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
#define WIDER (1 << 20)

static comet_h2_session_t session;
static comet_h2_ghost_t ghost;
static comet_buffer_t to_server, to_client;
static int told;

static void count_told(void *baton, comet_h2_ghost_t *which)
{
    told++;
}

/* --- the client and mod_http2 ------------------------------------------------ */

static void client_sends(const comet_buffer_t *bytes)
{
    comet_h2_session_in(&session, (comet_text_t){ bytes->data, bytes->length },
                        &to_server);
}

/* Pass bytes to the client as the output filter does. */
static void server_sends(comet_text_t bytes)
{
    while (bytes.length) {
        apr_size_t left = comet_h2_scanner_left(&session.out);
        comet_h2_piece_e piece;

        if (left) {
            left = left < bytes.length ? left : bytes.length;
            if (!session.dropping) {
                comet_buffer_add(&to_client, bytes.data, left);
            }
            comet_h2_scanner_skip(&session.out, left);
            bytes.data += left;
            bytes.length -= left;
            continue;
        }
        piece = comet_h2_scanner_take(&session.out, &bytes);
        if (piece != COMET_H2_MORE && comet_h2_session_out(&session, piece)) {
            comet_buffer_add(&to_client, (const char *)session.out.bytes,
                             session.out.length);
        }
    }
}

static void add_header(comet_buffer_t *to, unsigned char type,
                       unsigned char flags, apr_uint32_t stream,
                       apr_uint32_t length)
{
    unsigned char header[COMET_H2_HEADER_BYTES];

    comet_h2_frame_write(header, &(comet_h2_frame_t){ .length = length,
                                                      .type = type,
                                                      .flags = flags,
                                                      .stream = stream });
    comet_buffer_add(to, (const char *)header, sizeof(header));
}

static void server_sends_frame(unsigned char type, unsigned char flags,
                               apr_uint32_t stream, const char *payload)
{
    comet_buffer_t bytes = { .data = NULL };

    add_header(&bytes, type, flags, stream, (apr_uint32_t)strlen(payload));
    comet_buffer_puts(&bytes, payload);
    server_sends((comet_text_t){ bytes.data, bytes.length });
    comet_buffer_free(&bytes);
}

static void client_opens(apr_uint32_t stream, unsigned char flags)
{
    comet_buffer_t bytes = { .data = NULL };

    add_header(&bytes, COMET_H2_HEADERS,
               (unsigned char)(flags | COMET_H2_FLAG_END_HEADERS), stream, 3);
    comet_buffer_puts(&bytes, "abc");
    client_sends(&bytes);
    comet_buffer_free(&bytes);
}

static int setup(void **state)
{
    comet_buffer_t bytes = { .data = NULL };

    comet_h2_session_init(&session, count_told, NULL);
    ghost = (comet_h2_ghost_t){ .stream = 1 };
    told = 0;
    comet_buffer_puts(&bytes, PREFACE);
    add_header(&bytes, COMET_H2_SETTINGS, 0, 0, 0);
    comet_h2_frame_add_update(&bytes, 0, WIDER);
    client_sends(&bytes);
    comet_buffer_free(&bytes);
    client_opens(1, COMET_H2_FLAG_END_STREAM);
    comet_buffer_clear(&to_server);
    return 0;
}

static int teardown(void **state)
{
    comet_h2_session_free(&session);
    comet_buffer_free(&ghost.bytes);
    comet_buffer_free(&to_server);
    comet_buffer_free(&to_client);
    return 0;
}

static void assert_client_got(const char *bytes, apr_size_t length)
{
    assert_int_equal(to_client.length, length);
    assert_memory_equal(to_client.data, bytes, length);
    comet_buffer_clear(&to_client);
}

/* Let the client's stream become ours. */
static void take_over(void)
{
    assert_true(comet_h2_session_claim(&session, &ghost) > 0);
    server_sends_frame(COMET_H2_HEADERS, COMET_H2_FLAG_END_HEADERS, 1, "h");
    assert_int_equal(to_client.length, COMET_H2_HEADER_BYTES + 1);
    comet_buffer_clear(&to_client);
    server_sends_frame(COMET_H2_DATA, COMET_H2_FLAG_END_STREAM, 1, "filler");
    assert_int_equal(ghost.state, COMET_H2_OURS);
}

/* --- tests ------------------------------------------------------------------- */

static void test_its_end_and_filler_are_hidden(void **state)
{
    take_over();
    assert_int_equal(to_client.length, 0);
    assert_int_equal(told, 1);
    assert_false(comet_h2_session_has_frames(&session));
    comet_buffer_puts(&ghost.bytes, "news");
    assert_true(comet_h2_session_has_frames(&session));
    comet_h2_session_take(&session, 1000, &to_client);
    assert_client_got("\0\0\4\0\0\0\0\0\1news", 13);
    assert_int_equal(told, 2);
    ghost.ends = 1;
    comet_h2_session_take(&session, 1000, &to_client);
    assert_client_got("\0\0\0\0\1\0\0\0\1", 9);
    assert_int_equal(ghost.state, COMET_H2_OVER);
    comet_h2_session_drop(&session, &ghost);
    assert_int_equal(session.count, 0);
}

static void test_not_within_a_frame_or_a_header_block(void **state)
{
    take_over();
    comet_buffer_puts(&ghost.bytes, "news");
    server_sends_frame(COMET_H2_HEADERS, 0, 3, "half");
    comet_buffer_clear(&to_client);
    comet_h2_session_take(&session, 1000, &to_client);
    assert_int_equal(to_client.length, 0);
    server_sends_frame(COMET_H2_CONTINUATION, COMET_H2_FLAG_END_HEADERS, 3,
                       "half");
    server_sends((comet_text_t){ "\0\0\2\0\0\0\0\0\3x", 10 });
    comet_buffer_clear(&to_client);
    comet_h2_session_take(&session, 1000, &to_client);
    assert_int_equal(to_client.length, 0);
    server_sends((comet_text_t){ "y", 1 });
    comet_buffer_clear(&to_client);
    comet_h2_session_take(&session, 1000, &to_client);
    assert_int_equal(to_client.length, 13);
    comet_h2_session_drop(&session, &ghost);
}

static void test_what_the_client_says_of_it_stays_here(void **state)
{
    comet_buffer_t bytes = { .data = NULL };

    take_over();
    comet_h2_frame_add_update(&bytes, 1, 100);
    client_sends(&bytes);
    assert_int_equal(to_server.length, 0);
    comet_buffer_clear(&bytes);
    comet_h2_frame_add_reset(&bytes, 1, COMET_H2_CANCEL);
    client_sends(&bytes);
    comet_buffer_free(&bytes);
    assert_int_equal(to_server.length, 0);
    assert_int_equal(ghost.state, COMET_H2_LOST);
    comet_h2_session_drop(&session, &ghost);
    comet_h2_session_take(&session, 1000, &to_client);
    assert_int_equal(to_client.length, 0);
}

static void test_a_rule_broken_is_answered(void **state)
{
    comet_buffer_t bytes = { .data = NULL };

    take_over();
    comet_h2_frame_add_update(&bytes, 1, COMET_H2_31_BITS);
    client_sends(&bytes);
    comet_buffer_free(&bytes);
    assert_int_equal(ghost.state, COMET_H2_LOST);
    comet_h2_session_drop(&session, &ghost);
    comet_h2_session_take(&session, 1000, &to_client);
    assert_client_got("\0\0\4\3\0\0\0\0\1\0\0\0\3", 13);
}

static void test_more_of_a_complete_request_is_refused(void **state)
{
    take_over();
    client_opens(1, COMET_H2_FLAG_END_STREAM);
    assert_int_equal(to_server.length, COMET_H2_HEADER_BYTES + 3);
    assert_int_equal(ghost.state, COMET_H2_LOST);
    comet_h2_session_drop(&session, &ghost);
    comet_h2_session_take(&session, 1000, &to_client);
    assert_client_got("\0\0\4\3\0\0\0\0\1\0\0\0\5", 13);
}

/* Let the client send GOAWAY, in pieces, and then another frame.  @return
 * whether mod_http2 gets both; 0: only the other one */
static int hears_farewell(apr_uint32_t stream, char error, apr_uint32_t length)
{
    char payload[COMET_H2_FRAME_LEAST + 1] = { 0, 0, 0, 0, 0, 0, 0, error };
    comet_buffer_t bytes = { .data = NULL };
    apr_size_t i, ours;

    comet_buffer_clear(&to_server);
    add_header(&bytes, COMET_H2_GOAWAY, 0, stream, length);
    comet_buffer_add(&bytes, payload, length);
    ours = bytes.length;
    comet_h2_frame_add_update(&bytes, 99, 1); /* mod_http2 gets this one */
    for (i = 0; i < bytes.length; i++) {
        comet_h2_session_in(&session, (comet_text_t){ bytes.data + i, 1 },
                            &to_server);
    }
    if (to_server.length == bytes.length) {
        ours = 0;
    }
    assert_int_equal(to_server.length, bytes.length - ours);
    assert_memory_equal(to_server.data, bytes.data + ours, to_server.length);
    comet_buffer_free(&bytes);
    return !ours;
}

static void test_a_farewell_stays_here_while_a_stream_is_ours(void **state)
{
    assert_true(hears_farewell(0, 0, 8));
    take_over();
    assert_false(hears_farewell(0, 0, 8));
    assert_false(hears_farewell(0, 0, 13));
    assert_false(hears_farewell(0, 0, COMET_H2_FRAME_LEAST));
    assert_int_equal(ghost.state, COMET_H2_OURS);
    assert_true(hears_farewell(0, 1, 8)); /* this frame reports an error */
    assert_true(hears_farewell(0, 1, 13));
    assert_true(hears_farewell(0, 0, 7)); /* this frame is too short */
    /* this one is longer than a frame may be */
    assert_true(hears_farewell(0, 0, COMET_H2_FRAME_LEAST + 1));
    assert_true(hears_farewell(1, 0, 8));
}

/* Let the client send a part of DATA, byte by byte.
 * @param length  how long the whole frame is, without its header
 * @param sent    how many bytes of that the client sends */
static void client_sends_data(apr_uint32_t stream, unsigned char flags,
                              apr_uint32_t length, apr_uint32_t sent)
{
    comet_buffer_t bytes = { .data = NULL };
    apr_size_t i;

    add_header(&bytes, COMET_H2_DATA, flags, stream, length);
    comet_buffer_add(&bytes, "body", sent);
    for (i = 0; i < bytes.length; i++) {
        comet_h2_session_in(&session, (comet_text_t){ bytes.data + i, 1 },
                            &to_server);
    }
    comet_buffer_free(&bytes);
}

static void assert_extent(apr_uint32_t stream, comet_h2_extent_e extent)
{
    assert_int_equal(comet_h2_session_extent(&session, stream), extent);
}

static void client_resets(apr_uint32_t stream)
{
    comet_buffer_t bytes = { .data = NULL };

    comet_h2_frame_add_reset(&bytes, stream, COMET_H2_CANCEL);
    client_sends(&bytes);
    comet_buffer_free(&bytes);
}

static void test_whether_a_request_is_cut(void **state)
{
    assert_extent(1, COMET_H2_WHOLE); /* setup: no body */
    client_opens(3, 0);
    assert_extent(3, COMET_H2_CUT);
    client_sends_data(3, 0, 4, 4);
    assert_extent(3, COMET_H2_CUT);
    client_sends_data(3, COMET_H2_FLAG_END_STREAM, 0, 0);
    assert_extent(3, COMET_H2_WHOLE);
    client_opens(5, 0);
    client_opens(5, COMET_H2_FLAG_END_STREAM); /* trailers */
    assert_extent(5, COMET_H2_WHOLE);
    client_opens(7, 0);
    client_resets(7);
    assert_extent(7, COMET_H2_CUT);
    assert_extent(9, COMET_H2_UNKNOWN);
    client_opens(9, 0);
    client_sends_data(9, COMET_H2_FLAG_END_STREAM, 4, 3);
    assert_extent(9, COMET_H2_CUT);
    comet_h2_session_in(&session, (comet_text_t){ "y", 1 }, &to_server);
    assert_extent(9, COMET_H2_WHOLE);
}

/* A client that has sent all of a request may reset its stream at once: a closed
 * tab. */
static void test_a_reset_behind_the_end_cuts_nothing(void **state)
{
    apr_uint32_t i, last = 2 * COMET_H2_WHOLE_MOST + 3;

    for (i = 3; i <= last; i += 2) {
        client_opens(i, 0);
        client_sends_data(i, COMET_H2_FLAG_END_STREAM, 4, 4);
        client_resets(i);
        assert_extent(i, COMET_H2_WHOLE);
    }
    assert_extent(5, COMET_H2_WHOLE);
    assert_extent(3, COMET_H2_CUT); /* too many to remember all */
}

/* Nothing is said about streams that are not tracked. */
static void test_too_many_requests_to_know_whether_one_is_cut(void **state)
{
    apr_uint32_t i;

    for (i = 0; i < COMET_H2_STREAMS_MOST; i++) {
        client_opens(2 * i + 3, 0);
    }
    assert_extent(3, COMET_H2_CUT);
    assert_extent(2 * i + 1, COMET_H2_UNKNOWN);
}

static void test_what_cannot_be_claimed(void **state)
{
    comet_h2_ghost_t other = { .stream = 3 };

    assert_int_equal(comet_h2_session_claim(&session, &other), COMET_H2_ENDED);
    client_opens(3, 0);
    assert_int_equal(comet_h2_session_claim(&session, &other),
                     COMET_H2_HAS_BODY);
    assert_true(comet_h2_session_claim(&session, &ghost) > 0);
    server_sends_frame(COMET_H2_HEADERS,
                       COMET_H2_FLAG_END_STREAM | COMET_H2_FLAG_END_HEADERS, 1,
                       "h");
    assert_int_equal(ghost.state, COMET_H2_LOST);
    assert_int_equal(to_client.length, COMET_H2_HEADER_BYTES + 1);
    comet_h2_session_drop(&session, &ghost);
    server_sends_frame(COMET_H2_GOAWAY, 0, 0, "12345678");
    client_opens(5, COMET_H2_FLAG_END_STREAM);
    other.stream = 5;
    assert_int_equal(comet_h2_session_claim(&session, &other), COMET_H2_ENDED);
}

/* A ghost is dropped before mod_http2 has ended its stream.  Whatever mod_http2
 * still sends on that stream is discarded, and the client gets RST_STREAM. */
static void test_one_that_is_dropped_early(void **state)
{
    assert_true(comet_h2_session_claim(&session, &ghost) > 0);
    server_sends_frame(COMET_H2_HEADERS, COMET_H2_FLAG_END_HEADERS, 1, "h");
    server_sends_frame(COMET_H2_DATA, 0, 1, "fil");
    comet_h2_session_drop(&session, &ghost);
    comet_buffer_clear(&to_client);
    server_sends_frame(COMET_H2_DATA, 0, 1, "l");
    assert_int_equal(comet_h2_session_claim(&session, &ghost), COMET_H2_ENDED);
    server_sends_frame(COMET_H2_DATA, COMET_H2_FLAG_END_STREAM, 1, "er");
    assert_int_equal(to_client.length, 0);
    comet_h2_session_take(&session, 1000, &to_client);
    assert_client_got("\0\0\4\3\0\0\0\0\1\0\0\0\10", 13);
    assert_null(comet_h2_window_find(&session.window, 1));
}

/* A ghost changes no byte of other streams, wherever their bytes are cut. */
static void test_other_bytes_are_unchanged(void **state)
{
    uint64_t seed = 1;
    int round;

    take_over();
    client_opens(3, COMET_H2_FLAG_END_STREAM);
    for (round = 0; round < 2000; round++) {
        comet_buffer_t bytes = { .data = NULL };
        apr_size_t cut;
        int i;

        for (i = 0; i < 3; i++) {
            apr_uint32_t length = (apr_uint32_t)(reference_random(&seed) % 40);

            add_header(&bytes, (unsigned char)(i ? COMET_H2_DATA : 6), 0,
                       i ? 3 : 0, length);
            while (length--) {
                comet_buffer_add(&bytes, "z", 1);
            }
        }
        comet_buffer_clear(&to_client);
        cut = (apr_size_t)(reference_random(&seed) % (bytes.length + 1));
        server_sends((comet_text_t){ bytes.data, cut });
        server_sends((comet_text_t){ bytes.data + cut, bytes.length - cut });
        assert_client_got(bytes.data, bytes.length);
        comet_buffer_free(&bytes);
    }
    comet_h2_session_drop(&session, &ghost);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_its_end_and_filler_are_hidden,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(
            test_not_within_a_frame_or_a_header_block, setup, teardown),
        cmocka_unit_test_setup_teardown(
            test_what_the_client_says_of_it_stays_here, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_rule_broken_is_answered, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(
            test_more_of_a_complete_request_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(
            test_a_farewell_stays_here_while_a_stream_is_ours, setup, teardown),
        cmocka_unit_test_setup_teardown(test_whether_a_request_is_cut, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(
            test_a_reset_behind_the_end_cuts_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(
            test_too_many_requests_to_know_whether_one_is_cut, setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_cannot_be_claimed, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_one_that_is_dropped_early, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_other_bytes_are_unchanged, setup,
                                        teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
