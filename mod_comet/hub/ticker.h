/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file hub/ticker.h
 * The clock: those of its subscribers that share a period share a ticker,
 * whose ticks are messages that stand in no store.  Guarded by the hub's lock.
 */
#ifndef COMET_TICKER_H
#define COMET_TICKER_H

#include "hub/channel.h"

typedef struct comet_ticker_t comet_ticker_t;

/** The clock's subscribers of one period; made once, kept with the hub. */
struct comet_ticker_t {
    comet_ticker_t *next;
    comet_channel_t *channel; /* the ticker is a member */
    apr_interval_time_t period;
    apr_time_t due; /* wall clock */
    comet_message_t *tick; /* the last one */
    apr_time_t ticked_at; /* when, by the steady clock */
};

/**
 * Find the ticker of a period, or make it.
 * @param source  of the clock's channels
 * @return NULL: no memory
 */
comet_ticker_t *comet_ticker_find(comet_ticker_t **tickers,
                                  comet_channels_t *channels,
                                  const void *source,
                                  apr_interval_time_t period);

/** Begin to tick for somebody: it may have rested while nobody waited. */
void comet_ticker_begin(comet_ticker_t *ticker, apr_time_t now);

/** Collect the last tick of a channel, if it came after this. */
void comet_ticker_collect(const comet_ticker_t *tickers,
                          const comet_channel_t *channel, apr_time_t seen,
                          comet_batch_t *batch);

/**
 * Tick where it is due.
 * @param now  by the wall clock
 * @param wake  called for the channel of each that ticked
 */
void comet_ticker_run(comet_ticker_t *tickers, apr_time_t now,
                      comet_channel_cb *wake, void *baton);

/** When the next one is due, by the wall clock; 0: nobody waits. */
apr_time_t comet_ticker_due(const comet_ticker_t *tickers);

/** Free them all; their channels go with the table. */
void comet_ticker_free(comet_ticker_t *tickers);

#endif /* COMET_TICKER_H */
