/* SPDX-License-Identifier: Apache-2.0 */
/* A long message, piece by piece. */
#include "output/slice.h"

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
