/* SPDX-License-Identifier: Apache-2.0 */
/* Who waits for what in this child, and the thread that serves them. */
#include "hub/hub.h"
#include "shared/metrics.h"
#include "hub/sockets.h"
#include "hub/ticker.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* How many are served before events and timers are looked at again. */
#define SERVE_BATCH 512
#define EVENT_BATCH 256
#define RETRY_USEC APR_INT64_C(500000)
/* For how long a writer may be opening a store. */
#define OPENING_USEC APR_INT64_C(2000000)

/* What an epoll event is about: a descriptor and, above it, its kind. */
enum { EVENT_WAKE, EVENT_BELL, EVENT_WATCH, EVENT_SOCKET };
#define EVENT(kind, number) \
    (((apr_uint64_t)(kind) << 32) | (apr_uint32_t)(number))

/* Why a store is looked at now: its bell, or a client that must not be told
 * less than all there is. */
enum { RUNG = 1, ASKED = 2 };

struct comet_hub_t {
    pthread_mutex_t lock;
    pthread_cond_t unpinned; /* with lock: pinned changed */
    comet_subscriber_t *pinned; /* [lock] SERVED now, by the hub's thread */
    apr_size_t unpin_waiters; /* [lock] */
    comet_channels_t channels; /* [lock] */
    struct comet_subscriber_ring_t ready; /* [lock] */
    /* [lock] ready, too, but not before the feeds were looked at; empty but
     * in serve_some() */
    struct comet_subscriber_ring_t again;
    struct comet_subscriber_ring_t idle; /* [lock] */
    comet_wheel_t wheel; /* [lock] */
    comet_ticker_t *tickers; /* [lock] */
    comet_sockets_t sockets; /* [lock] */
    apr_size_t members; /* [lock] */
    apr_size_t owned; /* [lock] of them, those with a socket of their own */
    apr_time_t sleeps_until; /* [lock] */

    comet_feed_t *feeds; /* see comet_feed.h */
    apr_byte_t *rung; /* [hub thread] by feed: RUNG, ASKED */
    apr_size_t feed_count;
    comet_hub_config_t config;
    comet_message_t *room[COMET_LIMIT_MAX]; /* [hub thread] of the batch */
    comet_batch_t batch; /* [hub thread] for the one being served */
    pthread_t thread;
    int epoll;
    int wake_fd;
    int let_go; /* [lock] everybody was told to go */
    atomic_int stopping; /* [atomic] */
    atomic_int ended; /* [atomic] the thread is to end */
    atomic_int over; /* [atomic] it has */
    atomic_int wake_pending; /* [atomic] a wake is on its way */
};

/* One write for all who wake it before it is up: whoever comes before
 * wake_pending is cleared did its work before the hub looks at it. */
static void wake(comet_hub_t *hub)
{
    apr_uint64_t one = 1;

    if (!atomic_exchange(&hub->wake_pending, 1)) {
        if (write(hub->wake_fd, &one, sizeof(one)) < 0) {
            /* the counter is at its maximum: it is awake */
        }
    }
}

static int is_clock(const comet_hub_t *hub, const comet_channel_t *channel)
{
    return channel->source == hub;
}

static comet_feed_t *feed_of(comet_hub_t *hub, const comet_channel_t *channel)
{
    return is_clock(hub, channel) ? NULL : (comet_feed_t *)channel->source;
}

/* --- states ----------------------------------------------------------- */

static void make_ready_locked(comet_hub_t *hub, comet_subscriber_t *subscriber,
                              unsigned reasons)
{
    subscriber->reasons |= reasons;
    if (subscriber->state != COMET_SUBSCRIBER_WAITING
        && subscriber->state != COMET_SUBSCRIBER_IDLE) {
        return;
    }
    APR_RING_REMOVE(subscriber, link);
    APR_RING_INSERT_TAIL(&hub->ready, subscriber, comet_subscriber_t, link);
    subscriber->state = COMET_SUBSCRIBER_READY;
}

/* A timer that is due too early is left where it stands: it is put off when
 * it fires (run_timers).  So a stream's is not touched with each message. */
