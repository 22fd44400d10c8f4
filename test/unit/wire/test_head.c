/* SPDX-License-Identifier: Apache-2.0 */
/* Heads of requests that equal a known head, except for what changes from poll
 * to poll. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "wire/head.h"

#define DATE "Sat, 21 Nov 2026 12:17:55 GMT"
#define OTHER_DATE "Sun, 22 Nov 2026 00:00:00 GMT"

/* Make an exact copy of a text, so that the sanitizer notices reads beyond its
 * end. */
static comet_text_t exactly(const char *string, size_t length)
{
    char *copy = malloc(length ? length : 1);

    memcpy(copy, string, length);
    return (comet_text_t){ copy, length };
}

static int learn(comet_head_t *head, const char *string)
{
    comet_text_t bytes = exactly(string, strlen(string));
    int learnt = comet_head_learn(head, bytes);

    assert_int_equal(learnt, head->text != NULL);
    free((char *)bytes.data);
    return learnt;
}

/* @return the cursor of a head that matches; -1: it does not match */
static comet_timestamp_t match(const comet_head_t *head, const char *string)
{
    comet_text_t bytes = exactly(string, strlen(string));
    comet_timestamp_t cursor = -2;
    int matches = comet_head_match(head, bytes, &cursor);

    free((char *)bytes.data);
    return matches ? cursor : -1;
}

#define HEAD(query) \
    "GET /comet/x?" query " HTTP/1.1\r\nHost: a\r\nX: since=5\r\n\r\n"

static void test_match(void **state)
{
    comet_head_t head = { .text = NULL };

    assert_int_equal(match(&head, HEAD("since=1")), -1);
    assert_true(learn(&head, HEAD("a=b&since=12&limit=3")));
    assert_int_equal(match(&head, HEAD("a=b&since=12&limit=3")), 12);
    assert_int_equal(match(&head, HEAD("a=b&since=0&limit=3")), 0);
    assert_int_equal(match(&head, HEAD("a=b&since=007&limit=3")), 7);
    assert_int_equal(match(&head, HEAD("a=b&since=9007199254740991&limit=3")),
                     COMET_TIMESTAMP_MAX);
    assert_int_equal(match(&head, HEAD("a=b&since=9007199254740992&limit=3")),
                     -1);
    assert_int_equal(match(&head, HEAD("a=b&since=99999999999999999&limit=3")),
                     -1);
    assert_int_equal(match(&head, HEAD("a=b&since=&limit=3")), -1);
    assert_int_equal(match(&head, HEAD("a=b&since=-1&limit=3")), -1);
    assert_int_equal(match(&head, HEAD("a=b&since=1x&limit=3")), -1);
    assert_int_equal(match(&head, HEAD("a=b&since=12&limit=4")), -1);
    assert_int_equal(match(&head, HEAD("a=c&since=12&limit=3")), -1);
    assert_int_equal(match(&head, HEAD("a=b&since=12&limit=3") "G"), -1);
    assert_int_equal(match(&head, ""), -1);
    assert_false(learn(&head, "GET / HTTP/1.1\r\n\r\n"));
    assert_int_equal(match(&head, HEAD("a=b&since=12&limit=3")), -1);
}

/* The first poll of a client might have no cursor.  A poll that matches has
 * one. */
static void test_no_cursor_yet(void **state)
{
    comet_head_t head = { .text = NULL };

    assert_true(learn(&head, HEAD("since=&limit=3")));
    assert_int_equal(match(&head, HEAD("since=12&limit=3")), 12);
    assert_int_equal(match(&head, HEAD("since=&limit=3")), -1);
    assert_int_equal(match(&head, HEAD("since=x&limit=3")), -1);
    assert_int_equal(match(&head, HEAD("since=12&limit=4")), -1);
    comet_head_free(&head);
}

static void test_half(void **state)
{
    static const char whole[] = HEAD("since=12");
    comet_head_t head = { .text = NULL };
    size_t length;

    assert_true(learn(&head, whole));
    for (length = 0; length < sizeof(whole) - 1; length++) {
        comet_text_t bytes = exactly(whole, length);
        comet_timestamp_t cursor;

        assert_false(comet_head_match(&head, bytes, &cursor));
        free((char *)bytes.data);
    }
    comet_head_free(&head);
}

