/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file base/template.h
 * URI templates (RFC 6570) as patterns: a template matches every text that it
 * expands to for some values of its variables.
 */
#ifndef COMET_TEMPLATE_H
#define COMET_TEMPLATE_H

#include "base/automaton.h"

/**
 * Compile a template.  Expressions match as in the hub of the Mercure project:
 * {v} does not match slashes, but {+v} and {#v} do.  Any expression may be
 * missing from the text.
 * @param automaton  OUT; its content is undefined if 0 is returned
 * @param variables  OUT: how many variables the template has; each makes
 *                   matching slower
 * @return whether the text is a valid template with an expression.  Any thread.
 */
int comet_template_compile(comet_automaton_t *automaton, comet_text_t text,
                           apr_size_t *variables);

#endif /* COMET_TEMPLATE_H */
