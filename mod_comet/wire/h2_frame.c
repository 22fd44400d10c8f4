/* SPDX-License-Identifier: Apache-2.0 */
/* HTTP/2 frames: finding them in a stream of bytes, and making our own. */
#include "wire/h2_frame.h"

#include <string.h>
#include <strings.h>

#define NUMBER_BYTES 4 /* the payload of WINDOW_UPDATE and of RST_STREAM */
#define SETTING_BYTES 6
#define RESERVED_BIT 0x80000000U /* of a stream or an increment: ignored */

static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/* --- finding frames ----------------------------------------------------- */

static apr_uint32_t read_number(const unsigned char *at)
{
    return (apr_uint32_t)at[0] << 24 | (apr_uint32_t)at[1] << 16
           | (apr_uint32_t)at[2] << 8 | at[3];
}

void comet_h2_scanner_init(comet_h2_scanner_t *scanner, int client)
{
    *scanner = (comet_h2_scanner_t){
        .place = client ? COMET_H2_IN_PREFACE : COMET_H2_IN_HEADER,
    };
}

/* How many bytes the piece has that is being gathered. */
static apr_size_t piece_bytes(const comet_h2_scanner_t *scanner)
{
    switch (scanner->place) {
    case COMET_H2_IN_PREFACE:
        return COMET_H2_PREFACE_BYTES;
    case COMET_H2_IN_NUMBER:
        return COMET_H2_HEADER_BYTES + NUMBER_BYTES;
    case COMET_H2_IN_SETTINGS:
        return SETTING_BYTES;
    default:
        return COMET_H2_HEADER_BYTES;
    }
}

static comet_h2_piece_e report(comet_h2_scanner_t *scanner,
                               comet_h2_piece_e piece, comet_h2_place_e next)
{
    scanner->length = scanner->have;
    scanner->have = 0;
    scanner->place = next;
    return piece;
}

/* Where the scanner is once a piece of a frame is complete. */
static comet_h2_place_e next_place(const comet_h2_scanner_t *scanner)
{
    const comet_h2_frame_t *frame = &scanner->frame;

    if (frame->type == COMET_H2_SETTINGS && !frame->stream
        && !(frame->flags & COMET_H2_FLAG_ACK)
        && scanner->left >= SETTING_BYTES) {
        return COMET_H2_IN_SETTINGS;
    }
    return scanner->left ? COMET_H2_IN_PAYLOAD : COMET_H2_IN_HEADER;
}

static int is_number(const comet_h2_frame_t *frame)
{
    return (frame->type == COMET_H2_WINDOW_UPDATE
            || frame->type == COMET_H2_RST_STREAM)
           && frame->length == NUMBER_BYTES;
}

static void read_header(comet_h2_scanner_t *scanner)
{
    const unsigned char *bytes = scanner->bytes;
    comet_h2_frame_t *frame = &scanner->frame;

    frame->length = read_number(bytes) >> 8;
    frame->type = bytes[3];
    frame->flags = bytes[4];
    frame->stream = read_number(bytes + 5) & ~RESERVED_BIT;
    scanner->left = frame->length;
    scanner->has_value = 0;
    if (frame->type == COMET_H2_HEADERS || frame->type == COMET_H2_PUSH_PROMISE
        || frame->type == COMET_H2_CONTINUATION) {
        scanner->in_block = !(frame->flags & COMET_H2_FLAG_END_HEADERS);
    }
}

/* All bytes of a piece are there.
 * @return COMET_H2_MORE: it has become a longer one */
static comet_h2_piece_e complete(comet_h2_scanner_t *scanner)
{
    switch (scanner->place) {
    case COMET_H2_IN_PREFACE:
        return report(scanner, COMET_H2_PREFACE, COMET_H2_IN_HEADER);
    case COMET_H2_IN_NUMBER:
        scanner->value = read_number(scanner->bytes + COMET_H2_HEADER_BYTES);
        if (scanner->frame.type == COMET_H2_WINDOW_UPDATE) {
            scanner->value &= ~RESERVED_BIT;
        }
        scanner->has_value = 1;
        scanner->left = 0;
        return report(scanner, COMET_H2_FRAME, COMET_H2_IN_HEADER);
    case COMET_H2_IN_SETTINGS:
        scanner->setting =
            (apr_uint16_t)(scanner->bytes[0] << 8 | scanner->bytes[1]);
        scanner->value = read_number(scanner->bytes + 2);
        scanner->left -= SETTING_BYTES;
        return report(scanner, COMET_H2_SETTING, next_place(scanner));
    default:
        read_header(scanner);
        if (is_number(&scanner->frame)) {
            scanner->place = COMET_H2_IN_NUMBER;
            return COMET_H2_MORE;
        }
        return report(scanner, COMET_H2_FRAME, next_place(scanner));
    }
}