static void set_timer_locked(comet_hub_t *hub, comet_subscriber_t *subscriber,
                             apr_time_t due)
{
    if (!subscriber->timer.due || due < subscriber->timer.due) {
        comet_wheel_set(&hub->wheel, &subscriber->timer, due);
    }
}

static void rest_locked(comet_hub_t *hub, comet_subscriber_t *subscriber,
                        comet_outcome_e outcome)
{
    subscriber->resting = outcome != COMET_WAIT;
    if (outcome == COMET_WAIT) {
        subscriber->state = COMET_SUBSCRIBER_WAITING;
        APR_RING_INSERT_TAIL(&subscriber->channel->waiting, subscriber,
                             comet_subscriber_t, link);
    }
    else {
        subscriber->state = COMET_SUBSCRIBER_IDLE;
        APR_RING_INSERT_TAIL(&hub->idle, subscriber, comet_subscriber_t, link);
    }
    if (subscriber->timeout_at) {
        set_timer_locked(hub, subscriber, subscriber->timeout_at);
    }
}

/* What it waits for cannot be done now: try again soon. */
static void retry_locked(comet_hub_t *hub, comet_subscriber_t *subscriber)
{
    subscriber->retry = 1;
    set_timer_locked(hub, subscriber, comet_monotonic() + RETRY_USEC);
}

/* --- sockets ------------------------------------------------------------ */

static int has_socket(const comet_subscriber_t *subscriber)
{
    return subscriber->left || subscriber->listens;
}

/* Have the subscriber served when its socket takes data; or soon, when that
 * cannot be known.  A socket of its own is watched as long as it is here. */
static void watch_locked(comet_hub_t *hub, comet_subscriber_t *subscriber)
{
    if (!has_socket(subscriber)
        && !comet_sockets_watch_blocked(&hub->sockets, subscriber)) {
        retry_locked(hub, subscriber);
    }
}

/* --- joining and leaving ----------------------------------------------- */

static apr_status_t enter_locked(comet_hub_t *hub,
                                 comet_subscriber_t *subscriber,
                                 const void *source,
                                 comet_selection_t *selection)
{
    comet_channel_t *channel =
        comet_channels_enter(&hub->channels, source, selection);

    if (!channel) {
        return APR_ENOMEM;
    }
    subscriber->watched_fd = -1;
    if (has_socket(subscriber)) {
        apr_status_t status =
            comet_sockets_watch_own(&hub->sockets, subscriber);

        if (status != APR_SUCCESS) {
            comet_channels_exit(&hub->channels, channel);
            return status;
        }
        hub->owned += subscriber->left != NULL;
    }
    subscriber->channel = channel;
    subscriber->reasons = 0;
    subscriber->behind = 0;
    subscriber->retry = 0;
    hub->members++;
    rest_locked(hub, subscriber, subscriber->resting ? COMET_REST : COMET_WAIT);
    watch_locked(hub, subscriber);
    if (hub->let_go) {
        make_ready_locked(hub, subscriber, COMET_STOPPING);
    }
    return APR_SUCCESS;
}

/* Whether the hub must be woken for what the subscriber waits for. */
static int is_urgent_locked(const comet_hub_t *hub,
                            const comet_subscriber_t *subscriber)
{
    return subscriber->state == COMET_SUBSCRIBER_READY
           || (subscriber->timeout_at
               && subscriber->timeout_at < hub->sleeps_until);
}

apr_status_t comet_hub_join(comet_hub_t *hub, comet_subscriber_t *subscriber,
                            apr_size_t store, comet_selection_t *selection)
{
    comet_feed_t *feed = &hub->feeds[store];
    apr_status_t status;
    int urgent = 0;

    pthread_mutex_lock(&hub->lock);
    status = enter_locked(hub, subscriber, feed, selection);
    if (status == APR_SUCCESS) {
        /* what came since the caller looked; or the ring cannot tell yet */
        if (!subscriber->resting
            && (feed->ring.state.last > subscriber->seen
                || feed->ring.state.last < 0)) {
            make_ready_locked(hub, subscriber, COMET_NEWS);
        }
        urgent = is_urgent_locked(hub, subscriber);
    }
    pthread_mutex_unlock(&hub->lock);
    if (urgent) {
        wake(hub);
    }
    return status;
}

