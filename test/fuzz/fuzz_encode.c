/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzz the UTF-8 check and the encoders of HTML, JSON, event streams and
 * scripts: their output is decoded again and compared.
 *
 * `make fuzz` runs this fuzzer; test/unit/wire/test_corpus.c replays the corpus
 * with every `make check`.
 */
#include "fuzz.h"

#include "wire/params.h"
#include "transport/transport.h"
#include "reference.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void *encode_room(size_t size)
{
    void *room = malloc(size + 1);

    MUST(room);
    return room;
}

/* Check that no byte of the JSON ends a script element or a JavaScript line. */
static void encode_check_harmless(const comet_buffer_t *json)
{
    apr_size_t i;

    for (i = 0; i < json->length; i++) {
        unsigned char c = (unsigned char)json->data[i];

        MUST(c >= 0x20 && c != 0x7F && c != '<' && c != '>' && c != '&');
        MUST(i + 3 > json->length
             || (memcmp(json->data + i, "\xE2\x80\xA8", 3) != 0
                 && memcmp(json->data + i, "\xE2\x80\xA9", 3) != 0));
    }
}

static void encode_check_json(comet_text_t text)
{
    comet_buffer_t json = { 0 };
    unsigned char *decoded, *expected;
    size_t written, wanted;

    comet_encode_json(&json, text);
    MUST(!json.failed);
    encode_check_harmless(&json);
    decoded = encode_room(json.length);
    expected = encode_room(3 * text.length);
    MUST(reference_json(json.data, json.length, decoded, &written));
    wanted = reference_repair((const unsigned char *)text.data, text.length,
                              expected);
    MUST(written == wanted && memcmp(decoded, expected, wanted) == 0);
    free(expected);
    free(decoded);
    comet_buffer_free(&json);
}

static void encode_check_html(comet_text_t text)
{
    comet_buffer_t html = { 0 };
    unsigned char *decoded;
    size_t written;

    comet_encode_html(&html, text);
    MUST(!html.failed);
    decoded = encode_room(html.length);
    MUST(reference_html(html.data, html.length, decoded, &written));
    MUST(written == text.length);
    MUST(!written || memcmp(decoded, text.data, written) == 0);
    free(decoded);
    comet_buffer_free(&html);
}

/* Check that whole answers are valid UTF-8, whatever the message contains. */
static void encode_check_answers(comet_text_t text)
{
    comet_message_fields_t fields = { .timestamp = 1,
                                      .channel = text,
                                      .type = text,
                                      .author = text,
                                      .body = text };
    comet_message_t *message = comet_message_create(&fields);
    static const comet_format_t format = { .escape = 1 };
    comet_answer_t answer = {
        .format = &format, .messages = &message, .count = 1, .cursor = 1
    };
    comet_buffer_t out = { 0 };

    MUST(message);
    comet_transport_classic.encode(&out, &answer);
    comet_transport_poll.encode(&out, &answer);
    MUST(!out.failed);
    encode_check_harmless(&out);
    MUST(comet_encode_is_utf8((comet_text_t){ out.data, out.length }));
    comet_buffer_free(&out);
    comet_message_unref(message);
}

#define ENCODE_ID APR_INT64_C(1795229965123456)

/* Replace line ends as a parser does: each becomes one line feed. */
static size_t encode_normalise(comet_text_t text, unsigned char *out)
{
    size_t at, written = 0;

    for (at = 0; at < text.length; at++) {
        unsigned char c = (unsigned char)text.data[at];

        if (c == '\r' && at + 1 < text.length && text.data[at + 1] == '\n') {
            continue;
        }
        out[written++] = c == '\r' ? '\n' : c;
    }
    return written;
}

/* Check that a parser written from the standard returns the message
 * unchanged. */
static void encode_check_event(const comet_message_t *message,
                               const comet_buffer_t *stream)
{
    reference_event_t event = { encode_room(stream->length + 7),
                                encode_room(stream->length), 0, 0, 0 };
    unsigned char *lines = encode_room(message->body.length);
    unsigned char *wanted = encode_room(3 * message->body.length);
    size_t length = encode_normalise(message->body, lines);

    length = reference_repair(lines, length, wanted);
    MUST(reference_events(stream->data, stream->length, &event) == 1);
    MUST(event.id == ENCODE_ID);
    MUST(event.type_length == message->type.length
         && memcmp(event.type, message->type.data, event.type_length) == 0);
    MUST(event.data_length == length
         && memcmp(event.data, wanted, length) == 0);
    free(event.type);
    free(event.data);
    free(lines);
    free(wanted);
}

/* Check that a message in JSON also becomes one event, and that the event's
 * data is harmless in a script. */
static void encode_check_json_event(const comet_buffer_t *stream)
{
    reference_event_t event = { encode_room(stream->length + 7),
                                encode_room(stream->length), 0, 0, 0 };
    comet_buffer_t data;

    MUST(reference_events(stream->data, stream->length, &event) == 1);
    MUST(event.id == ENCODE_ID && event.type_length == strlen("message"));
    data = (comet_buffer_t){ .data = (char *)event.data,
                             .length = event.data_length };
    encode_check_harmless(&data);
    MUST(data.length > 2 && data.data[0] == '{'
         && data.data[data.length - 1] == '}');
    free(event.type);
    free(event.data);
}

/* Check that nothing in the message ends the script around it. */
static void encode_check_script(const comet_buffer_t *script)
{
    static const char begin[] = "<script>comet(", end[] = ");</script>\n";
    apr_size_t around = sizeof(begin) - 1 + sizeof(end) - 1;
    comet_buffer_t inner = { .data = script->data + sizeof(begin) - 1,
                             .length = script->length - around };

    MUST(script->length > around);
    MUST(memcmp(script->data, begin, sizeof(begin) - 1) == 0);
    MUST(memcmp(inner.data + inner.length, end, sizeof(end) - 1) == 0);
    encode_check_harmless(&inner);
    MUST(comet_encode_is_utf8((comet_text_t){ script->data, script->length }));
}

static void encode_check_streams(comet_text_t text)
{
    comet_message_fields_t fields = {
        .timestamp = ENCODE_ID, .channel = text, .author = text, .body = text
    };
    static const comet_format_t formats[] = { { .json = 0 }, { .json = 1 } };
    comet_message_t *message;
    comet_answer_t answer = { .format = &formats[0],
                              .messages = &message,
                              .count = 1 };
    comet_buffer_t out = { 0 };

    if (!comet_params_check_type(text)) {
        fields.type = text;
    }
    message = comet_message_create(&fields);
    MUST(message);
    comet_transport_events.encode(&out, &answer);
    MUST(!out.failed);
    encode_check_event(message, &out);
    answer.format = &formats[1];
    comet_buffer_clear(&out);
    comet_transport_events.encode(&out, &answer);
    encode_check_json_event(&out);
    comet_buffer_clear(&out);
    comet_transport_iframe.encode(&out, &answer);
    MUST(!out.failed);
    encode_check_script(&out);
    comet_buffer_free(&out);
    comet_message_unref(message);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    comet_text_t text = { (const char *)data, size };

    MUST(!comet_encode_is_utf8(text) == !reference_utf8_valid(data, size));
    encode_check_json(text);
    encode_check_html(text);
    encode_check_answers(text);
    encode_check_streams(text);
    return 0;
}
