/* SPDX-License-Identifier: Apache-2.0 */
/* URL patterns (WHATWG URL Pattern), compiled to automatons. */
#include "base/url_pattern.h"

#include <string.h>

#include "base/pattern.h"

static const char NO_EXPRESSIONS[] = "regular expressions are not supported";

typedef enum part_e { PROTOCOL, HOST, PORT, PATH, SEARCH, HASH } part_e;

/* What a name and a star match in each part: bits of comet_step_set_e. */
static const struct {
    unsigned name, star;
} sets[] = {
    [PROTOCOL] = { COMET_SET_ANY | COMET_SET_NO_SLASH | COMET_SET_NO_COLON,
                   COMET_SET_ANY | COMET_SET_NO_SLASH | COMET_SET_NO_COLON },
    [HOST] = { COMET_SET_ANY | COMET_SET_NO_SLASH | COMET_SET_NO_QUERY
                   | COMET_SET_NO_COLON | COMET_SET_NO_DOT,
               COMET_SET_ANY | COMET_SET_NO_SLASH | COMET_SET_NO_QUERY
                   | COMET_SET_NO_COLON },
    [PORT] = { COMET_SET_ANY | COMET_SET_NO_SLASH | COMET_SET_NO_QUERY,
               COMET_SET_ANY | COMET_SET_NO_SLASH | COMET_SET_NO_QUERY },
    [PATH] = { COMET_SET_ANY | COMET_SET_NO_QUERY | COMET_SET_NO_SLASH,
               COMET_SET_ANY | COMET_SET_NO_QUERY },
    [SEARCH] = { COMET_SET_ANY | COMET_SET_NO_HASH,
                 COMET_SET_ANY | COMET_SET_NO_HASH },
    [HASH] = { COMET_SET_ANY, COMET_SET_ANY },
};

/** A pattern being compiled. */
typedef struct compile_t {
    comet_automaton_t *automaton;
    const char *at, *end;
    part_e part;
    int after_matcher; /* a question mark here would be a modifier */
    const char *wrong; /* what is wrong; NULL: nothing */
} compile_t;

