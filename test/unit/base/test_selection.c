/* SPDX-License-Identifier: Apache-2.0 */
/* Selections: their contents, their equality, which channels they match, and
 * which messages a reading takes. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "scratch.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/name.h"
#include "reference.h"

#define TWIN "costarring"
#define OTHER_TWIN "liquid"

static comet_selection_match_e match(const comet_selection_t *selection,
                                     const char *channel)
{
    comet_text_t name = comet_text(channel);

    return comet_selection_match(selection, name, comet_message_hash(name));
}

static int same_key(const comet_selection_t *a, const comet_selection_t *b)
{
    int same = comet_text_equal(a->key.text, b->key.text);

    assert_int_equal(a->key.hash, comet_message_hash(a->key.text));
    assert_int_equal(b->key.hash, comet_message_hash(b->key.text));
    return same;
}

/* Whether two lists of words make equal selections. */
static int equal(const char *words, const char *other_words)
{
    comet_selection_t *a = scratch_choose(words);
    comet_selection_t *b = scratch_choose(other_words);
    int same = same_key(a, b);

    comet_selection_unref(a);
    comet_selection_unref(b);
    return same;
}

/* A list is sorted by hash, length and bytes.  It has no duplicates, and each
 * hash is correct. */
static void check_order(const comet_selected_t *list, apr_size_t count)
{
    apr_size_t i;

    for (i = 0; i < count; i++) {
        assert_int_equal(list[i].hash, comet_message_hash(list[i].text));
        if (i == 0 || list[i - 1].hash < list[i].hash) {
            continue;
        }
        assert_int_equal(list[i - 1].hash, list[i].hash);
        assert_true(list[i - 1].text.length < list[i].text.length
                    || (list[i - 1].text.length == list[i].text.length
                        && memcmp(list[i - 1].text.data, list[i].text.data,
                                  list[i].text.length)
                               < 0));
    }
}

static comet_selection_t *checked(const char *words, size_t names,
                                  size_t prefixes)
{
    comet_selection_t *selection = scratch_choose(words);

    assert_int_equal(atomic_load(&selection->refs), 1);
    assert_int_equal(selection->name_count, names);
    assert_int_equal(selection->prefix_count, prefixes);
    assert_int_equal(comet_selection_is_atom(selection), names + prefixes == 1);
    check_order(selection->names, names);
    check_order(selection->prefixes, prefixes);
    return selection;
}

static void test_sorted_and_once(void **state)
{
    comet_selection_unref(checked("", 0, 0));
    comet_selection_unref(checked("a", 1, 0));
    comet_selection_unref(checked("a/*", 0, 1));
    comet_selection_unref(checked("*", 0, 1));
    comet_selection_unref(checked("a a a", 1, 0));
    comet_selection_unref(checked("* * *", 0, 1));
    comet_selection_unref(checked("z a m z a m z", 3, 0));
    comet_selection_unref(checked("z y/* a * y/* z", 2, 2));
    comet_selection_unref(checked(TWIN " x " OTHER_TWIN " " TWIN, 3, 0));
    comet_selection_unref(checked("a aa aaa aaaa a aa", 4, 0));
}

/* A selection copies its texts. */
static void test_copies(void **state)
{
    char name[] = "chat", prefix[] = "room/";
    comet_text_t names[] = { { name, 4 } }, prefixes[] = { { prefix, 5 } };
    comet_selection_t *selection =
        comet_selection_create(names, 1, prefixes, 1);

    memset(name, 'x', 4);
    memset(prefix, 'x', 5);
    assert_int_equal(match(selection, "chat"), COMET_SELECTION_NAMED);
    assert_int_equal(match(selection, "room/1"), COMET_SELECTION_UNKNOWN);
    assert_int_equal(match(selection, "xxxx"), COMET_SELECTION_NONE);
    comet_selection_unref(selection);
}

