/* SPDX-License-Identifier: Apache-2.0 */
/* Selections by topics: which messages they take, and that only equal
 * selections have equal keys. */
#include "scratch.h"

#include <string.h>

#define MOST 8

/** Words for a selection; NULL ends each list. */
typedef struct words_t {
    const char *names[MOST], *patterns[MOST], *grants[MOST];
    const char *root;
} words_t;

static apr_size_t read_texts(comet_text_t *texts, const char *const *words)
{
    apr_size_t count = 0;

    for (; count < MOST && words[count]; count++) {
        texts[count] = comet_text(words[count]);
    }
    return count;
}

static apr_size_t read_patterns(comet_pattern_t *patterns,
                                const char *const *words)
{
    apr_size_t count = 0;

    for (; count < MOST && words[count]; count++) {
        patterns[count] = comet_pattern_read(comet_text(words[count]));
    }
    return count;
}

static comet_selection_t *make(const words_t *words)
{
    comet_text_t names[MOST];
    comet_pattern_t patterns[MOST], grants[MOST];
    comet_topics_t topics = {
        .names = names,
        .name_count = read_texts(names, words->names),
        .patterns = patterns,
        .pattern_count = read_patterns(patterns, words->patterns),
        .grants = grants,
        .grant_count = read_patterns(grants, words->grants),
        .root = comet_text(words->root ? words->root : ""),
    };
    comet_selection_t *selection = comet_selection_by_topics(&topics);

    assert_non_null(selection);
    assert_false(comet_selection_is_atom(selection));
    return selection;
}

static int takes(const comet_selection_t *selection, const char *channel,
                 const char *alternates, int is_private)
{
    comet_message_fields_t fields = {
        .channel = comet_text(channel),
        .body = comet_text("x"),
        .update = { .is_private = is_private,
                    .alternates = comet_text(alternates) },
    };
    comet_message_t *message = comet_message_create(&fields);
    int taken = comet_selection_judge_message(selection, message)
                == COMET_SELECTION_NAMED;

    comet_message_unref(message);
    return taken;
}

static void test_takes(void **state)
{
    static const words_t words = {
        .names = { "a", "room/1" },
        .patterns = { "/books/{id}" },
        .grants = { "room/{x}", "b" },
    };
    comet_selection_t *selection = make(&words);

    assert_true(takes(selection, "a", NULL, 0));
    assert_false(takes(selection, "c", NULL, 0));
    assert_true(takes(selection, "%/books/7", NULL, 0));
    assert_true(takes(selection, "c", "d\na\ne", 0));
    assert_true(takes(selection, "c", "d\n%/books/7", 0));
    assert_false(takes(selection, "c", "d\ne", 0));
    assert_true(takes(selection, "room/1", NULL, 1));
    assert_false(takes(selection, "a", NULL, 1));
    assert_false(takes(selection, "room/2", NULL, 1)); /* granted, but not asked
                                                        * for */
    assert_true(takes(selection, "a", "b", 1)); /* the client asks for one topic
                                                 * of the message, and the token
                                                 * grants another */
    assert_true(takes(selection, "b", "a", 1));
    assert_false(takes(selection, "a", "c\nd", 1));
    comet_selection_unref(selection);
}

static void test_without_grants(void **state)
{
    static const words_t all = { .patterns = { "*" } };
    comet_selection_t *selection = make(&all);
    comet_selection_t *usual = scratch_choose("a *");

    assert_true(takes(selection, "a", NULL, 0));
    assert_false(takes(selection, "a", NULL, 1));
    assert_false(takes(usual, "a", NULL, 1));
    assert_false(takes(selection, "a/@online", NULL, 0)); /* a sibling channel
                                                           * is not a topic */
    assert_true(takes(usual, "a", "b", 0));
    assert_false(takes(usual, "b", "a", 0)); /* other selections ignore
                                              * alternates */
    comet_selection_unref(usual);
    comet_selection_unref(selection);
}

static void test_root(void **state)
{
    static const words_t words = { .names = { "hub/a" },
                                   .patterns = { "b/{x}" },
                                   .grants = { "*" },
                                   .root = "hub/" };
    static const words_t all = { .patterns = { "*" }, .root = "hub/" };
    comet_selection_t *selection = make(&words), *every = make(&all);
    char room[COMET_CHANNEL_MAX_BYTES];

    assert_true(takes(selection, "hub/a", NULL, 1));
    assert_true(takes(selection, "hub/b/1", NULL, 1));
    assert_false(takes(selection, "b/1", NULL, 0));
    assert_false(takes(selection, "hub/", NULL, 0));
    assert_true(takes(every, "hub/x", NULL, 0));
    assert_false(takes(every, "x", NULL, 0));
    assert_false(takes(every, "hub/x", NULL, 1));
    assert_true(comet_text_equal(comet_selection_stem(selection, 0, room),
                                 comet_text("hub/b/")));
    assert_true(comet_text_equal(comet_selection_stem(every, 0, room),
                                 comet_text("hub/")));
    comet_selection_unref(selection);
    comet_selection_unref(every);
}

