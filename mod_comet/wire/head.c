/* SPDX-License-Identifier: Apache-2.0 */
/* Heads of HTTP/1.1 messages that equal a known head, except for the parts that
 * change from request to request. */
#include "wire/head.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* How many digits COMET_TIMESTAMP_MAX has. */
#define CURSOR_DIGITS 16

static const char *find(comet_text_t text, const char *what)
{
    return memmem(text.data, text.length, what, strlen(what));
}

static apr_size_t count_digits(const char *text, const char *end)
{
    const char *digit = text;

    while (digit < end && *digit >= '0' && *digit <= '9') {
        digit++;
    }
    return (apr_size_t)(digit - text);
}

/* Whether bytes have exactly one empty line, at their end.  A head with NUL or
 * with a bare LF is refused, since some recipients take a bare LF for the end
 * of a line. */
static int is_one_head(comet_text_t bytes)
{
    const char *end = find(bytes, "\r\n\r\n");
    apr_size_t i;

    for (i = 0; i < bytes.length; i++) {
        if (bytes.data[i] == '\0'
            || (bytes.data[i] == '\n' && (!i || bytes.data[i - 1] != '\r'))) {
            return 0;
        }
    }
    return end && end + 4 == bytes.data + bytes.length;
}

/* --- polls --------------------------------------------------------------- */

void comet_head_free(comet_head_t *head)
{
    free(head->text);
    *head = (comet_head_t){ .text = NULL };
}

/* The query of an HTTP/1.1 GET request line; data is NULL if there is none. */
static comet_text_t find_query(comet_text_t bytes)
{
    static const char last[] = " HTTP/1.1\r\n";
    const char *end = find(bytes, "\r\n");
    comet_text_t line = { bytes.data, (apr_size_t)(end + 2 - bytes.data) };
    comet_text_t nothing = { .data = NULL };
    const char *mark;

    if (strncmp(bytes.data, "GET /", 5) != 0 || line.length < sizeof(last) + 5
        || memcmp(end + 2 - (sizeof(last) - 1), last, sizeof(last) - 1) != 0) {
        return nothing;
    }
    line.length -= sizeof(last) - 1;
    mark = memchr(line.data, '?', line.length);
    return mark ? (comet_text_t){ mark + 1, (apr_size_t)(line.data + line.length
                                                         - mark - 1) }
                : nothing;
}

/* The value of the only since= of a query; NULL if there is none or more than
 * one. */
static const char *find_cursor(comet_text_t query)
{
    static const char name[] = "since=";
    const char *found = NULL, *at = query.data;
    const char *end = query.data + query.length;

    while (at && at < end) {
        if ((apr_size_t)(end - at) >= sizeof(name) - 1
            && memcmp(at, name, sizeof(name) - 1) == 0) {
            if (found) {
                return NULL;
            }
            found = at + sizeof(name) - 1;
        }
        at = memchr(at, '&', (apr_size_t)(end - at));
        at = at ? at + 1 : NULL;
    }
    return found;
}

int comet_head_learn(comet_head_t *head, comet_text_t bytes)
{
    comet_text_t query = { .data = NULL };
    const char *cursor = NULL;
    apr_size_t digits;

    comet_head_free(head);
    if (bytes.length > COMET_HEAD_MAX || !is_one_head(bytes)) {
        return 0;
    }
    query = find_query(bytes);
    cursor = query.data ? find_cursor(query) : NULL;
    if (!cursor) {
        return 0;
    }
    digits = count_digits(cursor, query.data + query.length);
    if (digits > CURSOR_DIGITS
        || (cursor + digits < query.data + query.length
            && cursor[digits] != '&')) {
        return 0;
    }
    head->text = malloc(bytes.length);
    if (!head->text) {
        return 0;
    }
    memcpy(head->text, bytes.data, bytes.length);
    head->length = bytes.length;
    head->before = (apr_size_t)(cursor - bytes.data);
    head->after = head->before + digits;
    return 1;
}

int comet_head_match(const comet_head_t *head, comet_text_t bytes,
                     comet_timestamp_t *cursor)
{
    apr_size_t rest = head->length - head->after, digits, i;
    comet_timestamp_t value = 0;

    if (!head->text || bytes.length <= head->before + rest) {
        return 0;
    }
    digits = bytes.length - head->before - rest;
    if (digits > CURSOR_DIGITS
        || memcmp(bytes.data, head->text, head->before) != 0
        || memcmp(bytes.data + head->before + digits, head->text + head->after,
                  rest)
               != 0) {
        return 0;
    }
    for (i = 0; i < digits; i++) {
        char digit = bytes.data[head->before + i];

        if (digit < '0' || digit > '9') {
            return 0;
        }
        value = value * 10 + (digit - '0');
    }
    *cursor = value;
    return value <= COMET_TIMESTAMP_MAX;
}

