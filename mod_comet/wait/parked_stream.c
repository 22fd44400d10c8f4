/* SPDX-License-Identifier: Apache-2.0 */
/* What a parked stream is sent. */
#include "wait/parked_stream.h"

#include "output/news.h"

/* Make the next piece of a stream's first message, which is long. */
static void encode_slice(mod_comet_parked_t *park, const comet_batch_t *batch,
                         comet_buffer_t *out)
{
    comet_batch_t first = { .messages = batch->messages,
                            .size = 1,
                            .count = 1 };
    comet_buffer_t whole = { .data = NULL };
    comet_text_t piece;

    mod_comet_news_encode(park->ask, &first, &whole);
    out->failed |= whole.failed;
    if (!whole.failed) {
        piece = mod_comet_slice_cut(&park->slice, first.messages[0],
                                    (comet_text_t){ whole.data, whole.length },
                                    &park->subscriber.seen);
        comet_buffer_add(out, piece.data, piece.length);
    }
    comet_metrics_add(COMET_METRIC_delivered, park->slice.of ? -1 : 0);
    comet_buffer_free(&whole);
}

int mod_comet_parked_stream_answers(mod_comet_parked_t *park,
                                    comet_buffer_t *bytes)
{
    mod_comet_talk_t *talk = park->ask->talk;

    if (!talk || park->slice.of || park->said_all) {
        return park->said_all;
    }
    park->said_all = mod_comet_talk_take(talk, bytes);
    if (park->retry_msec && !park->said_all) {
        mod_comet_talk_end(talk); /* the closing words follow */
    }
    return park->said_all;
}

int mod_comet_parked_stream_encode(mod_comet_parked_t *park,
                                   const comet_batch_t *batch, int silent,
                                   comet_buffer_t *bytes)
{
    apr_size_t answers;

    if (!mod_comet_slice_fits(&park->slice, batch)
        || (park->slice.of && park->retry_msec)) {
        return 0; /* no words may follow half a message */
    }
    if (!mod_comet_parked_stream_answers(park, bytes) && !park->slice.of) {
        answers = bytes->length;
        mod_comet_news_encode_next(park->ask, batch, park->retry_msec, silent,
                                   bytes);
        if (batch->count && !park->retry_msec
            && bytes->length - answers > mod_comet_outbox_share()) {
            comet_metrics_add(COMET_METRIC_delivered,
                              -(apr_int64_t)batch->count);
            bytes->length = answers;
            encode_slice(park, batch, bytes);
        }
    }
    else if (park->slice.of) {
        encode_slice(park, batch, bytes);
    }
    return 1;
}
