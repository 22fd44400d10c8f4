/* SPDX-License-Identifier: Apache-2.0 */
/* Text by address and length. */
#include "base/text.h"

#include <string.h>

comet_text_t comet_text(const char *string)
{
    return (comet_text_t){ string, string ? strlen(string) : 0 };
}

int comet_text_equal(comet_text_t a, comet_text_t b)
{
    return a.length == b.length
           && (a.length == 0 || memcmp(a.data, b.data, a.length) == 0);
}

comet_text_t comet_text_copy(comet_text_t text, char **end)
{
    comet_text_t made = { text.data ? *end : NULL, text.length };

    if (text.data) {
        memcpy(*end, text.data, text.length);
        *end += text.length;
    }
    return made;
}
