/* SPDX-License-Identifier: Apache-2.0 */
/* The windows of a connection that has two writers: each byte that the client
 * grants is spent once. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "wire/h2_window.h"
#include "reference.h"

#define MOST COMET_H2_31_BITS
#define FIRST COMET_H2_WINDOW_FIRST
#define MEGABYTE (1024 * 1024)
#define WIDENED \
    15663105 /* the increment that Chromium sends for the
                          * connection */

static comet_h2_window_t window;

static int setup(void **state)
{
    comet_h2_window_init(&window);
    return 0;
}

static int teardown(void **state)
{
    comet_h2_window_free(&window);
    return 0;
}

/* Open a stream and take it over. */
static void add_ours(apr_uint32_t stream)
{
    comet_h2_window_open(&window, stream, 0);
    assert_true(comet_h2_window_take(&window, stream));
}

static apr_int64_t credit(apr_uint32_t stream)
{
    const comet_h2_stream_t *found = comet_h2_window_find(&window, stream);

    assert_non_null(found);
    return found->credit;
}

static void assert_update(apr_uint32_t stream, apr_uint32_t increment,
                          comet_h2_action_e action, apr_uint32_t number)
{
    comet_h2_decision_t outcome =
        comet_h2_window_update(&window, stream, increment);

    assert_int_equal(outcome.action, action);
    if (action == COMET_H2_REPLACE || action == COMET_H2_RESET) {
        assert_int_equal(outcome.number, number);
    }
}

static void assert_parts(apr_int64_t theirs, apr_int64_t ours)
{
    assert_int_equal(window.theirs, theirs);
    assert_int_equal(window.ours, ours);
}

/* --- the connection's window --------------------------------------------- */

static void test_all_is_theirs_at_first(void **state)
{
    assert_parts(FIRST, 0);
    add_ours(1);
    assert_int_equal(comet_h2_window_room(&window, 1), 0);
    assert_int_equal(comet_h2_window_lend(&window), 0);
}

/* mod_http2 gets a quarter, at most a megabyte; the rest is ours. */
static void test_an_update_is_split(void **state)
{
    assert_update(0, WIDENED, COMET_H2_REPLACE, MEGABYTE - FIRST);
    assert_parts(MEGABYTE, WIDENED + FIRST - MEGABYTE);
    assert_update(0, 1000, COMET_H2_CONSUME, 0);
    assert_parts(MEGABYTE, WIDENED + FIRST - MEGABYTE + 1000);
    comet_h2_window_sent(&window, 1, 5000);
    assert_update(0, 2000, COMET_H2_FORWARD, 0);
    assert_update(0, 7000, COMET_H2_REPLACE, 3000);
    assert_parts(MEGABYTE, WIDENED + FIRST - MEGABYTE + 5000);
}

static void test_a_small_window_is_split(void **state)
{
    comet_h2_window_sent(&window, 1, 60000);
    assert_parts(5535, 0);
    assert_update(0, 60000, COMET_H2_REPLACE, FIRST / 4 - 5535);
    assert_parts(FIRST / 4, FIRST - FIRST / 4);
}

static void test_the_connection_exceeds_its_window(void **state)
{
    assert_update(0, MOST - FIRST, COMET_H2_REPLACE, MEGABYTE - FIRST);
    assert_update(0, 1, COMET_H2_FAIL, 0);
    assert_update(0, MOST, COMET_H2_FAIL, 0);
    assert_parts(MEGABYTE, MOST - MEGABYTE);
    /* the client may grant again both what mod_http2 spends and what we
     * spend */
    add_ours(1);
    comet_h2_window_spend(&window, 1, 100);
    comet_h2_window_sent(&window, 3, 10);
    assert_update(0, 111, COMET_H2_FAIL, 0);
    assert_update(0, 110, COMET_H2_REPLACE, 10);
    assert_parts(MEGABYTE, MOST - MEGABYTE);
}

/* mod_http2 judges it. */
static void test_an_increment_of_nothing(void **state)
{
    assert_update(0, 0, COMET_H2_FORWARD, 0);
    assert_parts(FIRST, 0);
}

