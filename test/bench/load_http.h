/* SPDX-License-Identifier: Apache-2.0 */
/* Parses HTTP/1.1 answers as their bytes arrive (RFC 9112). */
#ifndef LOAD_HTTP_H
#define LOAD_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum {
    LOAD_PART_HEAD,
    LOAD_PART_COUNTED, /* a body with a Content-Length */
    LOAD_PART_OPEN, /* a body until the connection ends */
    LOAD_PART_SIZE, /* a chunk's size, */
    LOAD_PART_CHUNK, /* … its data, */
    LOAD_PART_AFTER, /* … the line end after the data */
    LOAD_PART_TRAILER
} load_part_e;

/* All zero before the first byte; kept for all answers of a connection. */
typedef struct load_http_t {
    load_part_e part;
    int status;
    bool closes; /* the server ends the connection after the answer */
    bool extension; /* in a chunk's size: skip its extension */
    uint64_t left; /* bytes left of the body or chunk */
    size_t line; /* length so far of the trailer's line */
    char *head; /* ends in NUL */
    size_t head_length, head_room;
} load_http_t;

typedef enum {
    LOAD_HTTP_MORE, /* it needs more bytes */
    LOAD_HTTP_HEAD, /* status, closes and the fields are there */
    LOAD_HTTP_BODY, /* a piece of the body */
    LOAD_HTTP_END, /* the answer is complete */
    LOAD_HTTP_BAD /* the bytes are not HTTP */
} load_http_event_e;

/* Take bytes off *data until something is complete. Call it until it returns
 * MORE. `body` and `body_length` are the piece of the body, within the data. */
load_http_event_e load_http_next(load_http_t *http, const char **data,
                                 size_t *length, const char **body,
                                 size_t *body_length);

/* A field's value, between HEAD and END, without a final NUL; or NULL. */
const char *load_http_field(const load_http_t *http, const char *name,
                            size_t *length);

/* Whether no byte of an answer has arrived yet. */
bool load_http_is_unanswered(const load_http_t *http);

/* Reset it for a new connection. */
void load_http_reset(load_http_t *http);
/* Free the head's memory. */
void load_http_trim(load_http_t *http);

#endif
