/* SPDX-License-Identifier: Apache-2.0 */
/* A batch: messages in order, as many as fit into one answer. */
#include "base/batch.h"

int comet_batch_is_full(const comet_batch_t *batch)
{
    apr_size_t most = batch->most_bytes ? batch->most_bytes : COMET_BATCH_BYTES;

    return batch->count >= batch->size || batch->bytes >= most;
}

int comet_batch_add(void *baton, comet_message_t *message)
{
    comet_batch_t *batch = baton;

    batch->messages[batch->count++] = message;
    batch->bytes += message->body.length;
    if (batch->most_bytes) {
        batch->bytes += message->channel.length + message->type.length
                        + message->author.length + message->update.event.length
                        + COMET_BATCH_OVERHEAD;
    }
    return !comet_batch_is_full(batch);
}

void comet_batch_clear(comet_batch_t *batch)
{
    while (batch->count) {
        comet_message_unref(batch->messages[--batch->count]);
    }
    batch->bytes = 0;
}
