/* SPDX-License-Identifier: Apache-2.0 */
/* Patterns of channels that a token grants. */
#include "token/grant.h"

#include <string.h>

#include "base/name.h"
#include "wire/params.h"

/* The prefix that all channels of a pattern share: the pattern without its
 * star. data is NULL if the pattern does not end in a star. */
static comet_text_t stem_of(comet_text_t pattern)
{
    int below =
        pattern.length && pattern.data[pattern.length - 1] == '*'
        && (pattern.length == 1 || pattern.data[pattern.length - 2] == '/');

    return below ? (comet_text_t){ pattern.data, pattern.length - 1 }
                 : (comet_text_t){ .data = NULL };
}

const char *comet_grant_check(comet_text_t pattern)
{
    comet_text_t stem = stem_of(pattern);

    if (stem.data && !stem.length) {
        return NULL; /* every channel */
    }
    if (stem.data) {
        pattern = (comet_text_t){ stem.data, stem.length - 1 };
    }
    if (pattern.length && memchr(pattern.data, '*', pattern.length)) {
        return "a star may only stand alone behind the last slash";
    }
    return comet_params_check_channel(pattern);
}

/* @param exactly  OUT: whether a pattern is this very name
 * @return whether a pattern covers a name */
static int covers(const apr_array_header_t *patterns, comet_text_t name,
                  int *exactly)
{
    int i, covered = 0;

    *exactly = 0;
    for (i = 0; patterns && i < patterns->nelts && !*exactly; i++) {
        comet_text_t pattern =
            comet_text(APR_ARRAY_IDX(patterns, i, const char *));
        comet_text_t stem = stem_of(pattern);

        *exactly = comet_text_equal(pattern, name);
        covered |= stem.data && name.length >= stem.length
                   && memcmp(name.data, stem.data, stem.length) == 0;
    }
    return covered || *exactly;
}

int comet_grant_covers(const apr_array_header_t *patterns, const char *channel)
{
    comet_text_t name = comet_text(channel), owner = comet_name_owner(name);
    int exactly, of_owner;

    return covers(patterns, name, &exactly)
           && (exactly || !owner.data || covers(patterns, owner, &of_owner));
}
