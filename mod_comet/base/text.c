/* SPDX-License-Identifier: Apache-2.0 */
/* Text by address and length. */
#include "base/text.h"

comet_text_t comet_text_copy(comet_text_t text, char **end)
{
    comet_text_t made = { text.data ? *end : NULL, text.length };

    if (text.data) {
        memcpy(*end, text.data, text.length);
        *end += text.length;
    }
    return made;
}
