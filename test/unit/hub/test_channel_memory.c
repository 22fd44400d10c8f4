/* SPDX-License-Identifier: Apache-2.0 */
/* The table of channels when memory runs out. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "scratch.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hub/subscriber.h"

/* The table's own source, compiled under other names and with limited
 * memory. */
static int memory_left = -1; /* how many blocks are left; -1: any number */

static int is_memory_left(void)
{
    return memory_left < 0 || memory_left-- > 0;
}

__typeof__(comet_channels_init) frail_init;
__typeof__(comet_channels_free) frail_free;
__typeof__(comet_channels_enter) frail_enter;
__typeof__(comet_channels_exit) frail_exit;
__typeof__(comet_channels_reach) frail_reach;
__typeof__(comet_channels_each) frail_each;
__typeof__(comet_channels_share) frail_share;

#define malloc(size) (is_memory_left() ? (malloc)(size) : NULL)
#define calloc(count, size) (is_memory_left() ? (calloc)(count, size) : NULL)
#define comet_channels_init frail_init
#define comet_channels_free frail_free
#define comet_channels_enter frail_enter
#define comet_channels_exit frail_exit
#define comet_channels_reach frail_reach
#define comet_channels_each frail_each
#define comet_channels_share frail_share
#include "hub/channel.c"
#undef malloc
#undef calloc
#undef comet_channels_init
#undef comet_channels_free
#undef comet_channels_enter
#undef comet_channels_exit
#undef comet_channels_reach
#undef comet_channels_each
#undef comet_channels_share

static const int source; /* only its address matters */

static const char *numbered(int i)
{
    static char name[32];

    snprintf(name, sizeof(name), "channel/%d", i);
    return name;
}

static void count_one(void *baton, comet_channel_t *channel)
{
    ++*(int *)baton;
}

/* Wherever memory runs out, nothing of the new selection remains in the table,
 * and the other entries stay. */
static void test_no_memory(void **state)
{
    comet_selection_t *selection = scratch_choose("a b c r/*");
    comet_selection_t *other = scratch_choose("a");
    comet_channels_t frail;
    comet_channel_t *a, *whole = NULL;
    int blocks;

    memory_left = 0;
    assert_int_equal(frail_init(&frail), APR_ENOMEM);
    memory_left = -1;
    assert_int_equal(frail_init(&frail), APR_SUCCESS);
    a = frail_enter(&frail, &source, other);
    for (blocks = 0; !whole; blocks++) {
        assert_true(blocks < 10);
        memory_left = blocks;
        whole = frail_enter(&frail, &source, selection);
        if (!whole) {
            assert_int_equal(frail.count, 1);
            assert_int_equal(frail.prefix_count, 0);
            assert_int_equal(a->members, 1);
            assert_true(APR_RING_EMPTY(&a->wholes, comet_channel_link_t, link));
            assert_int_equal(atomic_load(&selection->refs), 1);
        }
    }
    assert_int_equal(blocks, 5); /* memory ran out at each of the first four
                                  * blocks; then it sufficed for the whole and
                                  * its three new parts */
    memory_left = -1;
    assert_int_equal(a->members, 2);
    frail_exit(&frail, whole);
    frail_exit(&frail, a);
    assert_int_equal(frail.count, 0);
    frail_free(&frail);
    comet_selection_unref(selection);
    comet_selection_unref(other);
}

/* If the table cannot grow, all entries are still found. */
static void test_no_memory_to_grow(void **state)
{
    comet_channels_t frail;
    size_t size, i;

    assert_int_equal(frail_init(&frail), APR_SUCCESS);
    size = frail.size;
    for (i = 0; i < 3 * size; i++) {
        comet_text_t name = comet_text(numbered((int)i));
        comet_selection_t *selection =
            comet_selection_create(&name, 1, NULL, 0);

        memory_left = 1; /* enough for the entry, but not for a larger table */
        assert_non_null(frail_enter(&frail, &source, selection));
        memory_left = -1;
        comet_selection_unref(selection);
    }
    assert_int_equal(frail.size, size);
    for (i = 0; i < 3 * size; i++) {
        comet_text_t name = comet_text(numbered((int)i));
        int count = 0;

        frail_reach(&frail, &source, name, comet_message_hash(name), count_one,
                    &count);
        assert_int_equal(count, 1);
    }
    frail_free(&frail);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_memory),
        cmocka_unit_test(test_no_memory_to_grow),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
