/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file wire/websocket.h
 * The WebSocket protocol (RFC 6455), without I/O: the key of a handshake, the
 * frames that a server sends, and a reader of the frames that a client sends.
 * The library wslay reads and checks frames; there are no extensions.
 */
#ifndef COMET_WEBSOCKET_H
#define COMET_WEBSOCKET_H

#include <apr_pools.h>

#include "base/buffer.h"
#include "base/text.h"

/** Codes of a Close frame (RFC 6455, section 7.4; 1013: IANA). */
typedef enum {
    COMET_WEBSOCKET_GOING_AWAY = 1001,
    COMET_WEBSOCKET_PROTOCOL_ERROR = 1002,
    COMET_WEBSOCKET_UNSUPPORTED = 1003,
    COMET_WEBSOCKET_NO_TEXT = 1007,
    COMET_WEBSOCKET_TOO_BIG = 1009,
    COMET_WEBSOCKET_TRY_AGAIN = 1013
} comet_websocket_code_e;

/** A Ping with a dot as its payload; it contains no NUL. */
#define COMET_WEBSOCKET_PING "\x89\x01."

/**
 * The Sec-WebSocket-Accept that answers a Sec-WebSocket-Key (section 4.2.2).
 * @param key  of a client; NULL: it sent none
 * @return the value, in @a pool; NULL: the key is not 16 bytes in base64
 */
const char *comet_websocket_accept(const char *key, apr_pool_t *pool);

/**
 * Begin a text frame; what is appended to the buffer until
 * comet_websocket_end_text() is its payload.
 * @return where the frame begins; give it to comet_websocket_end_text()
 */
apr_size_t comet_websocket_begin_text(comet_buffer_t *out);

/** End a text frame: write its header, which depends on the payload's
 * length. */
void comet_websocket_end_text(comet_buffer_t *out, apr_size_t begun);

/**
 * Append a Close frame.
 * @param reason  ASCII; cut after 123 bytes
 */
void comet_websocket_add_close(comet_buffer_t *out, comet_websocket_code_e code,
                               const char *reason);

/**
 * A reader of what one client sends.  Between two messages it is NULL and costs
 * no memory.  One thread uses it at a time.
 */
typedef struct comet_websocket_reader_t comet_websocket_reader_t;

/** Called with each whole text message, which is valid UTF-8.
 * @param text  valid during the call */
typedef void comet_websocket_text_cb(void *baton, comet_text_t text);

/** What a reader calls and appends to. */
typedef struct comet_websocket_sink_t {
    comet_websocket_text_cb *text;
    void *baton;
    apr_size_t most_bytes; /* the longest message that is accepted */
    comet_buffer_t *replies; /* the frames that answer the client's (Pong,
                              * Close) are appended to it */
} comet_websocket_sink_t;

/**
 * Take bytes that a client has sent.
 * @param reader  NULL between two messages; this call makes and frees it.
 *                After an error the caller frees it with comet_websocket_free()
 * @return APR_SUCCESS: the client may send more.  APR_EOF: the client has sent
 *         a Close frame, or it has broken the protocol.  The last of the
 *         replies is a Close frame; close the connection after they are sent.
 *         APR_ENOMEM: no memory is left
 */
apr_status_t comet_websocket_feed(comet_websocket_reader_t **reader,
                                  const comet_websocket_sink_t *sink,
                                  comet_text_t bytes);

/** How many bytes of an incomplete message may be kept without reserving room
 * for the whole message. */
#define COMET_WEBSOCKET_SHORT 2048

/**
 * How long the incomplete message can become.
 * @param most_bytes  as in comet_websocket_sink_t
 * @return in bytes; 0: no message is incomplete, or at most
 *         COMET_WEBSOCKET_SHORT bytes of it have arrived
 */
apr_size_t comet_websocket_unfinished(const comet_websocket_reader_t *reader,
                                      apr_size_t most_bytes);

/** Free a reader; NULL is ignored. */
void comet_websocket_free(comet_websocket_reader_t *reader);

#endif /* COMET_WEBSOCKET_H */