apr_status_t comet_hub_join_clock(comet_hub_t *hub,
                                  comet_subscriber_t *subscriber,
                                  apr_interval_time_t period)
{
    comet_ticker_t *ticker;
    apr_status_t status = APR_ENOMEM;

    pthread_mutex_lock(&hub->lock);
    ticker = comet_ticker_find(&hub->tickers, &hub->channels, hub, period);
    if (ticker) {
        comet_ticker_begin(ticker, apr_time_now());
        status = enter_locked(hub, subscriber, hub, ticker->channel->selection);
    }
    pthread_mutex_unlock(&hub->lock);
    wake(hub); /* it may have slept with nothing to tick for */
    return status;
}

/* It is in no queue. */
static void forget_locked(comet_hub_t *hub, comet_subscriber_t *subscriber)
{
    comet_wheel_clear(&hub->wheel, &subscriber->timer);
    comet_sockets_unwatch(&hub->sockets, subscriber);
    comet_channels_exit(&hub->channels, subscriber->channel);
    subscriber->channel = NULL;
    subscriber->resting = 0;
    subscriber->state = COMET_SUBSCRIBER_OUT;
    hub->members--;
    hub->owned -= subscriber->left != NULL;
}

void comet_hub_leave(comet_hub_t *hub, comet_subscriber_t *subscriber)
{
    pthread_mutex_lock(&hub->lock);
    while (hub->pinned == subscriber) {
        hub->unpin_waiters++;
        pthread_cond_wait(&hub->unpinned, &hub->lock);
        hub->unpin_waiters--;
    }
    if (subscriber->state != COMET_SUBSCRIBER_OUT) {
        APR_RING_REMOVE(subscriber, link);
        forget_locked(hub, subscriber);
    }
    pthread_mutex_unlock(&hub->lock);
}

int comet_hub_recall(comet_hub_t *hub, apr_size_t store,
                     const comet_store_state_t *state, comet_timestamp_t after,
                     comet_reading_t *reading)
{
    comet_ring_t *ring = &hub->feeds[store].ring;
    int known;

    pthread_mutex_lock(&hub->lock);
    known = ring->state.last == state->last
            && ring->state.erased == state->erased
            && comet_ring_covers(ring, after);
    if (known) {
        comet_ring_collect(ring, after, reading);
    }
    pthread_mutex_unlock(&hub->lock);
    return known;
}

comet_feed_answer_e comet_hub_ask(comet_hub_t *hub, apr_size_t store,
                                  comet_timestamp_t after)
{
    return comet_feed_ask(&hub->feeds[store], after);
}

apr_size_t comet_hub_members(comet_hub_t *hub, apr_size_t *owned)
{
    apr_size_t members;

    pthread_mutex_lock(&hub->lock);
    members = hub->members;
    if (owned) {
        *owned = hub->owned;
    }
    pthread_mutex_unlock(&hub->lock);
    return members;
}

/* --- serving (hub's thread) -------------------------------------------- */

/* What the subscriber has not seen yet, from memory.
 * @return whether that could tell */
static int collect_locked(comet_hub_t *hub,
                          const comet_subscriber_t *subscriber,
                          comet_reading_t *reading)
{
    const comet_channel_t *channel = subscriber->channel;
    const comet_feed_t *feed = feed_of(hub, channel);

    if (!feed) {
        comet_ticker_collect(hub->tickers, channel, subscriber->seen,
                             reading->batch);
        return 1;
    }
    if (!comet_ring_covers(&feed->ring, subscriber->seen)) {
        return 0;
    }
    comet_ring_collect(&feed->ring, subscriber->seen, reading);
    return 1;
}

/* The same from the store, without the lock; the subscriber is pinned. */
static int catch_up(const comet_subscriber_t *subscriber,
                    comet_reading_t *reading)
{
    const comet_feed_t *feed = subscriber->channel->source; /* no clock */

    comet_metrics_add(COMET_METRIC_catch_ups, 1);
    return feed->store
           && comet_store_read(feed->store, reading->selection,
                               subscriber->seen, reading->batch->size,
                               comet_selection_take, reading)
                  == APR_SUCCESS;
}

