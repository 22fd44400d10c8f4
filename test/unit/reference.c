/* SPDX-License-Identifier: Apache-2.0 */
/* Slow and simple decoders that tests use for comparison. */
#include "reference.h"

#include <stdlib.h>
#include <string.h>

/* --- UTF-8 --------------------------------------------------------------- */

size_t reference_utf8(const unsigned char *at, size_t length, uint32_t *code)
{
    static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
    size_t ones = 0, i;

    if (length == 0) {
        return 0;
    }
    while (ones < 8 && (at[0] & (0x80u >> ones))) {
        ones++;
    }
    if (ones == 0) {
        *code = at[0];
        return 1;
    }
    if (ones < 2 || ones > 4 || ones > length) {
        return 0;
    }
    *code = at[0] & (0x7Fu >> ones);
    for (i = 1; i < ones; i++) {
        if ((at[i] & 0xC0u) != 0x80u) {
            return 0;
        }
        *code = (*code << 6) | (at[i] & 0x3Fu);
    }
    if (*code < least[ones] || *code > 0x10FFFF
        || (*code >= 0xD800 && *code <= 0xDFFF)) {
        return 0;
    }
    return ones;
}

int reference_utf8_valid(const unsigned char *data, size_t length)
{
    size_t at = 0, step = 1;
    uint32_t code;

    while (at < length && step) {
        step = reference_utf8(data + at, length - at, &code);
        at += step;
    }
    return at == length;
}

size_t reference_put(uint32_t code, unsigned char *out)
{
    if (code < 0x80) {
        out[0] = (unsigned char)code;
        return 1;
    }
    if (code < 0x800) {
        out[0] = (unsigned char)(0xC0 | (code >> 6));
        out[1] = (unsigned char)(0x80 | (code & 0x3F));
        return 2;
    }
    if (code < 0x10000) {
        out[0] = (unsigned char)(0xE0 | (code >> 12));
        out[1] = (unsigned char)(0x80 | ((code >> 6) & 0x3F));
        out[2] = (unsigned char)(0x80 | (code & 0x3F));
        return 3;
    }
    out[0] = (unsigned char)(0xF0 | (code >> 18));
    out[1] = (unsigned char)(0x80 | ((code >> 12) & 0x3F));
    out[2] = (unsigned char)(0x80 | ((code >> 6) & 0x3F));
    out[3] = (unsigned char)(0x80 | (code & 0x3F));
    return 4;
}

/* The proper prefixes of the UTF-8 sequences of all code points, as a set of
 * 24-bit numbers.  The bytes that are not 0 show the length. */
static unsigned char *beginnings;

static uint32_t beginning(const unsigned char *at, size_t length)
{
    uint32_t key = 0;
    size_t i;

    for (i = 0; i < length; i++) {
        key |= (uint32_t)at[i] << (8 * i);
    }
    return key;
}

static void find_beginnings(void)
{
    static unsigned char set[(1u << 24) / 8];
    uint32_t code;

    for (code = 0x80; code <= 0x10FFFF; code++) {
        unsigned char bytes[4];
        size_t length = reference_put(code, bytes), i;

        if (code >= 0xD800 && code <= 0xDFFF) {
            continue;
        }
        for (i = 1; i < length; i++) {
            uint32_t key = beginning(bytes, i);

            set[key / 8] = (unsigned char)(set[key / 8] | (1u << (key % 8)));
        }
    }
    beginnings = set;
}

/* The length of the maximal subpart, at a place where no well-formed sequence
 * begins. */
static size_t maximal_subpart(const unsigned char *at, size_t length)
{
    size_t i;

    if (!beginnings) {
        find_beginnings();
    }
    for (i = length < 3 ? length : 3; i > 1; i--) {
        uint32_t key = beginning(at, i);

        if (at[i - 1] && (beginnings[key / 8] & (1u << (key % 8)))) {
            return i;
        }
    }
    return 1;
}

size_t reference_repair(const unsigned char *data, size_t length,
                        unsigned char *out)
{
    size_t at = 0, written = 0;

    while (at < length) {
        uint32_t code;
        size_t step = reference_utf8(data + at, length - at, &code);

        if (!step) {
            step = maximal_subpart(data + at, length - at);
            code = 0xFFFD;
        }
        written += reference_put(code, out + written);
        at += step;
    }
    return written;
}

