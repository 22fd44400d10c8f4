/* SPDX-License-Identifier: Apache-2.0 */
/* What other threads call: join, leave, recall, start and stop. */
#include "hub/hub_priv.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "hub/fetcher.h"
#include "hub/scout.h"

/* How long to wait for the end of the threads that were started already, if the
 * hub cannot be made completely. */
#define START_STOP_USEC APR_INT64_C(1000000)

/* --- joining and leaving ------------------------------------------------- */

static apr_status_t enter_locked(comet_hub_t *hub,
                                 comet_subscriber_t *subscriber,
                                 const void *source,
                                 comet_selection_t *selection)
{
    int rests = subscriber->resting;
    comet_channel_t *channel =
        comet_channels_enter(&hub->channels, source, selection);

    if (!channel) {
        return APR_ENOMEM;
    }
    subscriber->watched_fd = -1;
    if (comet_hub_has_socket(subscriber)) {
        apr_status_t status =
            comet_sockets_watch_own(&hub->sockets, subscriber);

        if (status != APR_SUCCESS) {
            comet_channels_exit(&hub->channels, channel);
            return status;
        }
    }
    hub->owned += subscriber->left != NULL;
    subscriber->channel = channel;
    subscriber->reasons = 0;
    subscriber->behind = 0;
    subscriber->retry = 0;
    subscriber->asked_to_yield = 0;
    subscriber->fetch = NULL;
    hub->members++;
    subscriber->resting = 0; /* not counted yet */
    comet_hub_rest_locked(hub, subscriber, rests ? COMET_REST : COMET_WAIT);
    comet_hub_watch_locked(hub, subscriber);
    if (hub->all_told_to_stop) {
        comet_hub_make_ready_locked(hub, subscriber, COMET_STOPPING);
    }
    if (comet_hub_is_revoked(subscriber)) {
        comet_hub_make_ready_locked(hub, subscriber, COMET_REVOKED);
    }
    if (subscriber->called) {
        subscriber->called = 0;
        comet_hub_make_ready_locked(hub, subscriber, COMET_CALLED);
    }
    return APR_SUCCESS;
}

/* Whether the hub must wake up because of this subscriber. */
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
        /* Serve it now if messages have come since the caller looked, if the
         * ring is unusable, or if the subscriber might have reached its
         * ->until. */
        if (!subscriber->resting
            && (feed->ring.state.last > subscriber->seen
                || feed->ring.state.last < 0 || subscriber->until)) {
            comet_hub_make_ready_locked(hub, subscriber,
                                        COMET_NEWS | COMET_JOINED);
        }
        urgent = is_urgent_locked(hub, subscriber);
    }
    pthread_mutex_unlock(&hub->lock);
    if (urgent) {
        comet_hub_wake(hub);
    }
    return status;
}

comet_selection_t *comet_hub_share(comet_hub_t *hub, apr_size_t store,
                                   comet_selection_t *selection)
{
    comet_selection_t *shared;

    pthread_mutex_lock(&hub->lock);
    shared =
        comet_channels_share(&hub->channels, &hub->feeds[store], selection);
    pthread_mutex_unlock(&hub->lock);
    if (shared) {
        comet_selection_unref(selection);
    }
    return shared ? shared : selection;
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
    comet_hub_wake(hub); /* The hub's thread might otherwise sleep past the
                          * first tick. */
    return status;
}

/* Wait until the hub has served a subscriber.
 * @param until  0: for as long as it takes */
static void await_served_locked(comet_hub_t *hub, apr_time_t until)
{
    hub->unpin_waiters++;
    if (until) {
        comet_condition_wait(&hub->unpinned, &hub->lock, until);
    }
    else {
        pthread_cond_wait(&hub->unpinned, &hub->lock);
    }
    hub->unpin_waiters--;
}

void comet_hub_leave(comet_hub_t *hub, comet_subscriber_t *subscriber)
{
    comet_hub_leave_served(hub, subscriber, 0);
}

void comet_hub_leave_served(comet_hub_t *hub, comet_subscriber_t *subscriber,
                            apr_interval_time_t limit)
{
    apr_time_t until = comet_monotonic() + limit;

    pthread_mutex_lock(&hub->lock);
    while (limit && subscriber->state == COMET_SUBSCRIBER_READY
           && comet_monotonic() < until) {
        await_served_locked(hub, until);
    }
    while (hub->pinned == subscriber) {
        await_served_locked(hub, 0);
    }
    if (subscriber->state != COMET_SUBSCRIBER_OUT) {
        APR_RING_REMOVE(subscriber, link);
        comet_hub_forget_locked(hub, subscriber);
    }
    pthread_mutex_unlock(&hub->lock);
}

