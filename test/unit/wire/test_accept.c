/* SPDX-License-Identifier: Apache-2.0 */
/* The Accept header: media ranges, weights, and which of two types a client is
 * sent. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "wire/accept.h"

#define EVENTS "text/event-stream"
#define JSON "application/json"

/* Make a copy without a terminating zero, so that a sanitizer notices reads
 * beyond its end. */
static comet_text_t exactly(const char *string)
{
    size_t length = string ? strlen(string) : 0;
    char *copy = string ? malloc(length ? length : 1) : NULL;

    if (string) {
        memcpy(copy, string, length);
    }
    return (comet_text_t){ copy, length };
}

static comet_accept_t find(const char *header)
{
    comet_text_t text = exactly(header);
    comet_accept_t found = comet_accept_find(text, EVENTS);

    free((char *)text.data);
    return found;
}

static int prefers(const char *header)
{
    comet_text_t text = exactly(header);
    int rv = comet_accept_prefers(text, EVENTS, JSON);

    free((char *)text.data);
    return rv;
}

static void check(const char *header, comet_accept_range_e range, int quality)
{
    comet_accept_t found = find(header);

    if (found.range != range || found.quality != quality) {
        fail_msg("%s: range %d, quality %d", header, (int)found.range,
                 found.quality);
    }
}

static void test_ranges(void **state)
{
    check(NULL, COMET_ACCEPT_ANYTHING, 1000);
    check("", COMET_ACCEPT_ANYTHING, 1000);
    check(" \t ", COMET_ACCEPT_ANYTHING, 1000);
    check("*/*", COMET_ACCEPT_ANYTHING, 1000);
    check("text/*", COMET_ACCEPT_FAMILY, 1000);
    check(EVENTS, COMET_ACCEPT_NAMED, 1000);
    check("Text/Event-STREAM", COMET_ACCEPT_NAMED, 1000);
    check(JSON, COMET_ACCEPT_NOT, 0);
    check("text/event-streamish", COMET_ACCEPT_NOT, 0);
    check("application/x-text/event-stream", COMET_ACCEPT_NOT, 0);
    check("x-text/event-stream", COMET_ACCEPT_NOT, 0);
    check("text/event", COMET_ACCEPT_NOT, 0);
    check("*/event-stream", COMET_ACCEPT_NOT, 0);
    check(JSON " ,\t" EVENTS, COMET_ACCEPT_NAMED, 1000);
    check(",," EVENTS ",", COMET_ACCEPT_NAMED, 1000);
}

/* The most specific range decides, wherever it stands. */
static void test_specificity(void **state)
{
    check("*/*;q=0.1, text/*;q=0.2, " EVENTS ";q=0.3", COMET_ACCEPT_NAMED, 300);
    check(EVENTS ";q=0.3, text/*;q=0.2, */*;q=0.1", COMET_ACCEPT_NAMED, 300);
    check("text/*;q=0.2, */*", COMET_ACCEPT_FAMILY, 200);
    check("*/*, " EVENTS ";q=0", COMET_ACCEPT_NAMED, 0);
    check("*/*, text/*;q=0", COMET_ACCEPT_FAMILY, 0);
}

static void test_weights(void **state)
{
    check(EVENTS ";q=0", COMET_ACCEPT_NAMED, 0);
    check(EVENTS ";q=0.", COMET_ACCEPT_NAMED, 0);
    check(EVENTS ";q=0.000", COMET_ACCEPT_NAMED, 0);
    check(EVENTS ";q=0.001", COMET_ACCEPT_NAMED, 1);
    check(EVENTS ";q=0.25", COMET_ACCEPT_NAMED, 250);
    check(EVENTS " ; Q=0.5", COMET_ACCEPT_NAMED, 500);
    check(EVENTS ";q=1", COMET_ACCEPT_NAMED, 1000);
    check(EVENTS ";q=1.000", COMET_ACCEPT_NAMED, 1000);
    check(EVENTS ";;q=0.5;", COMET_ACCEPT_NAMED, 500);
    check(EVENTS ";q=0.5;ext=\"a,b;q=1\";more", COMET_ACCEPT_NOT, 0);
    check(EVENTS ";q=0.5;ext=\"a,b;q=1\"", COMET_ACCEPT_NAMED, 500);
}

static void test_parameters(void **state)
{
    check(EVENTS ";charset=utf-8", COMET_ACCEPT_NAMED, 1000);
    check(EVENTS "; Charset=\"UTF-8\";q=0.5", COMET_ACCEPT_NAMED, 500);
    check(EVENTS ";charset=latin1", COMET_ACCEPT_NOT, 0);
    check(EVENTS ";level=1, */*;q=0.5", COMET_ACCEPT_ANYTHING, 500);
    check("a/b;x=\"" EVENTS "\"", COMET_ACCEPT_NOT, 0);
    check("a/b;x=\"," EVENTS ",\"", COMET_ACCEPT_NOT, 0);
    check("a/b;x=\"\\\"," EVENTS ",\", text/*", COMET_ACCEPT_FAMILY, 1000);
}

/* A malformed range is ignored, and does not affect its neighbours. */
static void test_malformed(void **state)
{
    static const char *const wrong[] = {
        EVENTS ";q=",         EVENTS ";q",
        EVENTS ";q=1.001",    EVENTS ";q=2",
        EVENTS ";q=-1",       EVENTS ";q=0.1234",
        EVENTS ";q=.5",       EVENTS ";q=0 5",
        EVENTS ";q= 1",       EVENTS " q=1",
        EVENTS "/x",          "text /event-stream",
        "text/ event-stream", "text",
        "/event-stream",      "text/",
        EVENTS ";a=\"b",      EVENTS ";=1",
    };
    size_t i;

    for (i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
        char header[200];

        check(wrong[i], COMET_ACCEPT_NOT, 0);
        snprintf(header, sizeof(header), "text/*;q=0.7, %s", wrong[i]);
        check(header, COMET_ACCEPT_FAMILY, 700);
    }
    check("text/;q=1, " EVENTS, COMET_ACCEPT_NAMED, 1000);
    check("\x80/\xff, " EVENTS, COMET_ACCEPT_NAMED, 1000);
}

static void test_choice(void **state)
{
    assert_false(prefers(NULL));
    assert_false(prefers("*/*"));
    assert_false(prefers(JSON));
    assert_false(prefers("text/html, application/xml;q=0.9, */*;q=0.8"));
    assert_false(prefers("image/png"));
    assert_false(prefers(EVENTS ";q=0, " JSON));
    assert_false(prefers(EVENTS ";q=0"));
    assert_false(prefers(JSON ";q=1, " EVENTS ";q=0.1"));
    assert_false(prefers(EVENTS ";q=0.1, */*"));
    assert_false(prefers("application/x-text/event-streamish"));
    assert_true(prefers(EVENTS));
    assert_true(prefers(EVENTS ";q=0.001"));
    assert_true(prefers(EVENTS ", */*"));
    assert_true(prefers(JSON ", " EVENTS));
    assert_true(prefers(EVENTS ", " JSON ";q=0.9"));
    assert_true(prefers("text/*, " JSON ";q=0.5"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ranges),    cmocka_unit_test(test_specificity),
        cmocka_unit_test(test_weights),   cmocka_unit_test(test_parameters),
        cmocka_unit_test(test_malformed), cmocka_unit_test(test_choice),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
