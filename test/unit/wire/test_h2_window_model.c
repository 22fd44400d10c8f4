/* SPDX-License-Identifier: Apache-2.0 */
/* The flow-control windows of a connection that has two writers, compared with
 * a model of both sides. */
#include "h2_kit.h"

#include <string.h>

#include "reference.h"

#define STREAMS 6
#define QUEUE 8

/* DATA that mod_http2 has written but the filter has not seen yet. */
typedef struct written_t {
    apr_uint32_t stream, length;
    int ends;
} written_t;

/* What each side knows about a stream. */
typedef struct peer_t {
    apr_uint32_t id; /* 0: this place is free */
    apr_int64_t credit; /* computed from all frames of the client and of both
                         * writers */
    apr_int64_t known; /* what mod_http2 computes */
    int claimed; /* whether it becomes ours when mod_http2 ends it */
    int ours, ended; /* ended: whether mod_http2 has ended it */
} peer_t;

typedef struct model_t {
    uint64_t seed;
    apr_int64_t credit, known; /* the connection's window, and what mod_http2
                                * computes for it */
    apr_int64_t initial;
    apr_uint32_t wide; /* roughly how much the client grants */
    apr_uint32_t next;
    peer_t peers[STREAMS];
    written_t queue[QUEUE];
    int queued;
    unsigned long spent, swallowed, lent, taken, refused; /* totals of all
                                                           * rounds */
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
        comet_h2_window_open(&h2_window, peer->id, 0);
    }
}

static void grant_connection(model_t *model)
{
    /* usually the window stays narrow; now and then the increments add up to a
     * forbidden value */
    apr_uint32_t increment =
        model->credit > model->wide ? 1 : 1 + below(model, model->wide);
    comet_h2_decision_t outcome =
        comet_h2_window_update(&h2_window, 0, increment);

    if (model->credit + increment > H2_MOST) {
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
        outcome = comet_h2_window_update(&h2_window, peer->id, increment);
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
    h2_set(COMET_H2_SETTING_INITIAL_WINDOW_SIZE, (apr_uint32_t)value);
}

static void reset(peer_t *peer)
{
    if (peer->id) {
        assert_int_equal(comet_h2_window_reset(&h2_window, peer->id),
                         peer->ours ? COMET_H2_CONSUME : COMET_H2_FORWARD);
        *peer = (peer_t){ .id = 0 };
    }
}

/* Let mod_http2 write into its own buffers, as far as it believes the windows
 * allow. */
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

/* Let the filter see what mod_http2 has written. */
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
        comet_h2_window_swallowed(&h2_window, written.length);
        model->swallowed++;
    }
    else {
        comet_h2_window_sent(&h2_window, written.stream, written.length);
        model->credit -= written.length;
        peer->credit -= written.length;
    }
    if (written.ends && peer->claimed) {
        assert_true(comet_h2_window_take(&h2_window, peer->id));
        peer->ours = 1;
        model->taken++;
    }
    else if (written.ends && peer->id) {
        comet_h2_window_end(&h2_window, peer->id);
        *peer = (peer_t){ .id = 0 };
    }
}

static void send_ours(model_t *model, peer_t *peer)
{
    apr_uint32_t room = comet_h2_window_room(&h2_window, peer->id), length;

    assert_true(!room || (peer->ours && room <= peer->credit));
    if (room) {
        length = 1 + below(model, room);
        comet_h2_window_spend(&h2_window, peer->id, length);
        peer->credit -= length;
        model->credit -= length;
        model->spent += length;
    }
}

static void lend(model_t *model)
{
    apr_uint32_t part = comet_h2_window_lend(&h2_window);

    model->known += part;
    model->lent += part;
}

static void step(model_t *model)
{
    peer_t *peer = &model->peers[below(model, STREAMS)];

    switch (below(model, 13)) {
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
    case 10:
        comet_h2_window_split(&h2_window, (int)below(model, 2));
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
    assert_int_equal(h2_window.theirs + h2_window.ours, model->credit);
    assert_int_equal(h2_window.theirs - unseen, model->known);
    assert_true(model->known >= 0 && h2_window.ours >= 0 && model->credit >= 0);
    for (i = 0; i < STREAMS; i++) {
        const peer_t *peer = &model->peers[i];

        if (peer->id) {
            count++;
            assert_int_equal(h2_credit(peer->id), peer->credit);
            assert_int_equal(comet_h2_window_find(&h2_window, peer->id)->ours,
                             peer->ours);
        }
    }
    assert_int_equal(h2_window.count, count);
}

/* Whatever happens, in any order, the client's credit is the sum of both
 * parts. */
static void test_against_a_model(void **state)
{
    static const apr_uint32_t widths[] = { H2_FIRST, 200000, 16000000,
                                           H2_MOST };
    static model_t model;
    int round, i;

    for (round = 0; round < 100; round++) {
        uint64_t seed = 6900 + (uint64_t)round;

        comet_h2_window_free(&h2_window);
        comet_h2_window_init(&h2_window);
        model = (model_t){ .seed = seed,
                           .credit = H2_FIRST,
                           .known = H2_FIRST,
                           .initial = H2_FIRST,
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        H2_TEST(test_against_a_model),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