void comet_hub_call(comet_hub_t *hub, comet_subscriber_t *subscriber)
{
    pthread_mutex_lock(&hub->lock);
    if (subscriber->state == COMET_SUBSCRIBER_OUT) {
        subscriber->called = 1;
    }
    else {
        comet_hub_make_ready_locked(hub, subscriber, COMET_CALLED);
    }
    pthread_mutex_unlock(&hub->lock);
    comet_hub_wake(hub);
}

int comet_hub_make_room(comet_hub_t *hub)
{
    comet_subscriber_t *subscriber;
    int found = 0;

    pthread_mutex_lock(&hub->lock);
    APR_RING_FOREACH(subscriber, &hub->idle, comet_subscriber_t, link)
    {
        if (subscriber->yields && !subscriber->asked_to_yield) {
            subscriber->asked_to_yield = 1;
            hub->yielding++;
            comet_hub_make_ready_locked(hub, subscriber, COMET_YIELD);
            found = 1;
            break;
        }
    }
    pthread_mutex_unlock(&hub->lock);
    if (found) {
        comet_hub_wake(hub);
    }
    return found;
}

int comet_hub_recall(comet_hub_t *hub, apr_size_t store,
                     const comet_store_state_t *state, comet_timestamp_t after,
                     int whole, comet_reading_t *reading)
{
    const comet_feed_t *feed = &hub->feeds[store];
    const comet_ring_t *ring = &feed->ring;
    int known;

    pthread_mutex_lock(&hub->lock);
    known = ring->state.last == state->last
            && ring->state.erased == state->erased
            && comet_ring_covers(ring, after)
            && (!whole || !after || after >= feed->erased_until);
    if (known) {
        comet_ring_collect(ring, after, reading);
    }
    pthread_mutex_unlock(&hub->lock);
    return known;
}

int comet_hub_recall_remote(comet_hub_t *hub, apr_size_t store,
                            apr_interval_time_t limit, comet_timestamp_t after,
                            comet_store_state_t *state,
                            comet_reading_t *reading)
{
    comet_scout_t *scout = hub->scouts[store];
    const comet_feed_t *feed = &hub->feeds[store];
    int known;

    if (!scout || !comet_scout_await_look(scout, limit)) {
        return 0;
    }
    pthread_mutex_lock(&hub->lock);
    *state = feed->ring.state;
    known = after <= state->last && comet_ring_covers(&feed->ring, after)
            && (!after || after >= feed->erased_until);
    if (known) {
        comet_ring_collect(&feed->ring, after, reading);
    }
    pthread_mutex_unlock(&hub->lock);
    return known;
}

comet_feed_coverage_e comet_hub_coverage(comet_hub_t *hub, apr_size_t store,
                                         comet_timestamp_t after)
{
    return comet_feed_coverage(&hub->feeds[store], after);
}

void comet_hub_poke(comet_hub_t *hub, comet_subscriber_t *subscriber,
                    unsigned reasons)
{
    int urgent;

    pthread_mutex_lock(&hub->lock);
    if ((reasons & COMET_WRITABLE)
        && subscriber->state != COMET_SUBSCRIBER_SERVED) {
        subscriber->stalled = 0;
    }
    comet_hub_make_ready_locked(hub, subscriber, reasons);
    /* the hub's own thread looks at its queue before it sleeps */
    urgent =
        subscriber->state == COMET_SUBSCRIBER_READY && !comet_hub_is_here(hub);
    pthread_mutex_unlock(&hub->lock);
    if (urgent) {
        comet_hub_wake(hub);
    }
}

apr_size_t comet_hub_members(comet_hub_t *hub, apr_size_t *owned)
{
    apr_size_t members;

    pthread_mutex_lock(&hub->lock);
    members = hub->members - hub->yielding;
    if (owned) {
        *owned = hub->owned;
    }
    pthread_mutex_unlock(&hub->lock);
    return members;
}

/* --- stopping ------------------------------------------------------------ */

void comet_hub_review(comet_hub_t *hub)
{
    atomic_store(&hub->reviewing, 1);
    comet_hub_wake(hub);
}

void comet_hub_begin_stop(comet_hub_t *hub)
{
    atomic_store(&hub->stopping, 1);
    comet_hub_wake(hub);
}

int comet_hub_is_stopping(const comet_hub_t *hub)
{
    return atomic_load(&hub->stopping);
}

/* Join the threads that have ended.  @return whether all have ended */
static int has_ended(comet_hub_t *hub)
{
    int ended = 1;
    apr_size_t i;

    if (hub->has_thread && atomic_load(&hub->has_ended)) {
        hub->has_thread = pthread_join(hub->thread, NULL) != 0;
    }
    for (i = 0; i < hub->feed_count; i++) {
        if (hub->scouts[i]) {
            ended &= comet_scout_has_ended(hub->scouts[i]);
        }
        if (hub->fetchers[i]) {
            ended &= comet_fetcher_has_ended(hub->fetchers[i]);
        }
    }
    return ended && !hub->has_thread;
}

