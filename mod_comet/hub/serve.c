/* SPDX-License-Identifier: Apache-2.0 */
/* Hand a subscriber the messages it has not seen yet.  Called by the hub's
 * thread. */
#include "hub/fetcher.h"
#include "hub/hub_priv.h"
#include "shared/metrics.h"

/* How many subscribers are served before the thread handles events and timers
 * again. */
#define SERVE_BATCH 512
/* How long one reading of the store may keep the thread from other
 * subscribers. */
#define READ_USEC 5000

/* Whether retention has removed messages that a subscriber has not seen. */
static int is_lost(const comet_subscriber_t *subscriber,
                   comet_timestamp_t floor)
{
    return floor > subscriber->floor && floor > subscriber->seen;
}

/* Take what was fetched.  If the batch is not full, the subscriber has then
 * seen its channel up to the end of the view that the fetcher has read. */
static void take_fetched_locked(comet_hub_t *hub,
                                comet_subscriber_t *subscriber,
                                comet_reading_t *reading)
{
    const comet_fetched_t *fetched = comet_fetched_of(subscriber);
    apr_size_t i;

    hub->told = fetched->last;
    if (is_lost(subscriber, fetched->floor)) {
        reading->recheck = 1;
    }
    else {
        for (i = 0; i < fetched->batch.count; i++) {
            comet_batch_add(reading->batch,
                            comet_message_ref(fetched->room[i]));
        }
        reading->recheck = fetched->recheck;
    }
    if (!reading->recheck && !comet_batch_is_full(&fetched->batch)) {
        hub->seen_all = fetched->last;
    }
}

/*
 * Like collect_locked(), for a remote store.  What memory does not have is
 * taken from the fetcher's answer, which includes the store's floor.  If there
 * is no answer yet, this asks the fetcher.
 */
static int collect_remote_locked(comet_hub_t *hub,
                                 comet_subscriber_t *subscriber,
                                 comet_feed_t *feed, comet_reading_t *reading)
{
    if (comet_ring_covers(&feed->ring, subscriber->seen)
        && subscriber->seen >= feed->erased_until) {
        comet_ring_collect(&feed->ring, subscriber->seen, reading);
    }
    else if (comet_fetched_of(subscriber)
             && comet_fetched_suits(comet_fetched_of(subscriber), subscriber)) {
        take_fetched_locked(hub, subscriber, reading);
    }
    else {
        comet_fetcher_ask_locked(hub->fetchers[feed - hub->feeds], subscriber);
        return 0;
    }
    comet_fetched_drop(subscriber);
    return 1;
}

/*
 * Collect from memory the messages a subscriber has not seen.
 * @return whether memory has them all
 */
static int collect_locked(comet_hub_t *hub, comet_subscriber_t *subscriber,
                          comet_reading_t *reading)
{
    const comet_channel_t *channel = subscriber->channel;
    comet_feed_t *feed = comet_hub_feed_of(hub, channel);

    if (!feed) {
        comet_ticker_collect(hub->tickers, channel, subscriber->seen,
                             reading->batch);
        return 1;
    }
    if (feed->is_remote) {
        return collect_remote_locked(hub, subscriber, feed, reading);
    }
    if (!comet_ring_covers(&feed->ring, subscriber->seen)) {
        return 0;
    }
    comet_ring_collect(&feed->ring, subscriber->seen, reading);
    return 1;
}

/* Collect messages from the store, without the lock.  The subscriber is pinned.
 * If the batch is not full, the subscriber has then seen its channel up to
 * where the reading stopped (`until`) or, if it was complete, up to `told`. */
