/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzz the selections of subscribers.  A selection of names and prefixes
 * matches what a linear search matches, whatever the order of its words.  The
 * order does not change the selection's key, either.
 *
 * `make fuzz` runs this fuzzer; test/unit/wire/test_corpus.c replays the corpus
 * with every `make check`.
 */
#include "fuzz.h"

#include "base/selection.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define SELECTION_MOST 16

/* The words of a selection, one a line.  An empty line, or one that ends in a
 * slash, is a prefix; all others are names. */
typedef struct selection_input_t {
    comet_text_t names[SELECTION_MOST], prefixes[SELECTION_MOST];
    apr_size_t name_count, prefix_count;
} selection_input_t;

static void selection_read(selection_input_t *input, comet_text_t text)
{
    *input = (selection_input_t){ .name_count = 0 };
    while (text.data) {
        comet_text_t line = text;
        const char *end =
            text.length ? memchr(text.data, '\n', text.length) : NULL;

        if (end) {
            line.length = (apr_size_t)(end - text.data);
            text = (comet_text_t){ end + 1, text.length - line.length - 1 };
        }
        else {
            text.data = NULL;
        }
        if (line.length > COMET_CHANNEL_MAX_BYTES) {
            line.length = COMET_CHANNEL_MAX_BYTES;
        }
        if (line.length && line.data[line.length - 1] != '/') {
            if (input->name_count < SELECTION_MOST) {
                input->names[input->name_count++] = line;
            }
        }
        else if (input->prefix_count < SELECTION_MOST) {
            input->prefixes[input->prefix_count++] = line;
        }
    }
}

/* Whether a channel is under a prefix: it begins with the prefix and is longer.
 * All channels are under the empty prefix. */
static int selection_is_under(comet_text_t text, comet_text_t prefix)
{
    return !prefix.length
           || (text.length > prefix.length
               && memcmp(text.data, prefix.data, prefix.length) == 0);
}

static comet_selection_match_e selection_expected(
    const selection_input_t *input, comet_text_t channel)
{
    apr_size_t i;

    for (i = 0; i < input->name_count; i++) {
        if (comet_text_equal(input->names[i], channel)) {
            return COMET_SELECTION_NAMED;
        }
    }
    for (i = 0; i < input->prefix_count; i++) {
        if (selection_is_under(channel, input->prefixes[i])) {
            return COMET_SELECTION_UNKNOWN;
        }
    }
    return COMET_SELECTION_NONE;
}

static void selection_check(const selection_input_t *input,
                            const comet_selection_t *selection,
                            comet_text_t channel)
{
    MUST(comet_selection_match(selection, channel, comet_message_hash(channel))
         == selection_expected(input, channel));
}

/* Try all words of the selection, the beginnings of its names, and the
 * beginnings of the text. */
static void selection_check_all(const selection_input_t *input,
                                const comet_selection_t *selection,
                                comet_text_t text)
{
    apr_size_t i, length;

    for (i = 0; i < input->name_count; i++) {
        comet_text_t name = input->names[i];

        for (length = name.length; length > 0; length--) {
            selection_check(input, selection,
                            (comet_text_t){ name.data, length });
        }
    }
    for (i = 0; i < input->prefix_count; i++) {
        selection_check(input, selection, input->prefixes[i]);
    }
    for (i = 0; i < text.length && i < COMET_CHANNEL_MAX_BYTES; i++) {
        selection_check(input, selection, (comet_text_t){ text.data, i + 1 });
    }
}

static void selection_check_distinct(const comet_selected_t *list,
                                     apr_size_t count)
{
    apr_size_t i, j;

    for (i = 0; i < count; i++) {
        for (j = 0; j < i; j++) {
            MUST(!comet_text_equal(list[i].text, list[j].text));
        }
    }
}

/* Check that the words in reverse order make the same selection. */
static void selection_check_order(selection_input_t *input,
                                  const comet_selection_t *selection)
{
    selection_input_t turned = *input;
    comet_selection_t *other;
    apr_size_t i;

    for (i = 0; i < input->name_count; i++) {
        turned.names[i] = input->names[input->name_count - 1 - i];
    }
    for (i = 0; i < input->prefix_count; i++) {
        turned.prefixes[i] = input->prefixes[input->prefix_count - 1 - i];
    }
    other = comet_selection_create(turned.names, turned.name_count,
                                   turned.prefixes, turned.prefix_count);
    MUST(other);
    MUST(comet_text_equal(other->key.text, selection->key.text));
    MUST(other->key.hash == selection->key.hash);
    comet_selection_unref(other);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    comet_text_t text = { (const char *)data, size };
    selection_input_t input;
    comet_selection_t *selection;

    if (!size) {
        return 0;
    }
    selection_read(&input, text);
    selection = comet_selection_create(input.names, input.name_count,
                                       input.prefixes, input.prefix_count);
    MUST(selection);
    selection_check_distinct(selection->names, selection->name_count);
    selection_check_distinct(selection->prefixes, selection->prefix_count);
    selection_check_all(&input, selection, text);
    selection_check_order(&input, selection);
    comet_selection_unref(selection);
    return 0;
}
