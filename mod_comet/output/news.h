/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file output/news.h
 * Encode what a waiting client is sent: messages, heartbeats, the end.
 */
#ifndef MOD_COMET_NEWS_H
#define MOD_COMET_NEWS_H

#include "request/ask.h"

/**
 * Encode an answer for a client, and count it.
 * @param batch  the messages; none: the answer is "no news"
 * @param out  appended to
 */
void mod_comet_news_encode(const mod_comet_ask_t *ask,
                           const comet_batch_t *batch, comet_buffer_t *out);

/** Encode the opening of a stream. */
void mod_comet_news_encode_opening(const mod_comet_ask_t *ask,
                                   comet_buffer_t *out);

/**
 * Whether a reader's time is over (mod_comet_ask_end()).  If so, the reader
 * gets no more messages: its permission may have ended.
 * @param ends_at  by comet_monotonic(); 0: never
 */
int mod_comet_news_is_over(apr_time_t ends_at);

/**
 * Decide whether a stream ends now, and when its client comes back.  The more
 * clients wait, and the longer it takes to authorise their channels, the longer
 * the time over which their returns are spread.
 * @param story  OUT: the reason, if the stream ends
 * @param reasons  bits of comet_reason_e
 * @param ends_at  as for mod_comet_news_is_over()
 * @param judging  how long authorising takes: ->took of mod_comet_judged_t
 * @return within how many milliseconds the client comes back; 0: the stream
 *         goes on
 */
int mod_comet_news_retry(mod_comet_story_t *story, unsigned reasons,
                         apr_time_t ends_at, apr_interval_time_t judging);

/**
 * Encode what is sent to a waiting client next: messages; a heartbeat, which
 * the page does not see, if the stream was silent for a long time; the closing
 * words, if the stream ends.
 * @param retry_msec  of mod_comet_news_retry()
 * @param silent  whether a heartbeat is due
 * @param out  appended to; stays as it is if there is nothing to send
 */
void mod_comet_news_encode_next(const mod_comet_ask_t *ask,
                                const comet_batch_t *batch, int retry_msec,
                                int silent, comet_buffer_t *out);

/** Encode the closing words alone, if the stream ends and its transport has
 * any. */
void mod_comet_news_encode_closing(const comet_transport_t *transport,
                                   int retry_msec, comet_buffer_t *out);

/**
 * When a waiting client is served next, if nothing else happens: after @a wait,
 * or at the end of its time.
 * @param ends_at  as for mod_comet_news_is_over()
 * @return by comet_monotonic()
 */
apr_time_t mod_comet_news_due(apr_time_t ends_at, apr_interval_time_t wait);

/** How much time a client has to take the rest of its answer when the child
 * ends. */
#define MOD_COMET_CLOSING_LIMIT apr_time_from_sec(2)

#endif /* MOD_COMET_NEWS_H */
