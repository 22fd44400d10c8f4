/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file output/news.h
 * What a waiting client is told, as bytes: messages, signs of life, the end.
 */
#ifndef MOD_COMET_NEWS_H
#define MOD_COMET_NEWS_H

#include "request/ask.h"

/**
 * Encode an answer for a client, and count it.
 * @param batch  the messages; none of them: no news
 * @param out  appended to
 */
void mod_comet_news_encode(const mod_comet_ask_t *ask,
                           const comet_batch_t *batch, comet_buffer_t *out);

/** Encode what a stream opens with. */
void mod_comet_news_encode_opening(const mod_comet_ask_t *ask,
                                   comet_buffer_t *out);

/**
 * Whether a stream ends now, and within how many milliseconds its client is
 * to come back; 0: it goes on.
 * @param reasons  comet_reason_e
 * @param ends_at  of its lifetime, by comet_monotonic(); 0: never
 */
int mod_comet_news_retry(unsigned reasons, apr_time_t ends_at);

/**
 * Encode what a waiting client gets: messages; where a stream is over, the
 * words of parting; where it was silent for long, what keeps it alive and its
 * page does not see.
 * @param retry_msec  of mod_comet_news_retry()
 * @param out  appended to; nothing, when there is nothing to say
 */
void mod_comet_news_encode_next(const mod_comet_ask_t *ask,
                                const comet_batch_t *batch, int retry_msec,
                                int silent, comet_buffer_t *out);

/** Encode the words of parting alone, if there are any. */
void mod_comet_news_encode_closing(const comet_transport_t *transport,
                                   int retry_msec, comet_buffer_t *out);

/**
 * When a waiting client is to be looked at next: after a while, or at the end
 * of its lifetime.
 * @param ends_at  as for mod_comet_news_retry()
 */
apr_time_t mod_comet_news_due(apr_time_t ends_at, apr_interval_time_t wait);

/** At the end of a child, how long a client may still take what is left. */
#define MOD_COMET_CLOSING_LIMIT apr_time_from_sec(2)

#endif /* MOD_COMET_NEWS_H */
