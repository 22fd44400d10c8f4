/* SPDX-License-Identifier: Apache-2.0 */
/* The head of an answer that httpd has made, as a sample for further answers. */
#include "wait/sample.h"

#include <stdlib.h>
#include <string.h>

/* A header that shows the time in whole seconds changes within this time. */
#define SECOND_PASSES apr_time_from_msec(1500)

void mod_comet_sample_begin(mod_comet_sample_t *sample, int is_ours,
                            int computed)
{
    sample->computed = computed;
    sample->enough = computed || !is_ours ? 2 : 1;
}

/* Whether an answer counts in addition to the last one that was counted.  A
 * header can depend on the cursor or on Content-Length, so these must differ.  A
 * header that
 * mod_headers computes can depend on the time, so a second must have passed. */
static int is_another(const mod_comet_sample_t *sample, comet_timestamp_t about,
                      apr_time_t now)
{
    return about != sample->counted
           && (!sample->computed || now - sample->counted_at >= SECOND_PASSES);
}

void mod_comet_sample_learn(mod_comet_sample_t *sample, comet_text_t bytes,
                            comet_timestamp_t about)
{
    comet_head_answer_t head = { .text = NULL };
    apr_time_t now = comet_monotonic();
    int equal;

    comet_head_answer_learn(&head, bytes);
    equal = comet_head_answer_equal(&sample->head, &head);
    if (!equal || sample->enough == 1 || is_another(sample, about, now)) {
        sample->seen = equal ? sample->seen + 1 : head.text != NULL;
        sample->counted = about;
        sample->counted_at = now;
    }
    comet_head_answer_free(&sample->head);
    sample->head = head;
}

int mod_comet_sample_continue(mod_comet_sample_t *sample,
                              const mod_comet_sample_t *last)
{
    comet_text_t bytes = { last->head.text, last->head.length };

    if (!bytes.data || !comet_head_answer_learn(&sample->head, bytes)) {
        return 0;
    }
    sample->seen = last->seen;
    sample->counted = last->counted;
    sample->counted_at = last->counted_at;
    return 1;
}

int mod_comet_sample_is_known(const mod_comet_sample_t *sample)
{
    return sample->seen && sample->seen >= sample->enough;
}

void mod_comet_sample_forget(mod_comet_sample_t *sample)
{
    comet_head_answer_free(&sample->head);
    sample->seen = 0;
}
