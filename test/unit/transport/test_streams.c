/* SPDX-License-Identifier: Apache-2.0 */
/* Event streams and the forever iframe, byte for byte. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "wire_kit.h"

#include <apr_general.h>
#include <stdlib.h>
#include <string.h>

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
        .timestamp = WIRE_NOW,
        .channel = comet_text("chat"),
        .type = comet_text(type),
        .body = comet_text(body),
    };
    comet_message_t *message = comet_message_create(&fields);
    comet_answer_t answer = { .messages = &message,
                              .count = 1,
                              .cursor = WIRE_NOW,
                              .format = &wire_plain };

    assert_non_null(message);
    wire_check_answer(&comet_transport_events, &answer, expected);
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
    comet_answer_t answer = { .format = &wire_plain, .cursor = WIRE_NOW };

    assert_opens(&comet_transport_events, &answer, "retry: 1000\n" ID);
    answer.floor = WIRE_NOW + 7;
    assert_opens(&comet_transport_events, &answer,
                 "retry: 1000\n" ID
                 "event: gap\ndata: {\"since\":1795229965123456,"
                 "\"floor\":1795229965123463}\n\n");
    answer = (comet_answer_t){ .format = &wire_plain };
    assert_opens(&comet_transport_events, &answer, "retry: 1000\nid: 0\n\n");
}

/* If the cursor comes from another system, the client is told of a gap of
 * unknown size, even if the store is empty. */
static void test_events_unknown_cursor(void **state)
{
    comet_answer_t answer = { .format = &wire_plain, .cursor = WIRE_NOW };

    answer.is_unknown = 1;
    assert_opens(&comet_transport_events, &answer,
                 "retry: 1000\n" ID "event: gap\ndata: {\"since\":null,"
                 "\"floor\":1795229965123456}\n\n");
    answer.floor = WIRE_NOW - 7;
    assert_opens(&comet_transport_events, &answer,
                 "retry: 1000\n" ID "event: gap\ndata: {\"since\":null,"
                 "\"floor\":1795229965123456}\n\n");
    answer = (comet_answer_t){ .format = &wire_plain, .is_unknown = 1 };
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

/* The reason is sent as a comment, even if it has several lines. */
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
    comet_message_t *messages[] = { wire_message(WIRE_NOW, "anna", "<b>&1"),
                                    wire_message(WIRE_NOW + 7, NULL, "2") };
    comet_answer_t answer = { .messages = messages,
                              .count = 2,
                              .cursor = WIRE_NOW + 7,
                              .format = &wire_escaping };

    wire_check_answer(&comet_transport_events, &answer,
                      "data: <b>&1\n" ID "data: 2\nid: 1795229965123463\n\n");
    answer.count = 0;
    wire_check_answer(&comet_transport_events, &answer, "");
    comet_message_unref(messages[0]);
    comet_message_unref(messages[1]);
}

/* Each line of a body becomes a line of data.  A line that looks like a field
 * does not become one. */
static void test_events_lines(void **state)
{
    assert_event("message", "x", "data: x\n" ID);
    assert_event("tick", "x", "event: tick\ndata: x\n" ID);
    assert_event("Message", "x", "event: Message\ndata: x\n" ID);
    assert_event("", "x", "data: x\n" ID); /* an empty type is the default
                                            * type */
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
    /* these characters end a line in JavaScript, but not in an event stream */
    assert_event("message",
                 "a\xE2\x80\xA8"
                 "b",
                 "data: a\xE2\x80\xA8"
                 "b\n" ID);
    assert_event("message", "\xEF\xBB\xBFx", "data: \xEF\xBB\xBFx\n" ID);
}

/* Another program may have put invalid texts into the store. */
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
        .timestamp = WIRE_NOW,
        .channel = comet_text("chat"),
        .type = comet_text("tick"),
        .author = comet_text("anna"),
        .body = comet_text("a\r\nb</script>\xE2\x80\xA9"),
    };
    comet_message_t *message = comet_message_create(&fields);
    comet_answer_t answer = {
        .messages = &message, .count = 1, .cursor = WIRE_NOW, .format = &json
    };

    wire_check_answer(
        &comet_transport_events, &answer,
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
    comet_message_t *message = wire_message(1, NULL, "x");
    comet_answer_t answer = {
        .messages = &message, .count = 1, .cursor = 1, .format = &hiding
    };

    wire_check_answer(&comet_transport_events, &answer,
                      "data: {\"timestamp\":1,\"channel\":\"t\","
                      "\"type\":\"message\",\"author\":null,\"body\":\"x\"}\n"
                      "id: 1\n\n");
    wire_check_answer(&comet_transport_poll, &answer,
                      "{\"messages\":[{\"timestamp\":1,\"channel\":\"t\","
                      "\"type\":\"message\",\"author\":null,\"body\":\"x\"}],"
                      "\"timestamp\":1,\"gap\":false}");
    wire_check_answer(&comet_transport_iframe, &answer,
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

/* Check the beginning of the page: its script, and the white space that old
 * browsers need. */
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
    comet_answer_t answer = { .format = &calling, .cursor = WIRE_NOW };
    comet_buffer_t page = { 0 }, with_gap = { 0 };

    comet_transport_iframe.open(&page, &answer);
    assert_false(page.failed);
    check_page(&page, page.length);
    answer.floor = WIRE_NOW + 7;
    comet_transport_iframe.open(&with_gap, &answer);
    assert_int_equal(with_gap.length, page.length + strlen(gap));
    assert_memory_equal(with_gap.data, page.data, page.length);
    assert_memory_equal(with_gap.data + page.length, gap, strlen(gap));
    comet_buffer_free(&page);
    comet_buffer_free(&with_gap);
}

static void test_iframe_messages(void **state)
{
    comet_message_t *messages[] = {
        wire_message(WIRE_NOW, "<anna>", "</script><!--\xE2\x80\xA8'\"\\\r\n"),
        wire_message(WIRE_NOW + 7, NULL, "a\xFF")
    };
    comet_answer_t answer = { .messages = messages,
                              .count = 2,
                              .cursor = WIRE_NOW + 7,
                              .format = &calling };

    wire_check_answer(
        &comet_transport_iframe, &answer,
        "<script>comet({\"timestamp\":1795229965123456,"
        "\"channel\":\"chat\",\"type\":\"message\","
        "\"author\":\"\\u003canna\\u003e\",\"body\":"
        "\"\\u003c/script\\u003e\\u003c!--\\u2028'\\\"\\\\\\r\\n\"}"
        ");</script>\n"
        "<script>comet({\"timestamp\":1795229965123463,"
        "\"channel\":\"chat\",\"type\":\"message\","
        "\"author\":null,\"body\":\"a\xEF\xBF\xBD\"});</script>\n");
    answer.count = 0;
    wire_check_answer(&comet_transport_iframe, &answer, "");
    comet_message_unref(messages[0]);
    comet_message_unref(messages[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
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
    };

    apr_initialize();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