static void test_references(void **state)
{
    comet_selection_t *selection = scratch_choose("a b");

    assert_ptr_equal(comet_selection_ref(selection), selection);
    assert_int_equal(atomic_load(&selection->refs), 2);
    comet_selection_unref(selection);
    assert_int_equal(match(selection, "b"), COMET_SELECTION_NAMED);
    comet_selection_unref(selection);
    comet_selection_unref(NULL);
}

static void test_equal_keys(void **state)
{
    assert_true(equal("a", "a a"));
    assert_true(equal("a b c", "c a b a"));
    assert_true(equal("a/*", "a/* a/*"));
    assert_true(equal("x a/* b/*", "b/* x a/* x"));
    assert_true(equal(TWIN " " OTHER_TWIN, OTHER_TWIN " " TWIN));
    assert_true(equal("", ""));
}

static void test_unequal_keys(void **state)
{
    static const char *const different[] = {
        "",       "a",     "b",       "ab",      "a b",      "a b c",
        "a bc",   "ab c",  "abc",     "*",       "a *",      "a/*",
        "a/",     "a a/*", "a/* b/*", "a/* b/",  "a/ b/*",   "a/ b/",
        "a b/*",  "b a/*", "* a/*",   TWIN,      "\na",      "\na b",
        "\na\nb", "\ta/*", "a\nb",    TWIN " a", OTHER_TWIN, OTHER_TWIN " a",
    };
    size_t i, k;

    for (i = 0; i < sizeof(different) / sizeof(*different); i++) {
        for (k = 0; k < i; k++) {
            /* Only a name with a control character can equal another
             * selection's key.  No channel has such a name: httpd and the
             * schema refuse it. */
            if (!strpbrk(different[i], "\n\t") && !strpbrk(different[k], "\n\t")
                && equal(different[i], different[k])) {
                fail_msg("\"%s\" and \"%s\" have one key", different[i],
                         different[k]);
            }
        }
    }
}

/* The keys of single names and prefixes are those that the table of channels
 * looks up. */
static void test_keys_of_atoms(void **state)
{
    comet_selection_t *name = scratch_choose("room/1 room/1");
    comet_selection_t *prefix = scratch_choose("room/*");
    comet_selection_t *all = scratch_choose("*");

    assert_true(comet_text_equal(name->key.text, comet_text("room/1")));
    assert_true(comet_text_equal(prefix->key.text, comet_text("\troom/")));
    assert_true(comet_text_equal(all->key.text, comet_text("\t")));
    assert_int_equal(name->key.hash, name->names[0].hash);
    comet_selection_unref(name);
    comet_selection_unref(prefix);
    comet_selection_unref(all);
}

static void test_match(void **state)
{
    comet_selection_t *selection =
        scratch_choose("chat room/1 " TWIN " news/* a/b/*");

    assert_int_equal(match(selection, "chat"), COMET_SELECTION_NAMED);
    assert_int_equal(match(selection, "room/1"), COMET_SELECTION_NAMED);
    assert_int_equal(match(selection, TWIN), COMET_SELECTION_NAMED);
    assert_int_equal(match(selection, OTHER_TWIN), COMET_SELECTION_NONE);
    assert_int_equal(match(selection, "cha"), COMET_SELECTION_NONE);
    assert_int_equal(match(selection, "chatt"), COMET_SELECTION_NONE);
    assert_int_equal(match(selection, "Chat"), COMET_SELECTION_NONE);
    assert_int_equal(match(selection, "room/"), COMET_SELECTION_NONE);
    assert_int_equal(match(selection, "room/12"), COMET_SELECTION_NONE);
    assert_int_equal(match(selection, "news"), COMET_SELECTION_NONE);
    assert_int_equal(match(selection, "newsx"), COMET_SELECTION_NONE);
    assert_int_equal(match(selection, "news/x"), COMET_SELECTION_UNKNOWN);
    assert_int_equal(match(selection, "news/x/y"), COMET_SELECTION_UNKNOWN);
    assert_int_equal(match(selection, "a/x"), COMET_SELECTION_NONE);
    assert_int_equal(match(selection, "a/bc"), COMET_SELECTION_NONE);
    assert_int_equal(match(selection, "a/b/c"), COMET_SELECTION_UNKNOWN);
    /* no channel has this name */
    assert_int_equal(match(selection, "news/"), COMET_SELECTION_NONE);
    comet_selection_unref(selection);
}

