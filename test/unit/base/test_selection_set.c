/* SPDX-License-Identifier: Apache-2.0 */
/* Selections that are made from other selections. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "scratch.h"

#include "base/selection_set.h"

typedef comet_selection_t *make_t(const comet_selection_t *a,
                                  const comet_selection_t *b);

static void check(make_t *make, const char *a, const char *b,
                  const char *expected)
{
    comet_selection_t *one = scratch_choose(a), *other = scratch_choose(b);
    comet_selection_t *wanted = scratch_choose(expected);
    comet_selection_t *made = make(one, other);

    assert_non_null(made);
    if (!comet_text_equal(made->key.text, wanted->key.text)) {
        fail_msg("%s and %s make something else than %s", a, b, expected);
    }
    assert_int_equal(comet_selection_set_is_empty(made), !*expected);
    comet_selection_unref(one);
    comet_selection_unref(other);
    comet_selection_unref(wanted);
    comet_selection_unref(made);
}

static void test_sets(void **state)
{
    check(comet_selection_set_union, "a b r/*", "b c q/*", "a b c q/* r/*");
    check(comet_selection_set_union, "", "a", "a");
    check(comet_selection_set_union, "", "", "");
    check(comet_selection_set_minus, "a b r/* q/*", "b r/* x", "a q/*");
    check(comet_selection_set_minus, "r/1 r/*", "r/1", "r/*");
    check(comet_selection_set_minus, "r/1 r/*", "r/*", "r/1");
    check(comet_selection_set_minus, "a", "a", "");
    check(comet_selection_set_within, "a b r/1 r/2 q/1 q/*", "a r/* x",
          "a r/1 r/2 r/*");
    check(comet_selection_set_within, "a b", "*", "a b *");
    check(comet_selection_set_new_names, "a b r/1 r/*", "b r/*", "a r/1");
    check(comet_selection_set_shared, "a b r/1 r/*", "b c r/* r/1", "b r/1");
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_sets) };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