static void test_not_learnt(void **state)
{
    static const char *const heads[] = {
        "",
        "\r\n\r\n",
        "GET /\r\n\r\n",
        "GET /x HTTP/1.1\r\n\r\n",
        "GET /x? HTTP/1.1\r\n\r\n",
        "GET /since=1 HTTP/1.1\r\n\r\n",
        "GET /x?since=x HTTP/1.1\r\n\r\n",
        "GET /x?since=1#&b HTTP/1.1\r\n\r\n",
        "GET /x?asince=1 HTTP/1.1\r\n\r\n",
        "GET /x?since=1&since=2 HTTP/1.1\r\n\r\n",
        "GET /x?since=12345678901234567 HTTP/1.1\r\n\r\n",
        "GET /x?since=1 HTTP/1.0\r\n\r\n",
        "GET /x?since=1\r\n\r\n",
        "GET x?since=1 HTTP/1.1\r\n\r\n",
        "HEAD /x?since=1 HTTP/1.1\r\n\r\n",
        "POST /x?since=1 HTTP/1.1\r\n\r\n",
        "GET /x?since=1 HTTP/1.1\r\n",
        "GET /x?since=1 HTTP/1.1\r\n\r\nG",
        "GET /x?since=1 HTTP/1.1\r\n\r\nGET /x?since=1 HTTP/1.1\r\n\r\n",
        "GET /x?since=1 HTTP/1.1\nHost: a\n\nGET / HTTP/1.1\r\n\r\n",
        "GET /x?since=1 HTTP/1.1\r\nA: b\nC: d\r\n\r\n",
        "\nGET /x?since=1 HTTP/1.1\r\n\r\n",
    };
    static const char nul[] = "GET /x?since=1 HTTP/1.1\r\nA: \0\r\n\r\n";
    comet_head_t head = { .text = NULL };
    comet_text_t bytes = exactly(nul, sizeof(nul) - 1);
    char large[COMET_HEAD_MAX + 100];
    size_t i;

    for (i = 0; i < sizeof(heads) / sizeof(*heads); i++) {
        assert_false(learn(&head, heads[i]));
    }
    assert_false(comet_head_learn(&head, bytes));
    free((char *)bytes.data);
    memset(large, 'x', sizeof(large));
    memcpy(large, "GET /x?since=1 HTTP/1.1\r\nA: ", 28);
    memcpy(large + sizeof(large) - 5, "\r\n\r\n", 5);
    assert_false(learn(&head, large));
}

#define POST(length, more) \
    "POST /comet/x HTTP/1.1\r\nHost: a\r\nContent-Length: " length "\r\n" more \
    "\r\n"

/* @return the length of the body; -1: this is no such head */
static long split(const char *string, size_t length, comet_head_post_t *post)
{
    comet_text_t bytes = exactly(string, length);
    long found = -1;

    if (comet_head_split_post(bytes, post)) {
        const char *end = post->after.data + post->after.length;

        assert_ptr_equal(post->before.data, bytes.data);
        assert_in_range(post->after.data - bytes.data, post->before.length + 1,
                        post->before.length + 9);
        assert_true(end <= bytes.data + bytes.length);
        assert_memory_equal(end - 4, "\r\n\r\n", 4);
        found = (long)post->length;
    }
    free((char *)bytes.data);
    return found;
}