/* Whether retention has removed what the subscriber has not seen; it is
 * pinned.  Who is in step is never asked for. */
static int has_lost(comet_hub_t *hub, const comet_subscriber_t *subscriber)
{
    const comet_feed_t *feed = feed_of(hub, subscriber->channel);
    comet_timestamp_t floor;

    return feed && feed->store && subscriber->seen < feed->calm
           && comet_store_floor(feed->store, subscriber->channel->selection,
                                &floor)
                  == APR_SUCCESS
           && floor > subscriber->floor && floor > subscriber->seen;
}

/* What it has seen once it has got the batch: up to its last message; of the
 * clock, which the system's may be set back, up to this moment. */
static comet_timestamp_t seen_now(const comet_hub_t *hub,
                                  const comet_subscriber_t *subscriber)
{
    return is_clock(hub, subscriber->channel)
               ? comet_monotonic()
               : hub->room[hub->batch.count - 1]->timestamp;
}

/* One with a socket of its own is over: nobody else knows it.  Gives the lock
 * back for a while. */
static void see_off_locked(comet_hub_t *hub, comet_subscriber_t *subscriber)
{
    hub->pinned = NULL;
    forget_locked(hub, subscriber);
    pthread_mutex_unlock(&hub->lock);
    subscriber->left(subscriber);
    pthread_mutex_lock(&hub->lock);
}

static void look_again(comet_hub_t *hub, const comet_subscriber_t *subscriber)
{
    const comet_feed_t *feed = feed_of(hub, subscriber->channel);

    if (feed) {
        hub->rung[feed - hub->feeds] |= ASKED;
    }
}

/* It was served.
 * @param more  there may be more for it than it got */
static void put_back_locked(comet_hub_t *hub, comet_subscriber_t *subscriber,
                            comet_outcome_e outcome, int more)
{
    rest_locked(hub, subscriber, outcome);
    if (subscriber->behind) {
        retry_locked(hub, subscriber);
    }
    watch_locked(hub, subscriber);
    if (outcome == COMET_AGAIN) {
        make_ready_locked(hub, subscriber, COMET_READABLE);
        APR_RING_REMOVE(subscriber, link);
        APR_RING_INSERT_TAIL(&hub->again, subscriber, comet_subscriber_t, link);
        look_again(hub, subscriber);
    }
    if (outcome == COMET_WAIT && subscriber->blocked_fd < 0 && more) {
        make_ready_locked(hub, subscriber, COMET_NEWS);
    }
}

/* Serve the first of the queue.  Takes and gives back the lock. */
static void serve_first_locked(comet_hub_t *hub)
{
    comet_subscriber_t *subscriber = APR_RING_FIRST(&hub->ready);
    int blocked = subscriber->blocked_fd >= 0, known = 1, more;
    int resting = subscriber->resting;
    apr_size_t count;
    comet_delivery_t delivery = { .reasons = subscriber->reasons,
                                  .batch = &hub->batch };
    comet_reading_t reading = { .selection = subscriber->channel->selection,
                                .batch = &hub->batch };
    comet_outcome_e outcome;

    hub->batch.size = subscriber->limit;
    APR_RING_REMOVE(subscriber, link);
    subscriber->state = COMET_SUBSCRIBER_SERVED;
    subscriber->reasons = 0;
    subscriber->retry = 0;
    hub->pinned = subscriber;
    if (!blocked && !resting) {
        /* whatever the reason: news may have come while it was queued */
        known = collect_locked(hub, subscriber, &reading);
    }
    pthread_mutex_unlock(&hub->lock);

    if ((!known || hub->batch.count) && has_lost(hub, subscriber)) {
        comet_batch_clear(&hub->batch);
        reading.recheck = known = 1;
    }
    else if (!known) {
        known = catch_up(subscriber, &reading);
    }
    count = hub->batch.count;
    if (count) {
        delivery.reasons |= COMET_NEWS;
        subscriber->seen = seen_now(hub, subscriber);
    }
    if (reading.recheck) {
        delivery.reasons |= COMET_RECHECK;
    }
    more = blocked || resting
           || (!is_clock(hub, subscriber->channel)
               && (count == subscriber->limit
                   || comet_batch_is_full(&hub->batch)));
    outcome = subscriber->serve(subscriber, &delivery);
    comet_batch_clear(&hub->batch);

    pthread_mutex_lock(&hub->lock);
    if (outcome == COMET_LEAVE) {
        see_off_locked(hub, subscriber);
        return;
    }
    subscriber->behind = !known;
    put_back_locked(hub, subscriber, outcome, more);
    hub->pinned = NULL;
    if (hub->unpin_waiters) {
        pthread_cond_broadcast(&hub->unpinned);
    }
}

