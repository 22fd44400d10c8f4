/* SPDX-License-Identifier: Apache-2.0 */
/* A long message, piece by piece. */
#include "output/slice.h"

#include "output/news.h"

int mod_comet_slice_fits(const mod_comet_slice_t *slice,
                         const comet_batch_t *batch)
{
    return !slice->of
           || (batch->count && batch->messages[0]->timestamp == slice->of);
}

comet_text_t mod_comet_slice_cut(mod_comet_slice_t *slice,
                                 const comet_message_t *message,
                                 comet_text_t body, comet_timestamp_t *seen)
{
    apr_size_t length = body.length - slice->offset;
    apr_size_t most = mod_comet_outbox_share();
    comet_text_t piece = { body.data + slice->offset,
                           length < most ? length : most };

    slice->of = message->timestamp;
    slice->offset += piece.length;
    *seen = message->timestamp - 1;
    if (slice->offset == body.length) {
        *slice = (mod_comet_slice_t){ .of = 0 };
        *seen = message->timestamp;
    }
    return piece;
}

void mod_comet_slice_encode(mod_comet_slice_t *slice,
                            const mod_comet_ask_t *ask,
                            const comet_batch_t *batch, comet_timestamp_t *seen,
                            comet_buffer_t *out)
{
    comet_batch_t first = { .messages = batch->messages,
                            .size = 1,
                            .count = 1 };
    mod_comet_story_t before = *ask->story;
    comet_buffer_t whole = { .data = NULL };
    comet_text_t piece;

    mod_comet_news_encode(ask, &first, &whole);
    out->failed |= whole.failed;
    if (!whole.failed) {
        piece = mod_comet_slice_cut(slice, first.messages[0],
                                    (comet_text_t){ whole.data, whole.length },
                                    seen);
        comet_buffer_add(out, piece.data, piece.length);
    }
    if (slice->of) {
        mod_comet_story_take_back(ask->story, &before);
    }
    comet_buffer_free(&whole);
}

apr_status_t mod_comet_slice_encode_next(mod_comet_slice_t *slice,
                                         const mod_comet_ask_t *ask,
                                         const comet_batch_t *batch,
                                         int retry_msec, int silent,
                                         comet_timestamp_t *seen,
                                         comet_buffer_t *out)
{
    mod_comet_story_t before = *ask->story;

    if (!mod_comet_slice_fits(slice, batch) || (slice->of && retry_msec)) {
        return APR_EGENERAL; /* nothing may follow half a message */
    }
    if (!slice->of) {
        mod_comet_news_encode_next(ask, batch, retry_msec, silent, out);
    }
    if (slice->of
        || (batch->count && !retry_msec
            && out->length > mod_comet_outbox_share())) {
        mod_comet_story_take_back(ask->story, &before);
        comet_buffer_free(out);
        mod_comet_slice_encode(slice, ask, batch, seen, out);
    }
    return APR_SUCCESS;
}
