/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzz an HTTP/2 connection with ghosts.  The input says what the client,
 * mod_http2 and the ghosts' owner do, one after the other.  The test keeps
 * track of the windows of both sides.  Each side must receive whole frames
 * only.  The client must receive no more than it has granted, nothing after a
 * stream's end, and nothing that mod_http2 writes on a claimed stream.
 *
 * `make fuzz` runs this fuzzer; test/unit/wire/test_corpus.c replays the corpus
 * with every `make check`.
 */
#include "fuzz.h"

#include "wire/h2_session.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define PAIR_STREAMS 8

/* The windows as one side counts them. */
typedef struct pair_side_t {
    int64_t
        window; /* the connection's: how much may still be sent to the client */
    int64_t first; /* the initial window of a stream */
    int64_t streams[PAIR_STREAMS];
    int open[PAIR_STREAMS];
    int broken; /* the connection's window or a setting has broken the rules */
    int over; /* SETTINGS have made a stream's window too large; the stream may
               * have ended already */
} pair_side_t;

typedef struct pair_t {
    const uint8_t *at, *end; /* what is left of the input */
    comet_h2_session_t session;
    comet_h2_ghost_t ghosts[PAIR_STREAMS];
    int linked[PAIR_STREAMS], claimed[PAIR_STREAMS];
    pair_side_t client, server;
    int answered[PAIR_STREAMS]; /* whether mod_http2 has begun an answer */
    unsigned opened; /* how many streams were opened */
} pair_t;

static uint32_t pair_number(pair_t *pair, int bytes)
{
    uint32_t number = 0;

    while (bytes--) {
        number = number << 8 | (pair->at < pair->end ? *pair->at++ : 0u);
    }
    return number;
}

static uint32_t pair_read(const char *at, int bytes)
{
    uint32_t number = 0;

    while (bytes--) {
        number = number << 8 | (uint8_t)*at++;
    }
    return number;
}

static void pair_told(void *baton, comet_h2_ghost_t *ghost)
{
    MUST(ghost->state != COMET_H2_CLAIMED);
}

/* Allow a side to send more.  @param stream  0: on the connection */
static void pair_grant(pair_side_t *side, uint32_t stream, int64_t more)
{
    int64_t *window = stream ? &side->streams[stream / 2] : &side->window;

    if (!stream) {
        *window += more;
        side->broken |= !more || *window > COMET_H2_31_BITS;
    }
    else if (side->open[stream / 2]) {
        *window += more;
        if (!more || *window > COMET_H2_31_BITS) {
            side->open[stream / 2] = 0; /* this error ends only the stream */
        }
    }
}

static void pair_set(pair_side_t *side, int64_t first)
{
    int i;

    for (i = 0; i < PAIR_STREAMS; i++) {
        side->streams[i] += first - side->first;
        side->over |= side->open[i] && side->streams[i] > COMET_H2_31_BITS;
    }
    side->first = first;
    side->broken |= first > COMET_H2_31_BITS;
}

/* Update one side's windows after a frame from the client. */
static void pair_hear(pair_side_t *side, const char *frame)
{
    uint32_t length = pair_read(frame, 3), stream = pair_read(frame + 5, 4);

    switch (frame[3]) {
    case COMET_H2_HEADERS:
        side->open[stream / 2] = 1;
        side->streams[stream / 2] = side->first;
        break;
    case COMET_H2_RST_STREAM:
        side->open[stream / 2] = 0;
        break;
    case COMET_H2_WINDOW_UPDATE:
        pair_grant(side, stream, pair_read(frame + 9, 4) & COMET_H2_31_BITS);
        break;
    case COMET_H2_SETTINGS:
        if (length) {
            MUST(length == 6 && pair_read(frame + 9, 2) == 4);
            pair_set(side, pair_read(frame + 11, 4));
        }
        break;
    default:
        MUST(0);
    }
}

/* Check a frame that the client receives, and update the client's windows. */
static void pair_get(pair_t *pair, const char *frame)
{
    pair_side_t *client = &pair->client;
    uint32_t length = pair_read(frame, 3), stream = pair_read(frame + 5, 4);
    int64_t *window = &client->streams[stream / 2];

    MUST(stream % 2 == 1 && stream / 2 < pair->opened);
    if (frame[3] == COMET_H2_DATA) {
        client->window -= length;
        MUST(client->window >= 0);
        if (client->open[stream / 2]) {
            *window -= length;
            MUST(!length || *window >= 0);
        }
    }
    if (frame[3] == COMET_H2_RST_STREAM
        || (frame[4] & COMET_H2_FLAG_END_STREAM)) {
        client->open[stream / 2] = 0;
    }
}

