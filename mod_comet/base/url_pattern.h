/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file base/url_pattern.h URL patterns (WHATWG URL Pattern, constructor
 * strings) over topics.  They may have names (:id), stars, groups ({…}) and the
 * modifiers ?, + and *, but no regular expressions.  A pattern is absolute, or
 * it begins with a slash; then it matches only topics that begin with a slash,
 * too.
 */
#ifndef COMET_URL_PATTERN_H
#define COMET_URL_PATTERN_H

#include "base/automaton.h"

/** @return NULL, or what is wrong with a pattern (a constant).  Any thread. */
const char *comet_url_pattern_check(comet_text_t text);

/** Whether a pattern, which was checked, matches a topic.  Any thread. */
int comet_url_pattern_matches(comet_text_t text, comet_text_t topic);

/**
 * The length of the part of a pattern that all its topics begin with, as it is
 * written: it ends before the first character with a meaning of its own, and
 * is 0 where the pattern's scheme or host may differ from the topic's.
 */
apr_size_t comet_url_pattern_literal(comet_text_t text);

#endif /* COMET_URL_PATTERN_H */