/* --- POSTs --------------------------------------------------------------- */

#define LENGTH_DIGITS 9

/* Whether a line is the request line of a POST over HTTP/1.1. */
static int is_post_line(comet_text_t line)
{
    static const char last[] = " HTTP/1.1\r\n";

    return line.length >= sizeof(last) - 1 + 6
           && memcmp(line.data, "POST /", 6) == 0
           && memcmp(line.data + line.length - (sizeof(last) - 1), last,
                     sizeof(last) - 1)
                  == 0;
}

/* Take the digits of a line that is a Content-Length.
 * @return 0: the line is one, but has no valid value, or it is the second
 *         one */
static int take_length(comet_head_post_t *post, comet_text_t line)
{
    static const char name[] = "Content-Length:";
    const char *at = line.data + sizeof(name) - 1;
    const char *end = line.data + line.length - 2;
    apr_size_t digits;

    if (line.length < sizeof(name) - 1 + 2
        || strncasecmp(line.data, name, sizeof(name) - 1) != 0) {
        return 1;
    }
    while (at < end && *at == ' ') {
        at++;
    }
    digits = count_digits(at, end);
    if (post->after.data || !digits || digits > LENGTH_DIGITS
        || at + digits != end) {
        return 0;
    }
    post->before.length = (apr_size_t)(at - post->before.data);
    post->after.data = end;
    for (; at < end; at++) {
        post->length = post->length * 10 + (apr_size_t)(*at - '0');
    }
    return 1;
}

int comet_head_split_post(comet_text_t bytes, comet_head_post_t *post)
{
    const char *at = bytes.data, *end = bytes.data + bytes.length, *feed;

    *post = (comet_head_post_t){ .before = { .data = bytes.data } };
    while (at < end
           && (feed = memchr(at, '\n', (apr_size_t)(end - at))) != NULL) {
        comet_text_t line = { at, (apr_size_t)(feed + 1 - at) };

        if (line.length < 2 || feed[-1] != '\r' || *at == ' ' || *at == '\t'
            || memchr(at, '\0', line.length)
            || (at == bytes.data && !is_post_line(line))) {
            return 0;
        }
        if (line.length == 2) {
            post->after.length = (apr_size_t)(feed + 1 - post->after.data);
            return post->after.data != NULL;
        }
        if (!take_length(post, line)) {
            return 0;
        }
        at = feed + 1;
    }
    return 0;
}

/* --- answers ------------------------------------------------------------- */

typedef struct field_t {
    comet_text_t name, value;
} field_t;

/* Take the next field of a head.  @return 0: no field follows */
static int take_field(comet_text_t *rest, field_t *field)
{
    const char *end = find(*rest, "\r\n");
    const char *colon;
    apr_size_t length;

    if (!end || end == rest->data) {
        return 0;
    }
    length = (apr_size_t)(end - rest->data);
    colon = memchr(rest->data, ':', length);
    if (!colon) {
        return 0;
    }
    field->name =
        (comet_text_t){ rest->data, (apr_size_t)(colon - rest->data) };
    for (colon++; colon < end && *colon == ' '; colon++) {
    }
    field->value = (comet_text_t){ colon, (apr_size_t)(end - colon) };
    rest->data = end + 2;
    rest->length -= length + 2;
    return 1;
}

static int equals(comet_text_t text, const char *word)
{
    return text.length == strlen(word)
           && strncasecmp(text.data, word, text.length) == 0;
}

/* Whether a field is meant for one response only, or says that the connection
 * ends. */
static int is_for_one(const field_t *field)
{
    static const char *const names[] = {
        "Transfer-Encoding",
        "Content-Encoding",
        "Content-Range",
        "Set-Cookie",
        "Set-Cookie2",
        "Expires",
        "Last-Modified",
        "Age",
        "ETag",
        "Trailer",
        "Upgrade",
        "Warning",
    };
    apr_size_t i;

    for (i = 0; i < sizeof(names) / sizeof(*names); i++) {
        if (equals(field->name, names[i])) {
            return 1;
        }
    }
    return equals(field->name, "Connection")
           && !equals(field->value, "Keep-Alive");
}

/* Mark a changing part.  @return 0: the head has two such parts, or the part is
 * empty */
static int mark(comet_head_answer_t *head, comet_head_slot_e slot,
                comet_text_t bytes, const char *at, apr_size_t length)
{
    if (head->slots[slot].length || !length) {
        return 0;
    }
    head->slots[slot].at = (apr_size_t)(at - bytes.data);
    head->slots[slot].length = length;
    return 1;
}