static void serve_some(comet_hub_t *hub)
{
    int i;

    pthread_mutex_lock(&hub->lock);
    for (i = 0; i < SERVE_BATCH
                && !APR_RING_EMPTY(&hub->ready, comet_subscriber_t, link);
         i++) {
        serve_first_locked(hub);
    }
    APR_RING_CONCAT(&hub->ready, &hub->again, comet_subscriber_t, link);
    pthread_mutex_unlock(&hub->lock);
}

/* --- reasons to serve (hub's thread) ----------------------------------- */

static void wake_channel_locked(comet_hub_t *hub, comet_channel_t *channel)
{
    comet_subscriber_t *subscriber, *next;

    for (subscriber = APR_RING_FIRST(&channel->waiting);
         subscriber
         != APR_RING_SENTINEL(&channel->waiting, comet_subscriber_t, link);
         subscriber = next) {
        next = APR_RING_NEXT(subscriber, link);
        if (subscriber->blocked_fd < 0) {
            make_ready_locked(hub, subscriber, COMET_NEWS);
        }
    }
}

typedef struct news_t {
    comet_hub_t *hub;
    comet_timestamp_t before; /* the last timestamp before the message's */
    int continuous;
} news_t;

static void tell_channel(void *baton, comet_channel_t *channel)
{
    const news_t *news = baton;
    comet_subscriber_t *subscriber;

    APR_RING_FOREACH(subscriber, &channel->waiting, comet_subscriber_t, link)
    {
        if (news->continuous && !subscriber->behind
            && subscriber->blocked_fd < 0 && subscriber->seen < news->before) {
            subscriber->seen = news->before;
        }
    }
    wake_channel_locked(news->hub, channel);
}

/* A message is new: whoever waits for its channel, neither blocked nor
 * behind, has seen all before it. */
static void announce(void *baton, comet_feed_t *feed,
                     const comet_message_t *message, int continuous)
{
    comet_hub_t *hub = baton;
    news_t news = { hub, message->timestamp - 1, continuous };

    comet_channels_reach(&hub->channels, feed, message->channel,
                         message->channel_hash, tell_channel, &news);
}

typedef struct feed_wake_t {
    comet_hub_t *hub;
    const comet_feed_t *feed;
} feed_wake_t;

static void wake_channel_of_feed(void *baton, comet_channel_t *channel)
{
    const feed_wake_t *wanted = baton;

    if (channel->source == wanted->feed) {
        wake_channel_locked(wanted->hub, channel);
    }
}

static void tell_status(comet_hub_t *hub, comet_feed_t *feed,
                        apr_status_t status, apr_time_t now)
{
    int may_be_opening = status == APR_ENOENT || status == COMET_ELOCKED;

    if (status == APR_SUCCESS) {
        feed->failing_since = 0;
    }
    else if (!feed->failing_since) {
        feed->failing_since = now;
    }
    if (status != feed->told
        && !(may_be_opening && now - feed->failing_since < OPENING_USEC)) {
        feed->told = status;
        if (hub->config.on_error) {
            hub->config.on_error(hub->config.baton, feed->store_config, status);
        }
    }
}