/* Move bytes to the piece that is being gathered, as many as it lacks. */
static void gather(comet_h2_scanner_t *scanner, comet_text_t *bytes)
{
    apr_size_t length = piece_bytes(scanner) - scanner->have;

    if (length > bytes->length) {
        length = bytes->length;
    }
    if (length) {
        memcpy(scanner->bytes + scanner->have, bytes->data, length);
        scanner->have += length;
        bytes->data += length;
        bytes->length -= length;
    }
}

comet_h2_piece_e comet_h2_scanner_take(comet_h2_scanner_t *scanner,
                                       comet_text_t *bytes)
{
    comet_h2_piece_e piece = COMET_H2_MORE;

    if (comet_h2_scanner_left(scanner)) {
        return COMET_H2_PAYLOAD;
    }
    while (piece == COMET_H2_MORE && bytes->length) {
        gather(scanner, bytes);
        if (scanner->place == COMET_H2_IN_PREFACE
            && memcmp(scanner->bytes, preface, scanner->have) != 0) {
            return report(scanner, COMET_H2_FOREIGN, COMET_H2_IN_FOREIGN);
        }
        if (scanner->have == piece_bytes(scanner)) {
            piece = complete(scanner);
        }
    }
    return piece;
}

apr_size_t comet_h2_scanner_left(const comet_h2_scanner_t *scanner)
{
    switch (scanner->place) {
    case COMET_H2_IN_PAYLOAD:
        return scanner->left;
    case COMET_H2_IN_FOREIGN:
        return APR_SIZE_MAX;
    default:
        return 0;
    }
}

void comet_h2_scanner_skip(comet_h2_scanner_t *scanner, apr_size_t length)
{
    if (scanner->place == COMET_H2_IN_PAYLOAD) {
        scanner->left -= (apr_uint32_t)length;
        scanner->place = next_place(scanner);
    }
}

int comet_h2_scanner_is_between(const comet_h2_scanner_t *scanner)
{
    return scanner->place == COMET_H2_IN_HEADER && !scanner->have
           && !scanner->in_block;
}

/* --- making frames ------------------------------------------------------ */

static void write_number(unsigned char *out, apr_uint32_t number)
{
    out[0] = (unsigned char)(number >> 24);
    out[1] = (unsigned char)(number >> 16);
    out[2] = (unsigned char)(number >> 8);
    out[3] = (unsigned char)number;
}

void comet_h2_frame_write(unsigned char *out, const comet_h2_frame_t *frame)
{
    write_number(out, frame->length << 8); /* the type overwrites the rest */
    out[3] = frame->type;
    out[4] = frame->flags;
    write_number(out + 5, frame->stream);
}

static void add_frame(comet_buffer_t *out, comet_h2_frame_t frame,
                      const char *payload)
{
    unsigned char header[COMET_H2_HEADER_BYTES];

    comet_h2_frame_write(header, &frame);
    comet_buffer_add(out, (const char *)header, sizeof(header));
    comet_buffer_add(out, payload, frame.length);
}

/* Cut off what one frame can hold. */
static comet_text_t cut(comet_text_t *rest, apr_uint32_t most)
{
    comet_text_t piece = *rest;

    if (piece.length > most) {
        piece.length = most;
    }
    if (piece.length) {
        rest->data += piece.length;
        rest->length -= piece.length;
    }
    return piece;
}

void comet_h2_frame_add_data(comet_buffer_t *out, apr_uint32_t stream,
                             comet_text_t text, apr_uint32_t most, int end)
{
    while (text.length || end) {
        comet_text_t piece = cut(&text, most);
        int last = end && !text.length;

        add_frame(out,
                  (comet_h2_frame_t){
                      .length = (apr_uint32_t)piece.length,
                      .type = COMET_H2_DATA,
                      .flags = last ? COMET_H2_FLAG_END_STREAM : 0,
                      .stream = stream,
                  },
                  piece.data);
        if (last) {
            return;
        }
    }
}

void comet_h2_frame_add_headers(comet_buffer_t *out, apr_uint32_t stream,
                                comet_text_t block, apr_uint32_t most, int end)
{
    comet_h2_frame_t frame = {
        .type = COMET_H2_HEADERS,
        .flags = end ? COMET_H2_FLAG_END_STREAM : 0,
        .stream = stream,
    };

    do {
        comet_text_t piece = cut(&block, most);

        frame.length = (apr_uint32_t)piece.length;
        if (!block.length) {
            frame.flags |= COMET_H2_FLAG_END_HEADERS;
        }
        add_frame(out, frame, piece.data);
        frame.type = COMET_H2_CONTINUATION;
        frame.flags = 0;
    } while (block.length);
}