static void test_what_is_swallowed_is_ours(void **state)
{
    comet_h2_window_swallowed(&window, 40000);
    assert_parts(FIRST - 40000, 40000);
    assert_int_equal(window.widest, FIRST);
}

/* --- lending ------------------------------------------------------------- */

static void test_lend(void **state)
{
    apr_int64_t quarter = MEGABYTE / 4;

    assert_update(0, WIDENED, COMET_H2_REPLACE, MEGABYTE - FIRST);
    comet_h2_window_sent(&window, 1, (apr_uint32_t)(MEGABYTE - quarter));
    assert_int_equal(comet_h2_window_lend(&window), 0);
    comet_h2_window_sent(&window, 1, 1);
    assert_int_equal(comet_h2_window_lend(&window), MEGABYTE - quarter + 1);
    assert_parts(MEGABYTE, WIDENED + FIRST - 2 * MEGABYTE + quarter - 1);
    assert_int_equal(comet_h2_window_lend(&window), 0);
}

/* A little is kept for the streams that are ours. */
static void test_lend_the_last(void **state)
{
    apr_int64_t little = FIRST / 4 / 4;

    comet_h2_window_swallowed(&window, (apr_uint32_t)little + 100);
    comet_h2_window_sent(&window, 1, (apr_uint32_t)window.theirs);
    assert_int_equal(comet_h2_window_lend(&window), 100);
    assert_parts(100, little);
    assert_int_equal(comet_h2_window_lend(&window), 0);
}

/* --- streams ------------------------------------------------------------- */

static void test_streams_are_opened_in_order(void **state)
{
    comet_h2_window_open(&window, 0, 0);
    comet_h2_window_open(&window, 2, 0);
    assert_int_equal(window.count, 0);
    comet_h2_window_open(&window, 5, 1);
    comet_h2_window_open(&window, 3, 0);
    comet_h2_window_open(&window, 9, 0);
    assert_int_equal(window.count, 2);
    assert_null(comet_h2_window_find(&window, 3));
    assert_null(comet_h2_window_find(&window, 7));
    assert_null(comet_h2_window_find(&window, 11));
    assert_true(comet_h2_window_find(&window, 5)->has_body);
    assert_false(comet_h2_window_find(&window, 9)->has_body);
    comet_h2_window_open(&window, 5, 0); /* trailers */
    assert_int_equal(window.count, 2);
    assert_true(comet_h2_window_find(&window, 5)->has_body);
    assert_false(comet_h2_window_find(&window, 5)->ours);
}

/* Credit that a client grants before we take its stream over counts. */
static void test_credit_before_it_is_ours(void **state)
{
    comet_h2_window_open(&window, 1, 0);
    assert_update(1, 1000, COMET_H2_FORWARD, 0);
    comet_h2_window_sent(&window, 1, 300);
    assert_true(comet_h2_window_take(&window, 1));
    assert_int_equal(credit(1), FIRST + 700);
    assert_update(1, 5, COMET_H2_CONSUME, 0);
    assert_int_equal(credit(1), FIRST + 705);
}

static void test_streams_end(void **state)
{
    apr_uint32_t stream;

    for (stream = 1; stream <= 9; stream += 2) {
        add_ours(stream);
    }
    comet_h2_window_end(&window, 5);
    comet_h2_window_end(&window, 5);
    comet_h2_window_end(&window, 9);
    comet_h2_window_end(&window, 1);
    assert_int_equal(window.count, 2);
    assert_null(comet_h2_window_find(&window, 5));
    assert_int_equal(credit(3), FIRST);
    assert_int_equal(credit(7), FIRST);
    assert_false(comet_h2_window_take(&window, 5));
    assert_int_equal(comet_h2_window_filler(&window, 5), -1);
    assert_int_equal(comet_h2_window_room(&window, 5), 0);
    assert_update(5, 10, COMET_H2_FORWARD, 0);
    comet_h2_window_sent(&window, 5, 10);
    assert_parts(FIRST - 10, 0);
}

