/* SPDX-License-Identifier: Apache-2.0 */
/* The hub's thread: what makes subscribers ready, and when the thread
 * sleeps. */
#include "hub/hub_priv.h"

#include <stddef.h>
#include <sys/epoll.h>
#include <unistd.h>

#define EVENT_BATCH 256
/* How long a writer may take to open a store. */
#define OPENING_USEC APR_INT64_C(2000000)

static void wake_channel_locked(comet_hub_t *hub, comet_channel_t *channel)
{
    comet_subscriber_t *subscriber, *next;

    for (subscriber = APR_RING_FIRST(&channel->waiting);
         subscriber
         != APR_RING_SENTINEL(&channel->waiting, comet_subscriber_t, link);
         subscriber = next) {
        next = APR_RING_NEXT(subscriber, link);
        if (subscriber->blocked_fd < 0) {
            comet_hub_make_ready_locked(hub, subscriber, COMET_NEWS);
        }
    }
}

typedef struct news_t {
    comet_hub_t *hub;
    comet_timestamp_t before; /* the timestamp just before the message's */
    int continuous;
} news_t;

static void announce_to_channel_locked(void *baton, comet_channel_t *channel)
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

/* Announce a new message.  Subscribers that wait for its channel and are
 * neither blocked nor behind have seen everything before it. */
static void announce(void *baton, comet_feed_t *feed,
                     const comet_message_t *message, int continuous)
{
    comet_hub_t *hub = baton;
    news_t news = { hub, message->timestamp - 1, continuous };

    comet_channels_reach(&hub->channels, feed, message->channel,
                         message->channel_hash, announce_to_channel_locked,
                         &news);
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

static void report_status(comet_hub_t *hub, comet_feed_t *feed,
                          apr_status_t status, apr_time_t now)
{
    int may_be_opening = status == APR_ENOENT || status == COMET_ELOCKED;

    if (status == APR_SUCCESS) {
        feed->failing_since = 0;
    }
    else if (!feed->failing_since) {
        feed->failing_since = now;
    }
    if (status != feed->reported
        && !(may_be_opening && now - feed->failing_since < OPENING_USEC)) {
        feed->reported = status;
        if (hub->config.on_error) {
            hub->config.on_error(hub->config.baton, feed->store_config, status);
        }
    }
}

static void refresh_feed(comet_hub_t *hub, apr_size_t i, apr_time_t now)
{
    comet_feed_t *feed = &hub->feeds[i];
    apr_status_t status = comet_feed_refresh(
        feed, &hub->lock, (hub->look_reasons[i] & LOOK_NOTIFIED) != 0, now,
        announce, hub);

    hub->look_reasons[i] = 0;
    if (feed->restarted) {
        pthread_mutex_lock(&hub->lock);
        comet_channels_each(&hub->channels, wake_channel_of_feed,
                            &(feed_wake_t){ hub, feed });
        pthread_mutex_unlock(&hub->lock);
    }
    report_status(hub, feed, status, now);
}

/* Become the child that watches for writers outside httpd, if no child does. */
static void try_to_watch(comet_hub_t *hub, apr_size_t i, apr_time_t now)
{
    comet_feed_t *feed = &hub->feeds[i];
    struct epoll_event event = { .events = EPOLLIN | EPOLLET,
                                 .data.u64 = EVENT(EVENT_WATCH, i) };

    if (feed->watch || hub->config.no_hints || atomic_load(&hub->stopping)
        || !comet_bus_claim_watch(feed->bus)) {
        return;
    }
    feed->watch = comet_watch_open(&feed->store_config->place, now);
    if (!feed->watch) {
        comet_bus_release_watch(feed->bus);
    }
    else if (comet_watch_fd(feed->watch) >= 0) {
        epoll_ctl(hub->epoll, EPOLL_CTL_ADD, comet_watch_fd(feed->watch),
                  &event);
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
        if (hub->look_reasons[i] || now >= comet_feed_due(&hub->feeds[i])) {
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
            comet_hub_make_ready_locked(hub, subscriber, COMET_TIMEOUT);
        }
        else if (subscriber->retry) {
            comet_hub_make_ready_locked(hub, subscriber, COMET_NEWS);
        }
        else if (subscriber->timeout_at) {
            comet_hub_set_timer_locked(hub, subscriber, subscriber->timeout_at);
        }
    }
    pthread_mutex_unlock(&hub->lock);
}

static void stop_channel_locked(void *baton, comet_channel_t *channel)
{
    comet_hub_t *hub = baton;

    while (!APR_RING_EMPTY(&channel->waiting, comet_subscriber_t, link)) {
        comet_hub_make_ready_locked(hub, APR_RING_FIRST(&channel->waiting),
                                    COMET_STOPPING);
    }
}

static void stop_subscribers(comet_hub_t *hub)
{
    comet_subscriber_t *subscriber;

    pthread_mutex_lock(&hub->lock);
    if (hub->all_told_to_stop) {
        pthread_mutex_unlock(&hub->lock);
        return;
    }
    hub->all_told_to_stop = 1;
    APR_RING_FOREACH(subscriber, &hub->ready, comet_subscriber_t, link)
    {
        subscriber->reasons |= COMET_STOPPING;
    }
    APR_RING_FOREACH(subscriber, &hub->catching, comet_subscriber_t, link)
    {
        subscriber->reasons |= COMET_STOPPING;
    }
    while (!APR_RING_EMPTY(&hub->idle, comet_subscriber_t, link)) {
        comet_hub_make_ready_locked(hub, APR_RING_FIRST(&hub->idle),
                                    COMET_STOPPING);
    }
    comet_channels_each(&hub->channels, stop_channel_locked, hub);
    pthread_mutex_unlock(&hub->lock);
}

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
        if (comet_hub_has_socket(subscriber)
            && (events & ~(apr_uint32_t)EPOLLOUT)) {
            reasons |= COMET_READABLE;
            if (subscriber->listens
                && (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))) {
                reasons |= COMET_GONE;
            }
        }
    }
    if (reasons) {
        comet_hub_make_ready_locked(hub, subscriber, reasons);
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
            /* another event has read the counter; the thread looks at
             * everything anyway */
        }
        atomic_exchange(&hub->wake_pending,
                        0); /* cleared only now, see comet_hub_wake() */
        break;
    case EVENT_NOTIFY:
        hub->look_reasons[number] |= LOOK_NOTIFIED;
        break;
    case EVENT_WATCH:
        comet_watch_event(hub->feeds[number].watch, now);
        break;
    case EVENT_SOCKET:
        take_socket_event(hub, number, event->events);
        break;
    }
}

