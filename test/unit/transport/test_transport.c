/* SPDX-License-Identifier: Apache-2.0 */
/* The wire formats, byte for byte. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <apr_general.h>
#include <cmocka.h>

#include "transport/transport.h"

#define NOW APR_INT64_C(1795229965123456)

static const comet_format_t escaping = { .escape = 1 }, plain = { .escape = 0 };

static comet_message_t *make(comet_timestamp_t timestamp, const char *author,
                             const char *body)
{
    comet_message_fields_t fields = {
        .timestamp = timestamp,
        .channel = comet_text("chat"),
        .author = comet_text(author),
        .body = comet_text(body),
    };
    comet_message_t *message = comet_message_create(&fields);

    assert_non_null(message);
    return message;
}

static void assert_answer(const comet_transport_t *transport,
                          const comet_answer_t *answer, const char *expected)
{
    comet_buffer_t buffer = { 0 };

    transport->encode(&buffer, answer);
    assert_false(buffer.failed);
    comet_buffer_add(&buffer, "", 1);
    assert_string_equal(buffer.data, expected);
    assert_int_equal(buffer.length, strlen(expected) + 1);
    comet_buffer_free(&buffer);
}

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
    comet_message_t *message = make(NOW, NULL, "a/b \"中\" <b>&'\n");
    comet_answer_t answer = {
        .messages = &message, .count = 1, .cursor = NOW, .format = &escaping
    };

    assert_answer(&comet_transport_classic, &answer,
                  "{\"msg\":\"a/b \\u0026quot;中\\u0026quot; "
                  "\\u0026lt;b\\u0026gt;\\u0026amp;\\u0026#39;\\n\","
                  "\"timestamp\":1795229965123456}");
    answer.format = &plain;
    assert_answer(&comet_transport_classic, &answer,
                  "{\"msg\":\"a/b \\\"中\\\" \\u003cb\\u003e\\u0026'\\n\","
                  "\"timestamp\":1795229965123456}");
    comet_message_unref(message);
}

static void test_classic_no_news(void **state)
{
    comet_answer_t answer = { .cursor = NOW, .format = &escaping };

    assert_answer(&comet_transport_classic, &answer,
                  "{\"msg\":\"\",\"timestamp\":1795229965123456}");
    answer.cursor = 0;
    assert_answer(&comet_transport_classic, &answer,
                  "{\"msg\":\"\",\"timestamp\":0}");
}

/* If there are more messages than an answer carries, it carries the first, and
 * its cursor points behind that one. */
static void test_classic_never_skips(void **state)
{
    comet_message_t *messages[] = { make(NOW, NULL, "first"),
                                    make(NOW + 1, NULL, "second") };
    comet_answer_t answer = {
        .messages = messages, .count = 2, .cursor = NOW + 1, .format = &escaping
    };

    assert_answer(&comet_transport_classic, &answer,
                  "{\"msg\":\"first\",\"timestamp\":1795229965123456}");
    comet_message_unref(messages[0]);
    comet_message_unref(messages[1]);
}

static void test_classic_invalid_utf8(void **state)
{
    comet_message_t *message = make(NOW, NULL, "<\xFF>");
    comet_answer_t answer = {
        .messages = &message, .count = 1, .cursor = NOW, .format = &escaping
    };

    assert_answer(&comet_transport_classic, &answer,
                  "{\"msg\":\"\\u0026lt;\xEF\xBF\xBD\\u0026gt;\","
                  "\"timestamp\":1795229965123456}");
    comet_message_unref(message);
}

/* --- poll ---------------------------------------------------------------- */

static void test_poll_messages(void **state)
{
    comet_message_t *messages[] = { make(NOW, NULL, "<b>1"),
                                    make(NOW + 7, "anna \"a\"", "2") };
    comet_answer_t answer = { .messages = messages,
                              .count = 2,
                              .cursor = NOW + 7,
                              .floor = NOW,
                              .format = &escaping };

    assert_answer(
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
        .format = &plain, .messages = &message, .count = 1, .cursor = 5
    };

    assert_non_null(message);
    assert_answer(&comet_transport_poll, &answer,
                  "{\"messages\":[{\"timestamp\":5,\"channel\":\"a\\u003cb\","
                  "\"type\":\"c\\\"d\",\"author\":\"e\\u0026f\","
                  "\"body\":\"g\\u003eh\"}],\"timestamp\":5,\"gap\":false}");
    comet_message_unref(message);
}