static void test_reset_by_the_client(void **state)
{
    comet_h2_window_open(&window, 1, 0);
    add_ours(3);
    assert_int_equal(comet_h2_window_reset(&window, 1), COMET_H2_FORWARD);
    assert_int_equal(comet_h2_window_reset(&window, 3), COMET_H2_CONSUME);
    assert_int_equal(comet_h2_window_reset(&window, 3), COMET_H2_FORWARD);
    assert_int_equal(window.count, 0);
}

/* A stream beyond the maximum stays mod_http2's.  After another one has ended,
 * a new stream is tracked. */
static void test_many_streams(void **state)
{
    apr_uint32_t i, stream;

    for (i = 0; i < COMET_H2_STREAMS_MOST; i++) {
        add_ours(2 * i + 1);
    }
    stream = 2 * i + 1;
    comet_h2_window_open(&window, stream, 0);
    assert_null(comet_h2_window_find(&window, stream));
    assert_int_equal(window.count, COMET_H2_STREAMS_MOST);
    comet_h2_window_end(&window, 101);
    comet_h2_window_open(&window, stream, 0);
    assert_null(comet_h2_window_find(&window, stream)); /* it is not new */
    add_ours(stream + 2);
    for (i = 1; i < COMET_H2_STREAMS_MOST; i++) {
        assert_true((comet_h2_window_find(&window, 2 * i + 1) != NULL)
                    == (2 * i + 1 != 101));
    }
}

static void test_an_update_breaks_a_stream(void **state)
{
    comet_h2_window_open(&window, 1, 0);
    add_ours(3);
    add_ours(5);
    assert_update(1, MOST, COMET_H2_FORWARD, 0); /* mod_http2 judges it */
    assert_update(1, 0, COMET_H2_FORWARD, 0);
    assert_update(3, MOST - FIRST, COMET_H2_CONSUME, 0);
    assert_update(3, 1, COMET_H2_RESET, COMET_H2_FLOW_CONTROL_ERROR);
    assert_null(comet_h2_window_find(&window, 3));
    assert_update(5, 0, COMET_H2_RESET, COMET_H2_PROTOCOL_ERROR);
    assert_null(comet_h2_window_find(&window, 5));
    assert_int_equal(window.count, 1);
}

/* --- SETTINGS ------------------------------------------------------------ */

static void set(apr_uint16_t setting, apr_uint32_t value)
{
    assert_int_equal(comet_h2_window_set(&window, setting, value),
                     COMET_H2_FORWARD);
}

/* Each stream's window changes by the difference; the connection's does not
 * (section 6.9.2). */
static void test_windows_change_in_mid_stream(void **state)
{
    add_ours(1);
    comet_h2_window_swallowed(&window, 60000);
    comet_h2_window_spend(&window, 1, 50000);
    set(COMET_H2_SETTING_INITIAL_WINDOW_SIZE, 40000);
    assert_int_equal(credit(1), -10000);
    assert_int_equal(comet_h2_window_room(&window, 1), 0);
    add_ours(3);
    assert_int_equal(credit(3), 40000);
    assert_update(1, 10000, COMET_H2_CONSUME, 0);
    assert_int_equal(comet_h2_window_room(&window, 1), 0);
    assert_update(1, 7, COMET_H2_CONSUME, 0);
    assert_int_equal(comet_h2_window_room(&window, 1), 7);
    set(COMET_H2_SETTING_INITIAL_WINDOW_SIZE, 0);
    assert_int_equal(credit(1), 7 - 40000);
    set(COMET_H2_SETTING_INITIAL_WINDOW_SIZE, MOST);
    assert_int_equal(credit(1), 7 - 40000 + (apr_int64_t)MOST);
    assert_int_equal(credit(3), MOST);
    assert_parts(FIRST - 60000, 10000);
}

static void test_settings_break_a_stream(void **state)
{
    comet_h2_window_open(&window, 1, 0);
    assert_update(1, 1, COMET_H2_FORWARD, 0);
    set(COMET_H2_SETTING_INITIAL_WINDOW_SIZE, MOST); /* mod_http2 judges it */
    set(COMET_H2_SETTING_INITIAL_WINDOW_SIZE, 100);
    add_ours(3);
    assert_update(3, 1, COMET_H2_CONSUME, 0);
    assert_int_equal(comet_h2_window_set(
                         &window, COMET_H2_SETTING_INITIAL_WINDOW_SIZE, MOST),
                     COMET_H2_FAIL);
}

