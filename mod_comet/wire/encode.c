/* SPDX-License-Identifier: Apache-2.0 */
/* The UTF-8 check, and text written as HTML and as JSON. */
#include "wire/encode.h"

#include <stdint.h>
#include <string.h>

/* --- UTF-8 --------------------------------------------------------------- */

/*
 * Measure one sequence that begins with a byte of 0x80 or more (Unicode 15,
 * table 3-7).
 * @return its length if it is well-formed; else minus the length of its maximal
 *         subpart (section 3.9), which is at least 1
 */
static int utf8_sequence(const unsigned char *at, const unsigned char *end)
{
    unsigned char lead = *at;
    unsigned char low = 0x80, high = 0xBF; /* the range of the second byte */
    int length, i;

    if (lead >= 0xC2 && lead <= 0xDF) {
        length = 2;
    }
    else if (lead >= 0xE0 && lead <= 0xEF) {
        length = 3;
        if (lead == 0xE0) {
            low = 0xA0; /* below this: overlong */
        }
        else if (lead == 0xED) {
            high = 0x9F; /* above this: surrogates */
        }
    }
    else if (lead >= 0xF0 && lead <= 0xF4) {
        length = 4;
        if (lead == 0xF0) {
            low = 0x90; /* below this: overlong */
        }
        else if (lead == 0xF4) {
            high = 0x8F; /* above this: beyond U+10FFFF */
        }
    }
    else {
        return -1;
    }
    for (i = 1; i < length; i++) {
        if (end - at <= i || at[i] < low || at[i] > high) {
            return -i;
        }
        low = 0x80;
        high = 0xBF;
    }
    return length;
}

int comet_encode_is_utf8(comet_text_t text)
{
    const unsigned char *at = (const unsigned char *)text.data;
    const unsigned char *end = text.length ? at + text.length : at;

    while (at < end) {
        if (*at < 0x80) {
            apr_uint64_t eight;

            /* Skip ASCII fast: most texts have long stretches of it. */
            while (end - at >= 8
                   && (memcpy(&eight, at, 8),
                       !(eight & APR_UINT64_C(0x8080808080808080)))) {
                at += 8;
            }
            while (at < end && *at < 0x80) {
                at++;
            }
        }
        else {
            int length = utf8_sequence(at, end);

            if (length < 0) {
                return 0;
            }
            at += length;
        }
    }
    return 1;
}

/* --- lines --------------------------------------------------------------- */

#define REPLACEMENT "\xEF\xBF\xBD" /* U+FFFD */

/* Copy text; bytes that are not UTF-8 are replaced. */
static void add_utf8(comet_buffer_t *buffer, comet_text_t text)
{
    const unsigned char *at = (const unsigned char *)text.data;
    const unsigned char *end = text.length ? at + text.length : at;

    if (comet_encode_is_utf8(text)) {
        comet_buffer_add(buffer, text.data, text.length);
        return;
    }
    while (at < end) {
        int length = *at < 0x80 ? 1 : utf8_sequence(at, end);

        if (length > 0) {
            comet_buffer_add(buffer, (const char *)at, (apr_size_t)length);
        }
        else {
            comet_buffer_puts(buffer, REPLACEMENT);
        }
        at += length > 0 ? length : -length;
    }
}

void comet_encode_lines(comet_buffer_t *buffer, const char *prefix,
                        comet_text_t text)
{
    const apr_size_t prefix_length = strlen(prefix);
    apr_size_t start = 0, i;

    for (i = 0; i <= text.length; i++) {
        if (i < text.length && text.data[i] != '\r' && text.data[i] != '\n') {
            continue;
        }
        comet_buffer_add(buffer, prefix, prefix_length);
        add_utf8(buffer, (comet_text_t){ text.data + start, i - start });
        comet_buffer_add(buffer, "\n", 1);
        if (i + 1 < text.length && text.data[i] == '\r'
            && text.data[i + 1] == '\n') {
            i++;
        }
        start = i + 1;
    }
}

/* --- HTML ---------------------------------------------------------------- */

static const char *html_reference(char c)
{
    switch (c) {
    case '&':
        return "&amp;";
    case '<':
        return "&lt;";
    case '>':
        return "&gt;";
    case '"':
        return "&quot;";
    case '\'':
        return "&#39;";
    default:
        return NULL;
    }
}

void comet_encode_html(comet_buffer_t *buffer, comet_text_t text)
{
    apr_size_t plain = 0; /* the start of the run that is not copied yet */
    apr_size_t i;

    for (i = 0; i < text.length; i++) {
        const char *reference = html_reference(text.data[i]);

        if (reference) {
            comet_buffer_add(buffer, text.data + plain, i - plain);
            comet_buffer_puts(buffer, reference);
            plain = i + 1;
        }
    }
    if (plain < text.length) {
        comet_buffer_add(buffer, text.data + plain, text.length - plain);
    }
}