static void test_poll_no_news(void **state)
{
    comet_answer_t answer = { .format = &plain, .cursor = 0 };

    assert_answer(&comet_transport_poll, &answer,
                  "{\"messages\":[],\"timestamp\":0,\"gap\":false}");
    answer.cursor = COMET_TIMESTAMP_MAX;
    answer.floor = NOW;
    assert_answer(
        &comet_transport_poll, &answer,
        "{\"messages\":[],\"timestamp\":9007199254740991,\"gap\":true}");
    answer.rest = NOW; /* from a search that was cut short */
    answer.floor = 0;
    assert_answer(&comet_transport_poll, &answer,
                  "{\"messages\":[],\"timestamp\":9007199254740991,"
                  "\"gap\":false,\"before\":1795229965123456}");
}

/* --- clock --------------------------------------------------------------- */

/* The original article's listing, whose lines are joined. */
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
    comet_answer_t answer = { .format = &plain, .cursor = NOW };
    comet_buffer_t tick = { 0 };

    comet_transport_clock.open(&buffer, &answer);
    assert_false(buffer.failed);
    comet_transport_clock.encode(&tick, &answer);
    /* the page, and the first tick at once */
    assert_int_equal(buffer.length, 811 + tick.length);
    assert_memory_equal(buffer.data + 811, tick.data, tick.length);
    comet_buffer_free(&tick);
    buffer.data[811] = '\0';
    assert_null(strchr(buffer.data, '\r'));
    assert_null(strchr(buffer.data, '\t'));
    /* comments end with their lines */
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
        make(APR_INT64_C(1795229964000000), NULL, "x"),
        make(APR_INT64_C(1795229965999999), NULL, "y")
    };
    comet_answer_t answer = {
        .format = &plain, .messages = messages, .count = 2, .cursor = 0
    };
    const char *tick = "<script type=\"text/javascript\">"
                       "comet.printServerTime(1795229965);</script>";

    assert_int_equal(strlen(tick), 74);
    assert_answer(&comet_transport_clock, &answer, tick);
    answer = (comet_answer_t){ .cursor = NOW };
    assert_answer(&comet_transport_clock, &answer, tick);
    comet_message_unref(messages[0]);
    comet_message_unref(messages[1]);
}

/* --- event streams ------------------------------------------------------- */

static void assert_written(comet_buffer_t *buffer, const char *expected)
{
    assert_false(buffer->failed);
    comet_buffer_add(buffer, "", 1);
    assert_string_equal(buffer->data, expected);
    assert_int_equal(buffer->length, strlen(expected) + 1);
    comet_buffer_free(buffer);
}

static void assert_opens(const comet_transport_t *transport,
                         const comet_answer_t *answer, const char *expected)
{
    comet_buffer_t buffer = { 0 };

    transport->open(&buffer, answer);
    assert_written(&buffer, expected);
}

/* Check how an event stream encodes a message with this type and body. */
static void assert_event(const char *type, const char *body,
                         const char *expected)
{
    comet_message_fields_t fields = {
        .timestamp = NOW,
        .channel = comet_text("chat"),
        .type = comet_text(type),
        .body = comet_text(body),
    };
    comet_message_t *message = comet_message_create(&fields);
    comet_answer_t answer = {
        .messages = &message, .count = 1, .cursor = NOW, .format = &plain
    };

    assert_non_null(message);
    assert_answer(&comet_transport_events, &answer, expected);
    comet_message_unref(message);
}

#define ID "id: 1795229965123456\n\n"

static void test_events_names(void **state)
{
    assert_string_equal(comet_transport_events.name, "events");
    assert_string_equal(comet_transport_events.content_type,
                        "text/event-stream");
    assert_int_equal(comet_transport_events.gauge, COMET_METRIC_waiting_events);
    assert_true(comet_transport_events.streams);
    assert_string_equal(comet_transport_events.heartbeat, ":\n\n");
    assert_null(comet_transport_events.policy);
}

static void test_events_opening(void **state)
{
    comet_answer_t answer = { .format = &plain, .cursor = NOW };

    assert_opens(&comet_transport_events, &answer, "retry: 1000\n" ID);
    answer.floor = NOW + 7;
    assert_opens(&comet_transport_events, &answer,
                 "retry: 1000\n" ID
                 "event: gap\ndata: {\"since\":1795229965123456,"
                 "\"floor\":1795229965123463}\n\n");
    answer = (comet_answer_t){ .format = &plain };
    assert_opens(&comet_transport_events, &answer, "retry: 1000\nid: 0\n\n");
}

