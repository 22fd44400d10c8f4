/* SPDX-License-Identifier: Apache-2.0 */
/* What became of a request, for the access log. */
#include "request/story.h"

#include "shared/metrics.h"
#include "hub/subscriber.h"

void mod_comet_story_deliver(mod_comet_story_t *story, apr_size_t count,
                             comet_timestamp_t last)
{
    comet_metrics_add(COMET_METRIC_delivered, (apr_int64_t)count);
    story->messages += (apr_int64_t)count;
    story->cursor = last;
}

void mod_comet_story_take_back(mod_comet_story_t *story,
                               const mod_comet_story_t *before)
{
    comet_metrics_add(COMET_METRIC_delivered,
                      before->messages - story->messages);
    story->messages = before->messages;
    story->cursor = before->cursor;
}

void mod_comet_story_end(mod_comet_story_t *story, mod_comet_end_e end)
{
    if (story->end == MOD_COMET_END_UNTOLD) {
        story->end = end;
    }
}

void mod_comet_story_end_by(mod_comet_story_t *story, unsigned reasons,
                            int is_over)
{
    if (reasons & COMET_STOPPING) {
        mod_comet_story_end(story, MOD_COMET_END_stopping);
    }
    else if (is_over) {
        mod_comet_story_end(story, MOD_COMET_END_expired);
    }
    else if (reasons & COMET_REVOKED) {
        mod_comet_story_end(story, MOD_COMET_END_revoked);
    }
    else if (reasons & COMET_RECHECK) {
        mod_comet_story_end(story, MOD_COMET_END_recheck);
    }
}

const char *mod_comet_story_end_text(mod_comet_end_e end)
{
    static const char *const texts[] = {
        NULL,
#define END(name, text, help) text,
#include "tables/ends.def"
#undef END
    };

    return texts[end];
}
