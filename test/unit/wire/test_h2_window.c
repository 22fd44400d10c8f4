/* SPDX-License-Identifier: Apache-2.0 */
/* The flow-control windows of a connection that has two writers.  Each byte
 * that the client grants is spent once. */
#include "h2_kit.h"

#define MEGABYTE (1024 * 1024)
#define WIDENED \
    15663105 /* the increment that Chromium sends for the
                          * connection */

/* Open a stream and take it over. */
static void add_ours(apr_uint32_t stream)
{
    comet_h2_window_open(&h2_window, stream, 0);
    assert_true(comet_h2_window_take(&h2_window, stream));
}

static void assert_update(apr_uint32_t stream, apr_uint32_t increment,
                          comet_h2_action_e action, apr_uint32_t number)
{
    comet_h2_decision_t outcome =
        comet_h2_window_update(&h2_window, stream, increment);

    assert_int_equal(outcome.action, action);
    if (action == COMET_H2_REPLACE || action == COMET_H2_RESET) {
        assert_int_equal(outcome.number, number);
    }
}

static void assert_parts(apr_int64_t theirs, apr_int64_t ours)
{
    assert_int_equal(h2_window.theirs, theirs);
    assert_int_equal(h2_window.ours, ours);
}

/* --- the connection's window --------------------------------------------- */

static void test_all_is_theirs_at_first(void **state)
{
    assert_parts(H2_FIRST, 0);
    add_ours(1);
    assert_int_equal(comet_h2_window_room(&h2_window, 1), 0);
    assert_int_equal(comet_h2_window_lend(&h2_window), 0);
}

/* mod_http2 gets a quarter of the window, at most a megabyte; the rest is
 * ours. */
static void test_an_update_is_split(void **state)
{
    assert_update(0, WIDENED, COMET_H2_REPLACE, MEGABYTE - H2_FIRST);
    assert_parts(MEGABYTE, WIDENED + H2_FIRST - MEGABYTE);
    assert_update(0, 1000, COMET_H2_CONSUME, 0);
    assert_parts(MEGABYTE, WIDENED + H2_FIRST - MEGABYTE + 1000);
    comet_h2_window_sent(&h2_window, 1, 5000);
    assert_update(0, 2000, COMET_H2_FORWARD, 0);
    assert_update(0, 7000, COMET_H2_REPLACE, 3000);
    assert_parts(MEGABYTE, WIDENED + H2_FIRST - MEGABYTE + 5000);
}

static void test_a_small_window_is_split(void **state)
{
    comet_h2_window_sent(&h2_window, 1, 60000);
    assert_parts(5535, 0);
    assert_update(0, 60000, COMET_H2_REPLACE, H2_FIRST / 4 - 5535);
    assert_parts(H2_FIRST / 4, H2_FIRST - H2_FIRST / 4);
}

static void test_the_connection_exceeds_its_window(void **state)
{
    assert_update(0, H2_MOST - H2_FIRST, COMET_H2_REPLACE, MEGABYTE - H2_FIRST);
    assert_update(0, 1, COMET_H2_FAIL, 0);
    assert_update(0, H2_MOST, COMET_H2_FAIL, 0);
    assert_parts(MEGABYTE, H2_MOST - MEGABYTE);
    /* the client may grant again what mod_http2 has spent, and what we have
     * spent */
    add_ours(1);
    comet_h2_window_spend(&h2_window, 1, 100);
    comet_h2_window_sent(&h2_window, 3, 10);
    assert_update(0, 111, COMET_H2_FAIL, 0);
    assert_update(0, 110, COMET_H2_REPLACE, 10);
    assert_parts(MEGABYTE, H2_MOST - MEGABYTE);
}

/* An increment of 0 is an error, which mod_http2 answers. */
static void test_an_increment_of_nothing(void **state)
{
    assert_update(0, 0, COMET_H2_FORWARD, 0);
    assert_parts(H2_FIRST, 0);
}

static void test_what_is_swallowed_is_ours(void **state)
{
    comet_h2_window_swallowed(&h2_window, 40000);
    assert_parts(H2_FIRST - 40000, 40000);
    assert_int_equal(h2_window.widest, H2_FIRST);
}

/* --- no stream is ours --------------------------------------------------- */

/* A client that never widens its window leaves all of it to mod_http2. */
static void test_a_small_window_is_not_split(void **state)
{
    comet_h2_window_split(&h2_window, 0);
    comet_h2_window_sent(&h2_window, 1, 60000);
    assert_update(0, 60000, COMET_H2_FORWARD, 0);
    assert_parts(H2_FIRST, 0);
}

