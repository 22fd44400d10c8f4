/* SPDX-License-Identifier: Apache-2.0 */
/* The WebSocket protocol, without I/O. */
#include "wire/websocket.h"

#include <apr_base64.h>
#include <apr_sha1.h>
#include <apr_strings.h>
#include <stdlib.h>
#include <string.h>

#ifdef __has_include
#if !__has_include(<wslay/wslay.h>)
#error "wslay is missing (Debian: libwslay-dev); to install it: conf/setup run"
#endif
#endif
#include <wslay/wslay.h>

/* A key is 16 bytes: 22 characters of base64 and two padding characters. */
#define KEY_LENGTH 24
#define GUID "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

/* The longest header of a server's frame: two bytes, and eight bytes for the
 * length. */
#define HEAD_BYTES 10
/* The longest payload of a control frame. */
#define CONTROL_BYTES 125

#define FIN 0x80
#define MASKED 0x80

/* --- the handshake -------------------------------------------------------- */

static int is_key(const char *key)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                 "abcdefghijklmnopqrstuvwxyz0123456789+/";

    return key && strlen(key) == KEY_LENGTH
           && strspn(key, digits) == KEY_LENGTH - 2
           && strcmp(key + KEY_LENGTH - 2, "==") == 0;
}

const char *comet_websocket_accept(const char *key, apr_pool_t *pool)
{
    unsigned char digest[APR_SHA1_DIGESTSIZE];
    apr_sha1_ctx_t hash;
    char *text;

    if (!is_key(key)) {
        return NULL;
    }
    apr_sha1_init(&hash);
    apr_sha1_update(&hash, key, KEY_LENGTH);
    apr_sha1_update(&hash, GUID, sizeof(GUID) - 1);
    apr_sha1_final(digest, &hash);
    text = apr_palloc(pool, (apr_size_t)apr_base64_encode_len(sizeof(digest)));
    apr_base64_encode_binary(text, digest, sizeof(digest));
    return text;
}

/* --- frames to the client ------------------------------------------------- */

/* Write the header of a whole message (section 5.2).
 * @return its length */
static apr_size_t write_head(char *head, int opcode, apr_size_t length)
{
    apr_size_t bytes = length < 126 ? 0 : length <= 0xffff ? 2 : 8, i;

    head[0] = (char)(FIN | opcode);
    head[1] = (char)(bytes == 0 ? length : bytes == 2 ? 126 : 127);
    for (i = 0; i < bytes; i++) {
        head[2 + i] = (char)(length >> (8 * (bytes - 1 - i)) & 0xff);
    }
    return 2 + bytes;
}

apr_size_t comet_websocket_begin_text(comet_buffer_t *out)
{
    apr_size_t begun = out->length;

    comet_buffer_add(out, "----------", HEAD_BYTES);
    return begun;
}

void comet_websocket_end_text(comet_buffer_t *out, apr_size_t begun)
{
    apr_size_t length = out->length - begun - HEAD_BYTES, head;

    if (out->failed) {
        out->length = begun; /* memory ran out: remove the incomplete frame */
        return;
    }
    head = write_head(out->data + begun, WSLAY_TEXT_FRAME, length);
    memmove(out->data + begun + head, out->data + begun + HEAD_BYTES, length);
    out->length = begun + head + length;
}

void comet_websocket_add_close(comet_buffer_t *out, comet_websocket_code_e code,
                               const char *reason)
{
    char head[HEAD_BYTES];
    char payload[CONTROL_BYTES] = { (char)(code >> 8), (char)(code & 0xff) };
    apr_size_t length = strlen(reason);

    length = length < CONTROL_BYTES - 2 ? length : CONTROL_BYTES - 2;
    /* NOLINTNEXTLINE(bugprone-not-null-terminated-result): it is counted */
    memcpy(payload + 2, reason, length);
    comet_buffer_add(out, head,
                     write_head(head, WSLAY_CONNECTION_CLOSE, length + 2));
    comet_buffer_add(out, payload, length + 2);
}

/* --- frames from the client ----------------------------------------------- */

/*
 * wslay does not collect messages here: it would allocate memory for each
 * fragment, however short, and for as many bytes as a header announces, before
 * they arrive.
 */
