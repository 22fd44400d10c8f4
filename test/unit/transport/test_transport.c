/* SPDX-License-Identifier: Apache-2.0 */
/* The wire formats, byte for byte. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "wire_kit.h"

#include <apr_general.h>
#include <stdlib.h>
#include <string.h>

static void test_names(void **state)
{
    const char *json = "application/json; charset=utf-8";

    assert_int_equal(comet_transport_classic.gauge,
                     COMET_METRIC_waiting_classic);
    assert_int_equal(comet_transport_poll.gauge, COMET_METRIC_waiting_poll);
    assert_int_equal(comet_transport_clock.gauge, COMET_METRIC_waiting_clock);
    assert_string_equal(comet_transport_classic.content_type, json);
    assert_string_equal(comet_transport_poll.content_type, json);
    assert_string_equal(comet_transport_clock.content_type,
                        "text/html; charset=UTF-8");
    assert_false(comet_transport_classic.streams);
    assert_false(comet_transport_poll.streams);
    assert_true(comet_transport_clock.streams);
    assert_int_equal(comet_transport_classic.limit, 1);
    assert_null(comet_transport_classic.open);
    assert_null(comet_transport_poll.open);
    assert_null(comet_transport_classic.heartbeat);
    assert_null(comet_transport_poll.heartbeat);
    assert_string_equal(comet_transport_clock.heartbeat, "\n");
}

/* --- classic ------------------------------------------------------------- */

static void test_classic_message(void **state)
{
    comet_message_t *message =
        wire_message(WIRE_NOW, NULL, "a/b \"中\" <b>&'\n");
    comet_answer_t answer = { .messages = &message,
                              .count = 1,
                              .cursor = WIRE_NOW,
                              .format = &wire_escaping };

    wire_check_answer(&comet_transport_classic, &answer,
                      "{\"msg\":\"a/b \\u0026quot;中\\u0026quot; "
                      "\\u0026lt;b\\u0026gt;\\u0026amp;\\u0026#39;\\n\","
                      "\"timestamp\":1795229965123456}");
    answer.format = &wire_plain;
    wire_check_answer(&comet_transport_classic, &answer,
                      "{\"msg\":\"a/b \\\"中\\\" \\u003cb\\u003e\\u0026'\\n\","
                      "\"timestamp\":1795229965123456}");
    comet_message_unref(message);
}

static void test_classic_no_news(void **state)
{
    comet_answer_t answer = { .cursor = WIRE_NOW, .format = &wire_escaping };

    wire_check_answer(&comet_transport_classic, &answer,
                      "{\"msg\":\"\",\"timestamp\":1795229965123456}");
    answer.cursor = 0;
    wire_check_answer(&comet_transport_classic, &answer,
                      "{\"msg\":\"\",\"timestamp\":0}");
}

/* If there are more messages than an answer can carry, the answer carries the
 * first one.  The answer's cursor is that message's timestamp. */
static void test_classic_never_skips(void **state)
{
    comet_message_t *messages[] = { wire_message(WIRE_NOW, NULL, "first"),
                                    wire_message(WIRE_NOW + 1, NULL,
                                                 "second") };
    comet_answer_t answer = { .messages = messages,
                              .count = 2,
                              .cursor = WIRE_NOW + 1,
                              .format = &wire_escaping };

    wire_check_answer(&comet_transport_classic, &answer,
                      "{\"msg\":\"first\",\"timestamp\":1795229965123456}");
    comet_message_unref(messages[0]);
    comet_message_unref(messages[1]);
}

static void test_classic_invalid_utf8(void **state)
{
    comet_message_t *message = wire_message(WIRE_NOW, NULL, "<\xFF>");
    comet_answer_t answer = { .messages = &message,
                              .count = 1,
                              .cursor = WIRE_NOW,
                              .format = &wire_escaping };

    wire_check_answer(&comet_transport_classic, &answer,
                      "{\"msg\":\"\\u0026lt;\xEF\xBF\xBD\\u0026gt;\","
                      "\"timestamp\":1795229965123456}");
    comet_message_unref(message);
}

/* --- poll ---------------------------------------------------------------- */

static void test_poll_messages(void **state)
{
    comet_message_t *messages[] = { wire_message(WIRE_NOW, NULL, "<b>1"),
                                    wire_message(WIRE_NOW + 7, "anna \"a\"",
                                                 "2") };
    comet_answer_t answer = { .messages = messages,
                              .count = 2,
                              .cursor = WIRE_NOW + 7,
                              .floor = WIRE_NOW,
                              .format = &wire_escaping };

    wire_check_answer(
        &comet_transport_poll, &answer,
        "{\"messages\":[{\"timestamp\":1795229965123456,\"channel\":\"chat\","
        "\"type\":\"message\",\"author\":null,\"body\":\"\\u003cb\\u003e1\"},"
        "{\"timestamp\":1795229965123463,\"channel\":\"chat\","
        "\"type\":\"message\",\"author\":\"anna \\\"a\\\"\",\"body\":\"2\"}],"
        "\"timestamp\":1795229965123463,\"gap\":true}");
    comet_message_unref(messages[0]);
    comet_message_unref(messages[1]);
}