static void refresh_feed(comet_hub_t *hub, apr_size_t i, apr_time_t now)
{
    comet_feed_t *feed = &hub->feeds[i];
    apr_status_t status = comet_feed_refresh(
        feed, &hub->lock, (hub->rung[i] & RUNG) != 0, now, announce, hub);

    hub->rung[i] = 0;
    if (feed->began_anew) {
        pthread_mutex_lock(&hub->lock);
        comet_channels_each(&hub->channels, wake_channel_of_feed,
                            &(feed_wake_t){ hub, feed });
        pthread_mutex_unlock(&hub->lock);
    }
    tell_status(hub, feed, status, now);
}

/* One child watches for writers outside httpd; when it ends, another one. */
static void try_to_watch(comet_hub_t *hub, apr_size_t i, apr_time_t now)
{
    comet_feed_t *feed = &hub->feeds[i];
    struct epoll_event event = { .events = EPOLLIN | EPOLLET,
                                 .data.u64 = EVENT(EVENT_WATCH, i) };

    if (feed->watch.open || hub->config.deaf || atomic_load(&hub->stopping)
        || !comet_bus_watch(feed->bus)) {
        return;
    }
    comet_watch_open(&feed->watch, feed->store_config->path, now);
    if (feed->watch.fd >= 0) {
        epoll_ctl(hub->epoll, EPOLL_CTL_ADD, feed->watch.fd, &event);
    }
}

static void refresh_feeds(comet_hub_t *hub, apr_time_t now)
{
    apr_size_t i;

    if (hub->config.on_look && now >= hub->feeds[0].safety_at) {
        hub->config.on_look(hub->config.baton);
    }
    for (i = 0; i < hub->feed_count; i++) {
        if (now >= hub->feeds[i].safety_at) {
            try_to_watch(hub, i, now);
        }
        if (hub->rung[i] || now >= comet_feed_due(&hub->feeds[i])) {
            refresh_feed(hub, i, now);
        }
    }
}

static void wake_ticking(void *baton, comet_channel_t *channel)
{
    wake_channel_locked(baton, channel);
}

static void run_tickers(comet_hub_t *hub)
{
    pthread_mutex_lock(&hub->lock);
    comet_ticker_run(hub->tickers, apr_time_now(), wake_ticking, hub);
    pthread_mutex_unlock(&hub->lock);
}

static comet_subscriber_t *subscriber_of(comet_timer_t *timer)
{
    return (comet_subscriber_t *)((char *)timer
                                  - offsetof(comet_subscriber_t, timer));
}

static void run_timers(comet_hub_t *hub, apr_time_t now)
{
    comet_timer_t *timer;

    pthread_mutex_lock(&hub->lock);
    while ((timer = comet_wheel_expire(&hub->wheel, now)) != NULL) {
        comet_subscriber_t *subscriber = subscriber_of(timer);

        if (subscriber->timeout_at && subscriber->timeout_at <= now) {
            make_ready_locked(hub, subscriber, COMET_TIMEOUT);
        }
        else if (subscriber->retry) {
            make_ready_locked(hub, subscriber, COMET_NEWS);
        }
        else if (subscriber->timeout_at) {
            set_timer_locked(hub, subscriber, subscriber->timeout_at);
        }
    }
    pthread_mutex_unlock(&hub->lock);
}

static void let_go_of_channel(void *baton, comet_channel_t *channel)
{
    comet_hub_t *hub = baton;

    while (!APR_RING_EMPTY(&channel->waiting, comet_subscriber_t, link)) {
        make_ready_locked(hub, APR_RING_FIRST(&channel->waiting),
                          COMET_STOPPING);
    }
}

static void let_everybody_go(comet_hub_t *hub)
{
    comet_subscriber_t *subscriber;

    pthread_mutex_lock(&hub->lock);
    if (hub->let_go) {
        pthread_mutex_unlock(&hub->lock);
        return;
    }
    hub->let_go = 1;
    APR_RING_FOREACH(subscriber, &hub->ready, comet_subscriber_t, link)
    {
        subscriber->reasons |= COMET_STOPPING;
    }
    while (!APR_RING_EMPTY(&hub->idle, comet_subscriber_t, link)) {
        make_ready_locked(hub, APR_RING_FIRST(&hub->idle), COMET_STOPPING);
    }
    comet_channels_each(&hub->channels, let_go_of_channel, hub);
    pthread_mutex_unlock(&hub->lock);
}