/* Heads of POSTs, and the length that each has; -1: it is refused. */
static const struct {
    const char *head;
    long length;
} posts[] = {
    { POST("5", ""), 5 },
    { POST("0", ""), 0 },
    { POST("007", "A: b\r\n"), 7 },
    { POST("999999999", ""), 999999999 },
    { POST("   12", ""), 12 },
    { "POST / HTTP/1.1\r\ncOnTeNt-LeNgTh:3\r\n\r\n", 3 },
    { POST("5", "X: Content-Length: 6\r\n"), 5 },
    { POST("5", "X-Content-Length: 6\r\n"), 5 },
    { POST("5", "Content-Length-X: 6\r\n"), 5 },
    { POST("5", "X: y\r\n Content-Length: 6\r\n"), -1 },
    { POST("5", "X: y\r\n\tContent-Length: 6\r\n"), -1 },
    { POST("5", "X: y\r\n \r\n"), -1 },
    { "POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nX: y\r\n\r\n", 3 },
    { "POST /?a b HTTP/1.1\r\nContent-Length: 3\r\n\r\n", 3 },
    { POST("", ""), -1 },
    { POST("\t5", ""), -1 },
    { POST("5 ", ""), -1 },
    { POST("5\t", ""), -1 },
    { POST("5x", ""), -1 },
    { POST("-5", ""), -1 },
    { POST("+5", ""), -1 },
    { POST("0x5", ""), -1 },
    { POST("5,5", ""), -1 },
    { POST("5, 5", ""), -1 },
    { POST("1000000000", ""), -1 },
    { POST("0000000005", ""), -1 },
    { POST("5\r\n 5", ""), -1 },
    { POST("\r\n 5", ""), -1 },
    { POST("5\r", ""), -1 },
    { POST("5", "Content-Length: 5\r\n"), -1 },
    { POST("5", "content-length: 6\r\n"), -1 },
    { POST("5", "content-length:\r\n"), -1 },
    { POST("5\r\nContent-Length:", ""), -1 },
    { POST("5", "X: y\n"), -1 },
    { POST("5", "X: y\nContent-Length: 6\r\n"), -1 },
    { "POST / HTTP/1.1\nContent-Length: 5\n\n", -1 },
    { "POST / HTTP/1.1\nContent-Length: 5\r\n\r\n", -1 },
    { "POST / HTTP/1.1\r\nContent-Length: 5\n\r\n", -1 },
    { "POST / HTTP/1.1\r\nContent-Length: 5\r\n\n", -1 },
    { "\r\nPOST / HTTP/1.1\r\nContent-Length: 5\r\n\r\n", -1 },
    { " POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\n", -1 },
    { "POST / HTTP/1.0\r\nContent-Length: 5\r\n\r\n", -1 },
    { "POST / HTTP/1.1 \r\nContent-Length: 5\r\n\r\n", -1 },
    { "POST /\r\nContent-Length: 5\r\n\r\n", -1 },
    { "POST HTTP/1.1\r\nContent-Length: 5\r\n\r\n", -1 },
    { "POST  / HTTP/1.1\r\nContent-Length: 5\r\n\r\n", -1 },
    { "POST http://a/ HTTP/1.1\r\nContent-Length: 5\r\n\r\n", -1 },
    { "post / HTTP/1.1\r\nContent-Length: 5\r\n\r\n", -1 },
    { "PUT / HTTP/1.1\r\nContent-Length: 5\r\n\r\n", -1 },
    { "GET /comet/x HTTP/1.1\r\nContent-Length: 5\r\n\r\n", -1 },
    { "POST / HTTP/1.1\r\n\r\nContent-Length: 5\r\n\r\n", -1 },
    { "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", -1 },
    { "POST / HTTP/1.1\r\n\r\n", -1 },
    { "\r\n\r\n", -1 },
    { "", -1 },
};

static void test_post(void **state)
{
    comet_head_post_t post;
    size_t i;

    for (i = 0; i < sizeof(posts) / sizeof(*posts); i++) {
        if (split(posts[i].head, strlen(posts[i].head), &post)
            != posts[i].length) {
            print_error("%s", posts[i].head);
            fail();
        }
    }
}

static void test_post_parts(void **state)
{
    static const char whole[] = POST("12", "X: y\r\n") "twelve bytesPOST";
    static const char before[] = "POST /comet/x HTTP/1.1\r\nHost: a\r\n"
                                 "Content-Length: ";
    static const char after[] = "\r\nX: y\r\n\r\n";
    const size_t head = strlen(POST("12", "X: y\r\n"));
    comet_text_t bytes = exactly(whole, sizeof(whole) - 1);
    comet_head_post_t post;
    size_t length;

    assert_true(comet_head_split_post(bytes, &post));
    assert_int_equal(post.before.length, sizeof(before) - 1);
    assert_memory_equal(post.before.data, before, sizeof(before) - 1);
    assert_int_equal(post.after.length, sizeof(after) - 1);
    assert_memory_equal(post.after.data, after, sizeof(after) - 1);
    assert_int_equal(post.length, 12);
    free((char *)bytes.data);
    for (length = 0; length < sizeof(whole) - 1; length++) {
        assert_int_equal(split(whole, length, &post), length < head ? -1 : 12);
    }
    for (length = 0; length < head; length++) { /* NUL and bare LF */
        char copy[sizeof(whole)];

        memcpy(copy, whole, sizeof(whole));
        copy[length] = '\0';
        assert_int_equal(split(copy, sizeof(whole) - 1, &post), -1);
        copy[length] = '\n';
        if (length != head - 1 && whole[length] != '\n') {
            assert_int_equal(split(copy, sizeof(whole) - 1, &post), -1);
        }
    }
}

#define ANSWER(date, length, more) \
    "HTTP/1.1 200 OK\r\nDate: " date \
    "\r\nServer: x\r\nContent-Length: " length "\r\n" more \
    "Content-Type: application/json\r\n\r\n"

static int learn_answer(comet_head_answer_t *head, const char *string)
{
    comet_text_t bytes = exactly(string, strlen(string));
    int learnt = comet_head_answer_learn(head, bytes);

    assert_int_equal(learnt, head->text != NULL);
    free((char *)bytes.data);
    return learnt;
}