static int catch_up(comet_hub_t *hub, const comet_subscriber_t *subscriber,
                    comet_reading_t *reading)
{
    /* the source is a feed: the clock's subscribers never need this */
    const comet_feed_t *feed = subscriber->channel->source;
    comet_timestamp_t until = 0;
    const comet_budget_t budget = { .part = READ_USEC, .until = &until };
    apr_status_t status;

    comet_metrics_add(COMET_METRIC_catch_ups, 1);
    if (!feed->store) {
        return 0;
    }
    comet_store_limit(feed->store, &budget);
    status =
        comet_store_read(feed->store, reading->selection, subscriber->seen,
                         reading->batch->size, comet_selection_take, reading);
    comet_store_limit(feed->store, NULL);
    if (status == APR_SUCCESS && !reading->recheck
        && !comet_batch_is_full(reading->batch)) {
        hub->seen_all = until ? until : hub->told;
        hub->is_part = until != 0;
    }
    return status == APR_SUCCESS;
}

/* Whether retention has removed messages that a pinned subscriber has not seen.
 * The store is not asked if nothing after the subscriber's cursor was ever
 * erased. */
static int has_lost(comet_hub_t *hub, const comet_subscriber_t *subscriber)
{
    const comet_feed_t *feed = comet_hub_feed_of(hub, subscriber->channel);
    comet_timestamp_t floor;

    return feed && feed->store && subscriber->seen < feed->erased_until
           && comet_store_floor(feed->store, subscriber->channel->selection,
                                &floor)
                  == APR_SUCCESS
           && is_lost(subscriber, floor);
}

/* The subscriber's cursor after this batch: the last message's timestamp.  For
 * the clock it is the current time by the steady clock, since the system clock
 * can be set back. */
static comet_timestamp_t seen_now(const comet_hub_t *hub,
                                  const comet_subscriber_t *subscriber)
{
    return comet_hub_is_clock(hub, subscriber->channel)
               ? comet_monotonic()
               : hub->room[hub->batch.count - 1]->timestamp;
}

/* Dispose of a finished subscriber that owns its socket; nothing else refers to
 * it.  Drops the lock during the call. */
static void dispose_locked(comet_hub_t *hub, comet_subscriber_t *subscriber)
{
    hub->pinned = NULL;
    comet_hub_forget_locked(hub, subscriber);
    pthread_mutex_unlock(&hub->lock);
    subscriber->left(subscriber);
    pthread_mutex_lock(&hub->lock);
}

static void look_again(comet_hub_t *hub, const comet_subscriber_t *subscriber)
{
    const comet_feed_t *feed = comet_hub_feed_of(hub, subscriber->channel);

    if (feed) {
        hub->look_reasons[feed - hub->feeds] |= LOOK_ASKED;
    }
}

/* Move a subscriber from the ready queue to the end of the queue of those that
 * are far behind. */
static void put_off_locked(comet_hub_t *hub, comet_subscriber_t *subscriber)
{
    APR_RING_REMOVE(subscriber, link);
    APR_RING_INSERT_TAIL(&hub->catching, subscriber, comet_subscriber_t, link);
}

static comet_timestamp_t newest_locked(comet_hub_t *hub,
                                       const comet_subscriber_t *subscriber)
{
    const comet_feed_t *feed = comet_hub_feed_of(hub, subscriber->channel);

    return feed ? feed->ring.state.last : 0;
}

/* Queue the subscriber again if something happened while it was served.  A
 * scout might have announced messages, but an announcement reaches only waiting
 * subscribers.  If the newest timestamp went back, the store is a different
 * one.  A fetcher might have set an answer and the reasons to serve the
 * subscriber. */
static void note_meanwhile_locked(comet_hub_t *hub,
                                  comet_subscriber_t *subscriber)
{
    comet_timestamp_t newest = newest_locked(hub, subscriber);

    if (subscriber->state == COMET_SUBSCRIBER_WAITING
        && !comet_hub_is_blocked(subscriber)
        && (newest > hub->told || newest < hub->newest)) {
        subscriber->reasons |= COMET_NEWS;
    }
    if (subscriber->reasons) {
        comet_hub_make_ready_locked(hub, subscriber, subscriber->reasons);
    }
}