/* A cursor of another system is a gap of unknown size, in an empty store too. */
static void test_events_unknown_cursor(void **state)
{
    comet_answer_t answer = { .format = &plain, .cursor = NOW };

    answer.is_unknown = 1;
    assert_opens(&comet_transport_events, &answer,
                 "retry: 1000\n" ID "event: gap\ndata: {\"since\":null,"
                 "\"floor\":1795229965123456}\n\n");
    answer.floor = NOW - 7;
    assert_opens(&comet_transport_events, &answer,
                 "retry: 1000\n" ID "event: gap\ndata: {\"since\":null,"
                 "\"floor\":1795229965123456}\n\n");
    answer = (comet_answer_t){ .format = &plain, .is_unknown = 1 };
    assert_opens(&comet_transport_events, &answer,
                 "retry: 1000\nid: 0\n\nevent: gap\n"
                 "data: {\"since\":null,\"floor\":0}\n\n");
}

static void test_events_closing(void **state)
{
    comet_buffer_t buffer = { 0 };

    comet_transport_events.close(&buffer, NULL, 1234);
    assert_written(&buffer, "retry: 1234\n\n");
}

/* The reason is a comment, whatever lines it has. */
static void test_events_turning_away(void **state)
{
    comet_buffer_t buffer = { 0 };

    comet_transport_events.close(&buffer, "too many", 1234);
    assert_written(&buffer, ": too many\nretry: 1234\n\n");
    comet_transport_events.close(&buffer, "a\nid: 5\r\n\ndata: b", 7);
    assert_written(&buffer, ": a\n: id: 5\n: \n: data: b\nretry: 7\n\n");
}

static void test_events_messages(void **state)
{
    comet_message_t *messages[] = { make(NOW, "anna", "<b>&1"),
                                    make(NOW + 7, NULL, "2") };
    comet_answer_t answer = {
        .messages = messages, .count = 2, .cursor = NOW + 7, .format = &escaping
    };

    assert_answer(&comet_transport_events, &answer,
                  "data: <b>&1\n" ID "data: 2\nid: 1795229965123463\n\n");
    answer.count = 0;
    assert_answer(&comet_transport_events, &answer, "");
    comet_message_unref(messages[0]);
    comet_message_unref(messages[1]);
}

/* Each line of a body becomes a line of data; what looks like a field is not
 * one. */
static void test_events_lines(void **state)
{
    assert_event("message", "x", "data: x\n" ID);
    assert_event("tick", "x", "event: tick\ndata: x\n" ID);
    assert_event("Message", "x", "event: Message\ndata: x\n" ID);
    assert_event("", "x", "data: x\n" ID); /* the default */
    assert_event("message", " x", "data:  x\n" ID);
    assert_event(" t", "x", "event:  t\ndata: x\n" ID);
    assert_event("message", "a\nb", "data: a\ndata: b\n" ID);
    assert_event("message", "a\rb", "data: a\ndata: b\n" ID);
    assert_event("message", "a\r\nb", "data: a\ndata: b\n" ID);
    assert_event("message", "a\n\rb", "data: a\ndata: \ndata: b\n" ID);
    assert_event("message", "a\r\r\nb", "data: a\ndata: \ndata: b\n" ID);
    assert_event("message", "\n", "data: \ndata: \n" ID);
    assert_event("message", "\r\n", "data: \ndata: \n" ID);
    assert_event("message", "a\n", "data: a\ndata: \n" ID);
    assert_event("message", "\nid: 9\n\nevent: x\n:",
                 "data: \ndata: id: 9\ndata: \ndata: event: x\n"
                 "data: :\n" ID);
    /* these end a line in JavaScript, but not in an event stream */
    assert_event("message",
                 "a\xE2\x80\xA8"
                 "b",
                 "data: a\xE2\x80\xA8"
                 "b\n" ID);
    assert_event("message", "\xEF\xBB\xBFx", "data: \xEF\xBB\xBFx\n" ID);
}