/* While no stream is ours, mod_http2 gets a wide window in parts.  It gets each
 * part before it has used up the previous one.  Together the parts are the
 * whole window. */
static void test_a_wide_window_is_lent(void **state)
{
    apr_int64_t sent = 0, all = WIDENED + H2_FIRST;

    comet_h2_window_split(&h2_window, 0);
    assert_update(0, WIDENED, COMET_H2_REPLACE, MEGABYTE - H2_FIRST);
    while (h2_window.theirs) {
        apr_uint32_t piece =
            h2_window.theirs < 16384 ? (apr_uint32_t)h2_window.theirs : 16384;

        comet_h2_window_sent(&h2_window, 1, piece);
        sent += piece;
        comet_h2_window_lend(&h2_window);
        assert_true(h2_window.theirs >= MEGABYTE / 4 || h2_window.ours == 0);
    }
    assert_int_equal(sent, all);
    assert_parts(0, 0);
}

/* --- lending ------------------------------------------------------------- */

static void test_lend(void **state)
{
    apr_int64_t quarter = MEGABYTE / 4;

    assert_update(0, WIDENED, COMET_H2_REPLACE, MEGABYTE - H2_FIRST);
    comet_h2_window_sent(&h2_window, 1, (apr_uint32_t)(MEGABYTE - quarter));
    assert_int_equal(comet_h2_window_lend(&h2_window), 0);
    comet_h2_window_sent(&h2_window, 1, 1);
    assert_int_equal(comet_h2_window_lend(&h2_window), MEGABYTE - quarter + 1);
    assert_parts(MEGABYTE, WIDENED + H2_FIRST - 2 * MEGABYTE + quarter - 1);
    assert_int_equal(comet_h2_window_lend(&h2_window), 0);
}

/* A small part of the window is reserved for the streams that are ours. */
static void test_lend_the_last(void **state)
{
    apr_int64_t little = H2_FIRST / 4 / 4;

    comet_h2_window_swallowed(&h2_window, (apr_uint32_t)little + 100);
    comet_h2_window_sent(&h2_window, 1, (apr_uint32_t)h2_window.theirs);
    assert_int_equal(comet_h2_window_lend(&h2_window), 100);
    assert_parts(100, little);
    assert_int_equal(comet_h2_window_lend(&h2_window), 0);
}

/* --- streams ------------------------------------------------------------- */

static void test_streams_are_opened_in_order(void **state)
{
    comet_h2_window_open(&h2_window, 0, 0);
    comet_h2_window_open(&h2_window, 2, 0);
    assert_int_equal(h2_window.count, 0);
    comet_h2_window_open(&h2_window, 5, 1);
    comet_h2_window_open(&h2_window, 3, 0);
    comet_h2_window_open(&h2_window, 9, 0);
    assert_int_equal(h2_window.count, 2);
    assert_null(comet_h2_window_find(&h2_window, 3));
    assert_null(comet_h2_window_find(&h2_window, 7));
    assert_null(comet_h2_window_find(&h2_window, 11));
    assert_true(comet_h2_window_find(&h2_window, 5)->has_body);
    assert_false(comet_h2_window_find(&h2_window, 9)->has_body);
    comet_h2_window_open(&h2_window, 5, 0); /* the trailers of stream 5 */
    assert_int_equal(h2_window.count, 2);
    assert_true(comet_h2_window_find(&h2_window, 5)->has_body);
    assert_false(comet_h2_window_find(&h2_window, 5)->ours);
}

/* Credit that a client grants before its stream becomes ours counts, too. */
static void test_credit_before_it_is_ours(void **state)
{
    comet_h2_window_open(&h2_window, 1, 0);
    assert_update(1, 1000, COMET_H2_FORWARD, 0);
    comet_h2_window_sent(&h2_window, 1, 300);
    assert_true(comet_h2_window_take(&h2_window, 1));
    assert_int_equal(h2_credit(1), H2_FIRST + 700);
    assert_update(1, 5, COMET_H2_CONSUME, 0);
    assert_int_equal(h2_credit(1), H2_FIRST + 705);
}

