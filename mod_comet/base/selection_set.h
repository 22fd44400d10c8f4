/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file base/selection_set.h
 * Selections made from others, for clients that change what they read.  None of
 * them may be by topics.  Each call returns a selection with one reference,
 * which the caller owns; NULL: no memory is left.  Any thread.
 */
#ifndef COMET_SELECTION_SET_H
#define COMET_SELECTION_SET_H

#include "base/selection.h"

/** The names and prefixes of both. */
comet_selection_t *comet_selection_set_union(const comet_selection_t *a,
                                             const comet_selection_t *b);

/** The names and prefixes of @a a that @a b does not have. */
comet_selection_t *comet_selection_set_minus(const comet_selection_t *a,
                                             const comet_selection_t *b);

/** The names of @a a that @a b names or covers by a prefix, and the prefixes of
 * @a b. */
comet_selection_t *comet_selection_set_within(const comet_selection_t *a,
                                              const comet_selection_t *b);

/** The names of @a a that @a b does not name, without prefixes. */
comet_selection_t *comet_selection_set_new_names(const comet_selection_t *a,
                                                 const comet_selection_t *b);

/** The names that both have, without prefixes. */
comet_selection_t *comet_selection_set_shared(const comet_selection_t *a,
                                              const comet_selection_t *b);

/** Whether a selection has no names and no prefixes. */
int comet_selection_set_is_empty(const comet_selection_t *selection);

#endif /* COMET_SELECTION_SET_H */