/* --- JSON ---------------------------------------------------------------- */

static int hex4(const char *data, size_t length, uint32_t *unit)
{
    static const char digits[] = "0123456789abcdef0123456789ABCDEF";
    size_t i;

    *unit = 0;
    if (length < 4) {
        return 0;
    }
    for (i = 0; i < 4; i++) {
        const char *digit = data[i] ? strchr(digits, data[i]) : NULL;

        if (!digit) {
            return 0;
        }
        *unit = *unit * 16 + (uint32_t)(digit - digits) % 16;
    }
    return 1;
}

/* Decode the text after a backslash.  @return its length; 0 if it is
 * malformed */
static size_t json_escape(const char *data, size_t length, uint32_t *code)
{
    static const char names[] = "\"\\/bfnrt";
    static const char values[] = "\"\\/\b\f\n\r\t";
    const char *name = length && *data ? strchr(names, *data) : NULL;
    uint32_t low;

    if (name) {
        *code = (unsigned char)values[name - names];
        return 1;
    }
    if (length < 5 || *data != 'u' || !hex4(data + 1, length - 1, code)) {
        return 0;
    }
    if (*code < 0xD800 || *code > 0xDFFF) {
        return 5;
    }
    if (*code > 0xDBFF || length < 11 || data[5] != '\\' || data[6] != 'u'
        || !hex4(data + 7, length - 7, &low) || low < 0xDC00 || low > 0xDFFF) {
        return 0;
    }
    *code = 0x10000 + ((*code - 0xD800) << 10) + (low - 0xDC00);
    return 11;
}

int reference_json(const char *data, size_t length, unsigned char *out,
                   size_t *written)
{
    size_t at = 1;

    *written = 0;
    if (length < 2 || data[0] != '"') {
        return 0;
    }
    while (at < length && data[at] != '"') {
        uint32_t code = 0;
        size_t step;

        if (data[at] == '\\') {
            step = json_escape(data + at + 1, length - at - 1, &code);
            step += step ? 1 : 0;
        }
        else {
            step = reference_utf8((const unsigned char *)data + at, length - at,
                                  &code);
            step = code < 0x20 ? 0 : step;
        }
        if (!step) {
            return 0;
        }
        *written += reference_put(code, out + *written);
        at += step;
    }
    return at + 1 == length;
}

/* @return the end of the blanks that begin here */
static size_t json_blanks(const char *data, size_t length, size_t at)
{
    while (at < length && strchr(" \t\r\n", data[at]) && data[at]) {
        at++;
    }
    return at;
}

/* Decode the string at *at, and move *at past the string and the blanks after
 * it. */
static int json_string_at(const char *data, size_t length, size_t *at,
                          unsigned char *out, size_t *written)
{
    size_t begin = *at, end = begin + 1;

    while (end < length && data[end] != '"') {
        end += data[end] == '\\' ? 2 : 1;
    }
    if (end >= length
        || !reference_json(data + begin, end + 1 - begin, out, written)) {
        return 0;
    }
    *at = json_blanks(data, length, end + 1);
    return 1;
}

static int json_take(const char *data, size_t length, size_t *at, char c)
{
    if (*at >= length || data[*at] != c) {
        return 0;
    }
    *at = json_blanks(data, length, *at + 1);
    return 1;
}

static int find_member(const char *data, size_t length, const char *name,
                       unsigned char *room, unsigned char *out, size_t *written)
{
    size_t at = json_blanks(data, length, 0), used;
    int found = 0;

    if (!json_take(data, length, &at, '{')) {
        return -1;
    }
    if (json_take(data, length, &at, '}')) {
        return at == length ? 0 : -1;
    }
    do {
        int wanted;

        if (!json_string_at(data, length, &at, room, &used)
            || !json_take(data, length, &at, ':')) {
            return -1;
        }
        wanted = used == strlen(name) && memcmp(room, name, used) == 0;
        if (!json_string_at(data, length, &at, wanted ? out : room,
                            wanted ? written : &used)) {
            return -1;
        }
        found += wanted;
    } while (json_take(data, length, &at, ','));
    return json_take(data, length, &at, '}') && at == length ? found : -1;
}