static void test_stems(void **state)
{
    static const char *const stems[][2] = {
        { "https://example.com/books/{id}", "https:/%/example.com/books/" },
        { "/{a}", "%/" },
        { "a//{b}", "a/%/" },
        { "a/b{c}", "a/" },
        { "{a}", "" },
        { "100%25/{a}", "100%2525/" },
    };
    size_t i;

    for (i = 0; i < sizeof(stems) / sizeof(*stems); i++) {
        words_t words = { .patterns = { stems[i][0] } };
        comet_selection_t *selection = make(&words);
        char room[COMET_CHANNEL_MAX_BYTES];

        assert_true(comet_text_equal(comet_selection_stem(selection, 0, room),
                                     comet_text(stems[i][1])));
        comet_selection_unref(selection);
    }
}

static int equal(const words_t *a, const words_t *b)
{
    comet_selection_t *one = make(a), *other = make(b);
    int same = comet_text_equal(one->key.text, other->key.text);

    assert_int_equal(same, one->key.hash == other->key.hash);
    comet_selection_unref(one);
    comet_selection_unref(other);
    return same;
}

/* In the hub, equal selections share an entry, which is found by their key.  If
 * another selection could have the same key, its clients would get private
 * messages. */
static void test_keys(void **state)
{
    static const words_t base = { .names = { "a", "b" },
                                  .patterns = { "{x}", "{y}" },
                                  .grants = { "{z}", "c" } };
    static const words_t same = { .names = { "b", "a", "b" },
                                  .patterns = { "{y}", "{x}", "{y}" },
                                  .grants = { "c", "{z}", "c" } };
    static const words_t others[] = {
        { .names = { "a" },
          .patterns = { "{x}", "{y}" },
          .grants = { "{z}", "c" } },
        { .names = { "a", "b" }, .patterns = { "{x}", "{y}" } },
        { .names = { "a", "b" },
          .patterns = { "{x}", "{y}" },
          .grants = { "*" } },
        { .names = { "a", "b" }, .grants = { "{x}", "{y}", "{z}", "c" } },
        { .names = { "a", "b" },
          .patterns = { "{x}", "{y}" },
          .grants = { "{z}", "c" },
          .root = "a/" },
    };
    static const words_t name = { .names = { "x\0020:1:*" } };
    static const words_t grant = { .names = { "x" }, .grants = { "*" } };
    static const words_t long_one = { .names = { "a" },
                                      .grants = { "p\0011:1:q" } };
    static const words_t asked = { .patterns = { "{a}", "{b}" } };
    static const words_t granted = { .patterns = { "{a}" },
                                     .grants = { "{b}" } };
    static const words_t two = { .names = { "a" }, .grants = { "p", "q" } };
    comet_selection_t *selection = make(&base);
    size_t i;

    assert_true(equal(&base, &same));
    for (i = 0; i < sizeof(others) / sizeof(*others); i++) {
        assert_false(equal(&base, &others[i]));
    }
    assert_false(equal(&long_one, &two));
    assert_false(equal(&asked, &granted));
    assert_int_equal(grant.grants[0][0], '*');
    assert_false(equal(&grant, &base));
    /* comet_params_check_channel() refuses such a name earlier, since it has a
     * control character */
    assert_non_null(strchr(name.names[0], 2));
    comet_selection_unref(selection);
}

/* A selection by topics that has only the name of a channel does not share an
 * entry with the ordinary selection of that channel. */
static void test_is_not_the_channel(void **state)
{
    static const words_t words = { .names = { "a" } };
    comet_selection_t *selection = make(&words);
    comet_selection_t *usual = scratch_choose("a");

    assert_false(comet_text_equal(selection->key.text, usual->key.text));
    assert_true(comet_selection_is_atom(usual));
    comet_selection_unref(selection);
    comet_selection_unref(usual);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_takes), cmocka_unit_test(test_without_grants),
        cmocka_unit_test(test_root),  cmocka_unit_test(test_stems),
        cmocka_unit_test(test_keys),  cmocka_unit_test(test_is_not_the_channel),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
