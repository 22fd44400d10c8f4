/* SPDX-License-Identifier: Apache-2.0 */
/* A batch of messages as JSON objects, one a line. */
#include "comet_lines.h"

#include <apr_strings.h>
#include <string.h>

#include "comet_encode.h"

/*
 * An object whose members are texts is all that is taken, so this reads no
 * more of JSON (RFC 8259) than that: it goes no deeper, and all that it keeps
 * is in the pool.
 */
typedef struct reader_t {
    const char *begin, *at, *end; /* of a line */
    apr_pool_t *pool;
    const char *wrong; /* the first thing that is; NULL: nothing yet */
} reader_t;

/* @return 0, so that a caller can return it */
static int expected(reader_t *reader, const char *what)
{
    if (!reader->wrong) {
        reader->wrong = apr_psprintf(
            reader->pool, "expected a JSON object: expected %s at byte %d",
            what, (int)(reader->at - reader->begin) + 1);
    }
    return 0;
}

static void skip_blanks(reader_t *reader)
{
    while (
        reader->at < reader->end
        && (*reader->at == ' ' || *reader->at == '\t' || *reader->at == '\r')) {
        reader->at++;
    }
}

/* Whether the next character that is no blank is this one; then it is taken. */
static int take(reader_t *reader, char c)
{
    skip_blanks(reader);
    if (reader->at == reader->end || *reader->at != c) {
        return 0;
    }
    reader->at++;
    return 1;
}

/* --- texts --------------------------------------------------------------------- */

/* The four hexadecimal digits of a \u. */
static int take_hex(reader_t *reader, unsigned *unit)
{
    int i;

    *unit = 0;
    for (i = 0; i < 4; i++, reader->at++) {
        static const char digits[] = "0123456789abcdef";
        char c = reader->at < reader->end ? *reader->at : ' ';
        const char *digit =
            memchr(digits, c >= 'A' && c <= 'F' ? c - 'A' + 'a' : c, 16);

        if (!digit) {
            return expected(reader, "four hexadecimal digits");
        }
        *unit = *unit * 16 + (unsigned)(digit - digits);
    }
    return 1;
}

/* What follows \u: one unit, or two that are a pair. */
static int take_code_point(reader_t *reader, unsigned *code)
{
    unsigned low;

    if (!take_hex(reader, code)) {
        return 0;
    }
    if (*code >= 0xD800 && *code < 0xDC00) {
        if (reader->end - reader->at < 2 || reader->at[0] != '\\'
            || reader->at[1] != 'u') {
            return expected(reader, "the second half of a surrogate pair");
        }
        reader->at += 2;
        if (!take_hex(reader, &low)) {
            return 0;
        }
        if (low < 0xDC00 || low > 0xDFFF) {
            return expected(reader, "the second half of a surrogate pair");
        }
        *code = 0x10000 + ((*code - 0xD800) << 10) + (low - 0xDC00);
    }
    else if (*code >= 0xDC00 && *code < 0xE000) {
        return expected(reader, "a whole surrogate pair");
    }
    return *code || expected(reader, "no NUL character");
}

/* @return behind it */
static char *put_utf8(char *to, unsigned code)
{
    static const unsigned char leads[] = { 0, 0, 0xC0, 0xE0, 0xF0 };
    int length = code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    int i;

    for (i = length - 1; i > 0; i--) {
        to[i] = (char)(0x80 | (code & 0x3F));
        code >>= 6;
    }
    to[0] = (char)(length == 1 ? code : leads[length] | code);
    return to + length;
}

/* What follows a backslash. @return behind what it stands for; NULL: wrong */
static char *take_escape(reader_t *reader, char *to)
{
    static const char names[] = "\"\\/bfnrt", meant[] = "\"\\/\b\f\n\r\t";
    char c = reader->at < reader->end ? *reader->at : ' ';
    const char *name = memchr(names, c, sizeof(names) - 1);
    unsigned code;

    if (c == 'u') {
        reader->at++;
        return take_code_point(reader, &code) ? put_utf8(to, code) : NULL;
    }
    if (!name) {
        expected(reader, "one of \" \\ / b f n r t u");
        return NULL;
    }
    reader->at++;
    *to = meant[name - names];
    return to + 1;
}

/* How much is left of a text that has begun: it is never longer. */
static apr_size_t length_left(const reader_t *reader)
{
    const char *at = reader->at;

    while (at < reader->end && *at != '"') {
        at += *at == '\\' && reader->end - at > 1 ? 2 : 1;
    }
    return (apr_size_t)(at - reader->at);
}

/* A text whose opening quote was taken, decoded; a NUL is behind it. */
static int take_text(reader_t *reader, comet_text_t *text)
{
    char *data = apr_palloc(reader->pool, length_left(reader) + 1), *to = data;

    while (to && reader->at < reader->end && *reader->at != '"') {
        char c = *reader->at;

        if (c >= '\0' && c < ' ') {
            return expected(reader, "no control character");
        }
        reader->at++;
        if (c == '\\') {
            to = take_escape(reader, to);
        }
        else {
            *to++ = c;
        }
    }
    if (!to || !take(reader, '"')) {
        return expected(reader, "the end of a text");
    }
    *to = '\0';
    *text = (comet_text_t){ data, (apr_size_t)(to - data) };
    return 1;
}

