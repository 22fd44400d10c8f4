/* SPDX-License-Identifier: Apache-2.0 */
/* Each allocation fails in turn.  Values, tables and encoders report the
 * failure, keep their contents, and work again afterwards. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "faults.h"

#include <apr_general.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hub/channel.h"
#include "wire/h2_window.h"
#include "wire/ndjson.h"
#include "transport/transport.h"

static apr_pool_t *pool;

/* --- Values -------------------------------------------------------------- */

static apr_status_t select_some(void)
{
    const comet_text_t names[] = { { "b", 1 }, { "a", 1 }, { "b", 1 } };
    const comet_text_t prefix = { "room/", 5 };
    comet_selection_t *selection = comet_selection_create(names, 3, &prefix, 1);
    comet_text_t name = { "a", 1 };

    if (!selection) {
        return APR_ENOMEM;
    }
    faults_must(selection->name_count == 2 && selection->prefix_count == 1);
    faults_must(comet_selection_match(selection, name, comet_message_hash(name))
                == COMET_SELECTION_NAMED);
    comet_selection_unref(selection);
    return APR_SUCCESS;
}

static apr_status_t make_message(void)
{
    comet_message_t *message = kit_make("a", "text");

    if (!message) {
        return APR_ENOMEM;
    }
    faults_must(strcmp(message->body.data, "text") == 0);
    comet_message_unref(message);
    return APR_SUCCESS;
}

static void test_values(void **state)
{
    faults_run(&(faults_scenario_t){
        .name = "selection",
        .kinds = FAULTS_MEMORY,
        .act = select_some,
    });
    faults_run(&(faults_scenario_t){
        .name = "message",
        .kinds = FAULTS_MEMORY,
        .act = make_message,
    });
}

/* --- The table of channels ------------------------------------------------ */

#define PARTS 700 /* makes the table grow twice */

static comet_channels_t channels;
static comet_selection_t *one_room, *many;
static comet_channel_t *before, *whole;
static const char source = 0;

static void make_table(void)
{
    faults_must(comet_channels_init(&channels) == APR_SUCCESS);
    before = comet_channels_enter(&channels, &source, one_room);
    faults_must(before != NULL);
    whole = NULL;
}

static apr_status_t enter_many(void)
{
    whole = comet_channels_enter(&channels, &source, many);
    return whole ? APR_SUCCESS : APR_ENOMEM;
}

static void count_news(void *baton, comet_channel_t *channel)
{
    *(int *)baton += channel == whole ? 1 : 100;
}

/* After a success the table also has the new entry; after a failure it has only
 * the old ones. */
static void check_table(apr_status_t status)
{
    comet_text_t name = one_room->names[0].text;
    int news = 0;

    comet_channels_reach(&channels, &source, name, one_room->names[0].hash,
                         count_news, &news);
    if (status == APR_SUCCESS) {
        faults_must(channels.count == PARTS + 2 && news == 202);
        faults_must(channels.prefix_count == 1 && before->members == 2);
        comet_channels_exit(&channels, whole);
        whole = NULL;
    }
    else {
        faults_must(news == 100);
    }
    faults_must(channels.count == 1 && channels.prefix_count == 0);
    faults_must(before->members == 1 && before->part_count == 0);
    faults_must(APR_RING_EMPTY(&before->wholes, comet_channel_link_t, link));
}

static void free_table(void)
{
    comet_channels_exit(&channels, before);
    faults_must(channels.count == 0);
    comet_channels_free(&channels);
}

static apr_status_t init_table(void)
{
    apr_status_t status = comet_channels_init(&channels);

    faults_must(channels.count == 0);
    comet_channels_free(&channels);
    return status;
}

static void test_channels(void **state)
{
    static char texts[PARTS][24];
    comet_text_t names[PARTS], prefix = { "room/", 5 };
    int i;

    for (i = 0; i < PARTS; i++) {
        snprintf(texts[i], sizeof(texts[i]), "room/%d", i);
        names[i] = comet_text(texts[i]);
    }
    one_room = comet_selection_create(names + 7, 1, NULL, 0);
    many = comet_selection_create(names, PARTS, &prefix, 1);
    faults_run(&(faults_scenario_t){
        .name = "table",
        .kinds = FAULTS_MEMORY,
        .act = init_table,
    });
    faults_run(&(faults_scenario_t){
        .name = "channels",
        .kinds = FAULTS_MEMORY,
        .prepare = make_table,
        .act = enter_many,
        .check = check_table,
        .finish = free_table,
    });
    comet_selection_unref(one_room);
    comet_selection_unref(many);
}

/* --- Encoders ------------------------------------------------------------ */

static const comet_transport_t *transport;
static comet_format_t format;
static comet_message_t *two[2];
static comet_buffer_t out, wanted;

static void encode_into(comet_buffer_t *into)
{
    comet_answer_t answer = {
        .format = &format, .messages = two, .count = 2, .cursor = 2, .floor = 1
    };

    if (transport->open) {
        transport->open(into, &answer);
    }
    transport->encode(into, &answer);
    if (transport->close) {
        transport->close(into, "no", 100);
    }
}

