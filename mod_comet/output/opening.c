/* SPDX-License-Identifier: Apache-2.0 */
/* Hold a stream's opening back to see if the content filters let it pass. */
#include "output/opening.h"

#include <apr_strings.h>
#include <string.h>

/* How many bytes at the end of the opening are compared. */
#define TAIL 8

void mod_comet_opening_begin(request_rec *r, mod_comet_opening_t *opening,
                             comet_text_t bytes)
{
    opening->held = apr_brigade_create(r->pool, r->connection->bucket_alloc);
    opening->written =
        (comet_text_t){ apr_pstrmemdup(r->pool, bytes.data, bytes.length),
                        bytes.length };
    opening->filter =
        ap_add_output_filter("COMET_OPENING", opening, r, r->connection);
}

apr_status_t mod_comet_opening_filter(ap_filter_t *filter,
                                      apr_bucket_brigade *brigade)
{
    mod_comet_opening_t *opening = filter->ctx;

    return ap_save_brigade(filter, &opening->held, &brigade, filter->r->pool);
}

/* Whether a filter has changed the bytes, and they still end in the same
 * TAIL bytes. */
static int has_passed_changed(comet_text_t passed, comet_text_t written)
{
    return passed.length >= TAIL && written.length >= TAIL
           && memcmp(passed.data, written.data, passed.length) != 0
           && memcmp(passed.data + passed.length - TAIL,
                     written.data + written.length - TAIL, TAIL)
                  == 0;
}

int mod_comet_opening_has_passed(const mod_comet_opening_t *opening)
{
    char *bytes;
    comet_text_t passed;

    if (apr_brigade_pflatten(opening->held, &bytes, &passed.length,
                             opening->filter->r->pool)
        != APR_SUCCESS) {
        return 0;
    }
    passed.data = bytes;
    return passed.length >= opening->written.length
           || has_passed_changed(passed, opening->written);
}

apr_status_t mod_comet_opening_end(mod_comet_opening_t *opening)
{
    ap_filter_t *next = opening->filter->next;

    ap_remove_output_filter(opening->filter);
    return ap_pass_brigade(next, opening->held);
}
