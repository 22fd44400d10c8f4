/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzz the reader of a client's WebSocket frames.  The first byte says how many
 * bytes are read at a time.  However the bytes are cut, the reader returns
 * the same messages, which are valid UTF-8 and not too long, and sends the same
 * answers.
 *
 * `make fuzz` runs this fuzzer; test/unit/wire/test_corpus.c replays the corpus
 * with every `make check`.
 */
#include "fuzz.h"

#include "wire/encode.h"
#include "wire/websocket.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define WEBSOCKET_MOST 1000

/* What the reader made of a client's bytes. */
typedef struct websocket_run_t {
    comet_buffer_t texts; /* each text, with its length before it */
    comet_buffer_t replies;
    apr_status_t status;
} websocket_run_t;

static void websocket_note(void *baton, comet_text_t text)
{
    websocket_run_t *run = baton;

    MUST(text.length <= WEBSOCKET_MOST);
    MUST(comet_encode_is_utf8(text));
    comet_buffer_add_int(&run->texts, (apr_int64_t)text.length);
    comet_buffer_add(&run->texts, text.data, text.length);
}

static websocket_run_t websocket_read(comet_text_t bytes, apr_size_t piece)
{
    websocket_run_t run = { .status = APR_SUCCESS };
    comet_websocket_sink_t sink = {
        .text = websocket_note,
        .baton = &run,
        .most_bytes = WEBSOCKET_MOST,
        .replies = &run.replies,
    };
    comet_websocket_reader_t *reader = NULL;
    apr_size_t at;

    for (at = 0; at < bytes.length && run.status == APR_SUCCESS; at += piece) {
        comet_text_t part = { bytes.data + at, bytes.length - at };

        part.length = part.length < piece ? part.length : piece;
        run.status = comet_websocket_feed(&reader, &sink, part);
        MUST(comet_websocket_unfinished(reader, WEBSOCKET_MOST)
             <= WEBSOCKET_MOST);
    }
    MUST(run.status == APR_SUCCESS || run.status == APR_EOF);
    comet_websocket_free(reader);
    return run;
}

static void websocket_compare(const comet_buffer_t *a, const comet_buffer_t *b)
{
    MUST(a->length == b->length);
    MUST(!a->length || memcmp(a->data, b->data, a->length) == 0);
}

static void websocket_free(websocket_run_t *run)
{
    comet_buffer_free(&run->texts);
    comet_buffer_free(&run->replies);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    comet_text_t bytes = { (const char *)data + 1, size - 1 };
    websocket_run_t whole, parts;

    if (!size) {
        return 0;
    }
    whole = websocket_read(bytes, size);
    parts = websocket_read(bytes, (apr_size_t)data[0] + 1);
    MUST(whole.status == parts.status);
    websocket_compare(&whole.texts, &parts.texts);
    websocket_compare(&whole.replies, &parts.replies);
    websocket_free(&whole);
    websocket_free(&parts);
    return 0;
}
