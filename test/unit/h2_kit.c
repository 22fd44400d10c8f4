/* SPDX-License-Identifier: Apache-2.0 */
/* The flow-control windows of one HTTP/2 connection. */
#include "h2_kit.h"

comet_h2_window_t h2_window;

int h2_setup(void **state)
{
    comet_h2_window_init(&h2_window);
    comet_h2_window_split(&h2_window, 1);
    return 0;
}

int h2_teardown(void **state)
{
    comet_h2_window_free(&h2_window);
    return 0;
}

apr_int64_t h2_credit(apr_uint32_t stream)
{
    const comet_h2_stream_t *found = comet_h2_window_find(&h2_window, stream);

    assert_non_null(found);
    return found->credit;
}

void h2_set(apr_uint16_t setting, apr_uint32_t value)
{
    assert_int_equal(comet_h2_window_set(&h2_window, setting, value),
                     COMET_H2_FORWARD);
}