/* mod_http2 ends the connection. */
static void test_settings_out_of_range(void **state)
{
    add_ours(1);
    set(COMET_H2_SETTING_INITIAL_WINDOW_SIZE, (apr_uint32_t)MOST + 1);
    assert_int_equal(credit(1), FIRST);
    set(COMET_H2_SETTING_MAX_FRAME_SIZE, COMET_H2_FRAME_LEAST - 1);
    set(COMET_H2_SETTING_MAX_FRAME_SIZE, COMET_H2_FRAME_MOST + 1);
    assert_int_equal(window.frame_most, COMET_H2_FRAME_LEAST);
    set(0x10, 12345);
    set(6, 0);
    assert_int_equal(window.frame_most, COMET_H2_FRAME_LEAST);
    assert_int_equal(window.initial, FIRST);
}

static void test_the_longest_frame(void **state)
{
    add_ours(1);
    comet_h2_window_swallowed(&window, 60000);
    assert_int_equal(comet_h2_window_room(&window, 1), COMET_H2_FRAME_LEAST);
    set(COMET_H2_SETTING_MAX_FRAME_SIZE, 20000);
    assert_int_equal(comet_h2_window_room(&window, 1), 20000);
    set(COMET_H2_SETTING_MAX_FRAME_SIZE, COMET_H2_FRAME_MOST);
    assert_int_equal(comet_h2_window_room(&window, 1), 60000);
    set(COMET_H2_SETTING_INITIAL_WINDOW_SIZE, 50000);
    assert_int_equal(comet_h2_window_room(&window, 1), 50000);
}

/* --- fillers ------------------------------------------------------------- */

static void test_a_wide_window_needs_no_filler(void **state)
{
    comet_h2_window_open(&window, 1, 0);
    assert_update(0, WIDENED, COMET_H2_REPLACE, MEGABYTE - FIRST);
    assert_int_equal(comet_h2_window_filler(&window, 1), 0);
}

/* A filler takes back what mod_http2 has beyond its quarter. */
static void test_filler(void **state)
{
    apr_int64_t filler;

    comet_h2_window_open(&window, 1, 0);
    filler = comet_h2_window_filler(&window, 1);
    assert_int_equal(filler, FIRST - FIRST / 4);
    comet_h2_window_swallowed(&window, (apr_uint32_t)filler);
    assert_int_equal(comet_h2_window_filler(&window, 1), 0);
}

/* A stream whose own window is too small for the filler stays mod_http2's. */
static void test_filler_of_a_narrow_stream(void **state)
{
    set(COMET_H2_SETTING_INITIAL_WINDOW_SIZE,
        FIRST / 2 + COMET_H2_WINDOW_OPENING + 1);
    comet_h2_window_open(&window, 1, 0);
    assert_int_equal(comet_h2_window_filler(&window, 1), FIRST / 2 + 1);
    set(COMET_H2_SETTING_INITIAL_WINDOW_SIZE,
        FIRST / 2 + COMET_H2_WINDOW_OPENING);
    assert_int_equal(comet_h2_window_filler(&window, 1), -1);
    set(COMET_H2_SETTING_INITIAL_WINDOW_SIZE, 0);
    assert_int_equal(comet_h2_window_filler(&window, 1), -1);
    comet_h2_window_swallowed(&window, FIRST / 2 + 1);
    assert_int_equal(comet_h2_window_filler(&window, 1), 0);
}

/* --- neither starves ----------------------------------------------------- */

/* A client that grants what it was sent, once this is a certain share of its
 * window. */
typedef struct client_t {
    apr_uint32_t wide, after; /* bytes */
    apr_uint32_t got;
} client_t;

static void receive(client_t *client, apr_uint32_t length)
{
    client->got += length;
    if (client->got >= client->after) {
        comet_h2_window_update(&window, 0, client->got);
        client->got = 0;
    }
}