/* Texts that another program has put into the file, against the rules. */
static void test_events_wrong_bytes(void **state)
{
    assert_event("t\nid: 1", "x", "event: t\nevent: id: 1\ndata: x\n" ID);
    assert_event("\xFF", "a\xC3\nb\xE4\xB8",
                 "event: \xEF\xBF\xBD\ndata: a\xEF\xBF\xBD\n"
                 "data: b\xEF\xBF\xBD\n" ID);
    assert_event("message", "\xED\xA0\x80",
                 "data: \xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\n" ID);
}

static void test_events_json(void **state)
{
    static const comet_format_t json = { .json = 1 };
    comet_message_fields_t fields = {
        .timestamp = NOW,
        .channel = comet_text("chat"),
        .type = comet_text("tick"),
        .author = comet_text("anna"),
        .body = comet_text("a\r\nb</script>\xE2\x80\xA9"),
    };
    comet_message_t *message = comet_message_create(&fields);
    comet_answer_t answer = {
        .messages = &message, .count = 1, .cursor = NOW, .format = &json
    };

    assert_answer(&comet_transport_events, &answer,
                  "data: {\"timestamp\":1795229965123456,"
                  "\"channel\":\"chat\",\"type\":\"tick\","
                  "\"author\":\"anna\","
                  "\"body\":\"a\\r\\nb\\u003c/script\\u003e\\u2029\"}\n" ID);
    comet_message_unref(message);
}

/* The endpoint's prefix is never shown. */
static void test_hidden_prefix(void **state)
{
    static const comet_format_t hiding = { .json = 1, .hidden_bytes = 3 };
    comet_message_t *message = make(1, NULL, "x");
    comet_answer_t answer = {
        .messages = &message, .count = 1, .cursor = 1, .format = &hiding
    };

    assert_answer(&comet_transport_events, &answer,
                  "data: {\"timestamp\":1,\"channel\":\"t\","
                  "\"type\":\"message\",\"author\":null,\"body\":\"x\"}\n"
                  "id: 1\n\n");
    assert_answer(&comet_transport_poll, &answer,
                  "{\"messages\":[{\"timestamp\":1,\"channel\":\"t\","
                  "\"type\":\"message\",\"author\":null,\"body\":\"x\"}],"
                  "\"timestamp\":1,\"gap\":false}");
    assert_answer(&comet_transport_iframe, &answer,
                  "<script>comet({\"timestamp\":1,\"channel\":\"t\","
                  "\"type\":\"message\",\"author\":null,\"body\":\"x\"});"
                  "</script>\n");
    comet_message_unref(message);
}

/* --- forever-iframes ----------------------------------------------------- */

static const comet_format_t calling = { .callback = "comet.receive" };

static void test_iframe_names(void **state)
{
    assert_string_equal(comet_transport_iframe.name, "iframe");
    assert_string_equal(comet_transport_iframe.content_type,
                        "text/html; charset=utf-8");
    assert_int_equal(comet_transport_iframe.gauge, COMET_METRIC_waiting_iframe);
    assert_true(comet_transport_iframe.streams);
    assert_string_equal(comet_transport_iframe.heartbeat, "\n");
    assert_non_null(
        strstr(comet_transport_iframe.policy, "frame-ancestors 'self'"));
    assert_non_null(
        strstr(comet_transport_iframe.policy, "default-src 'none'"));
    assert_null(comet_transport_iframe.close);
}

/* Check the beginning of the page: its script, and white space for old
 * browsers. */
static void check_page(const comet_buffer_t *page, size_t length)
{
    char *text = strndup(page->data, length);
    const char *script = strstr(text, "<script>"), *end;

    assert_ptr_equal(strstr(text, "<!DOCTYPE html>\n<html>"), text);
    assert_non_null(strstr(text, "<meta charset=\"utf-8\">"));
    assert_non_null(script);
    end = strstr(script, "</script>\n");
    assert_non_null(end);
    assert_null(strstr(script + 1, "<script>"));
    assert_non_null(strstr(script, "\"comet.receive\".split(\".\")"));
    end += strlen("</script>\n");
    assert_in_range(strlen(end), 1024, 2048);
    assert_int_equal(strspn(end, " \n"), strlen(end));
    free(text);
}