static void test_streams_end(void **state)
{
    apr_uint32_t stream;

    for (stream = 1; stream <= 9; stream += 2) {
        add_ours(stream);
    }
    comet_h2_window_end(&h2_window, 5);
    comet_h2_window_end(&h2_window, 5);
    comet_h2_window_end(&h2_window, 9);
    comet_h2_window_end(&h2_window, 1);
    assert_int_equal(h2_window.count, 2);
    assert_null(comet_h2_window_find(&h2_window, 5));
    assert_int_equal(h2_credit(3), H2_FIRST);
    assert_int_equal(h2_credit(7), H2_FIRST);
    assert_false(comet_h2_window_take(&h2_window, 5));
    assert_int_equal(comet_h2_window_filler(&h2_window, 5), -1);
    assert_int_equal(comet_h2_window_room(&h2_window, 5), 0);
    assert_update(5, 10, COMET_H2_FORWARD, 0);
    comet_h2_window_sent(&h2_window, 5, 10);
    assert_parts(H2_FIRST - 10, 0);
}

static void test_reset_by_the_client(void **state)
{
    comet_h2_window_open(&h2_window, 1, 0);
    add_ours(3);
    assert_int_equal(comet_h2_window_reset(&h2_window, 1), COMET_H2_FORWARD);
    assert_int_equal(comet_h2_window_reset(&h2_window, 3), COMET_H2_CONSUME);
    assert_int_equal(comet_h2_window_reset(&h2_window, 3), COMET_H2_FORWARD);
    assert_int_equal(h2_window.count, 0);
}

/* A stream beyond the maximum is left to mod_http2.  After another stream has
 * ended, a new one is tracked. */
static void test_many_streams(void **state)
{
    apr_uint32_t i, stream;

    for (i = 0; i < COMET_H2_STREAMS_MOST; i++) {
        add_ours(2 * i + 1);
    }
    stream = 2 * i + 1;
    comet_h2_window_open(&h2_window, stream, 0);
    assert_null(comet_h2_window_find(&h2_window, stream));
    assert_int_equal(h2_window.count, COMET_H2_STREAMS_MOST);
    comet_h2_window_end(&h2_window, 101);
    comet_h2_window_open(&h2_window, stream, 0);
    assert_null(comet_h2_window_find(&h2_window, stream)); /* this stream is not
                                                            * new */
    add_ours(stream + 2);
    for (i = 1; i < COMET_H2_STREAMS_MOST; i++) {
        assert_true((comet_h2_window_find(&h2_window, 2 * i + 1) != NULL)
                    == (2 * i + 1 != 101));
    }
}

static void test_an_update_breaks_a_stream(void **state)
{
    comet_h2_window_open(&h2_window, 1, 0);
    add_ours(3);
    add_ours(5);
    assert_update(1, H2_MOST, COMET_H2_FORWARD,
                  0); /* mod_http2 itself refuses this */
    assert_update(1, 0, COMET_H2_FORWARD, 0);
    assert_update(3, H2_MOST - H2_FIRST, COMET_H2_CONSUME, 0);
    assert_update(3, 1, COMET_H2_RESET, COMET_H2_FLOW_CONTROL_ERROR);
    assert_null(comet_h2_window_find(&h2_window, 3));
    assert_update(5, 0, COMET_H2_REPLACE, 0);
    assert_int_equal(h2_window.count, 2);
}

/* --- SETTINGS ------------------------------------------------------------ */

/* A change of the initial window size changes each stream's window by the
 * difference, but not the connection's window (RFC 9113, section 6.9.2). */
static void test_windows_change_in_mid_stream(void **state)
{
    add_ours(1);
    comet_h2_window_swallowed(&h2_window, 60000);
    comet_h2_window_spend(&h2_window, 1, 50000);
    h2_set(COMET_H2_SETTING_INITIAL_WINDOW_SIZE, 40000);
    assert_int_equal(h2_credit(1), -10000);
    assert_int_equal(comet_h2_window_room(&h2_window, 1), 0);
    add_ours(3);
    assert_int_equal(h2_credit(3), 40000);
    assert_update(1, 10000, COMET_H2_CONSUME, 0);
    assert_int_equal(comet_h2_window_room(&h2_window, 1), 0);
    assert_update(1, 7, COMET_H2_CONSUME, 0);
    assert_int_equal(comet_h2_window_room(&h2_window, 1), 7);
    h2_set(COMET_H2_SETTING_INITIAL_WINDOW_SIZE, 0);
    assert_int_equal(h2_credit(1), 7 - 40000);
    h2_set(COMET_H2_SETTING_INITIAL_WINDOW_SIZE, H2_MOST);
    assert_int_equal(h2_credit(1), 7 - 40000 + (apr_int64_t)H2_MOST);
    assert_int_equal(h2_credit(3), H2_MOST);
    assert_parts(H2_FIRST - 60000, 10000);
}

