/* SPDX-License-Identifier: Apache-2.0 */
/* Follow a store: look at it, and wake the subscribers that new messages
 * concern. */
#include "hub/hub_priv.h"

#include <sys/epoll.h>

/* How long a writer may take to open a store, or to make a new one in the old
 * one's place. */
#define OPENING_USEC APR_INT64_C(2000000)

void comet_hub_wake_channel_locked(comet_hub_t *hub, comet_channel_t *channel)
{
    comet_subscriber_t *subscriber, *next;

    for (subscriber = APR_RING_FIRST(&channel->waiting);
         subscriber
         != APR_RING_SENTINEL(&channel->waiting, comet_subscriber_t, link);
         subscriber = next) {
        next = APR_RING_NEXT(subscriber, link);
        if (!comet_hub_is_blocked(subscriber)) {
            comet_hub_make_ready_locked(hub, subscriber, COMET_NEWS);
        }
    }
}

typedef struct news_t {
    comet_hub_t *hub;
    comet_timestamp_t before; /* the timestamp just before the message's */
    int continuous;
    const comet_message_t *message;
    int is_usual; /* the message is not private, and has no alternates */
} news_t;

/* Whether a selection takes the message.  comet_channels_reach() has decided
 * that already, except for patterns, private messages and alternates. */
static int is_for(const news_t *news, const comet_selection_t *selection)
{
    return (news->is_usual && !selection->by_topics)
           || comet_selection_judge_message(selection, news->message)
                  != COMET_SELECTION_NONE;
}

static void announce_to_channel_locked(void *baton, comet_channel_t *channel)
{
    const news_t *news = baton;
    comet_subscriber_t *subscriber;

    if (!is_for(news, channel->selection)) {
        return;
    }

    APR_RING_FOREACH(subscriber, &channel->waiting, comet_subscriber_t, link)
    {
        if (news->continuous && !subscriber->behind && !subscriber->until
            && !comet_hub_is_blocked(subscriber)
            && subscriber->seen < news->before) {
            subscriber->seen = news->before;
        }
    }
    comet_hub_wake_channel_locked(news->hub, channel);
}

/* Announce a new message.  Subscribers that wait for its channel have seen
 * everything before it, unless they are blocked or behind, or get no messages
 * after their ->until. */
static void announce(void *baton, comet_feed_t *feed,
                     const comet_message_t *message, int continuous)
{
    comet_hub_t *hub = baton;
    comet_text_t rest = message->update.alternates, name;
    news_t news = {
        .hub = hub,
        .before = message->timestamp - 1,
        .continuous = continuous,
        .message = message,
        .is_usual = !message->update.is_private && !rest.length,
    };

    comet_channels_reach(&hub->channels, feed, message->channel,
                         message->channel_hash, announce_to_channel_locked,
                         &news);
    while (comet_message_next_name(&rest, &name)) {
        comet_channels_reach(&hub->channels, feed, name,
                             comet_message_hash(name),
                             announce_to_channel_locked, &news);
    }
    if (hub->config.on_message) {
        hub->config.on_message(hub->config.baton,
                               (apr_size_t)(feed - hub->feeds), message);
    }
}

typedef struct feed_wake_t {
    comet_hub_t *hub;
    const comet_feed_t *feed;
} feed_wake_t;

static void wake_channel_of_feed(void *baton, comet_channel_t *channel)
{
    const feed_wake_t *wanted = baton;

    if (channel->source == wanted->feed) {
        comet_hub_wake_channel_locked(wanted->hub, channel);
    }
}

static void report_status(comet_hub_t *hub, comet_feed_t *feed,
                          apr_status_t status, apr_time_t now)
{
    int may_be_opening = status == APR_ENOENT || status == COMET_ELOCKED
                         || status == COMET_EMOVED;

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
            hub->config.on_error(hub->config.baton, feed->store_config, status,
                                 status == APR_SUCCESS ? "" : feed->error);
        }
    }
}

apr_status_t comet_hub_refresh(comet_hub_t *hub, apr_size_t number,
                               int notified, apr_time_t now)
{
    comet_feed_t *feed = &hub->feeds[number];
    apr_status_t status =
        comet_feed_refresh(feed, &hub->lock, notified, now, announce, hub);

    if (feed->restarted) {
        pthread_mutex_lock(&hub->lock);
        comet_channels_each(&hub->channels, wake_channel_of_feed,
                            &(feed_wake_t){ hub, feed });
        pthread_mutex_unlock(&hub->lock);
    }
    report_status(hub, feed, status, now);
    return status;
}

void comet_hub_try_to_watch(comet_hub_t *hub, apr_size_t number, int epoll,
                            apr_uint64_t mark, apr_time_t now)
{
    comet_feed_t *feed = &hub->feeds[number];
    struct epoll_event event = { .events = EPOLLIN | EPOLLET,
                                 .data.u64 = mark };

    if (feed->watch || hub->config.no_hints || atomic_load(&hub->stopping)
        || !comet_bus_claim_watch(feed->bus)) {
        return;
    }
    feed->watch = comet_watch_open(&feed->store_config->place, now);
    if (!feed->watch) {
        comet_bus_release_watch(feed->bus);
    }
    else if (comet_watch_fd(feed->watch) >= 0) {
        /* The watches of several stores can share a descriptor, which epoll
         * takes only once.  The watch that was added first takes all events. */
        epoll_ctl(epoll, EPOLL_CTL_ADD, comet_watch_fd(feed->watch), &event);
    }
}