static void widen(client_t *client, apr_uint32_t wide, apr_uint32_t after)
{
    comet_h2_window_free(&window);
    comet_h2_window_init(&window);
    set(COMET_H2_SETTING_INITIAL_WINDOW_SIZE, MOST / 2);
    *client = (client_t){ wide, after, 0 };
    if (wide > FIRST) {
        comet_h2_window_update(&window, 0, wide - FIRST);
    }
}

/* We write while mod_http2 is silent, from any state of the window. */
static void write_ours(client_t *client)
{
    apr_int64_t left = 3 * (apr_int64_t)client->wide;

    while (left > 0) {
        apr_uint32_t room = comet_h2_window_room(&window, 1);

        assert_true(room > 0);
        comet_h2_window_spend(&window, 1, room);
        comet_h2_window_update(&window, 1, room);
        receive(client, room);
        left -= room;
    }
}

static void write_theirs(client_t *client)
{
    apr_int64_t left = 3 * (apr_int64_t)client->wide;

    while (left > 0) {
        apr_int64_t room;

        comet_h2_window_lend(&window);
        room = window.theirs < 100000 ? window.theirs : 100000;
        assert_true(room > 0);
        comet_h2_window_sent(&window, 3, (apr_uint32_t)room);
        receive(client, (apr_uint32_t)room);
        left -= room;
    }
}

static void test_neither_starves(void **state)
{
    static const apr_uint32_t widths[] = {
        FIRST,   FIRST + 1, FIRST + 20000,   131072,        MEGABYTE,
        4194304, WIDENED,   WIDENED + FIRST, 64 * MEGABYTE,
    };
    size_t i;
    int quarters, first;

    for (i = 0; i < sizeof(widths) / sizeof(*widths); i++) {
        for (quarters = 1; quarters <= 3; quarters++) {
            for (first = 0; first < 2; first++) {
                client_t client;
                apr_int64_t filler;

                widen(&client, widths[i], widths[i] / 4 * (unsigned)quarters);
                comet_h2_window_open(&window, 1, 0);
                if (first) {
                    write_theirs(&client);
                }
                filler = comet_h2_window_filler(&window, 1);
                assert_true(filler >= 0);
                comet_h2_window_swallowed(&window, (apr_uint32_t)filler);
                assert_true(comet_h2_window_take(&window, 1));
                write_ours(&client);
                write_theirs(&client);
                write_ours(&client);
            }
        }
    }
}

/* --- against a model ----------------------------------------------------- */

#define STREAMS 6
#define QUEUE 8

/* DATA that mod_http2 has written and our filter has not seen yet. */
typedef struct written_t {
    apr_uint32_t stream, length;
    int ends;
} written_t;

/* What each side knows of a stream. */
typedef struct peer_t {
    apr_uint32_t id; /* 0: none */
    apr_int64_t credit; /* as computed from the client's frames and ours */
    apr_int64_t known; /* mod_http2's count */
    int claimed; /* it becomes ours when mod_http2 ends it */
    int ours, ended; /* mod_http2 has ended it */
} peer_t;

typedef struct model_t {
    uint64_t seed;
    apr_int64_t credit, known; /* the connection's whole window; mod_http2's
                                * count of it */
    apr_int64_t initial;
    apr_uint32_t wide; /* about as much as the client grants */
    apr_uint32_t next;
    peer_t peers[STREAMS];
    written_t queue[QUEUE];
    int queued;
    unsigned long spent, swallowed, lent, taken, refused; /* in all rounds */
} model_t;

static unsigned below(model_t *model, unsigned limit)
{
    return (unsigned)(reference_random(&model->seed) % limit);
}

static void open_one(model_t *model, peer_t *peer)
{
    if (!peer->id) {
        *peer = (peer_t){ .id = model->next,
                          .credit = model->initial,
                          .known = model->initial,
                          .claimed = (int)below(model, 2) };
        model->next += 2;
        comet_h2_window_open(&window, peer->id, 0);
    }
}