static apr_status_t encode(void)
{
    comet_buffer_clear(&out); /* also resets out.failed */
    encode_into(&out);
    return out.failed ? APR_ENOMEM : APR_SUCCESS;
}

/* The output is either complete or a prefix of the complete output. */
static void check_bytes(apr_status_t status)
{
    faults_must(out.length <= wanted.length);
    faults_must(status != APR_SUCCESS || out.length == wanted.length);
    faults_must(!out.length || memcmp(out.data, wanted.data, out.length) == 0);
}

static void free_bytes(void)
{
    comet_buffer_free(&out);
}

static void test_encoders(void **state)
{
    static char body[20000];
    apr_size_t i;

    for (i = 0; i < sizeof(body) - 1; i++) {
        body[i] = "ab<\"\n\xC3\xA4"[i % 7];
    }
    two[0] = kit_make("a/b", "short");
    two[1] = kit_make("a/b", body);
    for (i = 0; i < (apr_size_t)2 * COMET_TRANSPORT_COUNT; i++) {
        transport = comet_transports[i / 2];
        format = (comet_format_t){ .escape = 1,
                                   .json = i % 2,
                                   .callback = "comet.receive",
                                   .hidden_bytes = 2 };
        encode_into(&wanted);
        faults_must(!wanted.failed && wanted.length > 0);
        faults_run(&(faults_scenario_t){
            .name = transport->name ? transport->name : "an original",
            .kinds = FAULTS_MEMORY,
            .act = encode,
            .check = check_bytes,
            .finish = free_bytes,
        });
        comet_buffer_free(&wanted);
    }
    comet_message_unref(two[0]);
    comet_message_unref(two[1]);
}

/* --- Lines --------------------------------------------------------------- */

/* This text is longer than the first buffer of jansson's scanner. */
#define LONG "0123456789012345678901234567890123456789"

static apr_status_t parse_lines(void)
{
    comet_ndjson_t lines;
    const char *said;

    said =
        comet_ndjson_parse(&lines,
                           comet_text("{\"body\":\"one\"}\n"
                                      "{\"body\":\"" LONG "\",\"type\":\"t\","
                                      "\"channel\":\"a/b\"}\n"),
                           100, pool);
    if (said) {
        faults_must(lines.no_memory && strncmp(said, "line ", 5) == 0);
        return APR_ENOMEM;
    }
    faults_must(lines.count == 2
                && comet_text_equal(lines.list[0].body, comet_text("one"))
                && comet_text_equal(lines.list[1].body, comet_text(LONG))
                && comet_text_equal(lines.list[1].channel, comet_text("a/b")));
    return APR_SUCCESS;
}

/* If memory runs out, all lines are refused, not just some. */
static void test_lines(void **state)
{
    comet_ndjson_init();
    faults_run(&(faults_scenario_t){
        .name = "lines",
        .kinds = FAULTS_MEMORY,
        .act = parse_lines,
    });
}

/* --- HTTP/2 -------------------------------------------------------------- */

/* A stream for which there is no memory is not tracked; the others are
 * unchanged. */
static apr_status_t open_streams(void)
{
    comet_h2_window_t window;
    apr_uint32_t stream;
    apr_size_t unknown = 0;

    comet_h2_window_init(&window);
    for (stream = 1; stream < 40; stream += 2) {
        comet_h2_window_open(&window, stream, 0);
        unknown += !comet_h2_window_take(&window, stream);
        faults_must(window.count + unknown == (stream + 1) / 2);
    }
    for (stream = 1; stream < 40; stream += 2) {
        const comet_h2_stream_t *found = comet_h2_window_find(&window, stream);

        faults_must(!found
                    || (found->ours && found->credit == COMET_H2_WINDOW_FIRST));
    }
    comet_h2_window_free(&window);
    return unknown ? APR_ENOMEM : APR_SUCCESS;
}

static apr_status_t make_frames(void)
{
    static const char text[1000] = { 0 };

    comet_buffer_clear(&out);
    comet_h2_frame_add_data(&out, 1, (comet_text_t){ text, sizeof(text) }, 300,
                            1);
    comet_h2_frame_add_reset(&out, 3, COMET_H2_CANCEL);
    comet_h2_frame_add_update(&out, 0, 4096);
    return out.failed ? APR_ENOMEM : APR_SUCCESS;
}

static void test_h2(void **state)
{
    faults_run(&(faults_scenario_t){
        .name = "streams",
        .kinds = FAULTS_MEMORY,
        .act = open_streams,
    });
    make_frames();
    wanted = out;
    out = (comet_buffer_t){ .data = NULL };
    faults_run(&(faults_scenario_t){
        .name = "frames",
        .kinds = FAULTS_MEMORY,
        .act = make_frames,
        .check = check_bytes,
        .finish = free_bytes,
    });
    comet_buffer_free(&wanted);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values),   cmocka_unit_test(test_channels),
        cmocka_unit_test(test_encoders), cmocka_unit_test(test_lines),
        cmocka_unit_test(test_h2),
    };
    int failed;

    faults_install();
    apr_initialize();
    apr_pool_create(&pool, NULL);
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    apr_pool_destroy(pool);
    apr_terminate();
    return failed;
}
