/* SPDX-License-Identifier: Apache-2.0 */
/* Parses HTTP/1.1 answers as their bytes arrive (RFC 9112). */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "load_http.h"
#include "load_base.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define HEAD_LIMIT 65536

void load_http_reset(load_http_t *http)
{
    http->part = LOAD_PART_HEAD;
    http->head_length = 0;
}

bool load_http_is_unanswered(const load_http_t *http)
{
    return http->part == LOAD_PART_HEAD && http->head_length == 0;
}

void load_http_trim(load_http_t *http)
{
    free(http->head);
    http->head = NULL;
    http->head_room = 0;
}

const char *load_http_field(const load_http_t *http, const char *name,
                            size_t *length)
{
    size_t wanted = strlen(name);
    const char *line = http->head, *end;

    while (line && (line = strstr(line, "\r\n")) != NULL) {
        line += 2;
        if (strncasecmp(line, name, wanted) != 0 || line[wanted] != ':') {
            continue;
        }
        line += wanted + 1;
        line += strspn(line, " \t");
        end = strstr(line, "\r\n");
        *length = end ? (size_t)(end - line) : strlen(line);
        return line;
    }
    return NULL;
}

static bool field_is(const load_http_t *http, const char *name,
                     const char *value)
{
    size_t length;
    const char *found = load_http_field(http, name, &length);

    return found && length == strlen(value)
           && strncasecmp(found, value, length) == 0;
}

/* The head is complete: decide how the body ends. */
static void frame(load_http_t *http)
{
    size_t length;
    const char *value;

    http->status = (int)strtol(http->head + strlen("HTTP/1.1 "), NULL, 10);
    http->closes = field_is(http, "Connection", "close")
                   || (strncmp(http->head, "HTTP/1.0", 8) == 0
                       && !field_is(http, "Connection", "keep-alive"));
    http->left = 0;
    http->extension = false;
    if (http->status == 101) { /* even with a Content-Length */
        http->part = LOAD_PART_OPEN;
        http->closes = true;
    }
    else if (http->status == 204 || http->status == 304) {
        http->part = LOAD_PART_COUNTED;
    }
    else if (field_is(http, "Transfer-Encoding", "chunked")) {
        http->part = LOAD_PART_SIZE;
    }
    else if ((value = load_http_field(http, "Content-Length", &length))) {
        http->part = LOAD_PART_COUNTED;
        http->left = strtoull(value, NULL, 10);
    }
    else {
        http->part = LOAD_PART_OPEN;
        http->closes = true;
    }
}

static load_http_event_e take_head(load_http_t *http, const char **data,
                                   size_t *length)
{
    size_t before = http->head_length, used;
    char *end;

    if (*length == 0) {
        return LOAD_HTTP_MORE;
    }
    if (before + *length + 1 > http->head_room) {
        http->head_room = before + *length + 512;
        http->head = load_grow(http->head, http->head_room);
    }
    memcpy(http->head + before, *data, *length);
    http->head_length += *length;
    http->head[http->head_length] = '\0';
    end = memmem(http->head, http->head_length, "\r\n\r\n", 4);
    if (!end) {
        *length = 0;
        return http->head_length > HEAD_LIMIT ? LOAD_HTTP_BAD : LOAD_HTTP_MORE;
    }
    used = (size_t)(end + 4 - http->head) - before;
    *data += used;
    *length -= used;
    end[2] = '\0';
    http->head_length = 0;
    if (strncmp(http->head, "HTTP/1.", 7) != 0) {
        return LOAD_HTTP_BAD;
    }
    if (http->head[9] == '1' && strncmp(http->head + 9, "101", 3) != 0) {
        return take_head(http, data, length); /* this was an interim answer; the
                                               * final one follows */
    }
    frame(http);
    return LOAD_HTTP_HEAD;
}

static load_http_event_e ended(load_http_t *http)
{
    load_http_reset(http);
    return LOAD_HTTP_END;
}

static load_http_event_e take_piece(load_http_t *http, const char **data,
                                    size_t *length, const char **body,
                                    size_t *body_length)
{
    size_t piece = *length;

    if (http->part != LOAD_PART_OPEN) {
        piece = http->left < piece ? (size_t)http->left : piece;
        http->left -= piece;
    }
    *body = *data;
    *body_length = piece;
    *data += piece;
    *length -= piece;
    return LOAD_HTTP_BODY;
}

static void take_size(load_http_t *http, char c)
{
    if (c == '\n') {
        http->part = http->left ? LOAD_PART_CHUNK : LOAD_PART_TRAILER;
        http->extension = false;
        http->line = 0;
    }
    else if (!isxdigit((unsigned char)c)) {
        http->extension = true;
    }
    else if (!http->extension) {
        http->left = http->left * 16
                     + (uint64_t)(c <= '9' ? c - '0' : (c | 32) - 'a' + 10);
    }
}

/* Handle one byte that is not part of a chunk's data.  Returns true if the
 * answer is complete. */
static bool take_between(load_http_t *http, char c)
{
    if (http->part == LOAD_PART_SIZE) {
        take_size(http, c);
    }
    else if (http->part == LOAD_PART_AFTER) {
        if (c == '\n') {
            http->part = LOAD_PART_SIZE;
        }
    }
    else if (c == '\n') {
        if (http->line == 0) {
            return true;
        }
        http->line = 0;
    }
    else if (c != '\r') {
        http->line++;
    }
    return false;
}

load_http_event_e load_http_next(load_http_t *http, const char **data,
                                 size_t *length, const char **body,
                                 size_t *body_length)
{
    for (;;) {
        if (http->part == LOAD_PART_HEAD) {
            return take_head(http, data, length);
        }
        if (http->part == LOAD_PART_COUNTED && http->left == 0) {
            return ended(http);
        }
        if (http->part == LOAD_PART_CHUNK && http->left == 0) {
            http->part = LOAD_PART_AFTER;
        }
        if (*length == 0) {
            return LOAD_HTTP_MORE;
        }
        if (http->part == LOAD_PART_COUNTED || http->part == LOAD_PART_OPEN
            || http->part == LOAD_PART_CHUNK) {
            return take_piece(http, data, length, body, body_length);
        }
        --*length;
        if (take_between(http, *(*data)++)) {
            return ended(http);
        }
    }
}
