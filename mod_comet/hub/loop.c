/* SPDX-License-Identifier: Apache-2.0 */
/* The hub's thread: what makes subscribers ready, and when the thread
 * sleeps. */
#include "hub/hub_priv.h"

#include <stddef.h>
#include <sys/epoll.h>
#include <unistd.h>

#define EVENT_BATCH 256
#define LOOK_USEC APR_INT64_C(500000)

static void refresh_feeds(comet_hub_t *hub, apr_time_t now)
{
    apr_size_t i;

    if (hub->config.on_look && now >= hub->look_at) {
        hub->look_at = now + LOOK_USEC;
        hub->config.on_look(hub->config.baton);
    }
    for (i = 0; i < hub->feed_count; i++) {
        if (hub->feeds[i].is_remote) {
            continue; /* a remote store's scout looks at it */
        }
        if (now >= hub->feeds[i].safety_at) {
            comet_hub_try_to_watch(hub, i, hub->epoll, EVENT(EVENT_WATCH, i),
                                   now);
        }
        if (hub->look_reasons[i] || now >= comet_feed_due(&hub->feeds[i])) {
            comet_hub_refresh(hub, i,
                              (hub->look_reasons[i] & LOOK_NOTIFIED) != 0, now);
            hub->look_reasons[i] = 0;
        }
    }
}

static void wake_ticking(void *baton, comet_channel_t *channel)
{
    comet_hub_wake_channel_locked(baton, channel);
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

static void review_ring_locked(comet_hub_t *hub,
                               struct comet_subscriber_ring_t *ring)
{
    comet_subscriber_t *subscriber, *next;

    for (subscriber = APR_RING_FIRST(ring);
         subscriber != APR_RING_SENTINEL(ring, comet_subscriber_t, link);
         subscriber = next) {
        next = APR_RING_NEXT(subscriber, link);
        if (comet_hub_is_revoked(subscriber)) {
            comet_hub_make_ready_locked(hub, subscriber, COMET_REVOKED);
        }
    }
}

static void review_channel_locked(void *baton, comet_channel_t *channel)
{
    review_ring_locked(baton, &channel->waiting);
}

/* Queue the waiting and idle subscribers whose permission was revoked.  One
 * that is queued already gets COMET_REVOKED when it is served. */
static void review(comet_hub_t *hub)
{
    pthread_mutex_lock(&hub->lock);
    comet_channels_each(&hub->channels, review_channel_locked, hub);
    review_ring_locked(hub, &hub->idle);
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
            /* the counter was read before; the thread looks at everything
             * anyway */
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

    take_earlier(&until, hub->config.on_look ? hub->look_at : 0);
    for (i = 0; i < hub->feed_count; i++) {
        if (!hub->feeds[i].is_remote) {
            take_earlier(&until, comet_feed_due(&hub->feeds[i]));
        }
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

static __thread const comet_hub_t *here; /* the hub whose thread this is */

int comet_hub_is_here(const comet_hub_t *hub)
{
    return here == hub;
}

void *comet_hub_run(void *baton)
{
    comet_hub_t *hub = baton;
    struct epoll_event events[EVENT_BATCH];
    apr_size_t i;

    here = hub;
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
        if (atomic_exchange(&hub->reviewing, 0)) {
            review(hub);
        }
        if (atomic_load(&hub->stopping)) {
            stop_subscribers(hub);
        }
        if (hub->config.on_round) {
            hub->config.on_round(hub->config.baton);
        }
        comet_hub_serve_some(hub);
        if (hub->config.on_served) {
            hub->config.on_served(hub->config.baton);
        }
    }
    for (i = 0; i < hub->feed_count; i++) {
        if (!hub->feeds[i].is_remote) {
            comet_feed_close(&hub->feeds[i]);
        }
    }
    atomic_store(&hub->has_ended, 1);
    return NULL;
}
