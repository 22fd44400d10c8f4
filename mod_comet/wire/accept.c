/* SPDX-License-Identifier: Apache-2.0 */
/* The header Accept: media ranges with their weights. */
#include "wire/accept.h"

#include <string.h>
#include <strings.h>

/* The part of a header that has not been read yet. */
typedef struct scan_t {
    const char *at, *end;
} scan_t;

/* One parameter of a range; a quoted value is without its quotes. */
typedef struct parameter_t {
    comet_text_t name, value;
} parameter_t;

static int is(comet_text_t text, const char *word)
{
    return text.length == strlen(word)
           && strncasecmp(text.data, word, text.length) == 0;
}

/* Whether a token can contain a character (RFC 9110, section 5.6.2). */
static int is_token_char(char c)
{
    return c > ' ' && c < 127 && !strchr("\"(),/:;<=>?@[\\]{}", c);
}

static void skip_blanks(scan_t *scan)
{
    while (scan->at < scan->end && (*scan->at == ' ' || *scan->at == '\t')) {
        scan->at++;
    }
}

static int take_char(scan_t *scan, char c)
{
    if (scan->at == scan->end || *scan->at != c) {
        return 0;
    }
    scan->at++;
    return 1;
}

/* Take a token.  @return 0: there is none */
static int take_token(scan_t *scan, comet_text_t *token)
{
    token->data = scan->at;
    while (scan->at < scan->end && is_token_char(*scan->at)) {
        scan->at++;
    }
    token->length = (apr_size_t)(scan->at - token->data);
    return token->length > 0;
}

/* Take the text between the quotes.  Escapes are not decoded, because no value
 * that matters here needs one. */
static int take_quoted(scan_t *scan, comet_text_t *value)
{
    if (!take_char(scan, '"')) {
        return 0;
    }
    value->data = scan->at;
    while (scan->at < scan->end && *scan->at != '"') {
        scan->at += *scan->at == '\\' && scan->at + 1 < scan->end ? 2 : 1;
    }
    value->length = (apr_size_t)(scan->at - value->data);
    return take_char(scan, '"');
}

/* Skip to the text after the comma that ends a range, even if the range is
 * malformed. */
static void skip_range(scan_t *scan)
{
    comet_text_t ignored;

    while (scan->at < scan->end && *scan->at != ',') {
        if (*scan->at != '"' || !take_quoted(scan, &ignored)) {
            scan->at += scan->at < scan->end;
        }
    }
    take_char(scan, ',');
}

/* Take one parameter, ";name=value".  An empty parameter (";") has an empty
 * name.
 * @return 1; 0: there is none; -1: malformed */
static int take_parameter(scan_t *scan, parameter_t *parameter)
{
    *parameter = (parameter_t){ .name = { .length = 0 } };
    skip_blanks(scan);
    if (!take_char(scan, ';')) {
        return 0;
    }
    skip_blanks(scan);
    if (!take_token(scan, &parameter->name)) {
        return 1;
    }
    if (!take_char(scan, '=')) {
        return -1;
    }
    return take_token(scan, &parameter->value)
                   || take_quoted(scan, &parameter->value)
               ? 1
               : -1;
}

/* Parse a weight: "0", "0.25", "1" or "1.000", with at most three digits after
 * the point (RFC 9110, section 12.4.2).
 * @return thousandths; -1: malformed */
static int parse_quality(comet_text_t text)
{
    int quality, unit = 100;
    apr_size_t i;

    if (!text.length || text.length > 5
        || (text.data[0] != '0' && text.data[0] != '1')
        || (text.length > 1 && text.data[1] != '.')) {
        return -1;
    }
    quality = text.data[0] == '1' ? 1000 : 0;
    for (i = 2; i < text.length; i++, unit /= 10) {
        if (text.data[i] < '0' || text.data[i] > '9') {
            return -1;
        }
        quality += (text.data[i] - '0') * unit;
    }
    return quality <= 1000 ? quality : -1;
}

/* How specifically a range "major/minor" names a type. */
static comet_accept_range_e compare(comet_text_t major, comet_text_t minor,
                                    const char *type)
{
    const char *slash = strchr(type, '/');
    int same = major.length == (apr_size_t)(slash - type)
               && strncasecmp(major.data, type, major.length) == 0;

    if (same && is(minor, slash + 1)) {
        return COMET_ACCEPT_NAMED;
    }
    if (!is(minor, "*")) {
        return COMET_ACCEPT_NOT;
    }
    if (same) {
        return COMET_ACCEPT_FAMILY;
    }
    return is(major, "*") ? COMET_ACCEPT_ANYTHING : COMET_ACCEPT_NOT;
}

/* Take the parameters of a range, up to its end.  Parameters after q are
 * extensions and are ignored.
 * @return 0: malformed */
static int take_parameters(scan_t *scan, comet_accept_t *found)
{
    parameter_t parameter;
    int more, weighed = 0;

    while ((more = take_parameter(scan, &parameter)) > 0) {
        if (weighed || !parameter.name.length) {
            continue;
        }
        if (is(parameter.name, "q")) {
            weighed = 1;
            found->quality = parse_quality(parameter.value);
        }
        else if (!is(parameter.name, "charset")
                 || !is(parameter.value, "utf-8")) {
            found->range = COMET_ACCEPT_NOT;
        }
    }
    skip_blanks(scan);
    return more == 0 && found->quality >= 0
           && (scan->at == scan->end || *scan->at == ',');
}

/* Take one range.  @return what it says about a type */
static comet_accept_t take_range(scan_t *scan, const char *type)
{
    comet_accept_t found = { .quality = 1000 };
    comet_text_t major, minor;

    skip_blanks(scan);
    if (take_token(scan, &major) && take_char(scan, '/')
        && take_token(scan, &minor)) {
        found.range = compare(major, minor, type);
        if (!take_parameters(scan, &found)) {
            found.range = COMET_ACCEPT_NOT;
        }
    }
    skip_range(scan);
    return found;
}

comet_accept_t comet_accept_find(comet_text_t header, const char *type)
{
    comet_accept_t best = { .range = COMET_ACCEPT_NOT };
    scan_t scan = { header.data, header.data };

    if (header.data) {
        scan.end += header.length;
        skip_blanks(&scan);
    }
    if (scan.at == scan.end) {
        return (comet_accept_t){ COMET_ACCEPT_ANYTHING, 1000 };
    }
    while (scan.at < scan.end) {
        comet_accept_t found = take_range(&scan, type);

        if (found.range > best.range) {
            best = found;
        }
    }
    return best;
}

int comet_accept_prefers(comet_text_t header, const char *type,
                         const char *usual)
{
    comet_accept_t wanted = comet_accept_find(header, type);
    comet_accept_t other = comet_accept_find(header, usual);

    return wanted.quality > other.quality
           || (wanted.quality && wanted.quality == other.quality
               && wanted.range == COMET_ACCEPT_NAMED);
}
