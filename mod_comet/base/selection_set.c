/* SPDX-License-Identifier: Apache-2.0 */
/* Selections made from others. */
#include "base/selection_set.h"

#include <stdlib.h>

/* A list of texts that is being made. */
typedef struct texts_t {
    comet_text_t *list;
    apr_size_t count;
} texts_t;

static void add(texts_t *texts, const comet_selected_t *selected)
{
    texts->list[texts->count++] = selected->text;
}

static int is_among(const comet_selected_t *one, const comet_selected_t *list,
                    apr_size_t count)
{
    apr_size_t i;

    for (i = 0; i < count; i++) {
        if (one->hash == list[i].hash
            && comet_text_equal(one->text, list[i].text)) {
            return 1;
        }
    }
    return 0;
}

static int is_named(const comet_selection_t *selection,
                    const comet_selected_t *name)
{
    return comet_selection_match(selection, name->text, name->hash)
           == COMET_SELECTION_NAMED;
}

static int has_prefix(const comet_selection_t *selection,
                      const comet_selected_t *prefix)
{
    return is_among(prefix, selection->prefixes, selection->prefix_count);
}

/* Room for all texts of two selections; comet_selection_create() copies them.
 * @return NULL: no memory is left */
static comet_text_t *make_room(const comet_selection_t *a,
                               const comet_selection_t *b)
{
    return malloc(
        (a->name_count + a->prefix_count + b->name_count + b->prefix_count + 1)
        * sizeof(comet_text_t));
}

/* Whether to take a name or prefix of a selection, given the other
 * selection. */
typedef int choose_cb(const comet_selection_t *other,
                      const comet_selected_t *selected);

static int all(const comet_selection_t *other, const comet_selected_t *selected)
{
    return 1;
}

static int none(const comet_selection_t *other,
                const comet_selected_t *selected)
{
    return 0;
}

static int named(const comet_selection_t *other,
                 const comet_selected_t *selected)
{
    return is_named(other, selected);
}

static int unnamed(const comet_selection_t *other,
                   const comet_selected_t *selected)
{
    return !is_named(other, selected);
}

static int unprefixed(const comet_selection_t *other,
                      const comet_selected_t *selected)
{
    return !has_prefix(other, selected);
}

static int covered(const comet_selection_t *other,
                   const comet_selected_t *selected)
{
    return comet_selection_match(other, selected->text, selected->hash)
           != COMET_SELECTION_NONE;
}

/* Make a selection from two others.
 * @param names, prefixes  choose from the names and prefixes of @a a
 * @param more_names, more_prefixes  whether to add all those of @a b */
static comet_selection_t *make(const comet_selection_t *a,
                               const comet_selection_t *b, choose_cb *names,
                               choose_cb *prefixes, int more_names,
                               int more_prefixes)
{
    texts_t texts = { .list = make_room(a, b) };
    comet_selection_t *made;
    apr_size_t name_count, i;

    if (!texts.list) {
        return NULL;
    }
    for (i = 0; i < a->name_count; i++) {
        if (names(b, &a->names[i])) {
            add(&texts, &a->names[i]);
        }
    }
    for (i = 0; more_names && i < b->name_count; i++) {
        add(&texts, &b->names[i]);
    }
    name_count = texts.count;
    for (i = 0; i < a->prefix_count; i++) {
        if (prefixes(b, &a->prefixes[i])) {
            add(&texts, &a->prefixes[i]);
        }
    }
    for (i = 0; more_prefixes && i < b->prefix_count; i++) {
        add(&texts, &b->prefixes[i]);
    }
    made =
        comet_selection_create(texts.list, name_count, texts.list + name_count,
                               texts.count - name_count);
    free(texts.list);
    return made;
}

comet_selection_t *comet_selection_set_union(const comet_selection_t *a,
                                             const comet_selection_t *b)
{
    return make(a, b, all, all, 1, 1);
}

comet_selection_t *comet_selection_set_minus(const comet_selection_t *a,
                                             const comet_selection_t *b)
{
    return make(a, b, unnamed, unprefixed, 0, 0);
}

comet_selection_t *comet_selection_set_within(const comet_selection_t *a,
                                              const comet_selection_t *b)
{
    return make(a, b, covered, none, 0, 1);
}

comet_selection_t *comet_selection_set_new_names(const comet_selection_t *a,
                                                 const comet_selection_t *b)
{
    return make(a, b, unnamed, none, 0, 0);
}

comet_selection_t *comet_selection_set_shared(const comet_selection_t *a,
                                              const comet_selection_t *b)
{
    return make(a, b, named, none, 0, 0);
}

int comet_selection_set_is_empty(const comet_selection_t *selection)
{
    return !selection->name_count && !selection->prefix_count;
}
