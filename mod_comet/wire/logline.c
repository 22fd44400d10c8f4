/* SPDX-License-Identifier: Apache-2.0 */
/* Which parts of a request the formats and conditions of an access log read. */
#include "wire/logline.h"

#include <apr_lib.h>
#include <string.h>

const char *const COMET_LOGLINE_USUAL[] = { "Referer", "User-Agent", "Host",
                                            "X-Forwarded-For", NULL };

#define BOTH (COMET_LOGLINE_REQUEST | COMET_LOGLINE_RESPONSE)

/* A known word and the parts of a request that it reads. */
typedef struct word_t {
    const char *word; /* a trailing star matches any word with that prefix */
    unsigned needs;
} word_t;

static int is_word(comet_text_t text, const char *word)
{
    apr_size_t length = strlen(word);

    if (length && word[length - 1] == '*') {
        return text.length >= length - 1
               && strncasecmp(text.data, word, length - 1) == 0;
    }
    return text.length == length && strncasecmp(text.data, word, length) == 0;
}

/* Look a text up in a list, and add the bits that it needs.
 * @return whether the list has it */
static int look_up(comet_text_t text, const word_t *words, unsigned *needs)
{
    for (; words->word; words++) {
        if (is_word(text, words->word)) {
            *needs |= words->needs;
            return 1;
        }
    }
    return 0;
}

static comet_text_t between(const char *begin, const char *end)
{
    return (comet_text_t){ begin, (apr_size_t)(end - begin) };
}

/* --- formats ------------------------------------------------------------- */

/* Items whose values are in every copy of a request. %x and %c belong to
 * mod_ssl. */
static const char LETTERS[] = "aAbBcDefhHIklLmnOpPqrRsStTuUvVxX";

static int is_usual(comet_text_t field)
{
    const char *const *usual = COMET_LOGLINE_USUAL;

    while (*usual && !is_word(field, *usual)) {
        usual++;
    }
    return *usual != NULL;
}

/*
 * @param argument  the text in braces
 * @return whether the item is known
 */
static int look_up_item(comet_text_t name, comet_text_t argument,
                        unsigned *needs)
{
    static const word_t words[] = {
        { "^ti", 0 }, /* trailers; streams have none */
        { "^to", 0 },
        { NULL, 0 },
    };

    if (name.length != 1) {
        return look_up(name, words, needs);
    }
    switch (*name.data) {
    case 'i':
        *needs |= is_usual(argument) ? 0 : COMET_LOGLINE_REQUEST;
        return 1;
    case 'o':
        *needs |=
            is_word(argument, "Content-Type") ? 0 : COMET_LOGLINE_RESPONSE;
        return 1;
    case 'n':
        *needs |= is_word(argument, "comet-*") ? COMET_LOGLINE_NOTES : 0;
        return 1;
    case 'C':
        *needs |= COMET_LOGLINE_REQUEST;
        return 1;
    case 'x':
        *needs |= is_word(argument, "SSL_*") ? 0 : BOTH;
        return 1;
    default:
        return memchr(LETTERS, *name.data, sizeof(LETTERS) - 1) != NULL;
    }
}

/*
 * Take one item of a format.
 * @param at  the text after the percent sign
 * @return the text after the item; NULL if the item is unknown or incomplete
 */
static const char *take_item(const char *at, unsigned *needs)
{
    comet_text_t argument = { "", 0 };
    const char *name;

    while (*at && strchr("!,<>0123456789{", *at)) {
        if (*at == '{') {
            const char *end = strchr(at, '}');

            if (!end) {
                return NULL;
            }
            argument = between(at + 1, end);
            at = end;
        }
        at++;
    }
    name = at;
    at += *at == '^' ? strnlen(at, 3) : *at != '\0';
    return look_up_item(between(name, at), argument, needs) ? at : NULL;
}

comet_text_t comet_logline_check_format(const char *format, unsigned *needs)
{
    const char *at = format, *item;

    while ((item = strchr(at, '%')) != NULL) {
        at = item[1] == '%' ? item + 2 : take_item(item + 1, needs);
        if (!at) {
            apr_size_t length = 1 + strcspn(item + 1, " \t\"%");

            return between(item, item + length);
        }
    }
    return (comet_text_t){ NULL, 0 };
}

/* --- conditions ---------------------------------------------------------- */

/* Left out: -U -F -A (they make sub-requests), -d -e -f -s -L -h -x (they look
 * at files). */
static const char *const OPERATORS[] = {
    "n",  "z",  "R",  "T",       "eq",       "ne",        "lt",      "le",
    "gt", "ge", "in", "ipmatch", "strmatch", "strcmatch", "fnmatch",
};

/* Left out: file, filesize, filemod (they look at files). */
static const word_t functions[] = {
    { "req", COMET_LOGLINE_REQUEST },
    { "http", COMET_LOGLINE_REQUEST },
    { "req_novary", COMET_LOGLINE_REQUEST },
    { "resp", COMET_LOGLINE_RESPONSE },
    { "reqenv", 0 },
    { "note", COMET_LOGLINE_NOTES },
    { "env", 0 },
    { "osenv", 0 },
    { "tolower", 0 },
    { "toupper", 0 },
    { "escape", 0 },
    { "unescape", 0 },
    { "base64", 0 },
    { "unbase64", 0 },
    { "md5", 0 },
    { "sha1", 0 },
    { "ldap", 0 },
    { "SSL", 0 },
    { NULL, 0 },
};

