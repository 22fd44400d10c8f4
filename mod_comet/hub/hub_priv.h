/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file hub/hub_priv.h
 * What the files of the hub share: its struct, and the moves of a subscriber
 * from one state to another.  Nobody else includes it.
 *
 * hub.c    what other threads call: join, leave, recall, start, stop
 * state.c  a subscriber's state, timer and socket
 * serve.c  what a subscriber has not seen, handed to it
 * loop.c   the thread: bells, timers, sockets and clocks make subscribers ready
 */
#ifndef COMET_HUB_PRIV_H
#define COMET_HUB_PRIV_H

#include <pthread.h>
#include <stdatomic.h>

#include "hub/hub.h"
#include "hub/sockets.h"
#include "hub/ticker.h"

/* What an epoll event is about: a descriptor and, above it, its kind. */
enum { EVENT_WAKE, EVENT_BELL, EVENT_WATCH, EVENT_SOCKET };
#define EVENT(kind, number) \
    (((apr_uint64_t)(kind) << 32) | (apr_uint32_t)(number))

/* Why the hub looks at a store now: its bell rang, or a client asked that must
 * not be told less than all there is. */
enum { RUNG = 1, ASKED = 2 };

struct comet_hub_t {
    pthread_mutex_t lock;
    pthread_cond_t unpinned; /* with lock: pinned changed */
    comet_subscriber_t *pinned; /* [lock] SERVED now, by the hub's thread */
    apr_size_t unpin_waiters; /* [lock] */
    comet_channels_t channels; /* [lock] */
    struct comet_subscriber_ring_t ready; /* [lock] */
    /* [lock] ready, too, but not before the feeds were looked at; empty but
     * in comet_hub_serve_some() */
    struct comet_subscriber_ring_t again;
    struct comet_subscriber_ring_t idle; /* [lock] */
    comet_wheel_t wheel; /* [lock] */
    comet_ticker_t *tickers; /* [lock] */
    comet_sockets_t sockets; /* [lock] */
    apr_size_t members; /* [lock] */
    apr_size_t owned; /* [lock] of them, those with a socket of their own */
    apr_time_t sleeps_until; /* [lock] */

    comet_feed_t *feeds; /* [hub thread], but for what hub/feed.h says */
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

/** Wake the hub's thread.  Any thread, also in a signal handler. */
void comet_hub_wake(comet_hub_t *hub);

/** Whether the hub itself is the channel's source: it is a clock's. */
int comet_hub_is_clock(const comet_hub_t *hub, const comet_channel_t *channel);

/** The feed whose messages a channel gets; NULL for a clock's. */
comet_feed_t *comet_hub_feed_of(comet_hub_t *hub,
                                const comet_channel_t *channel);

/** Whether the subscriber's socket stays in the hub's epoll while it is here. */
int comet_hub_has_socket(const comet_subscriber_t *subscriber);

/*
 * The rest but the last two: the caller holds the lock.
 */

/**
 * Queue a subscriber to be served.  One that is queued already, or is being
 * served, only gets the reasons added.
 * @param reasons  comet_reason_e
 */
void comet_hub_make_ready_locked(comet_hub_t *hub,
                                 comet_subscriber_t *subscriber,
                                 unsigned reasons);

/** Have a subscriber's timer fire at @a due (comet_monotonic()) or before. */
void comet_hub_set_timer_locked(comet_hub_t *hub,
                                comet_subscriber_t *subscriber, apr_time_t due);

/**
 * Put a subscriber that is in no queue among those that wait for messages, or
 * among the idle ones.
 * @param outcome  COMET_WAIT: it waits for messages; else it is idle
 */
void comet_hub_rest_locked(comet_hub_t *hub, comet_subscriber_t *subscriber,
                           comet_outcome_e outcome);

/** Serve a subscriber again soon: what it waits for cannot be done now. */
void comet_hub_retry_locked(comet_hub_t *hub, comet_subscriber_t *subscriber);

/** Have a blocked subscriber served when its socket takes data again; where
 * epoll refuses the socket, soon. */
void comet_hub_watch_locked(comet_hub_t *hub, comet_subscriber_t *subscriber);

/** Remove a subscriber that is in no queue from the hub. */
void comet_hub_forget_locked(comet_hub_t *hub, comet_subscriber_t *subscriber);

/** Serve subscribers of the queue, at most a batch of them.  The hub's thread,
 * without the lock. */
void comet_hub_serve_some(comet_hub_t *hub);

/** The hub's thread.
 * @param baton  the hub */
void *comet_hub_run(void *baton);

#endif /* COMET_HUB_PRIV_H */