int comet_hub_stop(comet_hub_t *hub, apr_interval_time_t limit)
{
    apr_time_t deadline = comet_monotonic() + limit;
    apr_size_t i;

    atomic_store(&hub->must_end, 1);
    comet_hub_begin_stop(hub);
    for (i = 0; i < hub->feed_count; i++) {
        if (hub->scouts[i]) {
            comet_scout_end(hub->scouts[i]);
        }
        if (hub->fetchers[i]) {
            comet_fetcher_end(hub->fetchers[i]);
        }
    }
    while (!has_ended(hub)) {
        if (comet_monotonic() >= deadline) {
            return 0;
        }
        poll(NULL, 0, 1);
    }
    return 1;
}

void comet_hub_free(comet_hub_t *hub)
{
    apr_size_t i;

    for (i = 0; i < hub->feed_count; i++) {
        comet_ring_reset(&hub->feeds[i].ring, COMET_TIMESTAMP_MAX);
        if (hub->scouts[i]) {
            comet_scout_free(hub->scouts[i]);
        }
    }
    comet_ticker_free(hub->tickers);
    comet_channels_free(&hub->channels);
    free(hub->sockets.owners);
    close(hub->epoll);
    close(hub->wake_fd);
}

/* --- making -------------------------------------------------------------- */

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
    for (i = 0; i < hub->feed_count && !hub->config.no_hints; i++) {
        if (hub->feeds[i].is_remote) {
            continue; /* a remote store's scout waits for its notifications */
        }
        event.data.u64 = EVENT(EVENT_NOTIFY, i);
        if (epoll_ctl(hub->epoll, EPOLL_CTL_ADD,
                      comet_bus_fd(hub->config.buses[i]), &event)
            != 0) {
            return errno;
        }
    }
    return APR_SUCCESS;
}

/* Start the hub's thread and those for remote stores. */
static apr_status_t start_threads(comet_hub_t *hub, apr_pool_t *pool)
{
    apr_status_t status = comet_thread_start(&hub->thread, comet_hub_run, hub);
    apr_size_t i;

    hub->has_thread = status == APR_SUCCESS;
    for (i = 0; i < hub->feed_count && status == APR_SUCCESS; i++) {
        if (hub->feeds[i].is_remote) {
            status = comet_scout_create(&hub->scouts[i], hub, i, pool);
        }
    }
    return status;
}

/* Make the fetchers.  Called before the hub's thread, which uses them, is
 * started. */
static apr_status_t make_fetchers(comet_hub_t *hub, apr_pool_t *pool)
{
    apr_status_t status = APR_SUCCESS;
    apr_size_t i;

    for (i = 0; i < hub->feed_count && status == APR_SUCCESS; i++) {
        if (hub->feeds[i].is_remote) {
            status = comet_fetcher_create(&hub->fetchers[i], hub,
                                          hub->config.stores[i], pool);
        }
    }
    return status;
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
    made->look_reasons = apr_pcalloc(pool, config->count);
    made->scouts = apr_pcalloc(pool, config->count * sizeof(*made->scouts));
    made->fetchers = apr_pcalloc(pool, config->count * sizeof(*made->fetchers));
    made->batch =
        (comet_batch_t){ .messages = made->room, .size = COMET_LIMIT_MAX };
    pthread_mutex_init(&made->lock, NULL);
    if (comet_condition_init(&made->unpinned) != 0) {
        return APR_ENOMEM;
    }
    APR_RING_INIT(&made->ready, comet_subscriber_t, link);
    APR_RING_INIT(&made->again, comet_subscriber_t, link);
    APR_RING_INIT(&made->catching, comet_subscriber_t, link);
    APR_RING_INIT(&made->idle, comet_subscriber_t, link);
    comet_wheel_init(&made->wheel, comet_monotonic());
    for (i = 0; i < config->count; i++) {
        comet_feed_init(&made->feeds[i], config->stores[i], config->buses[i]);
        made->feeds[i].committed =
            config->committed ? config->committed[i] : NULL;
    }
    made->look_at = 1; /* in the past */
    made->epoll = made->wake_fd = -1;
    status = comet_channels_init(&made->channels);
    if (status == APR_SUCCESS) {
        status = open_epoll(made);
    }
    if (status == APR_SUCCESS) {
        status = make_fetchers(made, pool);
    }
    if (status == APR_SUCCESS) {
        status = start_threads(made, pool);
    }
    if (status != APR_SUCCESS) {
        if (comet_hub_stop(made, START_STOP_USEC)) {
            comet_hub_free(made);
        }
        made = NULL;
    }
    *hub = made;
    return status;
}