struct comet_websocket_reader_t {
    wslay_event_context_ptr context;
    const comet_websocket_sink_t *sink; /* during a call */
    comet_text_t rest; /* during a call: what wslay has not taken yet */
    comet_buffer_t message; /* the fragments of the current message so far */
    apr_uint64_t taken; /* how many bytes wslay has taken */
    apr_uint64_t framed; /* what `taken` will be at the end of the current
                          * frame */
    int in_message; /* the message is incomplete: another fragment must
                     * follow */
    apr_size_t whole; /* if `in_message` is 0: the length of the whole
                       * message */
    int in_control; /* the current frame is a control frame of a permitted
                     * length */
    unsigned char head[HEAD_BYTES + 4]; /* a frame's header, with its mask */
    apr_size_t head_length; /* how many bytes of that header have arrived */
    char control[CONTROL_BYTES]; /* the payload of a control frame */
    apr_size_t control_length; /* how much of that payload has arrived */
};

/* Take bytes from what the client has sent.  @return how many bytes were
 * taken */
static apr_size_t take_bytes(comet_websocket_reader_t *reader, void *data,
                             apr_size_t length)
{
    if (length > reader->rest.length) {
        length = reader->rest.length;
    }
    if (length) {
        memcpy(data, reader->rest.data, length);
        reader->rest.data += length;
        reader->rest.length -= length;
    }
    return length;
}

/* How long the header is, as far as its first bytes tell: 2 bytes, then the
 * length in 2 or 8 bytes, then the mask. */
static apr_size_t find_head_size(const comet_websocket_reader_t *reader)
{
    int form = reader->head[1] & 0x7f;

    return reader->head_length < 2
               ? 2
               : (apr_size_t)(2
                              + (form == 126   ? 2
                                 : form == 127 ? 8
                                               : 0)
                              + (reader->head[1] & MASKED ? 4 : 0));
}

/* Note what a whole header says.  wslay checks it. */
static void note_head(comet_websocket_reader_t *reader)
{
    int form = reader->head[1] & 0x7f, i;
    int bytes = form == 126 ? 2 : form == 127 ? 8 : 0;
    apr_uint64_t length = bytes ? 0 : (apr_uint64_t)form;

    for (i = 0; i < bytes; i++) {
        length = length << 8 | reader->head[2 + i];
    }
    reader->framed = reader->taken + length;
    reader->in_control = (reader->head[0] & 8) && length <= CONTROL_BYTES;
    reader->head_length = 0;
}

/* Give wslay the rest of a header, and no byte after it. */
static apr_size_t give_head(comet_websocket_reader_t *reader, uint8_t *data,
                            apr_size_t length)
{
    apr_size_t left = find_head_size(reader) - reader->head_length;
    apr_size_t given = take_bytes(reader, data, left < length ? left : length);

    if (given) {
        memcpy(reader->head + reader->head_length, data, given);
    }
    reader->head_length += given;
    reader->taken += given;
    if (reader->head_length == find_head_size(reader)) {
        note_head(reader);
    }
    return given;
}

/* Give wslay the payload of a control frame only when it is complete: wslay
 * (1.1.1) misjudges the reason of a Close frame that is given in parts. */
static apr_size_t give_control(comet_websocket_reader_t *reader, uint8_t *data,
                               apr_size_t length)
{
    apr_size_t size = (apr_size_t)(reader->framed - reader->taken), given;

    reader->control_length +=
        take_bytes(reader, reader->control + reader->control_length,
                   size - reader->control_length);
    if (reader->control_length < size) {
        return 0;
    }
    given = size < length ? size : length;
    memcpy(data, reader->control, given);
    memmove(reader->control, reader->control + given, size - given);
    reader->control_length -= given;
    reader->taken += given;
    return given;
}

/* Give wslay bytes that it wants to read, at most to the end of the current
 * header or payload. */
static ssize_t give(wslay_event_context_ptr context, uint8_t *data,
                    size_t length, int flags, void *baton)
{
    comet_websocket_reader_t *reader = baton;
    apr_uint64_t left = reader->framed - reader->taken;
    apr_size_t given;

    if (reader->taken >= reader->framed) {
        given = give_head(reader, data, length);
    }
    else if (reader->in_control) {
        given = give_control(reader, data, length);
    }
    else {
        given =
            take_bytes(reader, data, left < length ? (apr_size_t)left : length);
        reader->taken += given;
    }
    if (!given) {
        wslay_event_set_error(context, WSLAY_ERR_WOULDBLOCK);
        return -1;
    }
    return (ssize_t)given;
}

static ssize_t take(wslay_event_context_ptr context, const uint8_t *data,
                    size_t length, int flags, void *baton)
{
    comet_websocket_reader_t *reader = baton;

    comet_buffer_add(reader->sink->replies, (const char *)data, length);
    return (ssize_t)length;
}

/* Stop reading, and queue a Close frame. */
static void give_up(wslay_event_context_ptr context,
                    comet_websocket_code_e code, const char *reason)
{
    wslay_event_shutdown_read(context);
    wslay_event_queue_close(context, (uint16_t)code, (const uint8_t *)reason,
                            strlen(reason));
}

