/* SPDX-License-Identifier: Apache-2.0 */
/* What a subscriber reads: names of channels, and prefixes of names. */
#include "base/selection.h"

#include <stdlib.h>
#include <string.h>

#include "base/name.h"

/* The byte before each name in a key of several parts.  No name contains it. */
#define NEXT_NAME '\n'

static int compare(const void *a, const void *b)
{
    const comet_selected_t *one = a, *other = b;
    int order;

    if (one->hash != other->hash) {
        return one->hash < other->hash ? -1 : 1;
    }
    if (one->text.length != other->text.length) {
        return one->text.length < other->text.length ? -1 : 1;
    }
    order = one->text.length
                ? memcmp(one->text.data, other->text.data, one->text.length)
                : 0;
    return order;
}

/* Sort a list and remove its duplicates.  @return how many are left */
static apr_size_t sort(comet_selected_t *list, apr_size_t count)
{
    apr_size_t kept = 0, i;

    if (count > 1) {
        qsort(list, count, sizeof(*list), compare);
    }
    for (i = 0; i < count; i++) {
        if (!kept || compare(&list[kept - 1], &list[i]) != 0) {
            list[kept++] = list[i];
        }
    }
    return kept;
}

static apr_size_t total_bytes(const comet_text_t *texts, apr_size_t count)
{
    apr_size_t bytes = 0, i;

    for (i = 0; i < count; i++) {
        bytes += texts[i].length + 1;
    }
    return bytes;
}

static void refer(comet_selected_t *list, const comet_text_t *texts,
                  apr_size_t count)
{
    apr_size_t i;

    for (i = 0; i < count; i++) {
        list[i] = (comet_selected_t){ texts[i], comet_message_hash(texts[i]) };
    }
}

/* Copy each listed text behind a mark, and let the list refer to the copies. */
static char *copy(char *end, comet_selected_t *list, apr_size_t count,
                  char mark)
{
    apr_size_t i;

    for (i = 0; i < count; i++) {
        *end++ = mark;
        if (list[i].text.length) {
            memcpy(end, list[i].text.data, list[i].text.length);
        }
        list[i].text.data = end;
        end += list[i].text.length;
    }
    return end;
}

comet_selection_t *comet_selection_create(const comet_text_t *names,
                                          apr_size_t name_count,
                                          const comet_text_t *prefixes,
                                          apr_size_t prefix_count)
{
    apr_size_t count = name_count + prefix_count;
    comet_selection_t *selection = malloc(
        sizeof(*selection) + count * sizeof(comet_selected_t)
        + total_bytes(names, name_count) + total_bytes(prefixes, prefix_count));
    comet_selected_t *list;
    char *start, *end;

    if (!selection) {
        return NULL;
    }
    list = (comet_selected_t *)(selection + 1);
    start = (char *)(list + count);
    refer(list, names, name_count);
    refer(list + name_count, prefixes, prefix_count);
    atomic_init(&selection->refs, 1);
    selection->everything = 0;
    selection->names = list;
    selection->prefixes = list + name_count;
    selection->name_count = sort(list, name_count);
    selection->prefix_count = sort(list + name_count, prefix_count);
    end = copy(start, list, selection->name_count, NEXT_NAME);
    end = copy(end, list + name_count, selection->prefix_count,
               COMET_SELECTION_PREFIX);
    selection->key.text = (comet_text_t){ start, (apr_size_t)(end - start) };
    if (selection->name_count == 1 && selection->prefix_count == 0) {
        selection->key.text = selection->names[0].text;
    }
    selection->key.hash = comet_message_hash(selection->key.text);
    return selection;
}

comet_selection_t *comet_selection_ref(comet_selection_t *selection)
{
    atomic_fetch_add_explicit(&selection->refs, 1, memory_order_relaxed);
    return selection;
}

void comet_selection_unref(comet_selection_t *selection)
{
    if (selection
        && atomic_fetch_sub_explicit(&selection->refs, 1, memory_order_acq_rel)
               == 1) {
        free(selection);
    }
}

int comet_selection_is_atom(const comet_selection_t *selection)
{
    return selection->name_count + selection->prefix_count == 1;
}

static int is_named(const comet_selection_t *selection, comet_text_t channel,
                    apr_uint32_t hash)
{
    comet_selected_t wanted = { channel, hash };

    if (selection->name_count == 1) { /* the usual case */
        return compare(selection->names, &wanted) == 0;
    }
    return selection->name_count
           && bsearch(&wanted, selection->names, selection->name_count,
                      sizeof(wanted), compare)
                  != NULL;
}

comet_selection_match_e comet_selection_match(
    const comet_selection_t *selection, comet_text_t channel, apr_uint32_t hash)
{
    apr_size_t i;

    if (is_named(selection, channel, hash)) {
        return COMET_SELECTION_NAMED;
    }
    if (selection->prefix_count && !selection->everything
        && comet_name_is_sibling(channel)) {
        return COMET_SELECTION_NONE;
    }
    for (i = 0; i < selection->prefix_count; i++) {
        comet_text_t prefix = selection->prefixes[i].text;

        if (prefix.length == 0
            || (channel.length > prefix.length
                && memcmp(channel.data, prefix.data, prefix.length) == 0)) {
            return COMET_SELECTION_UNKNOWN;
        }
    }
    return COMET_SELECTION_NONE;
}

int comet_selection_take(void *baton, comet_message_t *message)
{
    comet_reading_t *reading = baton;

    switch (comet_selection_match(reading->selection, message->channel,
                                  message->channel_hash)) {
    case COMET_SELECTION_NAMED:
        return comet_batch_add(reading->batch, message);
    case COMET_SELECTION_UNKNOWN:
        reading->recheck = 1;
        comet_message_unref(message);
        return 0;
    default:
        comet_message_unref(message);
        return 1;
    }
}
