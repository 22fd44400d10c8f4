/* SPDX-License-Identifier: Apache-2.0 */
/* WebSocket frames, checked with wslay as the client. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <apr_general.h>
#include <wslay/wslay.h>

#include "wire/websocket.h"

#define MOST_BYTES 70000

static apr_pool_t *pool;

/* --- a client: wslay ------------------------------------------------------- */

/* A conversation between a client and our reader. */
typedef struct talk_t {
    wslay_event_context_ptr client;
    comet_buffer_t to_server, to_client; /* bytes in transit */
    size_t taken; /* how much of to_client the client has read */
    comet_buffer_t
        heard; /* the texts that arrived, each followed by a line feed */
    int pongs, closes, code;
    comet_websocket_reader_t *reader;
    apr_status_t status;
} talk_t;

static ssize_t client_send(wslay_event_context_ptr context, const uint8_t *data,
                           size_t length, int flags, void *baton)
{
    talk_t *talk = baton;

    comet_buffer_add(&talk->to_server, (const char *)data, length);
    return (ssize_t)length;
}

static ssize_t client_recv(wslay_event_context_ptr context, uint8_t *data,
                           size_t length, int flags, void *baton)
{
    talk_t *talk = baton;
    size_t left = talk->to_client.length - talk->taken;

    if (!left) {
        wslay_event_set_error(context, WSLAY_ERR_WOULDBLOCK);
        return -1;
    }
    length = length < left ? length : left;
    memcpy(data, talk->to_client.data + talk->taken, length);
    talk->taken += length;
    return (ssize_t)length;
}

static int client_mask(wslay_event_context_ptr context, uint8_t *mask,
                       size_t length, void *baton)
{
    memset(mask, 0x5a, length);
    return 0;
}

static void client_heard(wslay_event_context_ptr context,
                         const struct wslay_event_on_msg_recv_arg *message,
                         void *baton)
{
    talk_t *talk = baton;

    if (message->opcode == WSLAY_PONG) {
        talk->pongs++;
    }
    else if (message->opcode == WSLAY_CONNECTION_CLOSE) {
        talk->closes++;
        talk->code = message->status_code;
    }
    else if (message->opcode == WSLAY_TEXT_FRAME) {
        comet_buffer_add(&talk->heard, (const char *)message->msg,
                         message->msg_length);
        comet_buffer_puts(&talk->heard, "\n");
    }
}

static void note_text(void *baton, comet_text_t text)
{
    talk_t *talk = baton;

    comet_buffer_add(&talk->heard, text.data, text.length);
    comet_buffer_puts(&talk->heard, "\n");
}

static void begin(talk_t *talk)
{
    static const struct wslay_event_callbacks callbacks = {
        .recv_callback = client_recv,
        .send_callback = client_send,
        .genmask_callback = client_mask,
        .on_msg_recv_callback = client_heard,
    };

    *talk = (talk_t){ .status = APR_SUCCESS };
    assert_int_equal(
        wslay_event_context_client_init(&talk->client, &callbacks, talk), 0);
}

static void end(talk_t *talk)
{
    wslay_event_context_free(talk->client);
    comet_websocket_free(talk->reader);
    comet_buffer_free(&talk->to_server);
    comet_buffer_free(&talk->to_client);
    comet_buffer_free(&talk->heard);
}

/* Let the server read the bytes in transit, in pieces. */
static void deliver(talk_t *talk, size_t piece)
{
    comet_websocket_sink_t sink = { .text = note_text,
                                    .baton = talk,
                                    .most_bytes = MOST_BYTES,
                                    .replies = &talk->to_client };
    size_t at;

    for (at = 0; at < talk->to_server.length && talk->status == APR_SUCCESS;
         at += piece) {
        size_t left = talk->to_server.length - at;
        size_t length = piece < left ? piece : left;
        char *exact = malloc(length); /* an exact copy, so that the sanitizer
                                       * notices reads beyond its end */

        memcpy(exact, talk->to_server.data + at, length);
        talk->status = comet_websocket_feed(&talk->reader, &sink,
                                            (comet_text_t){ exact, length });
        free(exact);
    }
    comet_buffer_clear(&talk->to_server);
    assert_int_equal(wslay_event_recv(talk->client), 0);
}