/* Called at the header of each frame. */
static void begin_frame(wslay_event_context_ptr context,
                        const struct wslay_event_on_frame_recv_start_arg *frame,
                        void *baton)
{
    comet_websocket_reader_t *reader = baton;
    apr_uint64_t length = frame->payload_length;

    if (wslay_is_ctrl_frame(frame->opcode)) {
        if (frame->opcode == WSLAY_CONNECTION_CLOSE && length == 1) {
            give_up(context, COMET_WEBSOCKET_PROTOCOL_ERROR,
                    "the code is incomplete");
        }
        return;
    }
    reader->in_message = !frame->fin;
    reader->whole = reader->message.length + (apr_size_t)length;
    if (frame->opcode == WSLAY_BINARY_FRAME) {
        give_up(context, COMET_WEBSOCKET_UNSUPPORTED,
                "only text messages are accepted");
    }
    else if (length > reader->sink->most_bytes - reader->message.length) {
        give_up(context, COMET_WEBSOCKET_TOO_BIG, "the message is too long");
    }
}

static void add_part(wslay_event_context_ptr context,
                     const struct wslay_event_on_frame_recv_chunk_arg *part,
                     void *baton)
{
    comet_websocket_reader_t *reader = baton;

    if (!reader->in_control && wslay_event_get_read_enabled(context)) {
        comet_buffer_add(&reader->message, (const char *)part->data,
                         part->data_length);
    }
}

static void end_message(wslay_event_context_ptr context,
                        const struct wslay_event_on_msg_recv_arg *message,
                        void *baton)
{
    comet_websocket_reader_t *reader = baton;

    if (message->opcode == WSLAY_PING) {
        wslay_event_send(context); /* send the Pong now, before a later frame
                                    * can end the connection */
    }
    if (message->opcode == WSLAY_TEXT_FRAME && !reader->message.failed
        && wslay_event_get_read_enabled(context)) {
        reader->sink->text(
            reader->sink->baton,
            (comet_text_t){ reader->message.data, reader->message.length });
        comet_buffer_clear(&reader->message);
    }
}

static comet_websocket_reader_t *make_reader(void)
{
    static const struct wslay_event_callbacks callbacks = {
        .recv_callback = give,
        .send_callback = take,
        .on_frame_recv_start_callback = begin_frame,
        .on_frame_recv_chunk_callback = add_part,
        .on_msg_recv_callback = end_message,
    };
    comet_websocket_reader_t *reader = calloc(1, sizeof(*reader));

    if (reader
        && wslay_event_context_server_init(&reader->context, &callbacks, reader)
               != 0) {
        free(reader);
        return NULL;
    }
    if (reader) {
        wslay_event_config_set_no_buffering(reader->context, 1);
    }
    return reader;
}

void comet_websocket_free(comet_websocket_reader_t *reader)
{
    if (reader) {
        wslay_event_context_free(reader->context);
        comet_buffer_free(&reader->message);
        free(reader);
    }
}

apr_size_t comet_websocket_unfinished(const comet_websocket_reader_t *reader,
                                      apr_size_t most_bytes)
{
    if (!reader || reader->message.length <= COMET_WEBSOCKET_SHORT) {
        return 0;
    }
    return reader->in_message ? most_bytes : reader->whole;
}

/* Whether the client is between two messages. */
static int is_between(const comet_websocket_reader_t *reader)
{
    return reader->taken == reader->framed && !reader->head_length
           && !reader->in_message;
}

/* Let wslay read the bytes.  If a frame is invalid in itself, wslay ends
 * without a proper Close frame, so add one instead. */
static void read_frames(comet_websocket_reader_t *reader)
{
    if (wslay_event_recv(reader->context) != 0) {
        comet_websocket_add_close(reader->sink->replies,
                                  COMET_WEBSOCKET_PROTOCOL_ERROR, "");
    }
    else {
        wslay_event_send(reader->context);
    }
}

apr_status_t comet_websocket_feed(comet_websocket_reader_t **reader,
                                  const comet_websocket_sink_t *sink,
                                  comet_text_t bytes)
{
    comet_websocket_reader_t *own = *reader;

    if (!own) {
        own = *reader = make_reader();
    }
    if (!own) {
        return APR_ENOMEM;
    }
    own->sink = sink;
    own->rest = bytes;
    read_frames(own);
    own->sink = NULL;
    if (own->message.failed || sink->replies->failed) {
        return APR_ENOMEM;
    }
    if (!wslay_event_get_read_enabled(own->context)) {
        return APR_EOF;
    }
    if (is_between(own)) {
        comet_websocket_free(own);
        *reader = NULL;
    }
    return APR_SUCCESS;
}