/* A name under a prefix still counts as named.  The prefix "" covers all
 * channels. */
static void test_match_named_under_prefix(void **state)
{
    comet_selection_t *selection = scratch_choose("room/1 room/*");

    assert_int_equal(match(selection, "room/1"), COMET_SELECTION_NAMED);
    assert_int_equal(match(selection, "room/2"), COMET_SELECTION_UNKNOWN);
    assert_int_equal(match(selection, "x"), COMET_SELECTION_NONE);
    comet_selection_unref(selection);
    selection = scratch_choose("room/1 *");
    assert_int_equal(match(selection, "room/1"), COMET_SELECTION_NAMED);
    assert_int_equal(match(selection, "room/2"), COMET_SELECTION_UNKNOWN);
    assert_int_equal(match(selection, "x"), COMET_SELECTION_UNKNOWN);
    comet_selection_unref(selection);
    selection = scratch_choose("");
    assert_int_equal(match(selection, "x"), COMET_SELECTION_NONE);
    comet_selection_unref(selection);
}

/* Matching agrees with a linear search through the lists. */
static void test_match_like_a_list(void **state)
{
    uint64_t seed = 20261121;
    int round, i;

    for (round = 0; round < 300; round++) {
        unsigned char chosen[200] = { 0 };
        char words[200 * 6] = "";
        comet_selection_t *selection;
        size_t count = 0;

        for (i = 0; i < 200; i++) {
            chosen[i] = reference_random(&seed) % 200 < (uint64_t)round % 200;
            count += chosen[i];
            if (chosen[i]) {
                sprintf(words + strlen(words), "c%d ", i);
            }
        }
        selection = checked(words, count, 0);
        for (i = 0; i < 200; i++) {
            char name[8];

            sprintf(name, "c%d", i);
            assert_int_equal(match(selection, name),
                             chosen[i] ? COMET_SELECTION_NAMED
                                       : COMET_SELECTION_NONE);
        }
        comet_selection_unref(selection);
    }
}

/* No prefix covers a sibling channel, whose last segment begins with @. */
static void test_siblings(void **state)
{
    comet_selection_t *all = scratch_choose("* room/* room/1/@online");
    comet_selection_t everything = { .prefix_count = 1,
                                     .prefixes = all->prefixes,
                                     .everything = 1 };
    static const char *const siblings[] = { "@", "@online", "room/@x",
                                            "room/2/@online" };
    static const char *const others[] = { "a@b", "room/@x/y", "x/a@",
                                          "@x/room" };
    size_t i;

    assert_int_equal(match(all, "room/1/@online"), COMET_SELECTION_NAMED);
    for (i = 0; i < 4; i++) {
        assert_int_equal(match(all, siblings[i]), COMET_SELECTION_NONE);
        assert_int_equal(match(all, others[i]), COMET_SELECTION_UNKNOWN);
        assert_true(comet_name_is_sibling(comet_text(siblings[i])));
        assert_true(comet_name_is_reserved(comet_text(siblings[i])));
        assert_false(comet_name_is_sibling(comet_text(others[i])));
        assert_int_equal(comet_name_is_reserved(comet_text(others[i])),
                         strstr(others[i], "@x") != NULL);
    }
    everything.prefixes =
        all->prefixes[0].text.length ? all->prefixes + 1 : all->prefixes;
    assert_int_equal(match(&everything, "room/2/@online"),
                     COMET_SELECTION_UNKNOWN);
    assert_false(comet_name_is_sibling(comet_text("")));
    assert_false(comet_name_is_reserved(comet_text("")));
    comet_selection_unref(all);
}

/* --- Taking messages ------------------------------------------------------ */

static comet_message_t *room[8];

