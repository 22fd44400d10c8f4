/* SPDX-License-Identifier: Apache-2.0 */
/* Encode the bytes for a parked stream's client. */
#include "wait/parked_stream.h"

#include "server/child.h"
#include "output/news.h"
#include "wait/live.h"

int mod_comet_parked_stream_answers(mod_comet_parked_t *park,
                                    comet_buffer_t *bytes)
{
    mod_comet_talk_t *talk = park->ask->talk;

    if (!talk || park->slice.of || park->said_all) {
        return park->said_all;
    }
    park->said_all = mod_comet_talk_take(talk, bytes);
    if (park->retry_msec && !park->said_all) {
        mod_comet_talk_end(talk); /* the stream's closing words follow */
    }
    return park->said_all;
}

int mod_comet_parked_stream_encode(mod_comet_parked_t *park,
                                   const comet_batch_t *batch, unsigned reasons,
                                   comet_buffer_t *bytes)
{
    int silent = (reasons & COMET_TIMEOUT) && park->subscriber.blocked_fd < 0;
    mod_comet_story_t before = *park->ask->story;
    apr_size_t answers;

    if (!mod_comet_slice_fits(&park->slice, batch)
        || (park->slice.of && park->retry_msec)) {
        return 0; /* nothing may follow an incomplete message */
    }
    if (!mod_comet_parked_stream_answers(park, bytes) && !park->slice.of) {
        answers = bytes->length;
        mod_comet_news_encode_next(park->ask, batch, park->retry_msec, silent,
                                   bytes);
        if (batch->count && !park->retry_msec
            && bytes->length - answers > mod_comet_outbox_share()) {
            mod_comet_story_take_back(park->ask->story, &before);
            bytes->length = answers;
            mod_comet_slice_encode(&park->slice, park->ask, batch,
                                   &park->subscriber.seen, bytes);
        }
    }
    else if (park->slice.of) {
        mod_comet_slice_encode(&park->slice, park->ask, batch,
                               &park->subscriber.seen, bytes);
    }
    if (!park->slice.of && !park->retry_msec && !park->said_all) {
        mod_comet_live_serve(park->ask, &park->subscriber, reasons);
    }
    return 1;
}

void mod_comet_parked_stream_go_on_talking(mod_comet_parked_t *park)
{
    mod_comet_talk_t *talk = park->ask->talk;

    if (talk && !park->slice.of
        && (mod_comet_talk_has_words(talk)
            || (park->end_msec && !mod_comet_talk_is_unanswered(talk)))) {
        comet_hub_call(mod_comet_child()->hub, &park->subscriber);
    }
}