static void grant_connection(model_t *model)
{
    /* usually tight; now and then up to a forbidden value */
    apr_uint32_t increment =
        model->credit > model->wide ? 1 : 1 + below(model, model->wide);
    comet_h2_decision_t outcome = comet_h2_window_update(&window, 0, increment);

    if (model->credit + increment > MOST) {
        assert_int_equal(outcome.action, COMET_H2_FAIL);
        model->refused++;
        return;
    }
    model->credit += increment;
    switch (outcome.action) {
    case COMET_H2_FORWARD:
        model->known += increment;
        break;
    case COMET_H2_REPLACE:
        assert_in_range(outcome.number, 1, increment - 1);
        model->known += outcome.number;
        break;
    default:
        assert_int_equal(outcome.action, COMET_H2_CONSUME);
    }
}

static void grant_stream(model_t *model, peer_t *peer)
{
    apr_uint32_t increment = 1 + below(model, 100000);
    comet_h2_decision_t outcome;

    if (peer->id) {
        outcome = comet_h2_window_update(&window, peer->id, increment);
        assert_int_equal(outcome.action,
                         peer->ours ? COMET_H2_CONSUME : COMET_H2_FORWARD);
        peer->credit += increment;
        peer->known += increment;
    }
}

static void change_windows(model_t *model)
{
    apr_int64_t value = below(model, 200000), more = value - model->initial;
    int i;

    for (i = 0; i < STREAMS; i++) {
        model->peers[i].credit += more;
        model->peers[i].known += more;
    }
    model->initial = value;
    set(COMET_H2_SETTING_INITIAL_WINDOW_SIZE, (apr_uint32_t)value);
}

static void reset(peer_t *peer)
{
    if (peer->id) {
        assert_int_equal(comet_h2_window_reset(&window, peer->id),
                         peer->ours ? COMET_H2_CONSUME : COMET_H2_FORWARD);
        *peer = (peer_t){ .id = 0 };
    }
}

/* mod_http2 writes into its own buffers, as far as its count of the windows
 * allows. */
static void write_data(model_t *model, peer_t *peer)
{
    apr_int64_t most = peer->known < model->known ? peer->known : model->known;
    apr_uint32_t length;

    if (!peer->id || peer->ended || model->queued == QUEUE) {
        return;
    }
    most = most < 0 ? 0 : most > 16384 ? 16384 : most;
    length = below(model, (unsigned)most + 1);
    peer->ended = below(model, 8) == 0;
    peer->known -= length;
    model->known -= length;
    model->queue[model->queued++] =
        (written_t){ peer->id, length, peer->ended };
}

static peer_t *peer_of(model_t *model, apr_uint32_t stream)
{
    static peer_t gone;
    int i;

    for (i = 0; i < STREAMS; i++) {
        if (model->peers[i].id == stream) {
            return &model->peers[i];
        }
    }
    gone = (peer_t){ .id = 0 };
    return &gone;
}

/* The filter sees what mod_http2 has written. */
static void filter(model_t *model)
{
    written_t written = model->queue[0];
    peer_t *peer = peer_of(model, written.stream);

    if (!model->queued) {
        return;
    }
    memmove(model->queue, model->queue + 1,
            (size_t)--model->queued * sizeof(*model->queue));
    if (peer->claimed && below(model, 3) == 0) {
        comet_h2_window_swallowed(&window, written.length);
        model->swallowed++;
    }
    else {
        comet_h2_window_sent(&window, written.stream, written.length);
        model->credit -= written.length;
        peer->credit -= written.length;
    }
    if (written.ends && peer->claimed) {
        assert_true(comet_h2_window_take(&window, peer->id));
        peer->ours = 1;
        model->taken++;
    }
    else if (written.ends && peer->id) {
        comet_h2_window_end(&window, peer->id);
        *peer = (peer_t){ .id = 0 };
    }
}

static void send_ours(model_t *model, peer_t *peer)
{
    apr_uint32_t room = comet_h2_window_room(&window, peer->id), length;

    assert_true(!room || (peer->ours && room <= peer->credit));
    if (room) {
        length = 1 + below(model, room);
        comet_h2_window_spend(&window, peer->id, length);
        peer->credit -= length;
        model->credit -= length;
        model->spent += length;
    }
}

