/* SPDX-License-Identifier: Apache-2.0 */
/* The generator's side of a WebSocket (RFC 6455). */
#ifndef LOAD_WEBSOCKET_H
#define LOAD_WEBSOCKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The header fields that ask for a WebSocket. */
#define LOAD_WEBSOCKET_FIELDS \
    "Upgrade: websocket\r\nConnection: Upgrade\r\n" \
    "Sec-WebSocket-Version: 13\r\n" \
    "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"

/* How many bytes longer than its text a frame can be. */
#define LOAD_WEBSOCKET_AROUND 14

/* Write a masked frame with a text of at most 65535 bytes; return the frame's
 * length. */
size_t load_websocket_frame(char *to, const char *text, size_t length);

#define LOAD_WEBSOCKET_START 8

/* The state of the parser of a server's frames.  It is all zero before the
 * first frame. */
typedef struct load_websocket_t {
    unsigned char head[10];
    size_t head_length;
    uint64_t left; /* bytes of the text that are still to come */
    char start[LOAD_WEBSOCKET_START + 1]; /* the beginning of the text,
                                           * NUL-terminated */
    size_t start_length;
} load_websocket_t;

/* Take bytes off *data up to the end of the next text frame, and skip control
 * frames.  Returns false if no text frame is complete there; then all bytes are
 * taken. */
bool load_websocket_next(load_websocket_t *socket, const char **data,
                         size_t *length);

#endif
