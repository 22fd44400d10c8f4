/* SPDX-License-Identifier: Apache-2.0 */
/* Names that an attacker has chosen to share a bucket in the table of
 * channels. */
#include "scratch.h"

#include <stdlib.h>
#include <string.h>

#include "hub/channel.h"

/*
 * Names that all have the same FNV-1a hash, and so the same remainder modulo
 * any power of two.  They are made of STEPS pairs of blocks.  Both blocks of a
 * pair lead the hash from the same state to the same next state, so a name may
 * take either block at each step.
 */
enum { STEPS = 12, BLOCK = 7, NAMES = 1 << STEPS, BYTES = STEPS * BLOCK };

static char blocks[STEPS][2][BLOCK];
static comet_text_t names[NAMES];
static char bytes[NAMES][BYTES];

static apr_uint32_t fnv(apr_uint32_t hash, const char *data, size_t length)
{
    size_t i;

    for (i = 0; i < length; i++) {
        hash = (hash ^ (unsigned char)data[i]) * 16777619u;
    }
    return hash;
}

static void spell(char block[BLOCK], apr_int64_t number)
{
    int i;

    number = number * 2654435761u % 8031810176; /* modulo 26^7; the
                                                 * multiplication keeps numbers
                                                 * far apart */
    for (i = 0; i < BLOCK; i++, number /= 26) {
        block[i] = (char)('a' + number % 26);
    }
}

/* Find two blocks that lead from a state of the hash to the same next state.
 * Among COUNT blocks there are about twenty such pairs. @return that state */
static apr_uint32_t find_pair(apr_uint32_t state, char pair[2][BLOCK])
{
    enum { COUNT = 400000 };
    static apr_int64_t list[COUNT];
    char block[BLOCK];
    apr_int64_t i;

    for (i = 0; i < COUNT; i++) {
        spell(block, i);
        list[i] = (apr_int64_t)fnv(state, block, BLOCK) << 31 | i;
    }
    qsort(list, COUNT, sizeof(*list), scratch_ascending);
    for (i = 1; i < COUNT && list[i] >> 31 != list[i - 1] >> 31; i++) {
    }
    assert_true(i < COUNT);
    spell(pair[0], list[i - 1] & 0x7fffffff);
    spell(pair[1], list[i] & 0x7fffffff);
    return fnv(state, pair[0], BLOCK);
}

static int make_names(void **state)
{
    apr_uint32_t hash = 2166136261u;
    int i, k;

    for (k = 0; k < STEPS; k++) {
        hash = find_pair(hash, blocks[k]);
    }
    for (i = 0; i < NAMES; i++) {
        for (k = 0; k < STEPS; k++) {
            memcpy(bytes[i] + k * BLOCK, blocks[k][i >> k & 1], BLOCK);
        }
        names[i] = (comet_text_t){ bytes[i], BYTES };
        assert_int_equal(fnv(2166136261u, bytes[i], BYTES), hash);
    }
    return 0;
}

static apr_size_t longest_chain(const comet_channels_t *channels)
{
    apr_size_t longest = 0, i;

    for (i = 0; i < channels->size; i++) {
        const comet_channel_t *channel;
        apr_size_t length = 0;

        for (channel = channels->buckets[i]; channel; channel = channel->next) {
            length++;
        }
        longest = length > longest ? length : longest;
    }
    return longest;
}

/* With 4,096 names in as many buckets, a chain of 16 has a probability of
 * 10^-10. */
static void test_chosen_names_spread(void **state)
{
    comet_channels_t channels;
    comet_selection_t *all = comet_selection_create(names, NAMES, NULL, 0);
    comet_channel_t *entered;
    int source;

    assert_int_equal(comet_channels_init(&channels), APR_SUCCESS);
    entered = comet_channels_enter(&channels, &source, all);
    assert_non_null(entered);
    assert_int_equal(channels.count, NAMES + 1);
    assert_true(longest_chain(&channels) < 16);
    comet_channels_exit(&channels, entered);
    assert_int_equal(channels.count, 0);
    comet_selection_unref(all);
    comet_channels_free(&channels);
}

/* The hashes themselves differ, too: selections and APR's tables compare
 * them. */
static void test_chosen_names_have_hashes_of_their_own(void **state)
{
    static apr_int64_t hashes[NAMES];
    int i, equal = 0;

    for (i = 0; i < NAMES; i++) {
        apr_ssize_t length = BYTES;

        hashes[i] = comet_message_hash_key(names[i].data, &length);
    }
    qsort(hashes, NAMES, sizeof(*hashes), scratch_ascending);
    for (i = 1; i < NAMES; i++) {
        equal += hashes[i] == hashes[i - 1];
    }
    assert_true(equal < 4); /* about 0.002 pairs of equal hashes are expected */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_chosen_names_spread),
        cmocka_unit_test(test_chosen_names_have_hashes_of_their_own),
    };

    return cmocka_run_group_tests(tests, make_names, NULL);
}
