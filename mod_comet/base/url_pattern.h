/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file base/url_pattern.h
 * URL patterns (WHATWG URL Pattern, constructor strings), which match topics.
 * They may have names (:id), stars, groups ({…}) and the modifiers ?, + and *,
 * but no regular expressions.  A pattern is absolute, or it begins with a slash
 * and matches only topics that begin with a slash.
 */
#ifndef COMET_URL_PATTERN_H
#define COMET_URL_PATTERN_H

#include "base/automaton.h"

/** @return NULL, or what is wrong with a pattern (a constant).  Any thread. */
const char *comet_url_pattern_check(comet_text_t text);

/** Whether a valid pattern matches a topic.  Any thread. */
int comet_url_pattern_matches(comet_text_t text, comet_text_t topic);

/**
 * The length of a pattern's literal beginning, which all its topics share.  It
 * ends before the first character that has a special meaning.  It is 0 if the
 * pattern has a host, because topics may spell scheme and host differently.
 */
apr_size_t comet_url_pattern_literal(comet_text_t text);

#endif /* COMET_URL_PATTERN_H */