/* Check that the bytes are whole frames, and handle each frame as its receiver
 * does.  @param to_client  0: the bytes go to mod_http2 */
static void pair_pass(pair_t *pair, comet_buffer_t *bytes, int to_client)
{
    size_t at = 0;

    MUST(!bytes->failed);
    while (at < bytes->length) {
        size_t length;

        MUST(bytes->length - at >= 9);
        length = 9 + pair_read(bytes->data + at, 3);
        MUST(bytes->length - at >= length);
        if (to_client) {
            pair_get(pair, bytes->data + at);
        }
        else {
            pair_hear(&pair->server, bytes->data + at);
        }
        at += length;
    }
    comet_buffer_free(bytes);
}

/* Let the client send a frame, in two pieces. */
static void pair_send(pair_t *pair, comet_h2_type_e type, uint8_t flags,
                      uint32_t stream, const unsigned char *payload,
                      uint32_t length)
{
    unsigned char frame[9 + 6];
    comet_buffer_t to = { .data = NULL };
    size_t cut = pair_number(pair, 1) % (9 + length + 1);

    comet_h2_frame_write(
        frame, &(comet_h2_frame_t){ length, (uint8_t)type, flags, stream });
    memcpy(frame + 9, payload, length);
    pair_hear(&pair->client, (const char *)frame);
    comet_h2_session_in(&pair->session,
                        (comet_text_t){ (const char *)frame, cut }, &to);
    comet_h2_session_in(
        &pair->session,
        (comet_text_t){ (const char *)frame + cut, 9 + length - cut }, &to);
    pair_pass(pair, &to, 0);
    MUST(!pair->client.broken || pair->server.broken);
}

/* Let mod_http2 write a frame. */
static void pair_write(pair_t *pair, comet_h2_type_e type, uint8_t flags,
                       uint32_t stream, uint32_t length)
{
    static char frame[9 + COMET_H2_FRAME_LEAST];
    comet_text_t bytes = { frame, 9 + length };
    comet_h2_scanner_t *out = &pair->session.out;
    comet_buffer_t to = { .data = NULL };

    comet_h2_frame_write(
        (unsigned char *)frame,
        &(comet_h2_frame_t){ length, (uint8_t)type, flags, stream });
    while (bytes.length) {
        comet_h2_piece_e piece = comet_h2_scanner_take(out, &bytes);
        size_t left = comet_h2_scanner_left(out);

        if (piece == COMET_H2_PAYLOAD) {
            MUST(left <= bytes.length);
            if (!pair->session.dropping) {
                comet_buffer_add(&to, bytes.data, left);
            }
            comet_h2_scanner_skip(out, left);
            bytes.data += left;
            bytes.length -= left;
        }
        else if (comet_h2_session_out(&pair->session, piece)) {
            comet_buffer_add(&to, (const char *)out->bytes, out->length);
        }
    }
    MUST(!(pair->claimed[stream / 2] && type == COMET_H2_DATA && to.length));
    pair_pass(pair, &to, 1);
    if (type == COMET_H2_RST_STREAM || (flags & COMET_H2_FLAG_END_STREAM)) {
        pair->server.open[stream / 2] = 0;
    }
}

static void pair_write_data(pair_t *pair, unsigned i, int ends)
{
    pair_side_t *server = &pair->server;
    int64_t length = pair_number(pair, 1) * 64;

    length = length < server->window ? length : server->window;
    length = length < server->streams[i] ? length : server->streams[i];
    length = length > 0 ? length : 0;
    server->window -= length;
    server->streams[i] -= length;
    pair_write(pair, COMET_H2_DATA, ends ? COMET_H2_FLAG_END_STREAM : 0,
               2 * i + 1, (uint32_t)length);
}

