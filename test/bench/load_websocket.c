/* SPDX-License-Identifier: Apache-2.0 */
/* The generator's side of a WebSocket (RFC 6455). */
#include "load_websocket.h"

#include <string.h>

enum {
    TEXT = 1,
    FIN = 0x80,
    MASKED = 0x80,
    TWO_BYTES = 126,
    EIGHT_BYTES = 127
};

/* Any mask will do, since servers undo it. */
static const unsigned char MASK[4] = { 0x5a, 0xc3, 0x96, 0x0f };

size_t load_websocket_frame(char *to, const char *text, size_t length)
{
    size_t at = 0, i;

    to[at++] = (char)(FIN | TEXT);
    if (length < TWO_BYTES) {
        to[at++] = (char)(MASKED | length);
    }
    else {
        to[at++] = (char)(MASKED | TWO_BYTES);
        to[at++] = (char)(length >> 8);
        to[at++] = (char)length;
    }
    memcpy(to + at, MASK, sizeof(MASK));
    at += sizeof(MASK);
    for (i = 0; i < length; i++) {
        to[at + i] = (char)(text[i] ^ MASK[i % sizeof(MASK)]);
    }
    return at + length;
}

/* The length of a frame's head, as far as its first bytes tell. */
static size_t head_size(const load_websocket_t *socket)
{
    unsigned size = socket->head_length < 2 ? 0 : socket->head[1] & 0x7f;

    return size == TWO_BYTES ? 4 : size == EIGHT_BYTES ? 10 : 2;
}

static uint64_t text_size(const load_websocket_t *socket)
{
    uint64_t size = socket->head[1] & 0x7f;
    size_t i;

    if (socket->head_length > 2) {
        for (size = 0, i = 2; i < socket->head_length; i++) {
            size = size << 8 | socket->head[i];
        }
    }
    return size;
}

static void take_text(load_websocket_t *socket, const char **data,
                      size_t *length)
{
    size_t piece = socket->left < *length ? (size_t)socket->left : *length;
    size_t room = LOAD_WEBSOCKET_START - socket->start_length;
    size_t kept = piece < room ? piece : room;

    memcpy(socket->start + socket->start_length, *data, kept);
    socket->start_length += kept;
    socket->start[socket->start_length] = '\0';
    socket->left -= piece;
    *data += piece;
    *length -= piece;
}

bool load_websocket_next(load_websocket_t *socket, const char **data,
                         size_t *length)
{
    while (*length > 0) {
        if (socket->head_length < head_size(socket)) {
            socket->head[socket->head_length++] = (unsigned char)*(*data)++;
            --*length;
            if (socket->head_length < 2
                || socket->head_length < head_size(socket)) {
                continue;
            }
            socket->left = text_size(socket);
            socket->start_length = 0;
        }
        take_text(socket, data, length);
        if (socket->left == 0) {
            socket->head_length = 0;
            if ((socket->head[0] & 0x0f) == TEXT) {
                return true;
            }
        }
    }
    return false;
}
