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
        return "a star must be the whole text after the last slash";
    }
    return comet_params_check_channel(pattern);
}

static comet_cover_e compare(comet_text_t pattern, comet_text_t name)
{
    comet_text_t stem = stem_of(pattern);

    if (comet_text_equal(pattern, name)) {
        return COMET_COVER_EXACTLY;
    }
    return stem.data && name.length >= stem.length
                   && memcmp(name.data, stem.data, stem.length) == 0
               ? COMET_COVER_BELOW
               : COMET_COVER_NOT;
}

/* @param baton  the patterns */
static comet_cover_e cover(const void *baton, comet_text_t name)
{
    const apr_array_header_t *patterns = baton;
    comet_cover_e best = COMET_COVER_NOT;
    int i;

    for (i = 0; i < patterns->nelts && best != COMET_COVER_EXACTLY; i++) {
        comet_cover_e how =
            compare(comet_text(APR_ARRAY_IDX(patterns, i, const char *)), name);

        best = how > best ? how : best;
    }
    return best;
}

int comet_grant_covers(const apr_array_header_t *patterns, const char *channel)
{
    return patterns
           && comet_name_is_granted(comet_text(channel), cover, patterns);
}