static int mark_field(comet_head_answer_t *head, comet_text_t bytes,
                      const field_t *field)
{
    const char *at = field->value.data, *end = at + field->value.length;

    if (equals(field->name, "Date")) {
        return field->value.length == COMET_HEAD_DATE_BYTES
               && mark(head, COMET_HEAD_DATE, bytes, at, COMET_HEAD_DATE_BYTES);
    }
    if (equals(field->name, "Content-Length")) {
        return count_digits(at, end) == field->value.length
               && mark(head, COMET_HEAD_LENGTH, bytes, at, field->value.length);
    }
    if (equals(field->name, "Keep-Alive")
        && (at = find(field->value, "max=")) != NULL) {
        at += strlen("max=");
        return mark(head, COMET_HEAD_LEFT, bytes, at, count_digits(at, end));
    }
    return !is_for_one(field);
}

static int mark_fields(comet_head_answer_t *head, comet_text_t bytes)
{
    const char *end;
    comet_text_t rest;
    field_t field;

    if (!is_one_head(bytes)
        || (strncmp(bytes.data, "HTTP/1.1 200 ", 13) != 0
            && strncmp(bytes.data, "HTTP/1.1 201 ", 13) != 0)) {
        return 0;
    }
    end = find(bytes, "\r\n");
    rest.data = end + 2;
    rest.length = bytes.length - (apr_size_t)(rest.data - bytes.data);
    while (take_field(&rest, &field)) {
        if (!mark_field(head, bytes, &field)) {
            return 0;
        }
    }
    return rest.length == 2 && head->slots[COMET_HEAD_DATE].length
           && head->slots[COMET_HEAD_LENGTH].length;
}

void comet_head_answer_free(comet_head_answer_t *head)
{
    free(head->text);
    *head = (comet_head_answer_t){ .text = NULL };
}

int comet_head_answer_learn(comet_head_answer_t *head, comet_text_t bytes)
{
    comet_head_answer_free(head);
    if (bytes.length <= COMET_HEAD_MAX && mark_fields(head, bytes)) {
        head->text = malloc(bytes.length);
    }
    if (!head->text) {
        comet_head_answer_free(head);
        return 0;
    }
    memcpy(head->text, bytes.data, bytes.length);
    head->length = bytes.length;
    return 1;
}

/* The first slot at or after an offset; COMET_HEAD_SLOTS if there is none. */
static int next_slot(const comet_head_answer_t *head, apr_size_t from)
{
    int next = COMET_HEAD_SLOTS, i;

    for (i = 0; i < COMET_HEAD_SLOTS; i++) {
        if (head->slots[i].length && head->slots[i].at >= from
            && (next == COMET_HEAD_SLOTS
                || head->slots[i].at < head->slots[next].at)) {
            next = i;
        }
    }
    return next;
}

/* The constant bytes from an offset up to the next slot.  Moves the offset past
 * that slot. */
static comet_text_t take_constant(const comet_head_answer_t *head,
                                  apr_size_t *from, int *slot)
{
    comet_text_t text = { head->text + *from, head->length - *from };

    *slot = next_slot(head, *from);
    if (*slot == COMET_HEAD_SLOTS) {
        *from = head->length;
    }
    else {
        text.length = head->slots[*slot].at - *from;
        *from = head->slots[*slot].at + head->slots[*slot].length;
    }
    return text;
}

int comet_head_answer_equal(const comet_head_answer_t *a,
                            const comet_head_answer_t *b)
{
    apr_size_t at_a = 0, at_b = 0;
    int slot_a = 0, slot_b = 0;

    while (a->text && b->text && slot_a != COMET_HEAD_SLOTS) {
        comet_text_t text_a = take_constant(a, &at_a, &slot_a);
        comet_text_t text_b = take_constant(b, &at_b, &slot_b);

        if (slot_a != slot_b || !comet_text_equal(text_a, text_b)) {
            return 0;
        }
    }
    return a->text && b->text;
}

void comet_head_answer_write(const comet_head_answer_t *head,
                             comet_buffer_t *out, const char *date,
                             apr_size_t length, int left)
{
    apr_size_t at = 0;
    int slot = 0;

    while (slot != COMET_HEAD_SLOTS) {
        comet_text_t text = take_constant(head, &at, &slot);

        comet_buffer_add(out, text.data, text.length);
        if (slot == COMET_HEAD_DATE) {
            comet_buffer_add(out, date, COMET_HEAD_DATE_BYTES);
        }
        else if (slot == COMET_HEAD_LENGTH) {
            comet_buffer_add_int(out, (apr_int64_t)length);
        }
        else if (slot == COMET_HEAD_LEFT) {
            comet_buffer_add_int(out, left);
        }
    }
}