static void lend(model_t *model)
{
    apr_uint32_t part = comet_h2_window_lend(&window);

    model->known += part;
    model->lent += part;
}

static void step(model_t *model)
{
    peer_t *peer = &model->peers[below(model, STREAMS)];

    switch (below(model, 12)) {
    case 0:
        open_one(model, peer);
        break;
    case 1:
        grant_connection(model);
        break;
    case 2:
        grant_stream(model, peer);
        break;
    case 3:
        change_windows(model);
        break;
    case 4:
        if (below(model, 5) == 0) {
            reset(peer);
        }
        break;
    case 5:
        lend(model);
        break;
    case 6:
    case 7:
        filter(model);
        break;
    case 8:
    case 9:
        write_data(model, peer);
        break;
    default:
        send_ours(model, peer);
    }
}

static void assert_as_modelled(const model_t *model)
{
    apr_int64_t unseen = 0;
    apr_size_t count = 0;
    int i;

    for (i = 0; i < model->queued; i++) {
        unseen += model->queue[i].length;
    }
    assert_int_equal(window.theirs + window.ours, model->credit);
    assert_int_equal(window.theirs - unseen, model->known);
    assert_true(model->known >= 0 && window.ours >= 0 && model->credit >= 0);
    for (i = 0; i < STREAMS; i++) {
        const peer_t *peer = &model->peers[i];

        if (peer->id) {
            count++;
            assert_int_equal(credit(peer->id), peer->credit);
            assert_int_equal(comet_h2_window_find(&window, peer->id)->ours,
                             peer->ours);
        }
    }
    assert_int_equal(window.count, count);
}

/* Whatever happens in whatever order, the client's credit is the sum of both
 * parts. */
static void test_against_a_model(void **state)
{
    static const apr_uint32_t widths[] = { FIRST, 200000, 16000000, MOST };
    static model_t model;
    int round, i;

    for (round = 0; round < 100; round++) {
        uint64_t seed = 6900 + (uint64_t)round;

        comet_h2_window_free(&window);
        comet_h2_window_init(&window);
        model = (model_t){ .seed = seed,
                           .credit = FIRST,
                           .known = FIRST,
                           .initial = FIRST,
                           .wide = widths[round % 4],
                           .next = 1,
                           .spent = model.spent,
                           .swallowed = model.swallowed,
                           .lent = model.lent,
                           .taken = model.taken,
                           .refused = model.refused };
        for (i = 0; i < 3000; i++) {
            step(&model);
            assert_as_modelled(&model);
        }
    }
    assert_true(model.spent > 10000000 && model.lent > 10000000);
    assert_true(model.swallowed > 1000 && model.taken > 1000);
    assert_true(model.refused > 100);
}

#define WINDOW_TEST(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WINDOW_TEST(test_all_is_theirs_at_first),
        WINDOW_TEST(test_an_update_is_split),
        WINDOW_TEST(test_a_small_window_is_split),
        WINDOW_TEST(test_the_connection_exceeds_its_window),
        WINDOW_TEST(test_an_increment_of_nothing),
        WINDOW_TEST(test_what_is_swallowed_is_ours),
        WINDOW_TEST(test_lend),
        WINDOW_TEST(test_lend_the_last),
        WINDOW_TEST(test_streams_are_opened_in_order),
        WINDOW_TEST(test_credit_before_it_is_ours),
        WINDOW_TEST(test_streams_end),
        WINDOW_TEST(test_reset_by_the_client),
        WINDOW_TEST(test_many_streams),
        WINDOW_TEST(test_an_update_breaks_a_stream),
        WINDOW_TEST(test_windows_change_in_mid_stream),
        WINDOW_TEST(test_settings_break_a_stream),
        WINDOW_TEST(test_settings_out_of_range),
        WINDOW_TEST(test_the_longest_frame),
        WINDOW_TEST(test_a_wide_window_needs_no_filler),
        WINDOW_TEST(test_filler),
        WINDOW_TEST(test_filler_of_a_narrow_stream),
        WINDOW_TEST(test_neither_starves),
        WINDOW_TEST(test_against_a_model),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