static void check_written(const char *learnt, const char *expected)
{
    comet_head_answer_t head = { .text = NULL };
    comet_buffer_t out = { .data = NULL };

    assert_true(learn_answer(&head, learnt));
    comet_head_answer_write(&head, &out, OTHER_DATE, 12345, 7);
    assert_false(out.failed);
    assert_int_equal(out.length, strlen(expected));
    assert_memory_equal(out.data, expected, out.length);
    comet_buffer_free(&out);
    comet_head_answer_free(&head);
}

static void test_write(void **state)
{
    check_written(ANSWER(DATE, "9", ""), ANSWER(OTHER_DATE, "12345", ""));
    check_written(ANSWER(DATE, "145",
                         "keep-alive: timeout=15, max=12\r\n"
                         "Connection: Keep-Alive\r\n"),
                  ANSWER(OTHER_DATE, "12345",
                         "keep-alive: timeout=15, max=7\r\n"
                         "Connection: Keep-Alive\r\n"));
    check_written(ANSWER(DATE, "1", "Keep-Alive: timeout=15\r\n"),
                  ANSWER(OTHER_DATE, "12345", "Keep-Alive: timeout=15\r\n"));
    check_written("HTTP/1.1 200 \r\nCONTENT-LENGTH:0\r\nDATE:  " DATE
                  "\r\n\r\n",
                  "HTTP/1.1 200 \r\nCONTENT-LENGTH:12345\r\nDATE:  " OTHER_DATE
                  "\r\n\r\n");
}

static void test_equal(void **state)
{
    comet_head_answer_t a = { .text = NULL }, b = { .text = NULL };

    assert_false(comet_head_answer_equal(&a, &b));
    assert_true(learn_answer(&a, ANSWER(DATE, "9", "")));
    assert_false(comet_head_answer_equal(&a, &b));
    assert_false(comet_head_answer_equal(&b, &a));
    assert_true(learn_answer(&b, ANSWER(OTHER_DATE, "100", "")));
    assert_true(comet_head_answer_equal(&a, &b));
    assert_true(learn_answer(&b, ANSWER(DATE, "9", "X: y\r\n")));
    assert_false(comet_head_answer_equal(&a, &b));
    assert_true(learn_answer(&a, ANSWER(DATE, "9", "X: z\r\n")));
    assert_false(comet_head_answer_equal(&a, &b));
    assert_true(learn_answer(&a, ANSWER(DATE, "9", "Keep-Alive: max=1\r\n")));
    assert_true(learn_answer(&b, ANSWER(DATE, "9", "Keep-Alive: max=12\r\n")));
    assert_true(comet_head_answer_equal(&a, &b));
    comet_head_answer_free(&a);
    comet_head_answer_free(&b);
}

static void test_answer_not_learnt(void **state)
{
    static const char *const heads[] = {
        "",
        "HTTP/1.1 200 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nDate: " DATE "\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n",
        "HTTP/1.0 200 OK\r\nDate: " DATE "\r\nContent-Length: 1\r\n\r\n",
        "HTTP/1.1 206 OK\r\nDate: " DATE "\r\nContent-Length: 1\r\n\r\n",
        ANSWER("today", "1", ""),
        ANSWER(DATE, "", ""),
        ANSWER(DATE, "1x", ""),
        ANSWER(DATE, "1", "Date: " DATE "\r\n"),
        ANSWER(DATE, "1", "Content-Length: 1\r\n"),
        ANSWER(DATE, "1", "no field\r\n"),
        ANSWER(DATE, "1", "Set-Cookie: a=b\r\n"),
        ANSWER(DATE, "1", "etag: \"x\"\r\n"),
        ANSWER(DATE, "1", "Expires: 0\r\n"),
        ANSWER(DATE, "1", "Transfer-Encoding: chunked\r\n"),
        ANSWER(DATE, "1", "Connection: close\r\n"),
        ANSWER(DATE, "1", "Connection: Upgrade, Keep-Alive\r\n"),
        ANSWER(DATE, "1", "Keep-Alive: max=\r\n"),
        ANSWER(DATE, "1", "") "{",
    };
    comet_head_answer_t head = { .text = NULL };
    size_t i;

    for (i = 0; i < sizeof(heads) / sizeof(*heads); i++) {
        assert_false(learn_answer(&head, heads[i]));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_match),
        cmocka_unit_test(test_no_cursor_yet),
        cmocka_unit_test(test_half),
        cmocka_unit_test(test_not_learnt),
        cmocka_unit_test(test_post),
        cmocka_unit_test(test_post_parts),
        cmocka_unit_test(test_write),
        cmocka_unit_test(test_equal),
        cmocka_unit_test(test_answer_not_learnt),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
