/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzz the recognition of polls by their bytes.  The first NUL separates the
 * input into two heads.  A head that matches a learnt one differs from it only
 * in the digits of the cursor.  The head of a POST is split at the digits of its
 * length, and ends at the first empty line.  After the head of an answer was learnt, it can
 * be written again, and the same is learnt from the new head.
 *
 * `make fuzz` runs this fuzzer; test/unit/wire/test_corpus.c replays the corpus
 * with every `make check`.
 */
#include "fuzz.h"

#include "wire/head.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void head_check_match(const comet_head_t *head, comet_text_t bytes,
                             comet_timestamp_t cursor)
{
    apr_size_t rest = head->length - head->after, i;

    MUST(cursor >= 0 && cursor <= COMET_TIMESTAMP_MAX);
    MUST(bytes.length > head->before + rest);
    MUST(memcmp(bytes.data, head->text, head->before) == 0);
    MUST(
        memcmp(bytes.data + bytes.length - rest, head->text + head->after, rest)
        == 0);
    for (i = head->before; i < bytes.length - rest; i++) {
        MUST(bytes.data[i] >= '0' && bytes.data[i] <= '9');
    }
}

static void head_fuzz_request(comet_text_t known, comet_text_t next)
{
    comet_head_t head = { .text = NULL };
    comet_timestamp_t cursor;

    if (comet_head_learn(&head, known)) {
        const char *end = memmem(known.data, known.length, "\r\n\r\n", 4);

        MUST(end && end + 4 == known.data + known.length);
        MUST(!memmem(known.data, known.length, "\n\n", 2));
        MUST(memcmp(head.text + head.before - 6, "since=", 6) == 0);
        if (comet_head_match(&head, known, &cursor)) {
            head_check_match(&head, known, cursor);
        }
    }
    if (comet_head_match(&head, next, &cursor)) {
        head_check_match(&head, next, cursor);
    }
    comet_head_free(&head);
}

static void head_fuzz_post(comet_text_t bytes)
{
    comet_head_post_t post;
    const char *end, *digits;

    if (comet_head_split_post(bytes, &post)) {
        digits = post.before.data + post.before.length;
        end = memmem(bytes.data, bytes.length, "\r\n\r\n", 4);
        MUST(post.before.data == bytes.data);
        MUST(end && end + 4 == post.after.data + post.after.length);
        MUST(!memchr(bytes.data, 0, (apr_size_t)(end - bytes.data)));
        MUST(post.after.data > digits && post.after.data - digits <= 9);
        for (; digits < post.after.data; digits++) {
            MUST(*digits >= '0' && *digits <= '9');
        }
    }
}

static void head_fuzz_answer(comet_text_t bytes)
{
    comet_head_answer_t head = { .text = NULL }, again = { .text = NULL };
    comet_buffer_t out = { 0 };

    if (comet_head_answer_learn(&head, bytes)) {
        comet_head_answer_write(&head, &out, "Sat, 21 Nov 2026 12:17:55 GMT",
                                123, 4);
        MUST(!out.failed);
        MUST(comet_head_answer_learn(&again,
                                     (comet_text_t){ out.data, out.length })
             || out.length > COMET_HEAD_MAX);
        MUST(!again.text || comet_head_answer_equal(&head, &again));
    }
    comet_buffer_free(&out);
    comet_head_answer_free(&again);
    comet_head_answer_free(&head);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    comet_text_t known = { (const char *)data, size };
    comet_text_t next = { (const char *)data, size };
    const uint8_t *end = size ? memchr(data, '\0', size) : NULL;

    if (end) {
        known.length = (apr_size_t)(end - data);
        next = (comet_text_t){ (const char *)end + 1, size - known.length - 1 };
    }
    head_fuzz_request(known, next);
    head_fuzz_answer(known);
    head_fuzz_post(known);
    return 0;
}