/* Left out: REMOTE_IDENT (it asks the client's host), LAST_MODIFIED,
 * SCRIPT_USER and SCRIPT_GROUP (they describe a file). */
static const word_t variables[] = {
    { "HTTP_*", COMET_LOGLINE_REQUEST },
    { "REQUEST_METHOD", 0 },
    { "REQUEST_SCHEME", 0 },
    { "REQUEST_URI", 0 },
    { "REQUEST_FILENAME", 0 },
    { "REQUEST_STATUS", 0 },
    { "REQUEST_LOG_ID", 0 },
    { "SCRIPT_FILENAME", 0 },
    { "PATH_INFO", 0 },
    { "QUERY_STRING", 0 },
    { "THE_REQUEST", 0 },
    { "IS_SUBREQ", 0 },
    { "CONTENT_TYPE", 0 },
    { "HANDLER", 0 },
    { "AUTH_TYPE", 0 },
    { "REMOTE_USER", 0 },
    { "REMOTE_ADDR", 0 },
    { "REMOTE_PORT", 0 },
    { "REMOTE_HOST", 0 },
    { "CONN_REMOTE_ADDR", 0 },
    { "CONN_LOG_ID", 0 },
    { "SERVER_*", 0 },
    { "API_VERSION", 0 },
    { "DOCUMENT_ROOT", 0 },
    { "DOCUMENT_URI", 0 },
    { "CONTEXT_PREFIX", 0 },
    { "CONTEXT_DOCUMENT_ROOT", 0 },
    { "HTTPS", 0 },
    { "HTTP2", 0 },
    { "IPV6", 0 },
    { "SSL_*", 0 },
    { "TIME", 0 },
    { "TIME_*", 0 },
    { NULL, 0 },
};

static int is_operator(comet_text_t name)
{
    apr_size_t i;

    for (i = 0; i < sizeof(OPERATORS) / sizeof(*OPERATORS); i++) {
        if (strlen(OPERATORS[i]) == name.length
            && memcmp(OPERATORS[i], name.data, name.length) == 0) {
            return 1;
        }
    }
    return 0;
}

static const char *skip_word(const char *at)
{
    while (apr_isalnum(*at) || *at == '_') {
        at++;
    }
    return at;
}

static const char *skip_space(const char *at)
{
    while (apr_isspace(*at)) {
        at++;
    }
    return at;
}

/* @param at the text after =~ or !~ */
static const char *skip_regex(const char *at)
{
    char delimiter;

    at = skip_space(at);
    if (*at == 'm' && at[1] && !apr_isalnum(at[1]) && !apr_isspace(at[1])) {
        at++;
    }
    else if (*at != '/') {
        return at;
    }
    delimiter = *at++;
    while (*at && *at != delimiter) {
        at += *at == '\\' && at[1] ? 2 : 1;
    }
    return *at ? at + 1 : at;
}

/* A scan of an expression. */
typedef struct scan_t {
    const char *at;
    char quote; /* the quotation mark of the string; '\0' outside strings */
    unsigned *needs;
} scan_t;

/* Take "%{NAME}" or "%{FUNCTION:argument}".  @return whether it is known */
static int take_variable(scan_t *scan)
{
    const char *name = scan->at + 2;
    const char *end = skip_word(name);

    scan->at = end + strcspn(end, "}");
    return look_up(between(name, end), *end == ':' ? functions : variables,
                   scan->needs);
}

/* Take a word; it is a function if a parenthesis follows.  @return 0: it is an
 * unknown function */
static int take_word(scan_t *scan)
{
    const char *name = scan->at;

    scan->at = skip_word(name);
    return *skip_space(scan->at) != '('
           || look_up(between(name, scan->at), functions, scan->needs);
}

/* Take one character of a string.  Only variables have a meaning in strings. */
static void take_quoted(scan_t *scan)
{
    if (*scan->at == scan->quote) {
        scan->quote = '\0';
    }
    scan->at += *scan->at == '\\' && scan->at[1] ? 2 : 1;
}

/* Take one token.  @return whether it is known */
static int take_token(scan_t *scan)
{
    const char *at = scan->at;

    if (at[0] == '%' && at[1] == '{') {
        return take_variable(scan);
    }
    if (scan->quote) {
        take_quoted(scan);
        return 1;
    }
    if (*at == '-' && apr_isalpha(at[1])) {
        scan->at = skip_word(at + 1);
        return is_operator(between(at + 1, scan->at));
    }
    if (apr_isalnum(*at) || *at == '_') {
        return take_word(scan);
    }
    if ((*at == '=' || *at == '!') && at[1] == '~') {
        scan->at = skip_regex(at + 2);
        return 1;
    }
    scan->quote = '\0';
    if (*at == '"' || *at == '\'') {
        scan->quote = *at;
    }
    scan->at++;
    return 1;
}

comet_text_t comet_logline_check_condition(const char *expression,
                                           /* NOLINTNEXTLINE: it is written */
                                           unsigned *needs)
{
    scan_t scan = { .at = expression, .needs = needs };

    while (*scan.at) {
        const char *token = scan.at;

        if (!take_token(&scan)) {
            return between(token, scan.at + (*scan.at == '}'));
        }
    }
    return (comet_text_t){ NULL, 0 };
}