static void test_poll_escapes_all_texts(void **state)
{
    comet_message_fields_t fields = {
        .timestamp = 5,
        .channel = comet_text("a<b"),
        .type = comet_text("c\"d"),
        .author = comet_text("e&f"),
        .body = comet_text("g>h"),
    };
    comet_message_t *message = comet_message_create(&fields);
    comet_answer_t answer = {
        .format = &wire_plain, .messages = &message, .count = 1, .cursor = 5
    };

    assert_non_null(message);
    wire_check_answer(
        &comet_transport_poll, &answer,
        "{\"messages\":[{\"timestamp\":5,\"channel\":\"a\\u003cb\","
        "\"type\":\"c\\\"d\",\"author\":\"e\\u0026f\","
        "\"body\":\"g\\u003eh\"}],\"timestamp\":5,\"gap\":false}");
    comet_message_unref(message);
}

static void test_poll_no_news(void **state)
{
    comet_answer_t answer = { .format = &wire_plain, .cursor = 0 };

    wire_check_answer(&comet_transport_poll, &answer,
                      "{\"messages\":[],\"timestamp\":0,\"gap\":false}");
    answer.cursor = COMET_TIMESTAMP_MAX;
    answer.floor = WIRE_NOW;
    wire_check_answer(
        &comet_transport_poll, &answer,
        "{\"messages\":[],\"timestamp\":9007199254740991,\"gap\":true}");
    answer.rest = WIRE_NOW; /* set if a search was cut short */
    answer.floor = 0;
    wire_check_answer(&comet_transport_poll, &answer,
                      "{\"messages\":[],\"timestamp\":9007199254740991,"
                      "\"gap\":false,\"before\":1795229965123456}");
}

/* --- clock --------------------------------------------------------------- */

/* The listing of the original article, with its lines joined. */
static const char listing[] =
    "<!DOCTYPE html PUBLIC \"-//W3C//DTD XHTML 1.1//EN\" "
    "\"http://www.w3.org/TR/xhtml11/DTD/xhtml11.dtd\"> "
    "<html xmlns=\"http://www.w3.org/1999/xhtml\"> <head> "
    "<title>Comet php backend</title> <meta http-equiv=\"Content-Type\" "
    "content=\"text/html; charset=utf-8\" /> </head> <body> "
    "<script type=\"text/javascript\"> "
    "// KHTML browser don't share javascripts between iframes "
    "var is_khtml = navigator.appName.match(\"Konqueror\") || "
    "navigator.appVersion.match(\"KHTML\"); if (is_khtml) { "
    "var prototypejs = document.createElement('script'); "
    "prototypejs.setAttribute('type','text/javascript'); "
    "prototypejs.setAttribute('src','prototype.js'); "
    "var head = document.getElementsByTagName('head'); "
    "head[0].appendChild(prototypejs); } // load the comet object "
    "var comet = window.parent.comet; </script> ";

/* Replace each run of white space by one space, in place. */
static void collapse(char *text)
{
    char *to = text;

    for (; *text; text++) {
        if (*text != ' ' && *text != '\n') {
            *to++ = *text;
        }
        else if (to[-1] != ' ') {
            *to++ = ' ';
        }
    }
    *to = '\0';
}

static void test_clock_opening(void **state)
{
    comet_buffer_t buffer = { 0 };
    comet_answer_t answer = { .format = &wire_plain, .cursor = WIRE_NOW };
    comet_buffer_t tick = { 0 };

    comet_transport_clock.open(&buffer, &answer);
    assert_false(buffer.failed);
    comet_transport_clock.encode(&tick, &answer);
    /* the page, followed at once by the first tick */
    assert_int_equal(buffer.length, 811 + tick.length);
    assert_memory_equal(buffer.data + 811, tick.data, tick.length);
    comet_buffer_free(&tick);
    buffer.data[811] = '\0';
    assert_null(strchr(buffer.data, '\r'));
    assert_null(strchr(buffer.data, '\t'));
    /* each comment ends its line */
    assert_non_null(strstr(buffer.data, "iframes\n"));
    assert_non_null(strstr(buffer.data, "object\n"));
    assert_string_equal(buffer.data + 811 - 11, "</script>\n\n");
    collapse(buffer.data);
    assert_string_equal(buffer.data, listing);
    comet_buffer_free(&buffer);
}

static void test_clock_tick(void **state)
{
    comet_message_t *messages[] = {
        wire_message(APR_INT64_C(1795229964000000), NULL, "x"),
        wire_message(APR_INT64_C(1795229965999999), NULL, "y")
    };
    comet_answer_t answer = {
        .format = &wire_plain, .messages = messages, .count = 2, .cursor = 0
    };
    const char *tick = "<script type=\"text/javascript\">"
                       "comet.printServerTime(1795229965);</script>";

    assert_int_equal(strlen(tick), 74);
    wire_check_answer(&comet_transport_clock, &answer, tick);
    answer = (comet_answer_t){ .cursor = WIRE_NOW };
    wire_check_answer(&comet_transport_clock, &answer, tick);
    comet_message_unref(messages[0]);
    comet_message_unref(messages[1]);
}

