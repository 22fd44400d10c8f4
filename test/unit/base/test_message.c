/* SPDX-License-Identifier: Apache-2.0 */
/* Messages: what they copy, and how their references are counted; the texts of
 * status codes. */
#include "scratch.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/message.h"

static void assert_text(comet_text_t text, const char *expected)
{
    assert_int_equal(text.length, strlen(expected));
    assert_memory_equal(text.data, expected, text.length);
    assert_int_equal(text.data[text.length], '\0');
}

static void test_text(void **state)
{
    assert_null(comet_text(NULL).data);
    assert_int_equal(comet_text(NULL).length, 0);
    assert_int_equal(comet_text("abc").length, 3);
    assert_true(comet_text_equal(comet_text("abc"), comet_text("abc")));
    assert_false(comet_text_equal(comet_text("abc"), comet_text("abd")));
    assert_false(comet_text_equal(comet_text("abc"), comet_text("ab")));
    assert_true(comet_text_equal(comet_text(NULL), comet_text("")));
}

static void test_copies_its_texts(void **state)
{
    char channel[] = "room/42", type[] = "note", author[] = "anna";
    char body[] = "hello";
    comet_message_fields_t fields = {
        .timestamp = 17,
        .channel = comet_text(channel),
        .type = comet_text(type),
        .author = comet_text(author),
        .body = comet_text(body),
    };
    comet_message_t *message = comet_message_create(&fields);

    assert_non_null(message);
    memset(channel, '#', sizeof(channel));
    memset(type, '#', sizeof(type));
    memset(author, '#', sizeof(author));
    memset(body, '#', sizeof(body));
    assert_int_equal(message->timestamp, 17);
    assert_text(message->channel, "room/42");
    assert_text(message->type, "note");
    assert_text(message->author, "anna");
    assert_text(message->body, "hello");
    assert_int_equal(message->channel_hash,
                     comet_message_hash(comet_text("room/42")));
    comet_message_unref(message);
}

static void test_defaults(void **state)
{
    comet_message_fields_t fields = {
        .channel = comet_text("c"),
        .body = comet_text("b"),
    };
    comet_message_t *message = comet_message_create(&fields);

    assert_non_null(message);
    assert_int_equal(message->timestamp, 0);
    assert_text(message->type, "message");
    assert_null(message->author.data);
    assert_int_equal(message->author.length, 0);
    comet_message_unref(message);
}

/* An empty author name is not the same as no author. */
static void test_empty_is_not_missing(void **state)
{
    comet_message_fields_t fields = {
        .channel = comet_text("c"),
        .author = comet_text(""),
        .body = comet_text(""),
    };
    comet_message_t *message = comet_message_create(&fields);

    assert_non_null(message);
    assert_non_null(message->author.data);
    assert_text(message->author, "");
    assert_text(message->body, "");
    comet_message_unref(message);
}

static void test_any_byte_and_size(void **state)
{
    static char body[COMET_BODY_MAX_BYTES];
    comet_message_fields_t fields = {
        .channel = comet_text("c"),
        .body = { body, sizeof(body) },
    };
    comet_message_t *message;
    size_t i;

    for (i = 0; i < sizeof(body); i++) {
        body[i] = (char)(i * 31 % 256);
    }
    message = comet_message_create(&fields);
    assert_non_null(message);
    assert_int_equal(message->body.length, sizeof(body));
    assert_memory_equal(message->body.data, body, sizeof(body));
    comet_message_unref(message);
}

/* The hash of a name differs between processes, since each makes its own key.
 * Within one process it stays the same. */
static int hash_in_child(void *pipe_end)
{
    apr_uint32_t hash = comet_message_hash(comet_text("room/42"));

    return write(*(int *)pipe_end, &hash, sizeof(hash)) != sizeof(hash);
}

static void test_hash_has_a_key(void **state)
{
    apr_uint32_t hashes[2];
    int ends[2], i;

    assert_int_equal(pipe(ends), 0);
    for (i = 0; i < 2; i++) {
        assert_int_equal(scratch_reap(scratch_fork(hash_in_child, &ends[1])),
                         0);
        assert_int_equal(read(ends[0], &hashes[i], sizeof(hashes[i])),
                         sizeof(hashes[i]));
    }
    assert_int_not_equal(hashes[0], hashes[1]);
    close(ends[0]);
    close(ends[1]);
}

static void test_hash(void **state)
{
    char name[] = "room/42";
    apr_ssize_t length = APR_HASH_KEY_STRING;

    assert_int_equal(comet_message_hash(comet_text("room/42")),
                     comet_message_hash(comet_text(name)));
    assert_int_equal(comet_message_hash_key(name, &length),
                     comet_message_hash(comet_text(name)));
    assert_int_equal(length, strlen(name));
    assert_int_not_equal(comet_message_hash(comet_text("\xC3\xA9")),
                         comet_message_hash(comet_text("\xC3\xA8")));
}

static void test_references(void **state)
{
    comet_message_fields_t fields = { .channel = comet_text("c") };
    comet_message_t *message = comet_message_create(&fields);

    assert_non_null(message);
    assert_int_equal(message->refs, 1);
    assert_ptr_equal(comet_message_ref(message), message);
    assert_int_equal(message->refs, 2);
    comet_message_unref(message);
    assert_int_equal(message->refs, 1);
    comet_message_unref(message);
    comet_message_unref(NULL);
}

/* Each thread owns a reference, and releases it before the thread ends. */
static void *use_references(void *baton)
{
    comet_message_t *message = baton;
    int i;

    for (i = 0; i < 100000; i++) {
        comet_message_unref(comet_message_ref(message));
    }
    comet_message_unref(message);
    return NULL;
}

static void test_references_of_threads(void **state)
{
    comet_message_fields_t fields = { .channel = comet_text("c") };
    comet_message_t *message = comet_message_create(&fields);
    pthread_t threads[4];
    size_t i;

    assert_non_null(message);
    for (i = 0; i < 4; i++) {
        comet_message_ref(message);
        assert_int_equal(
            pthread_create(&threads[i], NULL, use_references, message), 0);
    }
    for (i = 0; i < 4; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    assert_int_equal(message->refs, 1);
    comet_message_unref(message);
}

static void test_status_texts(void **state)
{
    char buffer[100], other[100];
    apr_status_t first, second;

    for (first = COMET_ENOTDB; first <= COMET_ESTOPPING; first++) {
        const char *text = comet_strerror(first, buffer, sizeof(buffer));

        assert_true(strlen(text) > 10);
        assert_ptr_not_equal(text, buffer);
        for (second = COMET_ENOTDB; second < first; second++) {
            assert_string_not_equal(
                text, comet_strerror(second, other, sizeof(other)));
        }
    }
    assert_ptr_equal(comet_strerror(APR_ENOMEM, buffer, sizeof(buffer)),
                     buffer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hash_has_a_key), /* must run first, before
                                                * anything is hashed */
        cmocka_unit_test(test_text),
        cmocka_unit_test(test_copies_its_texts),
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_empty_is_not_missing),
        cmocka_unit_test(test_any_byte_and_size),
        cmocka_unit_test(test_hash),
        cmocka_unit_test(test_references),
        cmocka_unit_test(test_references_of_threads),
        cmocka_unit_test(test_status_texts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
