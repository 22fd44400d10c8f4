/* SPDX-License-Identifier: Apache-2.0 */
/* A subscriber's state: its queue, its timer and its socket. */
#include "hub/hub_priv.h"

#include <unistd.h>

#include "hub/fetched.h"

#define RETRY_USEC APR_INT64_C(500000)
/* A subscriber that waits for a scout is served again after 4 ms at first.  The
 * delay doubles each further time. */
#define RETRIES_MOST 8

/* Threads that wake the hub before it runs share one write.  A thread that
 * finds wake_pending set has done its work before the hub clears the flag, and
 * so before the hub looks at that work. */
void comet_hub_wake(comet_hub_t *hub)
{
    apr_uint64_t one = 1;

    if (!atomic_exchange(&hub->wake_pending, 1)) {
        if (write(hub->wake_fd, &one, sizeof(one)) < 0) {
            /* the counter is at its maximum, so the hub wakes up anyway */
        }
    }
}

int comet_hub_is_clock(const comet_hub_t *hub, const comet_channel_t *channel)
{
    return channel->source == hub;
}

comet_feed_t *comet_hub_feed_of(comet_hub_t *hub,
                                const comet_channel_t *channel)
{
    return comet_hub_is_clock(hub, channel) ? NULL
                                            : (comet_feed_t *)channel->source;
}

int comet_hub_is_served_locked(const comet_hub_t *hub)
{
    return APR_RING_EMPTY(&hub->ready, comet_subscriber_t, link)
           && APR_RING_EMPTY(&hub->catching, comet_subscriber_t, link);
}

void comet_hub_make_ready_locked(comet_hub_t *hub,
                                 comet_subscriber_t *subscriber,
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

/* A timer that would fire too early is not moved: run_timers() postpones it
 * when it fires.  So the timer of a stream is not touched for each message. */
void comet_hub_set_timer_locked(comet_hub_t *hub,
                                comet_subscriber_t *subscriber, apr_time_t due)
{
    if (!subscriber->timer.due || due < subscriber->timer.due) {
        comet_wheel_set(&hub->wheel, &subscriber->timer, due);
    }
}

void comet_hub_rest_locked(comet_hub_t *hub, comet_subscriber_t *subscriber,
                           comet_outcome_e outcome)
{
    hub->resting -= subscriber->resting;
    subscriber->resting = outcome != COMET_WAIT;
    hub->resting += subscriber->resting;
    if (outcome == COMET_WAIT) {
        subscriber->state = COMET_SUBSCRIBER_WAITING;
        APR_RING_INSERT_TAIL(&subscriber->channel->waiting, subscriber,
                             comet_subscriber_t, link);
    }
    else {
        comet_fetched_drop(subscriber);
        subscriber->reasons &= ~(unsigned)COMET_NEWS; /* it wants no more
                                                       * messages */
        subscriber->state = COMET_SUBSCRIBER_IDLE;
        APR_RING_INSERT_TAIL(&hub->idle, subscriber, comet_subscriber_t, link);
    }
    if (subscriber->timeout_at) {
        comet_hub_set_timer_locked(hub, subscriber, subscriber->timeout_at);
    }
}

void comet_hub_retry_locked(comet_hub_t *hub, comet_subscriber_t *subscriber)
{
    subscriber->retry = RETRIES_MOST;
    comet_hub_set_timer_locked(hub, subscriber, comet_monotonic() + RETRY_USEC);
}

void comet_hub_retry_soon_locked(comet_hub_t *hub,
                                 comet_subscriber_t *subscriber)
{
    unsigned times =
        hub->retries < RETRIES_MOST ? hub->retries + 1U : RETRIES_MOST;

    subscriber->retry = (apr_byte_t)times;
    comet_hub_set_timer_locked(hub, subscriber,
                               comet_monotonic()
                                   + (RETRY_USEC >> (RETRIES_MOST - times)));
}

int comet_hub_has_socket(const comet_subscriber_t *subscriber)
{
    return subscriber->own_fd >= 0 && (subscriber->left || subscriber->listens);
}

int comet_hub_is_revoked(const comet_subscriber_t *subscriber)
{
    return subscriber->revoked && atomic_load(subscriber->revoked);
}

int comet_hub_is_blocked(const comet_subscriber_t *subscriber)
{
    return subscriber->blocked_fd >= 0 || subscriber->stalled;
}

void comet_hub_watch_locked(comet_hub_t *hub, comet_subscriber_t *subscriber)
{
    if (!comet_hub_has_socket(subscriber)
        && !comet_sockets_watch_blocked(&hub->sockets, subscriber)) {
        comet_hub_retry_locked(hub, subscriber);
    }
}

void comet_hub_forget_locked(comet_hub_t *hub, comet_subscriber_t *subscriber)
{
    comet_wheel_clear(&hub->wheel, &subscriber->timer);
    comet_fetched_drop(subscriber);
    comet_selection_unref(subscriber->moves_to);
    subscriber->moves_to = NULL;
    comet_sockets_unwatch(&hub->sockets, subscriber);
    comet_channels_exit(&hub->channels, subscriber->channel);
    subscriber->channel = NULL;
    hub->resting -= subscriber->resting;
    subscriber->resting = 0;
    subscriber->state = COMET_SUBSCRIBER_OUT;
    hub->members--;
    hub->yielding -= subscriber->asked_to_yield != 0;
    subscriber->asked_to_yield = 0;
    hub->owned -= subscriber->left != NULL;
}
