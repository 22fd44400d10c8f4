/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzz the reading of a batch of messages, one JSON object a line.  The store
 * accepts every message that the reader accepts.  If such a message is written
 * as JSON, the reader returns the same message.
 *
 * `make fuzz` runs this fuzzer; test/unit/wire/test_corpus.c replays the corpus
 * with every `make check`.
 */
#include "fuzz.h"

#include <apr_general.h>

#include "wire/encode.h"
#include "wire/ndjson.h"
#include "reference.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define LINES_MOST_BYTES 100

static void lines_check_text(comet_text_t text, size_t least, size_t most)
{
    MUST(text.length >= least && text.length <= most);
    MUST(reference_utf8_valid((const unsigned char *)text.data, text.length));
    MUST(!memchr(text.data, '\0', text.length));
}

static void lines_write_member(comet_buffer_t *out, const char *name,
                               comet_text_t text)
{
    if (text.data) {
        comet_buffer_puts(out, name);
        comet_encode_json(out, text);
    }
}

static void lines_check(const comet_ndjson_line_t *line, comet_buffer_t *out)
{
    lines_check_text(line->body, 0, LINES_MOST_BYTES);
    if (line->type.data) {
        lines_check_text(line->type, 1, 255);
    }
    if (line->channel.data) {
        lines_check_text(line->channel, 1, COMET_CHANNEL_MAX_BYTES);
        MUST(line->channel.data[0] != '/');
    }
    lines_write_member(out, "{\"body\":", line->body);
    lines_write_member(out, ",\"type\":", line->type);
    lines_write_member(out, ",\"channel\":", line->channel);
    comet_buffer_puts(out, "}\n");
}

/* Return the line with this number, counted from 1. */
static comet_text_t lines_cut(comet_text_t text, apr_size_t number)
{
    const char *end = text.data + text.length, *next;

    for (; number > 1; number--) {
        text.data = memchr(text.data, '\n', (size_t)(end - text.data));
        MUST(text.data);
        text.data++;
    }
    next = memchr(text.data, '\n', (size_t)(end - text.data));
    text.length = (apr_size_t)((next ? next : end) - text.data);
    return text;
}

/* Check that another parser also finds an accepted member in the line, exactly
 * once. */
static void lines_check_member(comet_text_t line, const char *name,
                               comet_text_t taken)
{
    unsigned char *room = malloc(line.length);
    size_t written = 0;

    MUST(room);
    MUST(reference_member(line.data, line.length, name, room, &written)
         == (taken.data != NULL));
    MUST(!taken.data
         || comet_text_equal(taken,
                             (comet_text_t){ (const char *)room, written }));
    free(room);
}

static void lines_compare(const comet_ndjson_t *lines, comet_text_t text)
{
    apr_size_t i;

    for (i = 0; i < lines->count; i++) {
        const comet_ndjson_line_t *line = &lines->list[i];
        comet_text_t whole = lines_cut(text, line->number);

        lines_check_member(whole, "body", line->body);
        lines_check_member(whole, "type", line->type);
        lines_check_member(whole, "channel", line->channel);
    }
}

static void lines_round_trip(const comet_ndjson_t *lines, apr_pool_t *pool)
{
    comet_buffer_t out = { 0 };
    comet_ndjson_t again;
    apr_size_t i, number = 0;

    MUST(lines->count >= 1 && lines->count <= COMET_LIMIT_MAX);
    for (i = 0; i < lines->count; i++) {
        MUST(lines->list[i].number > number);
        number = lines->list[i].number;
        lines_check(&lines->list[i], &out);
    }
    MUST(!comet_ndjson_parse(&again, (comet_text_t){ out.data, out.length },
                             LINES_MOST_BYTES, pool));
    MUST(again.count == lines->count);
    for (i = 0; i < again.count; i++) {
        MUST(comet_text_equal(again.list[i].body, lines->list[i].body));
        MUST(comet_text_equal(again.list[i].type, lines->list[i].type));
        MUST(comet_text_equal(again.list[i].channel, lines->list[i].channel));
    }
    comet_buffer_free(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    comet_text_t text = { (const char *)data, size };
    comet_ndjson_t lines;
    apr_pool_t *pool;
    const char *wrong;

    MUST(apr_initialize() == APR_SUCCESS);
    MUST(apr_pool_create(&pool, NULL) == APR_SUCCESS);
    wrong = comet_ndjson_parse(&lines, text, LINES_MOST_BYTES, pool);
    if (wrong) {
        MUST(strncmp(wrong, "line ", 5) == 0);
    }
    else {
        lines_compare(&lines, text);
        lines_round_trip(&lines, pool);
    }
    apr_pool_destroy(pool);
    apr_terminate();
    return 0;
}
