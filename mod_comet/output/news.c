/* SPDX-License-Identifier: Apache-2.0 */
/* Encode what a waiting client is sent. */
#include "output/news.h"

#include "shared/metrics.h"
#include "hub/hub.h"
#include "server/child.h"

/* The CPU time that the request of a returning client takes, without judging
 * its channels. */
#define RETURN_USEC 100
#define SPREAD_MSEC 30000

static comet_answer_t answer_for(const mod_comet_ask_t *ask,
                                 const comet_batch_t *batch)
{
    comet_timestamp_t stands = ask->before ? ask->before : ask->cursor;

    return (comet_answer_t){
        .format = &ask->format,
        .messages = batch->messages,
        .count = batch->count,
        .cursor = batch->count ? batch->messages[batch->count - 1]->timestamp
                               : stands,
        .floor = ask->floor,
        .is_unknown = ask->is_unknown,
        .rest = ask->rest,
    };
}

void mod_comet_news_encode(const mod_comet_ask_t *ask,
                           const comet_batch_t *batch, comet_buffer_t *out)
{
    comet_answer_t answer = answer_for(ask, batch);

    ask->transport->encode(out, &answer);
    if (batch->count) {
        mod_comet_story_deliver(ask->story, batch->count, answer.cursor);
    }
    else {
        comet_metrics_add(COMET_METRIC_unanswered, 1);
    }
    if (batch->count && !ask->transport->streams) {
        ask->story->end = MOD_COMET_END_answered;
    }
    else if (!ask->transport->streams && !ask->history) {
        mod_comet_story_end(ask->story, MOD_COMET_END_no_news);
    }
}

void mod_comet_news_encode_opening(const mod_comet_ask_t *ask,
                                   comet_buffer_t *out)
{
    static const comet_batch_t nothing = { .count = 0 };
    comet_answer_t answer = answer_for(ask, &nothing);

    if (ask->transport->open) {
        ask->transport->open(out, &answer);
    }
}

int mod_comet_news_is_over(apr_time_t ends_at)
{
    return ends_at && comet_monotonic() >= ends_at;
}

/* The time over which the returns of all clients of this child are spread, so
 * that they take at most half of one processor. */
static int spread_msec(int least, apr_interval_time_t judging)
{
    apr_int64_t members =
        (apr_int64_t)comet_hub_members(mod_comet_child()->hub, NULL);
    apr_int64_t msec = members * (judging + RETURN_USEC) * 2 / 1000;

    msec = msec < SPREAD_MSEC ? msec : SPREAD_MSEC;
    return msec < least ? least : (int)msec;
}

/* Reconnects are spread, so that they do not all arrive at once; clients that
 * only need to be authorised again return soon. */
int mod_comet_news_retry(mod_comet_story_t *story, unsigned reasons,
                         apr_time_t ends_at, apr_interval_time_t judging)
{
    mod_comet_story_end_by(story, reasons, mod_comet_news_is_over(ends_at));
    if (reasons & COMET_STOPPING) {
        return spread_msec(2000, judging);
    }
    if (mod_comet_news_is_over(ends_at)) {
        return 2000;
    }
    return reasons & (COMET_RECHECK | COMET_REVOKED) ? spread_msec(100, judging)
                                                     : 0;
}

apr_time_t mod_comet_news_due(apr_time_t ends_at, apr_interval_time_t wait)
{
    apr_time_t due = comet_monotonic() + wait;

    return ends_at && ends_at < due ? ends_at : due;
}

void mod_comet_news_encode_next(const mod_comet_ask_t *ask,
                                const comet_batch_t *batch, int retry_msec,
                                int silent, comet_buffer_t *out)
{
    if (batch->count || !ask->transport->streams) {
        mod_comet_news_encode(ask, batch, out);
    }
    else if (silent && !retry_msec) {
        comet_buffer_puts(out, ask->transport->heartbeat);
    }
    mod_comet_news_encode_closing(ask->transport, retry_msec, out);
}

void mod_comet_news_encode_closing(const comet_transport_t *transport,
                                   int retry_msec, comet_buffer_t *out)
{
    if (retry_msec && transport->close) {
        transport->close(out, NULL,
                         (int)ap_random_pick((apr_uint32_t)retry_msec / 20,
                                             (apr_uint32_t)retry_msec));
    }
}
