/* SPDX-License-Identifier: Apache-2.0 */
/* The clock's ticks. */
#include "hub/ticker.h"

#include <stdlib.h>

static apr_time_t next_multiple(apr_time_t now, apr_interval_time_t period)
{
    return now - now % period + period;
}

/* A ticker's channel is named by the bytes of its period. */
static comet_channel_t *enter(comet_channels_t *channels, const void *source,
                              apr_interval_time_t period)
{
    comet_text_t name = { (const char *)&period, sizeof(period) };
    comet_selection_t *selection = comet_selection_create(&name, 1, NULL, 0);
    comet_channel_t *channel =
        selection ? comet_channels_enter(channels, source, selection) : NULL;

    comet_selection_unref(selection);
    return channel;
}

comet_ticker_t *comet_ticker_find(comet_ticker_t **tickers,
                                  comet_channels_t *channels,
                                  const void *source,
                                  apr_interval_time_t period)
{
    comet_ticker_t *ticker;

    for (ticker = *tickers; ticker; ticker = ticker->next) {
        if (ticker->period == period) {
            return ticker;
        }
    }
    ticker = calloc(1, sizeof(*ticker));
    if (!ticker) {
        return NULL;
    }
    ticker->channel = enter(channels, source, period);
    if (!ticker->channel) {
        free(ticker);
        return NULL;
    }
    ticker->period = period;
    ticker->next = *tickers;
    *tickers = ticker;
    return ticker;
}

void comet_ticker_begin(comet_ticker_t *ticker, apr_time_t now)
{
    if (ticker->channel->members == 1) {
        ticker->due = next_multiple(now, ticker->period);
    }
}

void comet_ticker_collect(const comet_ticker_t *tickers,
                          const comet_channel_t *channel, apr_time_t seen,
                          comet_batch_t *batch)
{
    for (; tickers; tickers = tickers->next) {
        if (tickers->channel == channel && tickers->tick
            && tickers->ticked_at > seen) {
            comet_batch_add(batch, comet_message_ref(tickers->tick));
        }
    }
}

void comet_ticker_run(comet_ticker_t *tickers, apr_time_t now,
                      comet_channel_cb *wake, void *baton)
{
    for (; tickers; tickers = tickers->next) {
        if (now < tickers->due && tickers->due - now <= tickers->period) {
            continue;
        }
        comet_message_unref(tickers->tick);
        tickers->tick =
            comet_message_create(&(comet_message_fields_t){ .timestamp = now });
        tickers->ticked_at = comet_monotonic();
        tickers->due = next_multiple(now, tickers->period);
        wake(baton, tickers->channel);
    }
}

apr_time_t comet_ticker_due(const comet_ticker_t *tickers)
{
    apr_time_t due = 0;

    for (; tickers; tickers = tickers->next) {
        if (tickers->channel->members > 1 && (!due || tickers->due < due)) {
            due = tickers->due;
        }
    }
    return due;
}

void comet_ticker_free(comet_ticker_t *tickers)
{
    while (tickers) {
        comet_ticker_t *next = tickers->next;

        comet_message_unref(tickers->tick);
        free(tickers);
        tickers = next;
    }
}
