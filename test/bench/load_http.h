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
    LOAD_PART_OPEN, /* a body that ends with the connection */
    LOAD_PART_SIZE, /* the line with a chunk's size, */
    LOAD_PART_CHUNK, /* the chunk's data, */
    LOAD_PART_AFTER, /* and the line end after the data */
    LOAD_PART_TRAILER
} load_part_e;

/* The state of a connection's parser.  It is all zero before the first byte,
 * and is kept for all answers of the connection. */
typedef struct load_http_t {
    load_part_e part;
    int status;
    bool closes; /* the server closes the connection after this answer */
    bool extension; /* in the line with a chunk's size: what follows the size
                     * is skipped */
    uint64_t left; /* bytes of the body or chunk that are still to come */
    size_t line; /* the length of the trailer's last line so far */
    char *head; /* ends in NUL */
    size_t head_length, head_room;
} load_http_t;

typedef enum {
    LOAD_HTTP_MORE, /* more bytes are needed */
    LOAD_HTTP_HEAD, /* the head is complete: status, `closes` and the fields */
    LOAD_HTTP_BODY, /* a part of the body */
    LOAD_HTTP_END, /* the answer is complete */
    LOAD_HTTP_BAD /* the bytes are not HTTP */
} load_http_event_e;

/* Take bytes off *data up to the next event.  Call this until it returns
 * LOAD_HTTP_MORE.  For LOAD_HTTP_BODY, `body` and `body_length` are set to the
 * part of the data that belongs to the body. */
load_http_event_e load_http_next(load_http_t *http, const char **data,
                                 size_t *length, const char **body,
                                 size_t *body_length);

/* A header field's value, without a NUL at its end; NULL if there is no such
 * field.  Call it after LOAD_HTTP_HEAD and before LOAD_HTTP_END. */
const char *load_http_field(const load_http_t *http, const char *name,
                            size_t *length);

/* Whether no byte of an answer has arrived yet. */
bool load_http_is_unanswered(const load_http_t *http);

/* Reset the parser for a new connection. */
void load_http_reset(load_http_t *http);
/* Free the head's memory. */
void load_http_trim(load_http_t *http);

#endif
