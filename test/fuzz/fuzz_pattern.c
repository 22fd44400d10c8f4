/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzz patterns of topics, and channel names made from topics.  The first line
 * is a pattern, the rest a topic.  A topic that matches the pattern begins with
 * the pattern's stem.  If a topic has a channel name, this name can be turned
 * back into the topic.
 *
 * `make fuzz` runs this fuzzer; test/unit/wire/test_corpus.c replays the corpus
 * with every `make check`.
 */
#include "fuzz.h"

#include "base/pattern.h"
#include "base/topic.h"
#include "wire/params.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void pattern_check(const comet_pattern_t *pattern, comet_text_t topic)
{
    comet_text_t stem = comet_pattern_stem(pattern);

    MUST(stem.length <= pattern->text.length);
    MUST(!stem.length || stem.data[stem.length - 1] == '/');
    if (comet_pattern_matches(pattern, topic)) {
        MUST(topic.length >= stem.length);
        MUST(!stem.length || memcmp(topic.data, stem.data, stem.length) == 0);
    }
    if (pattern->kind == COMET_PATTERN_EXACT) {
        MUST(comet_pattern_matches(pattern, pattern->text));
    }
}

static void pattern_check_name(comet_text_t topic)
{
    char name[COMET_CHANNEL_MAX_BYTES], back[COMET_CHANNEL_MAX_BYTES];
    apr_size_t length = comet_topic_escape(topic, name);
    comet_text_t again = { back, 0 };

    if (length) {
        again.length =
            comet_topic_unescape((comet_text_t){ name, length }, back);
        MUST(comet_text_equal(again, topic));
    }
    if (topic.length && topic.length <= COMET_CHANNEL_MAX_BYTES) {
        MUST(comet_topic_unescape(topic, back) <= topic.length);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *bytes = (const char *)data;
    const char *end = size ? memchr(bytes, '\n', size) : NULL;
    comet_text_t text = { bytes, end ? (apr_size_t)(end - bytes) : size };
    comet_text_t topic = { end ? end + 1 : bytes,
                           end ? size - text.length - 1 : size };
    comet_pattern_t pattern = comet_pattern_read(text);

    pattern_check(&pattern, topic);
    if (!comet_pattern_make(&pattern, COMET_PATTERN_URL, text)) {
        pattern_check(&pattern, topic);
    }
    pattern_check_name(topic);
    pattern_check_name(text);
    return 0;
}