static void test_settings_break_a_stream(void **state)
{
    comet_h2_window_open(&h2_window, 1, 0);
    assert_update(1, 1, COMET_H2_FORWARD, 0);
    h2_set(COMET_H2_SETTING_INITIAL_WINDOW_SIZE,
           H2_MOST); /* mod_http2 itself refuses this */
    h2_set(COMET_H2_SETTING_INITIAL_WINDOW_SIZE, 100);
    add_ours(3);
    assert_update(3, 1, COMET_H2_CONSUME, 0);
    assert_int_equal(comet_h2_window_set(&h2_window,
                                         COMET_H2_SETTING_INITIAL_WINDOW_SIZE,
                                         H2_MOST),
                     COMET_H2_FAIL);
}

/* For settings that are out of range, mod_http2 ends the connection. */
static void test_settings_out_of_range(void **state)
{
    add_ours(1);
    h2_set(COMET_H2_SETTING_INITIAL_WINDOW_SIZE, (apr_uint32_t)H2_MOST + 1);
    assert_int_equal(h2_credit(1), H2_FIRST);
    h2_set(COMET_H2_SETTING_MAX_FRAME_SIZE, COMET_H2_FRAME_LEAST - 1);
    h2_set(COMET_H2_SETTING_MAX_FRAME_SIZE, COMET_H2_FRAME_MOST + 1);
    assert_int_equal(h2_window.frame_most, COMET_H2_FRAME_LEAST);
    h2_set(0x10, 12345);
    h2_set(6, 0);
    assert_int_equal(h2_window.frame_most, COMET_H2_FRAME_LEAST);
    assert_int_equal(h2_window.initial, H2_FIRST);
}

static void test_the_longest_frame(void **state)
{
    add_ours(1);
    comet_h2_window_swallowed(&h2_window, 60000);
    assert_int_equal(comet_h2_window_room(&h2_window, 1), COMET_H2_FRAME_LEAST);
    h2_set(COMET_H2_SETTING_MAX_FRAME_SIZE, 20000);
    assert_int_equal(comet_h2_window_room(&h2_window, 1), 20000);
    h2_set(COMET_H2_SETTING_MAX_FRAME_SIZE, COMET_H2_FRAME_MOST);
    assert_int_equal(comet_h2_window_room(&h2_window, 1), 60000);
    h2_set(COMET_H2_SETTING_INITIAL_WINDOW_SIZE, 50000);
    assert_int_equal(comet_h2_window_room(&h2_window, 1), 50000);
}

/* --- fillers ------------------------------------------------------------- */

static void test_a_wide_window_needs_no_filler(void **state)
{
    comet_h2_window_open(&h2_window, 1, 0);
    assert_update(0, WIDENED, COMET_H2_REPLACE, MEGABYTE - H2_FIRST);
    assert_int_equal(comet_h2_window_filler(&h2_window, 1), 0);
}

/* A filler takes back what mod_http2 has beyond its quarter. */
static void test_filler(void **state)
{
    apr_int64_t filler;

    comet_h2_window_open(&h2_window, 1, 0);
    filler = comet_h2_window_filler(&h2_window, 1);
    assert_int_equal(filler, H2_FIRST - H2_FIRST / 4);
    comet_h2_window_swallowed(&h2_window, (apr_uint32_t)filler);
    assert_int_equal(comet_h2_window_filler(&h2_window, 1), 0);
}

/* If a stream's own window is too small for the filler, the stream is left to
 * mod_http2. */
static void test_filler_of_a_narrow_stream(void **state)
{
    h2_set(COMET_H2_SETTING_INITIAL_WINDOW_SIZE,
           H2_FIRST / 2 + COMET_H2_WINDOW_OPENING + 1);
    comet_h2_window_open(&h2_window, 1, 0);
    assert_int_equal(comet_h2_window_filler(&h2_window, 1), H2_FIRST / 2 + 1);
    h2_set(COMET_H2_SETTING_INITIAL_WINDOW_SIZE,
           H2_FIRST / 2 + COMET_H2_WINDOW_OPENING);
    assert_int_equal(comet_h2_window_filler(&h2_window, 1), -1);
    h2_set(COMET_H2_SETTING_INITIAL_WINDOW_SIZE, 0);
    assert_int_equal(comet_h2_window_filler(&h2_window, 1), -1);
    comet_h2_window_swallowed(&h2_window, H2_FIRST / 2 + 1);
    assert_int_equal(comet_h2_window_filler(&h2_window, 1), 0);
}