/* Offer one message of a channel to a reading.  @return whether the reading
 * wants another message */
static int take(comet_reading_t *reading, const char *channel)
{
    comet_message_t *message = comet_message_create(
        &(comet_message_fields_t){ .timestamp = 1,
                                   .channel = comet_text(channel),
                                   .body = comet_text("x") });
    size_t count = reading->batch->count;
    int more;

    comet_message_ref(message);
    more = comet_selection_take(reading, message);
    /* the reading took over this reference: it has put the message into the
     * batch or released it */
    assert_int_equal(atomic_load(&message->refs),
                     1 + (reading->batch->count > count));
    comet_message_unref(message);
    return more;
}

static void test_take(void **state)
{
    comet_selection_t *selection = scratch_choose("a room/1 room/*");
    comet_batch_t batch = { .messages = room, .size = 3 };
    comet_reading_t reading = { .selection = selection, .batch = &batch };

    assert_int_equal(take(&reading, "a"), 1);
    assert_int_equal(take(&reading, "b"), 1);
    assert_int_equal(take(&reading, "room/1"), 1);
    assert_int_equal(batch.count, 2);
    assert_int_equal(take(&reading, "a"), 0); /* the batch is full */
    assert_int_equal(reading.recheck, 0);
    assert_int_equal(batch.count, 3);
    comet_batch_clear(&batch);
    comet_selection_unref(selection);
}

/* A reading stops before a message whose channel was not authorised, and sets
 * `recheck`. */
static void test_take_stops_at_unknown(void **state)
{
    comet_selection_t *selection = scratch_choose("a room/1 room/*");
    comet_batch_t batch = { .messages = room, .size = 3 };
    comet_reading_t reading = { .selection = selection, .batch = &batch };

    assert_int_equal(take(&reading, "a"), 1);
    assert_int_equal(take(&reading, "room/2"), 0);
    assert_int_equal(reading.recheck, 1);
    assert_int_equal(batch.count, 1);
    comet_batch_clear(&batch);
    comet_selection_unref(selection);
}

/* --- No memory ----------------------------------------------------------- */

/* Let sanitizers return NULL, as malloc() does. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
    return "allocator_may_return_null=1";
}

const char *__tsan_default_options(void);
const char *__tsan_default_options(void)
{
    return "allocator_may_return_null=1";
}

static void test_no_memory(void **state)
{
    comet_text_t huge = { "x", (apr_size_t)1 << 62 };

    assert_null(comet_selection_create(&huge, 1, NULL, 0));
    assert_null(comet_selection_create(NULL, 0, &huge, 1));
}

/* Two names with the same hash are still different. */
static void test_same_hash(void **state)
{
    char twin[32], other[32];
    comet_selection_t *one, *both;

    scratch_twins(twin, other);
    one = scratch_choose(twin);
    assert_int_equal(match(one, twin), COMET_SELECTION_NAMED);
    assert_int_equal(match(one, other), COMET_SELECTION_NONE);
    both = comet_selection_create(
        (comet_text_t[]){ comet_text(twin), comet_text(other) }, 2, NULL, 0);
    assert_int_equal(both->name_count, 2);
    assert_int_equal(match(both, twin), COMET_SELECTION_NAMED);
    assert_int_equal(match(both, other), COMET_SELECTION_NAMED);
    comet_selection_unref(one);
    comet_selection_unref(both);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sorted_and_once),
        cmocka_unit_test(test_copies),
        cmocka_unit_test(test_references),
        cmocka_unit_test(test_equal_keys),
        cmocka_unit_test(test_unequal_keys),
        cmocka_unit_test(test_keys_of_atoms),
        cmocka_unit_test(test_match),
        cmocka_unit_test(test_match_named_under_prefix),
        cmocka_unit_test(test_match_like_a_list),
        cmocka_unit_test(test_siblings),
        cmocka_unit_test(test_take),
        cmocka_unit_test(test_take_stops_at_unknown),
        cmocka_unit_test(test_same_hash),
        cmocka_unit_test(test_no_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