static void test_iframe_opening(void **state)
{
    static const char gap[] =
        "<script>comet({\"type\":\"gap\",\"since\":1795229965123456,"
        "\"floor\":1795229965123463});</script>\n";
    comet_answer_t answer = { .format = &calling, .cursor = NOW };
    comet_buffer_t page = { 0 }, with_gap = { 0 };

    comet_transport_iframe.open(&page, &answer);
    assert_false(page.failed);
    check_page(&page, page.length);
    answer.floor = NOW + 7;
    comet_transport_iframe.open(&with_gap, &answer);
    assert_int_equal(with_gap.length, page.length + strlen(gap));
    assert_memory_equal(with_gap.data, page.data, page.length);
    assert_memory_equal(with_gap.data + page.length, gap, strlen(gap));
    comet_buffer_free(&page);
    comet_buffer_free(&with_gap);
}

static void test_iframe_messages(void **state)
{
    comet_message_t *messages[] = { make(NOW, "<anna>",
                                         "</script><!--\xE2\x80\xA8'\"\\\r\n"),
                                    make(NOW + 7, NULL, "a\xFF") };
    comet_answer_t answer = {
        .messages = messages, .count = 2, .cursor = NOW + 7, .format = &calling
    };

    assert_answer(&comet_transport_iframe, &answer,
                  "<script>comet({\"timestamp\":1795229965123456,"
                  "\"channel\":\"chat\",\"type\":\"message\","
                  "\"author\":\"\\u003canna\\u003e\",\"body\":"
                  "\"\\u003c/script\\u003e\\u003c!--\\u2028'\\\"\\\\\\r\\n\"}"
                  ");</script>\n"
                  "<script>comet({\"timestamp\":1795229965123463,"
                  "\"channel\":\"chat\",\"type\":\"message\","
                  "\"author\":null,\"body\":\"a\xEF\xBF\xBD\"});</script>\n");
    answer.count = 0;
    assert_answer(&comet_transport_iframe, &answer, "");
    comet_message_unref(messages[0]);
    comet_message_unref(messages[1]);
}

/* --- all ----------------------------------------------------------------- */

/* A transport that clients may choose has a name and a bit of its own, and
 * precedes all others. */
static void test_list(void **state)
{
    apr_pool_t *pool;

    apr_pool_create(&pool, NULL);
    assert_ptr_equal(comet_transports[0], &comet_transport_poll);
    assert_ptr_equal(comet_transports[1], &comet_transport_events);
    assert_ptr_equal(comet_transports[2], &comet_transport_iframe);
    assert_int_equal(comet_transport_bit(&comet_transport_poll), 1);
    assert_int_equal(comet_transport_bit(&comet_transport_iframe), 4);
    assert_ptr_equal(comet_transport_find(comet_text("Events")),
                     &comet_transport_events);
    assert_null(comet_transport_find(comet_text("event")));
    assert_null(comet_transport_find(comet_text("eventss")));
    assert_null(comet_transport_find(comet_text("clock")));
    assert_string_equal(comet_transport_names("or", pool),
                        "poll, events or iframe");
    apr_pool_destroy(pool);
    assert_string_equal(comet_transport_poll.name, "poll");
    assert_null(comet_transport_classic.name);
    assert_null(comet_transport_clock.name);
}

/* --- appending ----------------------------------------------------------- */

/* Answers append: several can share a buffer. */
static void test_answers_append(void **state)
{
    comet_answer_t answer = { .format = &plain, .cursor = 1 };
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
        cmocka_unit_test(test_classic_message),
        cmocka_unit_test(test_classic_no_news),
        cmocka_unit_test(test_classic_never_skips),
        cmocka_unit_test(test_classic_invalid_utf8),
        cmocka_unit_test(test_poll_messages),
        cmocka_unit_test(test_poll_escapes_all_texts),
        cmocka_unit_test(test_poll_no_news),
        cmocka_unit_test(test_clock_opening),
        cmocka_unit_test(test_clock_tick),
        cmocka_unit_test(test_events_names),
        cmocka_unit_test(test_events_opening),
        cmocka_unit_test(test_events_unknown_cursor),
        cmocka_unit_test(test_events_closing),
        cmocka_unit_test(test_events_turning_away),
        cmocka_unit_test(test_events_messages),
        cmocka_unit_test(test_events_lines),
        cmocka_unit_test(test_events_wrong_bytes),
        cmocka_unit_test(test_events_json),
        cmocka_unit_test(test_hidden_prefix),
        cmocka_unit_test(test_iframe_names),
        cmocka_unit_test(test_iframe_opening),
        cmocka_unit_test(test_iframe_messages),
        cmocka_unit_test(test_list),
        cmocka_unit_test(test_answers_append),
    };

    apr_initialize();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
