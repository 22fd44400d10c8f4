/* SPDX-License-Identifier: Apache-2.0 */
/* Patterns, by which clients choose topics. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* memmem() */
#endif
#include "base/pattern.h"

#include <string.h>

#include "base/template.h"
#include "base/url_pattern.h"

/* Whether a topic begins with the part of a template before its first
 * expression.  Most topics do not; then the template need not be compiled. */
static int begins_alike(comet_text_t text, comet_text_t topic)
{
    const char *brace = memchr(text.data, '{', text.length);
    apr_size_t length = brace ? (apr_size_t)(brace - text.data) : text.length;

    return topic.length >= length && memcmp(topic.data, text.data, length) == 0;
}

/* Whether a topic contains the longest literal part of a template.  A template
 * that begins with an expression is compared with every message; this check
 * rejects most of the messages that it cannot match. */
static int has_longest_part(comet_text_t text, comet_text_t topic)
{
    const char *at = text.data, *end = text.data + text.length;
    comet_text_t longest = { at, 0 };

    while (at < end) {
        const char *brace = memchr(at, '{', (apr_size_t)(end - at));
        apr_size_t length = (apr_size_t)((brace ? brace : end) - at);

        if (length > longest.length) {
            longest = (comet_text_t){ at, length };
        }
        brace = brace ? memchr(brace, '}', (apr_size_t)(end - brace)) : NULL;
        at = brace ? brace + 1 : end;
    }
    return !longest.length
           || memmem(topic.data, topic.length, longest.data, longest.length);
}

static int is_template(comet_text_t text, apr_size_t *variables)
{
    comet_automaton_t automaton;

    *variables = 0;
    return text.length && text.length <= COMET_PATTERN_MAX_BYTES
           && memchr(text.data, '{', text.length)
           && comet_template_compile(&automaton, text, variables);
}

comet_pattern_t comet_pattern_read(comet_text_t text)
{
    apr_size_t variables;

    return (comet_pattern_t){ comet_text_equal(text, comet_text("*"))
                                  ? COMET_PATTERN_ALL
                              : is_template(text, &variables)
                                  ? COMET_PATTERN_TEMPLATE
                                  : COMET_PATTERN_EXACT,
                              text };
}

const char *comet_pattern_make(comet_pattern_t *pattern,
                               comet_pattern_kind_e kind, comet_text_t text)
{
    *pattern = (comet_pattern_t){ kind, text };
    if (comet_text_equal(text, comet_text("*"))) {
        pattern->kind = COMET_PATTERN_ALL;
    }
    return pattern->kind == COMET_PATTERN_URL ? comet_url_pattern_check(text)
                                              : NULL;
}

int comet_pattern_matches(const comet_pattern_t *pattern, comet_text_t topic)
{
    comet_automaton_t automaton;
    apr_size_t variables;

    switch (pattern->kind) {
    case COMET_PATTERN_ALL:
        return 1;
    case COMET_PATTERN_EXACT:
        return comet_text_equal(pattern->text, topic);
    case COMET_PATTERN_URL:
        return comet_url_pattern_matches(pattern->text, topic);
    default:
        return begins_alike(pattern->text, topic)
               && has_longest_part(pattern->text, topic)
               && comet_template_compile(&automaton, pattern->text, &variables)
               && comet_automaton_run(&automaton, topic);
    }
}

comet_text_t comet_pattern_stem(const comet_pattern_t *pattern)
{
    comet_text_t stem = pattern->text;
    const char *brace = pattern->kind == COMET_PATTERN_TEMPLATE
                            ? memchr(stem.data, '{', stem.length)
                            : NULL;

    if (pattern->kind == COMET_PATTERN_ALL) {
        stem.length = 0;
    }
    if (pattern->kind == COMET_PATTERN_URL) {
        stem.length = comet_url_pattern_literal(stem);
    }
    if (brace) {
        stem.length = (apr_size_t)(brace - stem.data);
    }
    while (stem.length && stem.data[stem.length - 1] != '/') {
        stem.length--;
    }
    return stem;
}

apr_size_t comet_pattern_cost(const comet_pattern_t *pattern)
{
    apr_size_t parts = 0, i;

    if (pattern->kind == COMET_PATTERN_TEMPLATE) {
        is_template(pattern->text, &parts);
    }
    if (pattern->kind == COMET_PATTERN_URL) {
        for (i = 0; i < pattern->text.length; i++) {
            parts += strchr(":*{(", pattern->text.data[i]) != NULL;
        }
    }
    return parts;
}