static void add_number(comet_buffer_t *out, comet_h2_type_e type,
                       apr_uint32_t stream, apr_uint32_t number)
{
    unsigned char payload[NUMBER_BYTES];

    write_number(payload, number);
    add_frame(out,
              (comet_h2_frame_t){
                  .length = sizeof(payload),
                  .type = (unsigned char)type,
                  .stream = stream,
              },
              (const char *)payload);
}

void comet_h2_frame_add_reset(comet_buffer_t *out, apr_uint32_t stream,
                              comet_h2_error_e error)
{
    add_number(out, COMET_H2_RST_STREAM, stream, (apr_uint32_t)error);
}

void comet_h2_frame_add_update(comet_buffer_t *out, apr_uint32_t stream,
                               apr_uint32_t increment)
{
    add_number(out, COMET_H2_WINDOW_UPDATE, stream, increment);
}

void comet_h2_frame_add_overflow(comet_buffer_t *out)
{
    /* the first one may fit, where the window is empty */
    comet_h2_frame_add_update(out, 0, COMET_H2_31_BITS);
    comet_h2_frame_add_update(out, 0, COMET_H2_31_BITS);
}

/* --- making header blocks ----------------------------------------------- */

#define INDEXED_STATUS_200 "\x88" /* RFC 7541, appendix A: entry 8 */
#define LITERAL_STATUS "\x08" /* … its name alone */
#define LITERAL_NAME "" /* a literal with a new name: one NUL byte */
#define STRING_PREFIX_MOST 127 /* 7 bits; no Huffman code */

/* An integer behind a prefix of 7 bits whose first bit is 0 (RFC 7541,
 * section 5.1), then as many bytes. */
static void add_string(comet_buffer_t *block, const char *data,
                       apr_size_t length)
{
    apr_size_t rest = length - STRING_PREFIX_MOST;
    char byte = (char)length;

    if (length < STRING_PREFIX_MOST) {
        comet_buffer_add(block, &byte, 1);
    }
    else {
        byte = STRING_PREFIX_MOST;
        comet_buffer_add(block, &byte, 1);
        for (; rest > 127; rest >>= 7) {
            byte = (char)(rest | 0x80);
            comet_buffer_add(block, &byte, 1);
        }
        byte = (char)rest;
        comet_buffer_add(block, &byte, 1);
    }
    comet_buffer_add(block, data, length);
}

void comet_h2_block_begin(comet_buffer_t *block, int status)
{
    char digits[3] = { (char)('0' + status / 100 % 10),
                       (char)('0' + status / 10 % 10),
                       (char)('0' + status % 10) };

    if (status == 200) {
        comet_buffer_puts(block, INDEXED_STATUS_200);
    }
    else {
        comet_buffer_puts(block, LITERAL_STATUS);
        add_string(block, digits, sizeof(digits));
    }
}

/* What belongs to a connection of HTTP/1.1. */
static int is_connections(const char *name)
{
    static const char *const names[] = {
        "Connection",        "Keep-Alive", "Proxy-Connection",
        "Transfer-Encoding", "Upgrade",
    };
    apr_size_t i;

    for (i = 0; i < sizeof(names) / sizeof(*names); i++) {
        if (strcasecmp(name, names[i]) == 0) {
            return 1;
        }
    }
    return 0;
}

static int is_name(const char *name)
{
    const char *at;

    for (at = name; *at; at++) {
        if (*at <= ' ' || *at >= 0x7f || *at == ':') {
            return 0;
        }
    }
    return at != name;
}

static int is_blank(char byte)
{
    return byte == ' ' || byte == '\t';
}

static int is_value(const char *value)
{
    apr_size_t length = strlen(value);

    return !strpbrk(value, "\r\n") && !is_blank(*value)
           && (!length || !is_blank(value[length - 1]));
}

static void add_lower_case(comet_buffer_t *block, const char *name)
{
    apr_size_t length = strlen(name), i, at;

    add_string(block, name, length);
    if (block->failed) {
        return;
    }
    at = block->length - length;
    for (i = at; i < block->length; i++) {
        if (block->data[i] >= 'A' && block->data[i] <= 'Z') {
            block->data[i] = (char)(block->data[i] + ('a' - 'A'));
        }
    }
}

int comet_h2_block_add(comet_buffer_t *block, const char *name,
                       const char *value)
{
    if (!is_name(name) || is_connections(name) || !is_value(value)) {
        return 0;
    }
    comet_buffer_add(block, LITERAL_NAME, 1);
    add_lower_case(block, name);
    add_string(block, value, strlen(value));
    return 1;
}