/* --- the thread --------------------------------------------------------- */

static void take_socket_event(comet_hub_t *hub, apr_size_t fd,
                              apr_uint32_t events)
{
    comet_subscriber_t *subscriber;
    unsigned reasons = 0;

    pthread_mutex_lock(&hub->lock);
    subscriber = comet_sockets_find(&hub->sockets, fd);
    if (subscriber) {
        if (subscriber->blocked_fd >= 0) {
            reasons = COMET_WRITABLE;
        }
        if (has_socket(subscriber) && (events & ~(apr_uint32_t)EPOLLOUT)) {
            reasons |= COMET_READABLE;
            if (subscriber->listens
                && (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))) {
                reasons |= COMET_GONE;
            }
        }
    }
    if (reasons) {
        make_ready_locked(hub, subscriber, reasons);
    }
    pthread_mutex_unlock(&hub->lock);
}

static void take_event(comet_hub_t *hub, const struct epoll_event *event,
                       apr_time_t now)
{
    apr_uint32_t number = (apr_uint32_t)event->data.u64;
    apr_uint64_t counter;

    switch (event->data.u64 >> 32) {
    case EVENT_WAKE:
        if (read(hub->wake_fd, &counter, sizeof(counter)) < 0) {
            /* it was taken already; what it was about is looked at anyway */
        }
        atomic_exchange(&hub->wake_pending, 0); /* only now: see wake() */
        break;
    case EVENT_BELL:
        hub->rung[number] |= RUNG;
        break;
    case EVENT_WATCH:
        comet_watch_event(&hub->feeds[number].watch, now);
        break;
    case EVENT_SOCKET:
        take_socket_event(hub, number, event->events);
        break;
    }
}

static void earlier(apr_time_t *when, apr_time_t other)
{
    if (other && other < *when) {
        *when = other;
    }
}

/* How long the thread may sleep, in whole milliseconds, rounded up. */
static int sleep_ms(comet_hub_t *hub, apr_time_t now)
{
    apr_time_t wall = apr_time_now(), until = now + apr_time_from_sec(10);
    apr_time_t tick;
    apr_size_t i;

    for (i = 0; i < hub->feed_count; i++) {
        earlier(&until, comet_feed_due(&hub->feeds[i]));
    }
    pthread_mutex_lock(&hub->lock);
    tick = comet_ticker_due(hub->tickers);
    earlier(&until, tick ? now + tick - wall : 0);
    earlier(&until, comet_wheel_next(&hub->wheel));
    if (!APR_RING_EMPTY(&hub->ready, comet_subscriber_t, link)) {
        until = now;
    }
    hub->sleeps_until = until;
    pthread_mutex_unlock(&hub->lock);
    return until <= now ? 0 : (int)((until - now + 999) / 1000);
}

/* At the end everybody is let go first: nobody's answer is left half
 * written. */
static int is_over(comet_hub_t *hub)
{
    int over;

    if (!atomic_load(&hub->ended)) {
        return 0;
    }
    pthread_mutex_lock(&hub->lock);
    over = hub->let_go && !hub->owned
           && APR_RING_EMPTY(&hub->ready, comet_subscriber_t, link);
    pthread_mutex_unlock(&hub->lock);
    return over;
}

static void *run(void *baton)
{
    comet_hub_t *hub = baton;
    struct epoll_event events[EVENT_BATCH];
    apr_size_t i;

    while (!is_over(hub)) {
        int n = epoll_wait(hub->epoll, events, EVENT_BATCH,
                           sleep_ms(hub, comet_monotonic()));
        apr_time_t now = comet_monotonic();
        int k;

        for (k = 0; k < n; k++) {
            take_event(hub, &events[k], now);
        }
        refresh_feeds(hub, now);
        run_tickers(hub);
        run_timers(hub, now);
        if (atomic_load(&hub->stopping)) {
            let_everybody_go(hub);
        }
        serve_some(hub);
    }
    for (i = 0; i < hub->feed_count; i++) {
        comet_feed_close(&hub->feeds[i]);
    }
    atomic_store(&hub->over, 1);
    return NULL;
}

