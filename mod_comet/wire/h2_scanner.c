/* SPDX-License-Identifier: Apache-2.0 */
/* Finding HTTP/2 frames in a stream of bytes. */
#include "wire/h2_scanner.h"

#include <string.h>

#define SETTING_BYTES 6
/* The first bit of a stream's identifier and of an increment; it is ignored. */
#define RESERVED_BIT 0x80000000U

static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

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

/* The length of the piece that is being gathered. */
static apr_size_t piece_bytes(const comet_h2_scanner_t *scanner)
{
    switch (scanner->place) {
    case COMET_H2_IN_PREFACE:
        return COMET_H2_PREFACE_BYTES;
    case COMET_H2_IN_NUMBER:
        return COMET_H2_HEADER_BYTES + COMET_H2_NUMBER_BYTES;
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

/* Where the scanner is after a piece of a frame is complete. */
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
           && frame->length == COMET_H2_NUMBER_BYTES;
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

/*
 * Handle a complete piece.
 * @return COMET_H2_MORE: this is only the beginning of a longer piece
 */
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

/* Move bytes to the piece that is being gathered, as many as it still needs. */
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
