/* SPDX-License-Identifier: Apache-2.0 */
/* Names of channels that have a special meaning. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* memrchr() */
#endif
#include "base/name.h"

#include <string.h>

int comet_name_is_reserved(comet_text_t name)
{
    apr_size_t i;

    for (i = 0; i < name.length; i++) {
        if (name.data[i] == '@' && (i == 0 || name.data[i - 1] == '/')) {
            return 1;
        }
    }
    return 0;
}

/* Where the last segment of a name begins. */
static apr_size_t find_last_segment(comet_text_t name)
{
    const char *slash =
        name.length ? memrchr(name.data, '/', name.length) : NULL;

    return slash ? (apr_size_t)(slash + 1 - name.data) : 0;
}

int comet_name_is_sibling(comet_text_t name)
{
    apr_size_t start = find_last_segment(name);

    return start < name.length && name.data[start] == '@';
}

comet_text_t comet_name_owner(comet_text_t name)
{
    apr_size_t start = find_last_segment(name);

    return start && comet_name_is_sibling(name)
               ? (comet_text_t){ name.data, start - 1 }
               : (comet_text_t){ .data = NULL };
}

int comet_name_is_granted(comet_text_t name, comet_cover_cb *cover,
                          const void *baton)
{
    comet_text_t owner = comet_name_owner(name);
    comet_cover_e how = cover(baton, name);

    return how == COMET_COVER_EXACTLY
           || (how == COMET_COVER_BELOW
               && (!owner.data || cover(baton, owner) != COMET_COVER_NOT));
}