int reference_member(const char *data, size_t length, const char *name,
                     unsigned char *out, size_t *written)
{
    unsigned char *room = malloc(length + 1);
    int found = room ? find_member(data, length, name, room, out, written) : -1;

    free(room);
    return found;
}

/* --- HTML ---------------------------------------------------------------- */

int reference_html(const char *data, size_t length, unsigned char *out,
                   size_t *written)
{
    static const struct {
        const char *name;
        unsigned char value;
    } references[] = {
        { "&amp;", '&' },  { "&lt;", '<' },   { "&gt;", '>' },
        { "&quot;", '"' }, { "&#39;", '\'' },
    };
    size_t at = 0, i;

    *written = 0;
    while (at < length) {
        size_t step = 1;

        out[*written] = (unsigned char)data[at];
        if (data[at] && strchr("&<>\"'", data[at])) {
            step = 0;
        }
        for (i = 0; i < sizeof(references) / sizeof(*references); i++) {
            size_t name = strlen(references[i].name);

            if (length - at >= name
                && memcmp(data + at, references[i].name, name) == 0) {
                out[*written] = references[i].value;
                step = name;
            }
        }
        if (!step) {
            return 0;
        }
        (*written)++;
        at += step;
    }
    return 1;
}

/* --- Event streams -------------------------------------------------------- */

/* The parser's buffers, and the event that it fills. */
typedef struct events_t {
    reference_event_t *event;
    unsigned char *type, *data; /* as large as the stream */
    size_t type_length, data_length;
    long long id;
    int count;
} events_t;

static void dispatch_event(events_t *events)
{
    reference_event_t *event = events->event;

    if (events->data_length) { /* copy the data without its last line feed */
        event->data_length = events->data_length - 1;
        memcpy(event->data, events->data, event->data_length);
        event->type_length = events->type_length;
        memcpy(event->type, events->type, events->type_length);
        if (!events->type_length) {
            event->type_length = strlen("message");
            memcpy(event->type, "message", event->type_length);
        }
        event->id = events->id;
        events->count++;
    }
    events->type_length = events->data_length = 0;
}

static long long event_number(const char *value, size_t length)
{
    long long number = 0;
    size_t i;

    for (i = 0; i < length; i++) {
        if (value[i] < '0' || value[i] > '9' || i > 17) {
            return -1;
        }
        number = number * 10 + (value[i] - '0');
    }
    return length ? number : -1;
}

static void take_event_field(events_t *events, const char *line, size_t length)
{
    const char *colon = memchr(line, ':', length);
    size_t name = colon ? (size_t)(colon - line) : length;
    const char *value = colon ? colon + 1 : line + length;
    size_t left = (size_t)(line + length - value);

    if (left && *value == ' ') {
        value++;
        left--;
    }
    if (name == 4 && memcmp(line, "data", 4) == 0) {
        memcpy(events->data + events->data_length, value, left);
        events->data_length += left;
        events->data[events->data_length++] = '\n';
    }
    else if (name == 5 && memcmp(line, "event", 5) == 0) {
        memcpy(events->type, value, left);
        events->type_length = left;
    }
    else if (name == 2 && memcmp(line, "id", 2) == 0) {
        events->id = event_number(value, left);
    }
}

int reference_events(const char *stream, size_t length,
                     reference_event_t *event)
{
    events_t events = { .event = event, .id = -1 };
    size_t at = length >= 3 && memcmp(stream, "\xEF\xBB\xBF", 3) == 0 ? 3 : 0;
    size_t end = at;

    events.type = malloc(length + 1);
    events.data = malloc(length + 1);
    while (at < length && events.type && events.data) {
        for (end = at;
             end < length && stream[end] != '\r' && stream[end] != '\n';) {
            end++;
        }
        if (end == length) {
            break; /* the line is not complete yet */
        }
        if (end == at) {
            dispatch_event(&events);
        }
        else {
            take_event_field(&events, stream + at, end - at);
        }
        end +=
            stream[end] == '\r' && end + 1 < length && stream[end + 1] == '\n';
        at = end + 1;
    }
    free(events.type);
    free(events.data);
    return at < length
                   || !reference_utf8_valid((const unsigned char *)stream,
                                            length)
               ? -1
               : events.count;
}

/* --- Random numbers ------------------------------------------------------- */

uint64_t reference_random(uint64_t *state)
{
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return *state * UINT64_C(2685821657736338717);
}