static void client_says(talk_t *talk, uint8_t opcode, const char *text,
                        size_t length)
{
    struct wslay_event_msg message = { opcode, (const uint8_t *)text, length };

    assert_int_equal(wslay_event_queue_msg(talk->client, &message), 0);
    assert_int_equal(wslay_event_send(talk->client), 0);
}

static void assert_heard(talk_t *talk, const char *text)
{
    comet_buffer_add(&talk->heard, "", 1);
    assert_string_equal(talk->heard.data, text);
    comet_buffer_clear(&talk->heard);
}

/* --- tests ----------------------------------------------------------------- */

static void test_accept(void **state)
{
    static const char *const wrong[] = {
        "",
        "dGhlIHNhbXBsZSBub25jZQ=",
        "dGhlIHNhbXBsZSBub25jZQ===",
        "dGhlIHNhbXBsZSBub25j!Q==",
        "dGhlIHNhbXBsZSBub25jZQAA",
    };
    size_t i;

    /* the example in RFC 6455, section 1.3 */
    assert_string_equal(
        comet_websocket_accept("dGhlIHNhbXBsZSBub25jZQ==", pool),
        "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    assert_null(comet_websocket_accept(NULL, pool));
    for (i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
        assert_null(comet_websocket_accept(wrong[i], pool));
    }
}

/* A text's length decides which form of the header it needs.  Texts just below
 * and above each limit arrive unchanged, in both directions. */
static void test_lengths(void **state)
{
    static const size_t lengths[] = { 0,   1,     124,   125,   126,
                                      127, 65534, 65535, 65536, MOST_BYTES };
    char *text = malloc(MOST_BYTES + 1);
    size_t i;

    memset(text, 'x', MOST_BYTES);
    for (i = 0; i < sizeof(lengths) / sizeof(*lengths); i++) {
        talk_t talk;
        apr_size_t begun;

        begin(&talk);
        client_says(&talk, WSLAY_TEXT_FRAME, text, lengths[i]);
        deliver(&talk, i % 2 ? 1 : 4096);
        assert_int_equal(talk.status, APR_SUCCESS);
        assert_int_equal(talk.heard.length, lengths[i] + 1);
        assert_null(talk.reader); /* the reader keeps nothing between
                                   * messages */
        comet_buffer_clear(&talk.heard);

        comet_buffer_puts(&talk.to_client, "");
        begun = comet_websocket_begin_text(&talk.to_client);
        comet_buffer_add(&talk.to_client, text, lengths[i]);
        comet_websocket_end_text(&talk.to_client, begun);
        deliver(&talk, 1);
        assert_int_equal(talk.heard.length, lengths[i] + 1);
        end(&talk);
    }
    free(text);
}

/* The same messages arrive whether their bytes come all at once or one by
 * one. */
static void test_pieces(void **state)
{
    size_t piece;

    for (piece = 1; piece < 40; piece++) {
        talk_t talk;

        begin(&talk);
        client_says(&talk, WSLAY_TEXT_FRAME, "one", 3);
        client_says(&talk, WSLAY_PING, "?", 1);
        client_says(&talk, WSLAY_TEXT_FRAME, "", 0);
        client_says(&talk, WSLAY_TEXT_FRAME, "t\xc3\xbcr", 4);
        client_says(&talk, WSLAY_PONG, "", 0);
        deliver(&talk, piece);
        assert_heard(&talk, "one\n\nt\xc3\xbcr\n");
        assert_int_equal(talk.pongs, 1);
        assert_null(talk.reader);
        end(&talk);
    }
}

/* A client may ping between the fragments of a message. */
static void test_fragments(void **state)
{
    static const char bytes[] = "\x01\x82\0\0\0\0ab" /* the first fragment of a
                                                      * text */
                                "\x89\x81\0\0\0\0!" /* a ping */
                                "\x00\x80\0\0\0\0" /* an empty fragment */
                                "\x80\x81\0\0\0\0c"; /* the last fragment */
    size_t piece;

    for (piece = 1; piece < sizeof(bytes); piece++) {
        talk_t talk;

        begin(&talk);
        comet_buffer_add(&talk.to_server, bytes, sizeof(bytes) - 1 - 7);
        deliver(&talk, piece);
        assert_int_equal(talk.pongs, 1);
        assert_int_equal(talk.heard.length, 0);
        assert_non_null(talk.reader);
        comet_buffer_add(&talk.to_server, bytes + sizeof(bytes) - 1 - 7, 7);
        deliver(&talk, piece);
        assert_heard(&talk, "abc\n");
        assert_null(talk.reader);
        end(&talk);
    }
}

/* A client that breaks the protocol gets a Close frame with the right code.
 * After that the reader accepts nothing. */
static void test_wrong(void **state)
{
    static const struct {
        const char *bytes;
        size_t length;
        int code;
    } cases[] = {
#define CASE(bytes, code) { bytes, sizeof(bytes) - 1, code }
        CASE("\x81\x01x", 1002), /* not masked */
        CASE("\xc1\x81\0\0\0\0x", 1002), /* a reserved bit */
        CASE("\x83\x81\0\0\0\0x", 1002), /* a reserved opcode */
        CASE("\x8b\x80\0\0\0\0", 1002),
        CASE("\x80\x81\0\0\0\0x", 1002), /* a continuation of nothing */
        CASE("\x09\x80\0\0\0\0", 1002), /* a fragmented ping */
        CASE("\x89\xfe\0\x7e\0\0\0\0", 1002), /* a ping that is too long */
        CASE("\x81\xfe\0\x01\0\0\0\0x", 1002), /* length 1 in two bytes */
        CASE("\x81\xff\x80\0\0\0\0\0\0\0\0\0\0\0x", 1002), /* length 2^63 */
        CASE("\x01\x81\0\0\0\0x\x81\x81\0\0\0\0x", 1002), /* a text inside
                                                           * another */
        CASE("\x88\x81\0\0\0\0x", 1002), /* half a code */
        CASE("\x88\x82\0\0\0\0\x03\xed", 1002), /* code 1005 */
        CASE("\x82\x81\0\0\0\0x", 1003), /* a binary frame */
        CASE("\x81\x81\0\0\0\0\xff", 1007), /* not UTF-8 */
        CASE("\x81\x81\0\0\0\0\xc3", 1007), /* half a character */
        CASE("\x88\x83\0\0\0\0\x03\xe8\xff", 1007), /* a reason that is not
                                                     * UTF-8 */
        CASE("\x81\xff\0\0\0\0\0\x02\0\0\0\0\0\0x", 1009), /* 131072 bytes */
#undef CASE
    };
    size_t i, piece;

    for (i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        for (piece = 1; piece < 20; piece += 18) {
            talk_t talk;

            begin(&talk);
            comet_buffer_add(&talk.to_server, cases[i].bytes, cases[i].length);
            comet_buffer_add(&talk.to_server, "\x81\x81\0\0\0\0y", 7);
            deliver(&talk, piece);
            assert_int_equal(talk.status, APR_EOF);
            assert_int_equal(talk.closes, 1);
            assert_int_equal(talk.code, cases[i].code);
            assert_int_equal(talk.heard.length, 0);
            end(&talk);
        }
    }
}

/* Fragments take no more memory than their bytes.  The limit on a message
 * counts all of its fragments. */
static void test_too_big_in_fragments(void **state)
{
    talk_t talk;
    size_t i;

    begin(&talk);
    comet_buffer_add(&talk.to_server, "\x01\x81\0\0\0\0x", 7);
    for (i = 1; i < MOST_BYTES; i++) {
        comet_buffer_add(&talk.to_server, "\0\x81\0\0\0\0x", 7);
    }
    deliver(&talk, 1 << 20);
    assert_int_equal(talk.status, APR_SUCCESS);
    comet_buffer_add(&talk.to_server, "\x80\x81\0\0\0\0x", 7);
    deliver(&talk, 1 << 20);
    assert_int_equal(talk.status, APR_EOF);
    assert_int_equal(talk.code, 1009);
    end(&talk);
}

/* A Close frame is judged as a whole, wherever its bytes are cut. */
static void test_reason_in_pieces(void **state)
{
    static const struct {
        const char *frame; /* with a mask of zeros */
        int code;
    } cases[] = {
        { "\x88\x8d\0\0\0\0\x03\xe8so \xe2\x82\xac \xf0\x9f\x98\x80", 1000 },
        { "\x88\x8d\0\0\0\0\x03\xe8so \xe2\x82\xac \xf0\x9f\x98.", 1007 },
        { "\x88\x8d\0\0\0\0\x03\xe8so abcdef\xe2\x82", 1007 },
    };
    talk_t talk;
    size_t i, piece;

    for (i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        for (piece = 1; piece <= 19; piece++) {
            begin(&talk);
            comet_buffer_add(&talk.to_server, cases[i].frame, 6 + 13);
            deliver(&talk, piece);
            assert_int_equal(talk.status, APR_EOF);
            assert_int_equal(talk.code, cases[i].code);
            end(&talk);
        }
    }
}

/* The first bytes of a message tell how long it may become.  An unfinished
 * message counts with this length, but only after more than
 * COMET_WEBSOCKET_SHORT bytes have come. */
static void test_unfinished(void **state)
{
    static char text[COMET_WEBSOCKET_SHORT + 10];
    comet_buffer_t replies = { .data = NULL };
    comet_websocket_sink_t sink = { .text = note_text,
                                    .most_bytes = 100000,
                                    .replies = &replies };
    static const char whole[] = "\x81\xfe\x20\0\0\0\0\0"; /* 8 KB follow */
    static const char part[] = "\x01\xfe\x08\x0a\0\0\0\0";
    const char *heads[] = { whole, part };
    apr_size_t expected[] = { 8192, 100000 };
    int i;

    assert_int_equal(comet_websocket_unfinished(NULL, 100000), 0);
    for (i = 0; i < 2; i++) {
        comet_websocket_reader_t *reader = NULL;

        comet_websocket_feed(&reader, &sink, (comet_text_t){ heads[i], 8 });
        comet_websocket_feed(&reader, &sink,
                             (comet_text_t){ text, COMET_WEBSOCKET_SHORT });
        assert_int_equal(comet_websocket_unfinished(reader, 100000), 0);
        comet_websocket_feed(&reader, &sink, (comet_text_t){ text, 1 });
        assert_int_equal(comet_websocket_unfinished(reader, 100000),
                         expected[i]);
        comet_websocket_free(reader);
    }
    comet_buffer_free(&replies);
}

static void test_close(void **state)
{
    talk_t talk;

    begin(&talk);
    assert_int_equal(
        wslay_event_queue_close(talk.client, 1000, (const uint8_t *)"bye", 3),
        0);
    assert_int_equal(wslay_event_send(talk.client), 0);
    deliver(&talk, 1);
    assert_int_equal(talk.status, APR_EOF);
    assert_int_equal(talk.code, 1000);
    end(&talk);

    begin(&talk);
    comet_websocket_add_close(
        &talk.to_client, COMET_WEBSOCKET_TRY_AGAIN,
        "retry=1000 a reason that is so long that it does not fit into a frame "
        "of control, which has room for 125 bytes with its code, and is cut");
    /* wslay does not know the code */
    assert_int_equal(talk.to_client.length, 2 + 125);
    assert_memory_equal(talk.to_client.data, "\x88\x7d\x03\xf5retry=1000 a",
                        16);
    end(&talk);
}

static int set_up(void **state)
{
    return apr_initialize() != APR_SUCCESS
           || apr_pool_create(&pool, NULL) != APR_SUCCESS;
}

static int tear_down(void **state)
{
    apr_pool_destroy(pool);
    apr_terminate();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_accept),
        cmocka_unit_test(test_lengths),
        cmocka_unit_test(test_pieces),
        cmocka_unit_test(test_fragments),
        cmocka_unit_test(test_wrong),
        cmocka_unit_test(test_too_big_in_fragments),
        cmocka_unit_test(test_reason_in_pieces),
        cmocka_unit_test(test_unfinished),
        cmocka_unit_test(test_close),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
