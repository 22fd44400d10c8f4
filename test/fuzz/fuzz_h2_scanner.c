/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzz a client's HTTP/2 bytes.  The input's first byte says into which
 * pieces the rest is cut; the rest is what the client sends.  The scanner must
 * find each frame, pass on all bytes unchanged, and leave the windows
 * consistent.
 *
 * `make fuzz` runs this fuzzer; test/unit/wire/test_corpus.c replays the corpus
 * with every `make check`.
 */
#include "fuzz.h"

#include "wire/h2_scanner.h"
#include "wire/h2_window.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char h2_preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/* All bytes, and how far they were scanned. */
typedef struct h2_look_t {
    const uint8_t *all;
    size_t size;
    size_t passed; /* how many bytes were passed on */
    size_t at; /* where the next frame must begin */
    comet_h2_scanner_t scanner;
    comet_h2_window_t window;
    int64_t granted; /* how large the connection's window must be */
} h2_look_t;

static uint32_t h2_number(const uint8_t *at, int bytes)
{
    uint32_t number = 0;

    while (bytes--) {
        number = number << 8 | *at++;
    }
    return number;
}

/* Check that the bytes that the scanner passes on are unchanged. */
static void h2_pass(h2_look_t *look, const void *bytes, size_t length)
{
    MUST(length <= look->size - look->passed);
    MUST(memcmp(look->all + look->passed, bytes, length) == 0);
    look->passed += length;
}

static void h2_use_update(h2_look_t *look)
{
    const comet_h2_scanner_t *scanner = &look->scanner;
    comet_h2_decision_t outcome = comet_h2_window_update(
        &look->window, scanner->frame.stream, scanner->value);

    if (!scanner->frame.stream && outcome.action != COMET_H2_FAIL) {
        look->granted += scanner->value;
    }
    MUST(outcome.action != COMET_H2_REPLACE
         || (outcome.number ? outcome.number < scanner->value
                            : !scanner->value));
    MUST(outcome.action != COMET_H2_RESET
         || !comet_h2_window_find(&look->window, scanner->frame.stream));
}

/* Handle a frame as the session would.  Every second stream becomes ours, and
 * spends as much as its window allows. */
static void h2_use_frame(h2_look_t *look)
{
    const comet_h2_frame_t *frame = &look->scanner.frame;
    comet_h2_window_t *window = &look->window;
    uint32_t room;

    if (frame->type == COMET_H2_HEADERS) {
        comet_h2_window_open(window, frame->stream,
                             !(frame->flags & COMET_H2_FLAG_END_STREAM));
        if (frame->stream % 4 == 1) {
            int64_t filler = comet_h2_window_filler(window, frame->stream);

            MUST(filler <= window->theirs);
            comet_h2_window_swallowed(window,
                                      filler > 0 ? (uint32_t)filler : 0);
            comet_h2_window_take(window, frame->stream);
        }
        room = comet_h2_window_room(window, frame->stream);
        MUST(room <= window->frame_most && room <= window->ours);
        comet_h2_window_spend(window, frame->stream, room);
        look->granted -= room;
    }
    else if (look->scanner.has_value && frame->type == COMET_H2_RST_STREAM) {
        comet_h2_window_reset(window, frame->stream);
        MUST(!comet_h2_window_find(window, frame->stream));
    }
    else if (look->scanner.has_value) {
        h2_use_update(look);
    }
    comet_h2_window_lend(window);
    MUST(window->theirs + window->ours == look->granted);
    MUST(window->ours >= 0 && window->theirs >= 0);
    MUST(window->theirs + window->ours <= COMET_H2_31_BITS);
    MUST(window->count <= COMET_H2_STREAMS_MOST);
}

/* Check that the frame's header lies where the previous frame ended. */
static void h2_see_frame(h2_look_t *look)
{
    const comet_h2_scanner_t *scanner = &look->scanner;
    const uint8_t *at = look->all + look->passed;
    uint32_t length = h2_number(at, 3);
    int whole = (at[3] == 8 || at[3] == 3) && length == 4;

    MUST(look->passed == look->at);
    MUST(scanner->length == (whole ? 13u : 9u));
    MUST(scanner->frame.length == length && scanner->frame.type == at[3]);
    MUST(scanner->frame.flags == at[4]);
    MUST(scanner->frame.stream == (h2_number(at + 5, 4) & 0x7fffffff));
    MUST(!scanner->has_value == !whole);
    MUST(!whole
         || scanner->value
                == (h2_number(at + 9, 4)
                    & (at[3] == 8 ? 0x7fffffffu : 0xffffffffu)));
    look->at += 9 + (size_t)length;
}

static void h2_see_setting(h2_look_t *look)
{
    const comet_h2_scanner_t *scanner = &look->scanner;
    const uint8_t *at = look->all + look->passed;

    MUST(scanner->length == 6 && look->passed + 6 <= look->at);
    MUST(scanner->frame.type == 4 && !scanner->frame.stream);
    MUST(scanner->setting == h2_number(at, 2));
    MUST(scanner->value == h2_number(at + 2, 4));
    comet_h2_window_set(&look->window, scanner->setting, scanner->value);
}

static void h2_see(h2_look_t *look, comet_h2_piece_e piece)
{
    if (piece == COMET_H2_FRAME) {
        h2_see_frame(look);
        h2_use_frame(look);
    }
    else if (piece == COMET_H2_SETTING) {
        h2_see_setting(look);
    }
    else if (piece == COMET_H2_PREFACE) {
        MUST(look->passed == 0 && look->scanner.length == 24);
        MUST(memcmp(look->all, h2_preface, 24) == 0);
        look->at = 24;
    }
    else {
        MUST(piece == COMET_H2_FOREIGN && look->passed == 0);
        MUST(memcmp(look->all, h2_preface, look->scanner.length) != 0);
    }
    h2_pass(look, look->scanner.bytes, look->scanner.length);
}

static void h2_scan(h2_look_t *look, comet_text_t bytes)
{
    while (bytes.length) {
        comet_h2_piece_e piece = comet_h2_scanner_take(&look->scanner, &bytes);
        size_t left = comet_h2_scanner_left(&look->scanner);

        if (piece == COMET_H2_PAYLOAD) {
            if (left > bytes.length) {
                left = bytes.length;
            }
            MUST(left > 0);
            comet_h2_scanner_skip(&look->scanner, left);
            h2_pass(look, bytes.data, left);
            bytes.data += left;
            bytes.length -= left;
        }
        else if (piece == COMET_H2_MORE) {
            MUST(!bytes.length);
        }
        else {
            h2_see(look, piece);
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    h2_look_t look = { .granted = COMET_H2_WINDOW_FIRST };
    unsigned cut = size ? data[0] : 0, rest;
    size_t at, length;

    if (!size) {
        return 0;
    }
    look.all = data + 1;
    look.size = size - 1;
    comet_h2_scanner_init(&look.scanner, 1);
    comet_h2_window_init(&look.window);
    for (at = 0; at < look.size; at += length) {
        cut = cut * 37 + 11; /* pieces of 1 to 32 bytes, or all at once */
        length = data[0] ? 1 + cut / 8 % 32 : look.size;
        if (length > look.size - at) {
            length = look.size - at;
        }
        h2_scan(&look, (comet_text_t){ (const char *)look.all + at, length });
    }
    rest = (unsigned)(look.size - look.passed);
    MUST(rest < sizeof(look.scanner.bytes));
    MUST(memcmp(look.all + look.passed, look.scanner.bytes, rest) == 0);
    comet_h2_window_free(&look.window);
    return 0;
}