/* --- websocket ------------------------------------------------------------ */

/* Each value is a text frame of its own.  A Close frame says when to come
 * back. */
static void test_websocket(void **state)
{
    comet_message_t *messages[] = { wire_message(5, NULL, "x"),
                                    wire_message(6, NULL, "y") };
    comet_answer_t answer = { .format = &wire_plain, .cursor = 7 };
    comet_buffer_t out = { 0 };
    apr_size_t first;

    comet_transport_websocket.open(&out, &answer);
    assert_int_equal(out.length, 2 + 10);
    assert_memory_equal(out.data, "\x81\x0a{\"open\":7}", out.length);
    comet_buffer_clear(&out);
    answer.floor = 9;
    comet_transport_websocket.open(&out, &answer);
    assert_memory_equal(out.data + 12,
                        "\x81\x1d{\"gap\":{\"since\":7,\"floor\":9}}",
                        out.length - 12);
    comet_buffer_clear(&out);
    answer.messages = messages;
    answer.count = 2;
    comet_transport_websocket.encode(&out, &answer);
    first = 2 + (apr_size_t)(unsigned char)out.data[1];
    assert_int_equal(out.length, 2 * first);
    assert_memory_equal(out.data + first, "\x81", 1);
    comet_buffer_clear(&out);
    comet_transport_websocket.close(&out, NULL, 20);
    assert_memory_equal(out.data, "\x88\x0a\x03\xe9retry=20", out.length);
    comet_buffer_clear(&out);
    comet_transport_websocket.close(&out, "full", 20);
    assert_memory_equal(out.data, "\x88\x0f\x03\xf5retry=20 full", out.length);
    comet_buffer_free(&out);
    comet_message_unref(messages[0]);
    comet_message_unref(messages[1]);
}

/* --- all ----------------------------------------------------------------- */

/* The transports that clients may choose are first in the list.  Each of them
 * has a name and its own bit. */
static void test_list(void **state)
{
    apr_pool_t *pool;

    apr_pool_create(&pool, NULL);
    assert_ptr_equal(comet_transports[0], &comet_transport_poll);
    assert_ptr_equal(comet_transports[1], &comet_transport_events);
    assert_ptr_equal(comet_transports[2], &comet_transport_iframe);
    assert_int_equal(comet_transport_bit(&comet_transport_poll), 1);
    assert_int_equal(comet_transport_bit(&comet_transport_iframe), 4);
    /* "all" does not include the transports that must be named */
    assert_int_equal(comet_transport_usual()
                         & comet_transport_bit(&comet_transport_websocket),
                     0);
    assert_int_equal(comet_transport_usual() & 7, 7);
    assert_ptr_equal(comet_transport_find(comet_text("events")),
                     &comet_transport_events);
    assert_null(comet_transport_find(comet_text("event")));
    assert_null(comet_transport_find(comet_text("Events")));
    assert_null(comet_transport_find(comet_text("eventss")));
    assert_null(comet_transport_find(comet_text("clock")));
    assert_string_equal(comet_transport_names("or", pool),
                        "poll, events, iframe or websocket");
    apr_pool_destroy(pool);
    assert_string_equal(comet_transport_poll.name, "poll");
    assert_null(comet_transport_classic.name);
    assert_null(comet_transport_clock.name);
}

/* --- appending ----------------------------------------------------------- */

/* An answer is appended to a buffer, so one buffer can hold several answers. */
static void test_answers_append(void **state)
{
    comet_answer_t answer = { .format = &wire_plain, .cursor = 1 };
    comet_buffer_t buffer = { 0 };

    comet_transport_classic.encode(&buffer, &answer);
    comet_transport_classic.encode(&buffer, &answer);
    comet_buffer_add(&buffer, "", 1);
    assert_string_equal(buffer.data, "{\"msg\":\"\",\"timestamp\":1}"
                                     "{\"msg\":\"\",\"timestamp\":1}");
    comet_buffer_free(&buffer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_websocket),
        cmocka_unit_test(test_classic_message),
        cmocka_unit_test(test_classic_no_news),
        cmocka_unit_test(test_classic_never_skips),
        cmocka_unit_test(test_classic_invalid_utf8),
        cmocka_unit_test(test_poll_messages),
        cmocka_unit_test(test_poll_escapes_all_texts),
        cmocka_unit_test(test_poll_no_news),
        cmocka_unit_test(test_clock_opening),
        cmocka_unit_test(test_clock_tick),
        cmocka_unit_test(test_list),
        cmocka_unit_test(test_answers_append),
    };

    apr_initialize();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
