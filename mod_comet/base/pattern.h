/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file base/pattern.h
 * A pattern, by which a client chooses topics: all topics, a single one, those
 * that match a URI template (RFC 6570), or those that match a URL pattern
 * (base/url_pattern.h).  A pattern is stored as its text and compiled again for
 * each match, which takes less time than the match.  The time of a match is at
 * most proportional to the topic's length times the pattern's length.
 */
#ifndef COMET_PATTERN_H
#define COMET_PATTERN_H

#include "base/text.h"

/** The longest text of a template or URL pattern that is compiled. */
#define COMET_PATTERN_MAX_BYTES 1024

typedef enum comet_pattern_kind_e {
    COMET_PATTERN_ALL, /* every topic; the text is "*" */
    COMET_PATTERN_EXACT, /* the topic that is equal to the text */
    COMET_PATTERN_TEMPLATE,
    COMET_PATTERN_URL
} comet_pattern_kind_e;

typedef struct comet_pattern_t {
    comet_pattern_kind_e kind;
    comet_text_t text; /* borrowed */
} comet_pattern_t;

/**
 * Read a selector of the Mercure protocol 0.x: a star, a URI template, or a
 * topic.  A text that is no valid template is a topic.
 * @param text  borrowed by the pattern.  Any thread.
 */
comet_pattern_t comet_pattern_read(comet_text_t text);

/**
 * Make a matcher of the Mercure protocol 1.0.
 * @param kind  COMET_PATTERN_EXACT or COMET_PATTERN_URL; with either of them
 *              "*" matches every topic
 * @param text  borrowed by the pattern
 * @return NULL, or what is wrong with the text (a constant).  Any thread.
 */
const char *comet_pattern_make(comet_pattern_t *pattern,
                               comet_pattern_kind_e kind, comet_text_t text);

/** Whether a pattern matches a topic.  Any thread. */
int comet_pattern_matches(const comet_pattern_t *pattern, comet_text_t topic);

/** The text that all topics of a pattern begin with, up to and including that
 * text's last slash; it can be empty.  Any thread. */
comet_text_t comet_pattern_stem(const comet_pattern_t *pattern);

/** How costly a pattern is to match: the number of its parts that match texts
 * of any length.  Any thread. */
apr_size_t comet_pattern_cost(const comet_pattern_t *pattern);

#endif /* COMET_PATTERN_H */