/* Serve a subscriber once more after the next look at the feeds. */
static void serve_again_locked(comet_hub_t *hub, comet_subscriber_t *subscriber,
                               unsigned reasons)
{
    comet_hub_make_ready_locked(hub, subscriber, reasons);
    APR_RING_REMOVE(subscriber, link);
    APR_RING_INSERT_TAIL(&hub->again, subscriber, comet_subscriber_t, link);
}

/* Let a pinned subscriber read the selection that serve() has chosen. */
static void move_locked(comet_hub_t *hub, comet_subscriber_t *subscriber)
{
    comet_selection_t *selection = subscriber->moves_to;
    comet_channel_t *channel = comet_channels_enter(
        &hub->channels, subscriber->channel->source, selection);

    subscriber->moves_to = NULL;
    comet_selection_unref(selection);
    if (!channel) {
        subscriber->reasons |= COMET_RECHECK;
        return;
    }
    comet_fetched_drop(subscriber);
    comet_channels_exit(&hub->channels, subscriber->channel);
    subscriber->channel = channel;
    subscriber->reasons |= COMET_NEWS | COMET_JOINED;
}

/* Serve a subscriber again once the feed has advanced. */
static void await_feed_locked(comet_hub_t *hub, comet_subscriber_t *subscriber)
{
    const comet_feed_t *feed = comet_hub_feed_of(hub, subscriber->channel);

    if (feed->is_remote) {
        comet_hub_retry_soon_locked(hub, subscriber);
    }
    else {
        serve_again_locked(hub, subscriber, COMET_NEWS);
        look_again(hub, subscriber);
    }
}

/* Whether a subscriber has seen everything that is in memory.  Then it only
 * needs to wait for the next message. */
static int is_up_to_date_locked(comet_hub_t *hub,
                                const comet_subscriber_t *subscriber)
{
    const comet_feed_t *feed = comet_hub_feed_of(hub, subscriber->channel);

    return feed && !subscriber->until && feed->ring.state.last >= 0
           && feed->ring.state.last == subscriber->seen;
}

/*
 * Put a subscriber back into a queue after it was served.
 * @param more  there might be more messages for it
 */
static void put_back_locked(comet_hub_t *hub, comet_subscriber_t *subscriber,
                            comet_outcome_e outcome, int more)
{
    if (subscriber->reasons & COMET_WRITABLE) {
        subscriber->stalled = 0; /* comet_hub_poke() was called while the
                                  * subscriber was served */
    }
    if (subscriber->moves_to) {
        move_locked(hub, subscriber);
    }
    comet_hub_rest_locked(hub, subscriber, outcome);
    if (subscriber->behind && !subscriber->fetch) {
        comet_hub_retry_locked(hub, subscriber);
    }
    comet_hub_watch_locked(hub, subscriber);
    if (outcome == COMET_AGAIN) {
        serve_again_locked(hub, subscriber, COMET_READABLE);
        look_again(hub, subscriber);
    }
    else if (subscriber->reasons) { /* comet_hub_call() was called while the
                                     * subscriber was served */
        serve_again_locked(hub, subscriber, 0);
    }
    else if (outcome == COMET_WAIT && hub->lags) {
        await_feed_locked(hub, subscriber);
    }
    else if (outcome == COMET_WAIT && !comet_hub_is_blocked(subscriber) && more
             && !is_up_to_date_locked(hub, subscriber)) {
        comet_hub_make_ready_locked(hub, subscriber, COMET_NEWS);
        put_off_locked(hub, subscriber);
    }
    note_meanwhile_locked(hub, subscriber);
}

/* Take a subscriber out of its queue, pin it, and collect from memory the
 * messages it has not seen.
 * @return whether memory has them all */