/* --- objects ------------------------------------------------------------------- */

static int take_value(reader_t *reader, const char *name, comet_text_t *text)
{
    if (!text || text->data) {
        reader->wrong = apr_psprintf(
            reader->pool, "%s: %s", name,
            text ? "a duplicate"
                 : "there is no such member: expected body, type or channel");
        return 0;
    }
    if (!take(reader, ':')) {
        return expected(reader, "a colon");
    }
    if (!take(reader, '"')) {
        reader->wrong = apr_psprintf(reader->pool, "%s: expected a text", name);
        return 0;
    }
    return take_text(reader, text);
}

static int take_member(reader_t *reader, comet_line_t *line)
{
    comet_text_t name;

    if (!take(reader, '"')) {
        return expected(reader, "a member's name");
    }
    return take_text(reader, &name)
           && take_value(
               reader, name.data,
               comet_text_equal(name, comet_text("body"))      ? &line->body
               : comet_text_equal(name, comet_text("type"))    ? &line->type
               : comet_text_equal(name, comet_text("channel")) ? &line->channel
                                                               : NULL);
}

static int take_members(reader_t *reader, comet_line_t *line)
{
    if (take(reader, '}')) {
        return 1;
    }
    do {
        if (!take_member(reader, line)) {
            return 0;
        }
    } while (take(reader, ','));
    return take(reader, '}') || expected(reader, "a comma or a brace");
}

static const char *parse_line(comet_line_t *line, comet_text_t text,
                              apr_pool_t *pool)
{
    reader_t reader = { .begin = text.data,
                        .at = text.data,
                        .end = text.data + text.length,
                        .pool = pool };

    if (!comet_utf8_valid(text)) {
        return "expected a JSON object: expected UTF-8";
    }
    if (!take(&reader, '{')) {
        expected(&reader, "a brace");
    }
    else if (take_members(&reader, line)) {
        skip_blanks(&reader);
        if (reader.at != reader.end) {
            expected(&reader, "the end of the line");
        }
    }
    return reader.wrong;
}

/* --- messages ------------------------------------------------------------------ */

static const char *check(const comet_line_t *line, apr_size_t most_bytes,
                         int *too_long, apr_pool_t *pool)
{
    const char *wrong = NULL;

    if (!line->body.data) {
        return "body: there is none";
    }
    if (line->body.length > most_bytes) {
        *too_long = 1;
        return apr_psprintf(pool,
                            "body: the message is too long: at most "
                            "%" APR_SIZE_T_FMT
                            " bytes are allowed (CometMaxMessageSize)",
                            most_bytes);
    }
    wrong = comet_params_check_body(line->body);
    if (wrong) {
        return apr_psprintf(pool, "body: %s", wrong);
    }
    if (line->type.data && (wrong = comet_params_check_type(line->type))) {
        return apr_psprintf(pool, "type: %s", wrong);
    }
    if (line->channel.data
        && (wrong = comet_params_check_channel(line->channel))) {
        return apr_psprintf(pool, "channel: %s", wrong);
    }
    return NULL;
}

static int is_blank(comet_text_t text)
{
    reader_t reader = { .at = text.data, .end = text.data + text.length };

    skip_blanks(&reader);
    return reader.at == reader.end;
}

/* Cut the first line off. @param rest  data NULL: it was the last */
static comet_text_t cut_line(comet_text_t *rest)
{
    comet_text_t line = *rest;
    const char *end = line.length ? memchr(line.data, '\n', line.length) : NULL;

    if (end) {
        line.length = (apr_size_t)(end - line.data);
        rest->data = end + 1;
        rest->length -= line.length + 1;
    }
    else {
        *rest = (comet_text_t){ NULL, 0 };
    }
    return line;
}

const char *comet_lines_parse(comet_lines_t *lines, comet_text_t text,
                              apr_size_t most_bytes, apr_pool_t *pool)
{
    apr_size_t number = 0;
    const char *wrong = NULL;

    *lines = (comet_lines_t){
        .list = apr_palloc(pool, COMET_LIMIT_MAX * sizeof(comet_line_t))
    };
    while (text.data && !wrong) {
        comet_text_t one = cut_line(&text);
        comet_line_t line = { .number = number + 1 };

        number++;

        if (is_blank(one)) {
            continue;
        }
        if (lines->count == COMET_LIMIT_MAX) {
            lines->too_long = 1;
            wrong = apr_psprintf(pool, "at most %d messages are allowed",
                                 COMET_LIMIT_MAX);
            break;
        }
        wrong = parse_line(&line, one, pool);
        if (!wrong) {
            wrong = check(&line, most_bytes, &lines->too_long, pool);
        }
        lines->list[lines->count++] = line;
    }
    if (!wrong && lines->count == 0) {
        number = 1;
        wrong = "there is no message";
    }
    return wrong ? apr_psprintf(pool, "line %" APR_SIZE_T_FMT ": %s", number,
                                wrong)
                 : NULL;
}