static char lower(char c)
{
    return (char)(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
}

static int begins_name(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'
           || c == '$' || (unsigned char)c >= 0x80;
}

static int continues_name(char c)
{
    return begins_name(c) || (c >= '0' && c <= '9');
}

static int is_name(const char *at, const char *end)
{
    return end - at > 1 && *at == ':' && begins_name(at[1]);
}

static const char *skip_name(const char *at, const char *end)
{
    for (at += 2; at < end && continues_name(*at); at++) {
    }
    return at;
}

static void add(compile_t *compile, comet_step_e kind, unsigned set, char byte)
{
    comet_automaton_add(compile->automaton, kind, set, byte);
}

static void add_byte(compile_t *compile, char byte)
{
    add(compile, COMET_STEP_BYTE, 0,
        (char)(compile->part <= HOST ? lower(byte) : byte));
}

/* Append steps for one or more characters of a set. */
static void add_some(compile_t *compile, unsigned set)
{
    add(compile, COMET_STEP_ONE, set, 0);
    add(compile, COMET_STEP_MANY, set, 0);
}

/* Take a modifier.  @return 0: there is none */
static char take_modifier(compile_t *compile)
{
    return (char)(compile->at < compile->end && strchr("?+*", *compile->at)
                      ? *compile->at++
                      : '\0');
}

/* Append a fork.  @return its index */
static apr_size_t begin_optional(compile_t *compile)
{
    return comet_automaton_add(compile->automaton, COMET_STEP_FORK, 0, 0);
}

static void end_optional(compile_t *compile, apr_size_t fork)
{
    compile->automaton->steps[fork].other =
        (apr_uint16_t)compile->automaton->count;
}

/* Append the fork that lets a part occur again. */
static void add_repetition(compile_t *compile, apr_size_t start)
{
    apr_size_t fork = begin_optional(compile);

    compile->automaton->steps[fork].other = (apr_uint16_t)start;
}

/* A star in parentheses is the only regular expression that is understood. */
static int is_star(const char *at, const char *end, apr_size_t *length)
{
    *length = end - at >= 4 && memcmp(at, "(.*)", 4) == 0 ? 4 : 1;
    return *length == 4 || *at == '*';
}

/* --- groups --------------------------------------------------------------- */

/* Compile the content of a group, which ends at @a end. */
static void add_content(compile_t *compile, const char *end)
{
    const char *whole = compile->end;
    apr_size_t length;

    compile->end = end;
    while (compile->at < end && !compile->wrong) {
        if (is_name(compile->at, end)) {
            compile->at = skip_name(compile->at, end);
            add_some(compile, sets[compile->part].name);
        }
        else if (is_star(compile->at, end, &length)) {
            compile->at += length;
            add(compile, COMET_STEP_MANY, sets[compile->part].star, 0);
        }
        else if (strchr("{(", *compile->at)) {
            compile->wrong = "expected no group within a group, and no regular "
                             "expression";
        }
        else {
            compile->at += *compile->at == '\\' && compile->at + 1 < end;
            add_byte(compile, *compile->at++);
        }
    }
    compile->end = whole;
}

/* Compile a group or a name, and the modifier after it.
 * @param content_end  where the content of a group ends; NULL: this is a name,
 *                     which a slash may precede */
static void add_group(compile_t *compile, const char *content_end)
{
    const char *start = compile->at, *after;
    apr_size_t fork = 0, first;
    char modifier;

    compile->at = content_end
                      ? content_end + 1
                      : skip_name(start + (*start == '/'), compile->end);
    if (compile->at < compile->end && *compile->at == '(' && !content_end) {
        compile->wrong = NO_EXPRESSIONS;
    }
    modifier = take_modifier(compile);
    after = compile->at;
    if (modifier == '?' || modifier == '*') {
        fork = begin_optional(compile);
    }
    first = compile->automaton->count;
    compile->at = start;
    if (content_end) {
        add_content(compile, content_end);
    }
    else {
        if (*start == '/') {
            add_byte(compile, '/');
        }
        add_some(compile, sets[compile->part].name);
    }
    if (modifier == '+' || modifier == '*') {
        add_repetition(compile, first);
    }
    if (modifier == '?' || modifier == '*') {
        end_optional(compile, fork);
    }
    compile->at = after;
    compile->after_matcher = 1;
}

static const char *find_brace(const char *at, const char *end)
{
    for (; at < end && *at != '}'; at++) {
        at += *at == '\\';
    }
    return at < end ? at : NULL;
}

static void add_braces(compile_t *compile)
{
    const char *brace = find_brace(++compile->at, compile->end);

    if (!brace) {
        compile->wrong = "expected a } for each {";
        return;
    }
    add_group(compile, brace);
}

/* --- parts ---------------------------------------------------------------- */

/* If the next character begins another part of the pattern, go to that part.
 * @return whether the character was consumed */
static int enter_part(compile_t *compile)
{
    char c = *compile->at;
    part_e part = compile->part;

    if (part == HOST && c == ':' && !is_name(compile->at, compile->end)) {
        compile->part = PORT;
    }
    else if (part < PATH && c == '/') {
        compile->part = PATH;
        return 0; /* the slash belongs to the path */
    }
    else if (part < SEARCH && c == '?' && !compile->after_matcher) {
        compile->part = SEARCH;
    }
    else if (part < HASH && c == '#') {
        compile->part = HASH;
    }
    else {
        return 0;
    }
    if (part < PATH && compile->part > PATH) {
        add(compile, COMET_STEP_BYTE, 0, '/');
    }
    add(compile, COMET_STEP_BYTE, 0, c);
    compile->at++;
    return 1;
}

static void add_token(compile_t *compile)
{
    const char *at = compile->at, *end = compile->end;
    apr_size_t length;

    if ((compile->part == PATH && *at == '/' && is_name(at + 1, end))
        || is_name(at, end)) {
        add_group(compile, NULL);
    }
    else if (*at == '{') {
        add_braces(compile);
    }
    else if (is_star(at, end, &length)) {
        compile->at += length;
        add(compile, COMET_STEP_MANY, sets[compile->part].star, 0);
        take_modifier(compile); /* ignore it: a star already matches text of any
                                 * length, even none */
        compile->after_matcher = 1;
    }
    else if (*at == '(') {
        compile->wrong = NO_EXPRESSIONS;
    }
    else {
        compile->at += *at == '\\' && end - at > 1;
        add_byte(compile, *compile->at++);
        compile->after_matcher = 0;
    }
}

/* Let the parts that a pattern leaves out at its end match anything. */
static void add_rest(compile_t *compile)
{
    apr_size_t fork;

    if (compile->part < PATH) {
        add(compile, COMET_STEP_BYTE, 0, '/');
        add(compile, COMET_STEP_MANY, sets[PATH].star, 0);
    }
    if (compile->part < SEARCH) {
        fork = begin_optional(compile);
        add(compile, COMET_STEP_BYTE, 0, '?');
        add(compile, COMET_STEP_MANY, sets[SEARCH].star, 0);
        end_optional(compile, fork);
    }
    if (compile->part < HASH) {
        fork = begin_optional(compile);
        add(compile, COMET_STEP_BYTE, 0, '#');
        add(compile, COMET_STEP_MANY, sets[HASH].star, 0);
        end_optional(compile, fork);
    }
    add(compile, COMET_STEP_END, 0, 0);
}

/* @return where the "://" before the host is; NULL: there is no host */
static const char *find_host(comet_text_t text)
{
    return text.length ? memmem(text.data, text.length, "://", 3) : NULL;
}

/* Compile a pattern.  @return NULL, or what is wrong with it */
static const char *compile_text(comet_automaton_t *automaton, comet_text_t text)
{
    const char *host = find_host(text);
    compile_t compile = {
        .automaton = automaton,
        .at = text.data,
        .end = text.data + text.length,
        .part = host ? PROTOCOL : PATH,
    };

    automaton->count = 0;
    automaton->is_full = 0;
    if (text.length > COMET_PATTERN_MAX_BYTES) {
        return "the pattern is too long";
    }
    if (!host && (!text.length || text.data[0] != '/')) {
        return "expected a pattern such as https://example.com/books/:id, or "
               "one that begins with a slash";
    }
    while (compile.at < compile.end && !compile.wrong) {
        if (compile.at == host) {
            comet_automaton_add_text(automaton, comet_text("://"));
            compile.at += 3;
            compile.part = HOST;
            compile.after_matcher = 0;
        }
        else if (compile.part == PROTOCOL || !enter_part(&compile)) {
            add_token(&compile);
        }
    }
    add_rest(&compile);
    return compile.wrong        ? compile.wrong
           : automaton->is_full ? "the pattern is too long"
                                : NULL;
}

const char *comet_url_pattern_check(comet_text_t text)
{
    comet_automaton_t automaton;

    return compile_text(&automaton, text);
}

/* --- topics --------------------------------------------------------------- */

static int is_port(comet_text_t authority, const char *scheme,
                   apr_size_t scheme_length, const char *name, const char *port)
{
    apr_size_t length = strlen(port);

    return scheme_length == strlen(name)
           && memcmp(scheme, name, scheme_length) == 0
           && authority.length > length
           && memcmp(authority.data + authority.length - length, port, length)
                  == 0;
}

/* Write a topic in the form in which URLs are compared: with scheme and host in
 * lower case, without a port that the scheme implies, and with at least a slash
 * as its path.
 * @param room  room for one byte more than the topic has */
static comet_text_t normalize(comet_text_t topic, char *room)
{
    const char *host = find_host(topic), *at;
    apr_size_t scheme, length = 0;
    comet_text_t authority;

    if (!host) {
        return topic;
    }
    scheme = (apr_size_t)(host - topic.data);
    for (at = topic.data; at < topic.data + topic.length
                          && (at < host + 3 || !strchr("/?#", *at));
         at++) {
        room[length++] = lower(*at);
    }
    authority = (comet_text_t){ room + scheme + 3, length - scheme - 3 };
    if (is_port(authority, room, scheme, "https", ":443")) {
        length -= 4;
    }
    if (is_port(authority, room, scheme, "http", ":80")) {
        length -= 3;
    }
    if (at == topic.data + topic.length || *at != '/') {
        room[length++] = '/';
    }
    memcpy(room + length, at, (apr_size_t)(topic.data + topic.length - at));
    length += (apr_size_t)(topic.data + topic.length - at);
    return (comet_text_t){ room, length };
}

int comet_url_pattern_matches(comet_text_t text, comet_text_t topic)
{
    comet_automaton_t automaton;
    char room[COMET_CHANNEL_MAX_BYTES + 1];

    return topic.length <= COMET_CHANNEL_MAX_BYTES
           && !compile_text(&automaton, text)
           && comet_automaton_run(
               &automaton, find_host(text) ? normalize(topic, room) : topic);
}

apr_size_t comet_url_pattern_literal(comet_text_t text)
{
    apr_size_t length = 0;

    if (find_host(text)) {
        return 0; /* topics may spell the scheme and the host in another case,
                   * or name the usual port */
    }
    while (length < text.length && !strchr("\\:*{(?+#", text.data[length])) {
        length++;
    }
    /* if the name is optional, so is the slash before it */
    return length && length < text.length && text.data[length] == ':'
               ? length - 1
               : length;
}
