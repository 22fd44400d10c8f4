/* SPDX-License-Identifier: Apache-2.0 */
/* What a fetcher has read for subscribers that ask the same question. */
#include "hub/fetched.h"

#include <stdlib.h>

comet_fetched_t *comet_fetched_create(const comet_subscriber_t *subscriber)
{
    comet_fetched_t *fetched = calloc(
        1, sizeof(*fetched) + subscriber->limit * sizeof(comet_message_t *));

    if (fetched) {
        fetched->refs = 1;
        fetched->selection =
            comet_selection_ref(subscriber->channel->selection);
        fetched->after = subscriber->seen;
        fetched->limit = subscriber->limit;
        fetched->piece = subscriber->piece;
        fetched->batch = (comet_batch_t){ .messages = fetched->room,
                                          .size = subscriber->limit,
                                          .most_bytes = subscriber->piece };
    }
    return fetched;
}

int comet_fetched_suits(const comet_fetched_t *fetched,
                        const comet_subscriber_t *subscriber)
{
    return fetched->selection == subscriber->channel->selection
           && fetched->after == subscriber->seen
           && fetched->limit == subscriber->limit
           && fetched->piece == subscriber->piece;
}

void comet_fetched_unref(comet_fetched_t *fetched)
{
    if (fetched && --fetched->refs == 0) {
        comet_batch_clear(&fetched->batch);
        comet_selection_unref(fetched->selection);
        free(fetched);
    }
}

comet_fetched_t *comet_fetched_of(const comet_subscriber_t *subscriber)
{
    return subscriber->fetch ? subscriber->fetch->fetched : NULL;
}

void comet_fetched_drop(comet_subscriber_t *subscriber)
{
    comet_fetch_t *fetch = subscriber->fetch;

    if (!fetch) {
        return;
    }
    if (!fetch->fetched) {
        APR_RING_REMOVE(fetch, link);
    }
    comet_fetched_unref(fetch->fetched);
    free(fetch);
    subscriber->fetch = NULL;
}
