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
 * The length of a pattern's literal beginning, which all its topics share.  It
 * ends before the first character that has a special meaning.  It is 0 if the
 * topics may spell scheme and host in other ways.
 */
apr_size_t comet_url_pattern_literal(comet_text_t text);

#endif /* COMET_URL_PATTERN_H */