static int take_locked(comet_hub_t *hub, comet_subscriber_t *subscriber,
                       comet_reading_t *reading)
{
    APR_RING_REMOVE(subscriber, link);
    subscriber->state = COMET_SUBSCRIBER_SERVED;
    subscriber->reasons = 0;
    hub->retries = subscriber->retry;
    subscriber->retry = 0;
    hub->pinned = subscriber;
    hub->told = hub->newest = newest_locked(hub, subscriber);
    hub->seen_all = 0;
    hub->lags = 0;
    hub->is_part = 0;
    hub->batch.size = subscriber->limit;
    hub->batch.most_bytes = subscriber->piece;
    /* collect for every reason: messages might have come while it was queued */
    return comet_hub_is_blocked(subscriber) || subscriber->resting
           || collect_locked(hub, subscriber, reading);
}

/* Whether only the store can tell what the subscriber has not seen. */
static int is_behind_locked(comet_hub_t *hub,
                            const comet_subscriber_t *subscriber)
{
    const comet_feed_t *feed = comet_hub_feed_of(hub, subscriber->channel);

    return !comet_hub_is_blocked(subscriber) && !subscriber->resting && feed
           && !feed->is_remote
           && !comet_ring_covers(&feed->ring, subscriber->seen);
}

/* Read from the store what memory does not have.  Called without the lock, with
 * the subscriber pinned.
 * @param known  whether memory has everything
 * @return whether the reading is complete now */
static int complete(comet_hub_t *hub, const comet_subscriber_t *subscriber,
                    comet_reading_t *reading, int known)
{
    const comet_feed_t *feed = comet_hub_feed_of(hub, subscriber->channel);

    if (feed && feed->is_remote) {
        return known; /* the fetcher has been asked */
    }
    if ((!known || hub->batch.count) && has_lost(hub, subscriber)) {
        comet_batch_clear(&hub->batch);
        reading->recheck = 1;
        return 1;
    }
    return known || catch_up(hub, subscriber, reading);
}

/*
 * Leave out messages after the subscriber's ->until.
 * @param known  0: the batch might lack messages before ->until
 * @return whether the subscriber then has every message up to ->until
 */
static int cut(comet_hub_t *hub, const comet_subscriber_t *subscriber,
               int known)
{
    comet_batch_t *batch = &hub->batch;
    int is_full = comet_batch_is_full(batch), is_cut = 0;

    while (batch->count
           && hub->room[batch->count - 1]->timestamp > subscriber->until) {
        comet_message_unref(hub->room[--batch->count]);
        is_cut = 1;
    }
    if (is_cut || subscriber->seen >= subscriber->until
        || (batch->count
            && hub->room[batch->count - 1]->timestamp == subscriber->until)) {
        return 1;
    }
    if (hub->is_part) {
        return hub->seen_all >= subscriber->until;
    }
    hub->lags = known && !is_full && hub->told < subscriber->until;
    return known && !is_full && !hub->lags;
}

/* Whether the subscriber reaches its ->until now; see cut(). */
static int is_reached(comet_hub_t *hub, const comet_subscriber_t *subscriber,
                      const comet_delivery_t *delivery)
{
    return subscriber->until && !delivery->is_unread
           && cut(hub, subscriber, !(delivery->reasons & COMET_RECHECK));
}

/* The subscriber's cursor after the batch, if the batch was not cut off by its
 * size. */
static comet_timestamp_t seen_all(const comet_hub_t *hub,
                                  const comet_subscriber_t *subscriber)
{
    return subscriber->until && hub->seen_all > subscriber->until
               ? subscriber->until
               : hub->seen_all;
}

/* Give the subscriber its batch.
 * @return its outcome; *more: there might be more for it than it took */