void comet_hub_stopping(comet_hub_t *hub)
{
    atomic_store(&hub->stopping, 1);
    wake(hub);
}

int comet_hub_is_stopping(const comet_hub_t *hub)
{
    return atomic_load(&hub->stopping);
}

int comet_hub_stop(comet_hub_t *hub, apr_interval_time_t limit)
{
    apr_time_t deadline = comet_monotonic() + limit;

    atomic_store(&hub->ended, 1);
    comet_hub_stopping(hub);
    while (!atomic_load(&hub->over)) {
        if (comet_monotonic() >= deadline) {
            return 0;
        }
        poll(NULL, 0, 1);
    }
    return pthread_join(hub->thread, NULL) == 0;
}

void comet_hub_free(comet_hub_t *hub)
{
    apr_size_t i;

    for (i = 0; i < hub->feed_count; i++) {
        comet_ring_reset(&hub->feeds[i].ring, COMET_TIMESTAMP_MAX);
    }
    comet_ticker_free(hub->tickers);
    comet_channels_free(&hub->channels);
    free(hub->sockets.owners);
    close(hub->epoll);
    close(hub->wake_fd);
}

/* --- making ------------------------------------------------------------- */

static apr_status_t open_epoll(comet_hub_t *hub)
{
    struct epoll_event event = { .events = EPOLLIN | EPOLLET };
    apr_size_t i;

    hub->epoll = epoll_create1(EPOLL_CLOEXEC);
    hub->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (hub->epoll < 0 || hub->wake_fd < 0) {
        return errno;
    }
    hub->sockets.epoll = hub->epoll;
    hub->sockets.kind = EVENT(EVENT_SOCKET, 0);
    event.data.u64 = EVENT(EVENT_WAKE, 0);
    if (epoll_ctl(hub->epoll, EPOLL_CTL_ADD, hub->wake_fd, &event) != 0) {
        return errno;
    }
    for (i = 0; i < hub->feed_count && !hub->config.deaf; i++) {
        event.data.u64 = EVENT(EVENT_BELL, i);
        if (epoll_ctl(hub->epoll, EPOLL_CTL_ADD,
                      comet_bus_fd(hub->config.buses[i]), &event)
            != 0) {
            return errno;
        }
    }
    return APR_SUCCESS;
}

apr_status_t comet_hub_create(comet_hub_t **hub,
                              const comet_hub_config_t *config,
                              apr_pool_t *pool)
{
    comet_hub_t *made = apr_pcalloc(pool, sizeof(*made));
    apr_status_t status;
    apr_size_t i;

    made->config = *config;
    made->feed_count = config->count;
    made->feeds = apr_pcalloc(pool, config->count * sizeof(*made->feeds));
    made->rung = apr_pcalloc(pool, config->count);
    made->batch =
        (comet_batch_t){ .messages = made->room, .size = COMET_LIMIT_MAX };
    pthread_mutex_init(&made->lock, NULL);
    pthread_cond_init(&made->unpinned, NULL);
    APR_RING_INIT(&made->ready, comet_subscriber_t, link);
    APR_RING_INIT(&made->again, comet_subscriber_t, link);
    APR_RING_INIT(&made->idle, comet_subscriber_t, link);
    comet_wheel_init(&made->wheel, comet_monotonic());
    for (i = 0; i < config->count; i++) {
        comet_feed_init(&made->feeds[i], config->stores[i], config->buses[i]);
    }
    made->epoll = made->wake_fd = -1;
    status = comet_channels_init(&made->channels);
    if (status == APR_SUCCESS) {
        status = open_epoll(made);
    }
    if (status == APR_SUCCESS) {
        status = comet_thread_start(&made->thread, run, made);
    }
    if (status != APR_SUCCESS) {
        comet_hub_free(made);
        made = NULL;
    }
    *hub = made;
    return status;
}