static void take_earlier(apr_time_t *when, apr_time_t other)
{
    if (other && other < *when) {
        *when = other;
    }
}

/* How long the thread may sleep, in milliseconds, rounded up. */
static int sleep_ms(comet_hub_t *hub, apr_time_t now)
{
    apr_time_t wall = apr_time_now(), until = now + apr_time_from_sec(10);
    apr_time_t tick;
    apr_size_t i;

    for (i = 0; i < hub->feed_count; i++) {
        take_earlier(&until, comet_feed_due(&hub->feeds[i]));
    }
    pthread_mutex_lock(&hub->lock);
    tick = comet_ticker_due(hub->tickers);
    take_earlier(&until, tick ? now + tick - wall : 0);
    take_earlier(&until, comet_wheel_due(&hub->wheel));
    if (!comet_hub_is_served_locked(hub)) {
        until = now;
    }
    hub->sleeps_until = until;
    pthread_mutex_unlock(&hub->lock);
    return until <= now ? 0 : (int)((until - now + 999) / 1000);
}

/* Whether the thread may end: all subscribers were told to stop and have been
 * served, so no answer is left half written. */
static int is_over(comet_hub_t *hub)
{
    int over;

    if (!atomic_load(&hub->must_end)) {
        return 0;
    }
    pthread_mutex_lock(&hub->lock);
    over =
        hub->all_told_to_stop && !hub->owned && comet_hub_is_served_locked(hub);
    pthread_mutex_unlock(&hub->lock);
    return over;
}

void *comet_hub_run(void *baton)
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
            stop_subscribers(hub);
        }
        comet_hub_serve_some(hub);
    }
    for (i = 0; i < hub->feed_count; i++) {
        comet_feed_close(&hub->feeds[i]);
    }
    atomic_store(&hub->has_ended, 1);
    return NULL;
}