static comet_outcome_e hand_over(comet_hub_t *hub,
                                 comet_subscriber_t *subscriber,
                                 const comet_delivery_t *delivery, int *more)
{
    int clock = comet_hub_is_clock(hub, subscriber->channel);
    comet_timestamp_t last;
    comet_outcome_e outcome;

    *more = comet_hub_is_blocked(subscriber) || subscriber->resting
            || hub->is_part || (!clock && comet_batch_is_full(&hub->batch));
    if (hub->batch.count) {
        subscriber->seen = seen_now(hub, subscriber);
    }
    if (subscriber->seen < seen_all(hub, subscriber)) {
        subscriber->seen = seen_all(hub, subscriber);
    }
    if ((delivery->reasons & COMET_REACHED)
        && subscriber->seen < subscriber->until) {
        subscriber->seen = subscriber->until;
    }
    last = subscriber->seen;
    outcome = subscriber->serve(subscriber, delivery);
    *more |= !clock && hub->batch.count && subscriber->seen < last;
    comet_batch_clear(&hub->batch);
    return outcome;
}

/* Serve a subscriber that is queued.  Releases the lock while it does so. */
static void serve_locked(comet_hub_t *hub, comet_subscriber_t *subscriber)
{
    comet_delivery_t delivery = { .reasons = subscriber->reasons,
                                  .batch = &hub->batch };
    comet_reading_t reading = { .selection = subscriber->channel->selection,
                                .batch = &hub->batch };
    int passed_over = subscriber->blocked_fd >= 0 || subscriber->resting;
    int known = take_locked(hub, subscriber, &reading), more;
    comet_outcome_e outcome;

    pthread_mutex_unlock(&hub->lock);
    known = complete(hub, subscriber, &reading, known);
    delivery.is_unread = passed_over || !known;
    delivery.reasons |= reading.recheck ? COMET_RECHECK : 0;
    delivery.reasons |= comet_hub_is_revoked(subscriber) ? COMET_REVOKED : 0;
    delivery.reasons |=
        is_reached(hub, subscriber, &delivery) ? COMET_REACHED : 0;
    delivery.reasons |= hub->batch.count ? COMET_NEWS : 0;
    outcome = hand_over(hub, subscriber, &delivery, &more);

    pthread_mutex_lock(&hub->lock);
    if (outcome == COMET_LEAVE) {
        dispose_locked(hub, subscriber);
        return;
    }
    subscriber->behind = !known;
    put_back_locked(hub, subscriber, outcome, more);
    hub->pinned = NULL;
    if (hub->unpin_waiters) {
        pthread_cond_broadcast(&hub->unpinned);
    }
}

/*
 * Whether the hub must look at the store before it serves a subscriber from
 * memory.  A subscriber that has just joined must not get a message that was
 * deleted before.  One look is enough; later deletions may come too late for
 * it.
 */
static int must_look_locked(comet_hub_t *hub, comet_subscriber_t *subscriber)
{
    comet_feed_t *feed = comet_hub_feed_of(hub, subscriber->channel);
    unsigned joined = subscriber->reasons & COMET_JOINED;

    subscriber->reasons &= ~joined;
    return joined && feed
           && comet_feed_coverage(feed, subscriber->seen)
                  == COMET_FEED_IS_BEHIND;
}

void comet_hub_serve_some(comet_hub_t *hub)
{
    comet_subscriber_t *subscriber;
    int i;

    pthread_mutex_lock(&hub->lock);
    for (i = 0; i < SERVE_BATCH
                && !APR_RING_EMPTY(&hub->ready, comet_subscriber_t, link);
         i++) {
        subscriber = APR_RING_FIRST(&hub->ready);
        if (must_look_locked(hub, subscriber)) {
            serve_again_locked(hub, subscriber, 0);
            look_again(hub, subscriber);
        }
        else if (is_behind_locked(hub, subscriber)) {
            put_off_locked(hub, subscriber);
        }
        else {
            serve_locked(hub, subscriber);
        }
    }
    if (!APR_RING_EMPTY(&hub->catching, comet_subscriber_t, link)) {
        serve_locked(hub, APR_RING_FIRST(&hub->catching));
    }
    APR_RING_CONCAT(&hub->ready, &hub->again, comet_subscriber_t, link);
    pthread_mutex_unlock(&hub->lock);
}
