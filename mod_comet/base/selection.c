/* SPDX-License-Identifier: Apache-2.0 */
/* What a subscriber reads: names of channels, prefixes of names, and patterns
 * of topics. */
#include "base/selection.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/name.h"
#include "base/topic.h"

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

/* Copy each listed text, preceded by a mark; make the list refer to the
 * copies. */
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
    *selection = (comet_selection_t){ .by_topics = 0 };
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
    if (selection->name_count == 1 && selection->prefix_count == 0) {
        selection->key = selection->names[0];
    }
    else {
        const comet_text_t key = { start, (apr_size_t)(end - start) };

        selection->key = (comet_selected_t){ key, comet_message_hash(key) };
    }
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
    return !selection->by_topics
           && selection->name_count + selection->prefix_count == 1;
}

/* --- selections by topics ------------------------------------------------- */

/* The byte before each pattern, and the byte before each grant, in a key.  No
 * channel's name contains them, so no name looks like a pattern or grant. */
#define NEXT_PATTERN '\1'
#define NEXT_GRANT '\2'

/* The most bytes that a pattern takes in a key, besides its text. */
#define PATTERN_HEAD 32

static apr_size_t pattern_bytes(const comet_pattern_t *patterns,
                                apr_size_t count)
{
    apr_size_t bytes = 0, i;

    for (i = 0; i < count; i++) {
        bytes += patterns[i].text.length + PATTERN_HEAD;
    }
    return bytes;
}

static int compare_patterns(const void *a, const void *b)
{
    const comet_pattern_t *one = a, *other = b;

    if (one->kind != other->kind) {
        return one->kind < other->kind ? -1 : 1;
    }
    if (one->text.length != other->text.length) {
        return one->text.length < other->text.length ? -1 : 1;
    }
    return one->text.length
               ? memcmp(one->text.data, other->text.data, one->text.length)
               : 0;
}

/* Copy patterns, sorted and without duplicates, and write their texts into the
 * key.  Each text is preceded by its length, so that different lists have
 * different keys.
 * @param mark  NEXT_PATTERN or NEXT_GRANT
 * @return how many patterns are left */
static apr_size_t copy_patterns(comet_pattern_t *list, char **end, char mark,
                                const comet_pattern_t *patterns,
                                apr_size_t count)
{
    apr_size_t kept = 0, i;

    if (count) {
        memcpy(list, patterns, count * sizeof(*list));
        qsort(list, count, sizeof(*list), compare_patterns);
    }
    for (i = 0; i < count; i++) {
        if (kept && compare_patterns(&list[kept - 1], &list[i]) == 0) {
            continue;
        }
        list[kept] = list[i];
        *end += snprintf(*end, PATTERN_HEAD, "%c%d:%lu:", mark,
                         (int)list[i].kind, (unsigned long)list[i].text.length);
        if (list[i].text.length) {
            memcpy(*end, list[i].text.data, list[i].text.length);
        }
        list[kept++].text.data = *end;
        *end += list[i].text.length;
    }
    return kept;
}

static char *copy_root(comet_selection_t *selection, char *end,
                       comet_text_t root)
{
    *end++ = COMET_SELECTION_TOPICS;
    if (root.length) {
        memcpy(end, root.data, root.length);
    }
    selection->root = (comet_text_t){ end, root.length };
    return end + root.length;
}

comet_selection_t *comet_selection_by_topics(const comet_topics_t *topics)
{
    apr_size_t patterns = topics->pattern_count + topics->grant_count;
    comet_selection_t *selection =
        malloc(sizeof(*selection) + patterns * sizeof(comet_pattern_t)
               + topics->name_count * sizeof(comet_selected_t)
               + total_bytes(topics->names, topics->name_count) + 1
               + topics->root.length
               + pattern_bytes(topics->patterns, topics->pattern_count)
               + pattern_bytes(topics->grants, topics->grant_count));
    comet_pattern_t *list;
    comet_selected_t *names;
    char *start, *end;

    if (!selection) {
        return NULL;
    }
    *selection = (comet_selection_t){ .by_topics = 1 };
    atomic_init(&selection->refs, 1);
    list = (comet_pattern_t *)(selection + 1);
    names = (comet_selected_t *)(list + patterns);
    start = end = (char *)(names + topics->name_count);
    refer(names, topics->names, topics->name_count);
    selection->names = selection->prefixes = names;
    selection->name_count = sort(names, topics->name_count);
    end = copy_root(selection, end, topics->root);
    end = copy(end, names, selection->name_count, NEXT_NAME);
    selection->patterns = list;
    selection->pattern_count = copy_patterns(
        list, &end, NEXT_PATTERN, topics->patterns, topics->pattern_count);
    selection->grants = list + topics->pattern_count;
    selection->grant_count =
        copy_patterns(list + topics->pattern_count, &end, NEXT_GRANT,
                      topics->grants, topics->grant_count);
    selection->key.text = (comet_text_t){ start, (apr_size_t)(end - start) };
    selection->key.hash = comet_message_hash(selection->key.text);
    return selection;
}

