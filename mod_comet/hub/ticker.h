/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file hub/ticker.h
 * The clock's ticks.  Subscribers with the same period share a ticker.  The
 * ticks are messages that are in no store.  Guarded by the hub's lock.
 */
#ifndef COMET_TICKER_H
#define COMET_TICKER_H

#include "hub/channel.h"

typedef struct comet_ticker_t comet_ticker_t;

/** A ticker of one period.  A ticker is kept for as long as the hub exists. */
struct comet_ticker_t {
    comet_ticker_t *next;
    comet_channel_t *channel; /* the ticker counts as a member of it */
    apr_interval_time_t period;
    apr_time_t due; /* by the system clock */
    comet_message_t *tick; /* the last tick */
    apr_time_t ticked_at; /* when the last tick was made, by the steady clock */
};

/**
 * Find or make the ticker of a period.
 * @param source  the source of the clock's channels
 * @return NULL if no memory is left
 */
comet_ticker_t *comet_ticker_find(comet_ticker_t **tickers,
                                  comet_channels_t *channels,
                                  const void *source,
                                  apr_interval_time_t period);

/** Start a ticker, which might have been idle.  Called when a subscriber is
 * about to join. */
void comet_ticker_begin(comet_ticker_t *ticker, apr_time_t now);

/** Collect a channel's last tick, if it was made after @a seen. */
void comet_ticker_collect(const comet_ticker_t *tickers,
                          const comet_channel_t *channel, apr_time_t seen,
                          comet_batch_t *batch);

/**
 * Make the ticks that are due.
 * @param now  by the system clock
 * @param wake  called with the channel of each ticker that ticked
 */
void comet_ticker_run(comet_ticker_t *tickers, apr_time_t now,
                      comet_channel_cb *wake, void *baton);

/** When the next tick is due, by the system clock; 0 if no subscriber waits. */
apr_time_t comet_ticker_due(const comet_ticker_t *tickers);

/** Free all tickers.  Their channels are freed with the table. */
void comet_ticker_free(comet_ticker_t *tickers);

#endif /* COMET_TICKER_H */
