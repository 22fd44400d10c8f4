/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzz the UTF-8 check and what is written as HTML and JSON, by decoding it
 * again.  With clang, from the top of the tree:
 *
 *   clang -std=gnu11 -g -O1 -fsanitize=fuzzer,address,undefined \
 *       -fno-sanitize-recover=undefined -Imod_comet \
 *       $(apr-1-config --cppflags --includes) test/fuzz/fuzz_encode.c \
 *       test/unit/reference.c mod_comet/comet_encode.c \
 *       mod_comet/comet_transport_*.c mod_comet/comet_message.c \
 *       $(apr-1-config --link-ld) -o build/fuzz_encode
 *   mkdir -p build/found && build/fuzz_encode -max_total_time=60 \
 *       build/found test/fuzz/corpus/encode
 *
 * test/unit/test_corpus.c replays the corpus with every `make check`.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../../mod_comet/comet_transport.h"
#include "../unit/reference.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Not assert(): it must hold in every build. */
#undef MUST
#define MUST(condition)     \
    do {                    \
        if (!(condition)) { \
            abort();        \
        }                   \
    } while (0)

static void *encode_room(size_t size)
{
    void *room = malloc(size + 1);

    MUST(room);
    return room;
}

/* Nothing that ends a script element or a line of JavaScript. */
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
    comet_buffer_t json = {0};
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
    comet_buffer_t html = {0};
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

/* Whole answers are UTF-8 whatever is in a message. */
static void encode_check_answers(comet_text_t text)
{
    comet_message_fields_t fields = {.timestamp = 1,
                                     .channel = text,
                                     .type = text,
                                     .author = text,
                                     .body = text};
    comet_message_t *message = comet_message_create(&fields);
    static const comet_format_t format = {.escape = 1};
    comet_answer_t answer = {
        .format = &format, .messages = &message, .count = 1, .cursor = 1};
    comet_buffer_t out = {0};

    MUST(message);
    comet_transport_classic.encode(&out, &answer);
    comet_transport_poll.encode(&out, &answer);
    MUST(!out.failed);
    encode_check_harmless(&out);
    MUST(comet_utf8_valid((comet_text_t){out.data, out.length}));
    comet_buffer_free(&out);
    comet_message_unref(message);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    comet_text_t text = {(const char *)data, size};

    MUST(!comet_utf8_valid(text) == !reference_utf8_valid(data, size));
    encode_check_json(text);
    encode_check_html(text);
    encode_check_answers(text);
    return 0;
}