comet_text_t comet_selection_stem(const comet_selection_t *selection,
                                  apr_size_t pattern, char *room)
{
    comet_text_t stem = comet_pattern_stem(&selection->patterns[pattern]);
    apr_size_t root = selection->root.length, length;
    char name[COMET_CHANNEL_MAX_BYTES];

    if (root) {
        memcpy(room, selection->root.data, root);
    }
    length = comet_topic_escape(stem, name);
    if (!length || root + length > COMET_CHANNEL_MAX_BYTES) {
        return (comet_text_t){ room, root };
    }
    /* A "%" at the end marks an empty last segment.  Drop it: the topics of
     * this pattern continue after the slash. */
    length -= name[length - 1] == '%';
    memcpy(room + root, name, length);
    return (comet_text_t){ room, root + length };
}

/* --- matching ------------------------------------------------------------- */

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

/* Whether any of the patterns matches the topic of a channel.  A channel whose
 * name is reserved has no topic. */
static int is_matched(const comet_selection_t *selection,
                      const comet_pattern_t *patterns, apr_size_t count,
                      comet_text_t channel)
{
    char room[COMET_CHANNEL_MAX_BYTES];
    apr_size_t root = selection->root.length, i;
    comet_text_t topic = { room, 0 };

    if (!count || channel.length <= root
        || channel.length > COMET_CHANNEL_MAX_BYTES
        || comet_name_is_reserved(channel)
        || memcmp(channel.data, selection->root.data, root) != 0) {
        return 0;
    }
    topic.length = comet_topic_unescape(
        (comet_text_t){ channel.data + root, channel.length - root }, room);
    for (i = 0; i < count; i++) {
        if (comet_pattern_matches(&patterns[i], topic)) {
            return 1;
        }
    }
    return 0;
}

static int reads(const comet_selection_t *selection, comet_text_t channel,
                 apr_uint32_t hash)
{
    return is_named(selection, channel, hash)
           || is_matched(selection, selection->patterns,
                         selection->pattern_count, channel);
}

int comet_selection_reads(const comet_selection_t *selection,
                          comet_text_t channel)
{
    return reads(selection, channel, comet_message_hash(channel));
}

static int is_granted(const comet_selection_t *selection, comet_text_t channel)
{
    return is_matched(selection, selection->grants, selection->grant_count,
                      channel);
}

static comet_selection_match_e judge_topics(const comet_selection_t *selection,
                                            const comet_address_t *address)
{
    int wanted = reads(selection, address->channel, address->hash);
    int granted =
        !address->is_private || is_granted(selection, address->channel);
    comet_text_t rest = address->alternates, name;

    while (!(wanted && granted) && comet_message_next_name(&rest, &name)) {
        wanted = wanted || comet_selection_reads(selection, name);
        granted = granted || is_granted(selection, name);
    }
    return wanted && granted ? COMET_SELECTION_NAMED : COMET_SELECTION_NONE;
}

comet_selection_match_e comet_selection_judge(
    const comet_selection_t *selection, const comet_address_t *address)
{
    if (selection->by_topics) {
        return judge_topics(selection, address);
    }
    return address->is_private && !selection->everything
               ? COMET_SELECTION_NONE
               : comet_selection_match(selection, address->channel,
                                       address->hash);
}

comet_selection_match_e comet_selection_judge_message(
    const comet_selection_t *selection, const comet_message_t *message)
{
    const comet_address_t address = {
        message->channel,
        message->channel_hash,
        message->update.is_private,
        message->update.alternates,
    };

    return comet_selection_judge(selection, &address);
}

int comet_selection_take(void *baton, comet_message_t *message)
{
    comet_reading_t *reading = baton;

    switch (comet_selection_judge_message(reading->selection, message)) {
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