/* --- neither writer starves ---------------------------------------------- */

/* A client that waits until it has received `after` bytes, and then grants as
 * many bytes as it has received. */
typedef struct client_t {
    apr_uint32_t wide, after; /* in bytes */
    apr_uint32_t got;
} client_t;

static void receive(client_t *client, apr_uint32_t length)
{
    client->got += length;
    if (client->got >= client->after) {
        comet_h2_window_update(&h2_window, 0, client->got);
        client->got = 0;
    }
}

static void widen(client_t *client, apr_uint32_t wide, apr_uint32_t after)
{
    comet_h2_window_free(&h2_window);
    comet_h2_window_init(&h2_window);
    h2_set(COMET_H2_SETTING_INITIAL_WINDOW_SIZE, H2_MOST / 2);
    *client = (client_t){ wide, after, 0 };
    if (wide > H2_FIRST) {
        comet_h2_window_update(&h2_window, 0, wide - H2_FIRST);
    }
}

/* Write on our stream while mod_http2 is silent, from any state of the
 * window. */
static void write_ours(client_t *client)
{
    apr_int64_t left = 3 * (apr_int64_t)client->wide;

    while (left > 0) {
        apr_uint32_t room = comet_h2_window_room(&h2_window, 1);

        assert_true(room > 0);
        comet_h2_window_spend(&h2_window, 1, room);
        comet_h2_window_update(&h2_window, 1, room);
        receive(client, room);
        left -= room;
    }
}

static void write_theirs(client_t *client)
{
    apr_int64_t left = 3 * (apr_int64_t)client->wide;

    while (left > 0) {
        apr_int64_t room;

        comet_h2_window_lend(&h2_window);
        room = h2_window.theirs < 100000 ? h2_window.theirs : 100000;
        assert_true(room > 0);
        comet_h2_window_sent(&h2_window, 3, (apr_uint32_t)room);
        receive(client, (apr_uint32_t)room);
        left -= room;
    }
}

static void test_neither_starves(void **state)
{
    static const apr_uint32_t widths[] = {
        H2_FIRST, H2_FIRST + 1, H2_FIRST + 20000,   131072,        MEGABYTE,
        4194304,  WIDENED,      WIDENED + H2_FIRST, 64 * MEGABYTE,
    };
    size_t i;
    int quarters, first;

    for (i = 0; i < sizeof(widths) / sizeof(*widths); i++) {
        for (quarters = 1; quarters <= 3; quarters++) {
            for (first = 0; first < 2; first++) {
                client_t client;
                apr_int64_t filler;

                widen(&client, widths[i], widths[i] / 4 * (unsigned)quarters);
                comet_h2_window_open(&h2_window, 1, 0);
                if (first) {
                    write_theirs(&client);
                }
                comet_h2_window_split(&h2_window, 1);
                filler = comet_h2_window_filler(&h2_window, 1);
                assert_true(filler >= 0);
                comet_h2_window_swallowed(&h2_window, (apr_uint32_t)filler);
                assert_true(comet_h2_window_take(&h2_window, 1));
                write_ours(&client);
                write_theirs(&client);
                write_ours(&client);
            }
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        H2_TEST(test_all_is_theirs_at_first),
        H2_TEST(test_an_update_is_split),
        H2_TEST(test_a_small_window_is_split),
        H2_TEST(test_the_connection_exceeds_its_window),
        H2_TEST(test_an_increment_of_nothing),
        H2_TEST(test_what_is_swallowed_is_ours),
        H2_TEST(test_a_small_window_is_not_split),
        H2_TEST(test_a_wide_window_is_lent),
        H2_TEST(test_lend),
        H2_TEST(test_lend_the_last),
        H2_TEST(test_streams_are_opened_in_order),
        H2_TEST(test_credit_before_it_is_ours),
        H2_TEST(test_streams_end),
        H2_TEST(test_reset_by_the_client),
        H2_TEST(test_many_streams),
        H2_TEST(test_an_update_breaks_a_stream),
        H2_TEST(test_windows_change_in_mid_stream),
        H2_TEST(test_settings_break_a_stream),
        H2_TEST(test_settings_out_of_range),
        H2_TEST(test_the_longest_frame),
        H2_TEST(test_a_wide_window_needs_no_filler),
        H2_TEST(test_filler),
        H2_TEST(test_filler_of_a_narrow_stream),
        H2_TEST(test_neither_starves),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