/* --- JSON ---------------------------------------------------------------- */

/*
 * What to do with each byte of a JSON string: 0: copy it; 'u': write \u00XX;
 * 'x': it begins or breaks a UTF-8 sequence; any other: write a backslash and
 * this character.
 */
#define STAY16 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0
/* clang-format off */
#define MULTI16 'x', 'x', 'x', 'x', 'x', 'x', 'x', 'x', \
                'x', 'x', 'x', 'x', 'x', 'x', 'x', 'x'
static const char json_actions[256] = {
    'u', 'u', 'u', 'u', 'u', 'u', 'u', 'u',
    'b', 't', 'n', 'u', 'f', 'r', 'u', 'u',
    'u', 'u', 'u', 'u', 'u', 'u', 'u', 'u',
    'u', 'u', 'u', 'u', 'u', 'u', 'u', 'u',
    0, 0, '"', 0, 0, 0, 'u', 0, 0, 0, 0, 0, 0, 0, 0, 0, /* " and & */
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 'u', 0, 'u', 0, /* < and > */
    STAY16,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, '\\', 0, 0, 0,
    STAY16,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 'u', /* DEL */
    MULTI16, MULTI16, MULTI16, MULTI16, MULTI16, MULTI16, MULTI16, MULTI16
};
/* clang-format on */

/* Append the escape of one ASCII character. */
static void json_escape(comet_buffer_t *buffer, unsigned char c)
{
    static const char hex[] = "0123456789abcdef";
    char escape[6] = "\\u00";

    escape[1] = json_actions[c];
    escape[4] = hex[c >> 4];
    escape[5] = hex[c & 15];
    comet_buffer_add(buffer, escape, escape[1] == 'u' ? 6 : 2);
}

/* What to write instead of a sequence that utf8_sequence() measured; NULL if it
 * is copied. */
static const char *json_instead(const unsigned char *at, int length)
{
    if (length < 0) {
        return REPLACEMENT;
    }
    if (length == 3 && at[0] == 0xE2 && at[1] == 0x80) {
        /* old browsers end a line of JavaScript here */
        return at[2] == 0xA8 ? "\\u2028" : at[2] == 0xA9 ? "\\u2029" : NULL;
    }
    return NULL;
}

/* Skip ASCII characters that are copied as they are.  Most texts consist mainly
 * of them. */
static const unsigned char *json_skip(const unsigned char *at,
                                      const unsigned char *end)
{
    while (end - at >= 4
           && !(json_actions[at[0]] | json_actions[at[1]] | json_actions[at[2]]
                | json_actions[at[3]])) {
        at += 4;
    }
    while (at < end && !json_actions[*at]) {
        at++;
    }
    return at;
}

void comet_encode_json(comet_buffer_t *buffer, comet_text_t text)
{
    const unsigned char *at = (const unsigned char *)text.data;
    const unsigned char *end = text.length ? at + text.length : at;
    const unsigned char *plain = at; /* the run that is not copied yet */

    /* Usually this is the only allocation. */
    if (!comet_buffer_reserve(buffer, text.length + 2)) {
        return;
    }
    comet_buffer_add(buffer, "\"", 1);
    while ((at = json_skip(at, end)) < end) {
        const char *instead = NULL;
        int length = 1;

        if (json_actions[*at] == 'x') {
            length = utf8_sequence(at, end);
            instead = json_instead(at, length);
            if (!instead) {
                at += length;
                continue;
            }
        }
        comet_buffer_add(buffer, (const char *)plain, (apr_size_t)(at - plain));
        if (instead) {
            comet_buffer_puts(buffer, instead);
        }
        else {
            json_escape(buffer, *at);
        }
        at += length < 0 ? -length : length;
        plain = at;
    }
    comet_buffer_add(buffer, (const char *)plain, (apr_size_t)(end - plain));
    comet_buffer_add(buffer, "\"", 1);
}

void comet_encode_stored_end(comet_buffer_t *buffer, comet_text_t channel)
{
    comet_buffer_puts(buffer, ", \"channel\": ");
    comet_encode_json(buffer, channel);
    comet_buffer_puts(buffer, "}\n");
}

void comet_encode_stored(comet_buffer_t *buffer, comet_timestamp_t timestamp,
                         comet_text_t channel)
{
    comet_buffer_puts(buffer, "{\"timestamp\": ");
    comet_buffer_add_int(buffer, timestamp);
    comet_encode_stored_end(buffer, channel);
}