/* Let the client do something. */
static void pair_client(pair_t *pair, unsigned what, unsigned i)
{
    unsigned char number[6] = { 0, 4 };
    int j;

    if (what == 0 && pair->opened < PAIR_STREAMS) {
        i = pair->opened++;
        pair_send(pair, COMET_H2_HEADERS,
                  COMET_H2_FLAG_END_HEADERS | COMET_H2_FLAG_END_STREAM,
                  2 * i + 1, number, 0);
        return;
    }
    for (j = 2; j < 6; j++) {
        number[j] = (unsigned char)pair_number(pair, 1);
    }
    if (what == 1) {
        pair_send(pair, COMET_H2_WINDOW_UPDATE, 0, 0, number + 2, 4);
    }
    else if (what == 2) {
        pair_send(pair, COMET_H2_SETTINGS, 0, 0, number, 6);
    }
    else if (what > 2 && i < pair->opened && pair->client.open[i]) {
        pair_send(pair,
                  what == 3 ? COMET_H2_WINDOW_UPDATE : COMET_H2_RST_STREAM, 0,
                  2 * i + 1, number + 2, 4);
        if (what == 3 && !pair->client.open[i] && pair->server.open[i]) {
            pair->server.open[i] = 0;
        }
    }
}

static void pair_claim(pair_t *pair, unsigned i)
{
    comet_h2_ghost_t *ghost = &pair->ghosts[i];

    if (!pair->linked[i] && !pair->claimed[i] && !pair->answered[i]) {
        memset(ghost, 0, sizeof(*ghost));
        ghost->stream = 2 * i + 1;
        pair->linked[i] = comet_h2_session_claim(&pair->session, ghost) > 0;
        pair->claimed[i] = pair->linked[i];
    }
}

/* Let the ghosts' owner do something. */
static void pair_owner(pair_t *pair, unsigned what, unsigned i)
{
    static const char text[16384];
    comet_h2_ghost_t *ghost = &pair->ghosts[i];
    comet_buffer_t to = { .data = NULL };

    if (what == 0 && i < pair->opened) {
        pair_claim(pair, i);
    }
    else if (what == 1 && pair->linked[i] && !ghost->ends) {
        comet_buffer_add(&ghost->bytes, text, pair_number(pair, 1) * 64);
        ghost->ends = pair_number(pair, 1) % 4 == 0;
    }
    else if (what == 2 && pair->linked[i]) {
        comet_h2_session_drop(&pair->session, ghost);
        pair->linked[i] = 0;
    }
    else if (what == 3) {
        comet_h2_session_take(&pair->session, 1 + pair_number(pair, 1) * 64,
                              &to);
        pair_pass(pair, &to, 1);
    }
    else if (what == 4) {
        comet_h2_session_lend(&pair->session, &to);
        pair_pass(pair, &to, 0);
    }
}

static void pair_step(pair_t *pair)
{
    unsigned what = pair_number(pair, 1), i = what >> 5;

    what &= 15;
    if (what < 5) {
        pair_client(pair, what, i);
    }
    else if (what < 10) {
        pair_owner(pair, what - 5, i);
    }
    else if (i < pair->opened && pair->server.open[i]) {
        if (what == 10) {
            pair_write(pair, COMET_H2_RST_STREAM, 0, 2 * i + 1, 4);
            return;
        }
        if (!pair->answered[i]) {
            pair_write(pair, COMET_H2_HEADERS, COMET_H2_FLAG_END_HEADERS,
                       2 * i + 1, 1);
            pair->answered[i] = 1;
        }
        pair_write_data(pair, i, what > 13);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    pair_t pair = { .at = data, .end = data + size };
    comet_buffer_t to = { .data = NULL };
    int i;

    pair.client.window = pair.server.window = COMET_H2_WINDOW_FIRST;
    pair.client.first = pair.server.first = COMET_H2_WINDOW_FIRST;
    comet_h2_session_init(&pair.session, pair_told, &pair);
    comet_h2_session_in(&pair.session, (comet_text_t){ preface, 24 }, &to);
    MUST(to.length == 24 && memcmp(to.data, preface, 24) == 0);
    comet_buffer_free(&to);
    while (pair.at < pair.end && !pair.server.broken && !pair.client.over) {
        pair_step(&pair);
        MUST(pair.server.broken
             || pair.session.window.theirs == pair.server.window);
        MUST(pair.server.broken
             || pair.session.window.theirs + pair.session.window.ours
                    == pair.client.window);
    }
    for (i = 0; i < PAIR_STREAMS; i++) {
        if (pair.linked[i]) {
            comet_h2_session_drop(&pair.session, &pair.ghosts[i]);
        }
    }
    comet_h2_session_free(&pair.session);
    return 0;
}
