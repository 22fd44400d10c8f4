/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file hub/hub_priv.h
 * What the files of the hub share: its struct, and how a subscriber moves from
 * one state to another.  Only files of this folder include it.
 *
 * hub.c    what other threads call: join, leave, recall, start, stop
 * state.c  a subscriber's state, timer and socket
 * serve.c  hands a subscriber the messages it has not seen
 * follow.c looks at a store and announces what is new
 * loop.c   the thread: notifications, timers, sockets and tickers make
 *          subscribers ready
 *
 * For a remote store two more threads work for the hub (store/engine.h):
 * scout.c    follows the store in the hub's place
 * fetcher.c  reads for a subscriber what memory no longer has
 * fetched.c  a fetcher's questions and answers
 */
#ifndef COMET_HUB_PRIV_H
#define COMET_HUB_PRIV_H

#include <pthread.h>
#include <stdatomic.h>

#include "hub/hub.h"
#include "hub/sockets.h"
#include "hub/ticker.h"

/* The data of an epoll event: the number of a feed or a descriptor in the lower
 * half, and the event's kind in the upper half. */
enum { EVENT_WAKE, EVENT_NOTIFY, EVENT_WATCH, EVENT_SOCKET };
#define EVENT(kind, number) \
    (((apr_uint64_t)(kind) << 32) | (apr_uint32_t)(number))

/* Why the hub looks at a store now: it was notified of a change, or a
 * subscriber needs everything that is in the store by now. */
enum { LOOK_NOTIFIED = 1, LOOK_ASKED = 2 };

struct comet_hub_t {
    pthread_mutex_t lock;
    pthread_cond_t unpinned; /* used with `lock`; signalled when `pinned` has
                              * changed */
    comet_subscriber_t *pinned; /* [lock] the subscriber that is SERVED now */
    apr_size_t unpin_waiters; /* [lock] */
    comet_channels_t channels; /* [lock] */
    struct comet_subscriber_ring_t ready; /* [lock] */
    /* [lock] subscribers that become ready once the hub has looked at the
     * feeds; empty except in comet_hub_serve_some() */
    struct comet_subscriber_ring_t again;
    /* [lock] ready, too, but far behind: served one at a time, after those
     * that only need the newest messages */
    struct comet_subscriber_ring_t catching;
    struct comet_subscriber_ring_t idle; /* [lock] */
    comet_wheel_t wheel; /* [lock] */
    comet_ticker_t *tickers; /* [lock] */
    comet_sockets_t sockets; /* [lock] */
    apr_size_t members; /* [lock] how many subscribers are registered */
    apr_size_t resting; /* [lock] how many of them rest, so that they want no
                         * messages */
    apr_size_t owned; /* [lock] how many subscribers own a socket */
    apr_size_t yielding; /* [lock] how many subscribers were asked to give up
                          * their places */
    apr_time_t sleeps_until; /* [lock] when the thread wakes up by itself */

    comet_feed_t *feeds; /* [hub thread] except their rings, see hub/feed.h */
    /* one for each feed; NULL: its store is not remote */
    struct comet_scout_t **scouts;
    struct comet_fetcher_t **fetchers;
    apr_time_t look_at; /* [hub thread] when on_look is due */
    apr_byte_t
        *look_reasons; /* [hub thread] for each feed, why to look at its store:
                        * LOOK_NOTIFIED, LOOK_ASKED */
    apr_size_t feed_count;
    comet_hub_config_t config;
    comet_message_t *room[COMET_LIMIT_MAX]; /* [hub thread] the batch's
                                             * messages */
    comet_batch_t batch; /* [hub thread] for the subscriber being served */
    /* [hub thread] `newest` is the feed's newest timestamp when the batch was
     * filled. The batch has every message up to `told`, which is `newest`, or
     * later if a fetcher has filled the batch */
    comet_timestamp_t newest, told;
    /* [hub thread] the subscriber has seen its channel up to here after this
     * batch; 0: up to the batch's last message */
    comet_timestamp_t seen_all;
    /* [hub thread] the ->retry of the subscriber that is being served, as it
     * was before this serving */
    apr_byte_t retries;
    int lags; /* [hub thread] the subscriber waits for its ->until, which the
               * feed has not reached yet */
    int is_part; /* [hub thread] the store has more after seen_all */
    pthread_t thread;
    int epoll;
    int wake_fd;
    int has_thread; /* `thread` was started and was not joined yet */
    int all_told_to_stop; /* [lock] every subscriber got COMET_STOPPING */
    atomic_int stopping; /* [atomic] */
    atomic_int reviewing; /* [atomic] comet_hub_review() was called */
    atomic_int must_end; /* [atomic] the thread has to end */
    atomic_int has_ended; /* [atomic] the thread has ended */
    atomic_int wake_pending; /* [atomic] wake_fd was written, but not read
                              * yet */
};

/** Whether the calling thread is the hub's. */
int comet_hub_is_here(const comet_hub_t *hub);

/** Whether a channel belongs to the clock, whose source is the hub itself. */
int comet_hub_is_clock(const comet_hub_t *hub, const comet_channel_t *channel);

/** The feed that supplies a channel; NULL for the clock's channels. */
comet_feed_t *comet_hub_feed_of(comet_hub_t *hub,
                                const comet_channel_t *channel);

/** Whether a subscriber's socket stays in the hub's epoll while it is
 * registered. */
int comet_hub_has_socket(const comet_subscriber_t *subscriber);

/** Whether a subscriber's permission was revoked. */
int comet_hub_is_revoked(const comet_subscriber_t *subscriber);

/** Whether a part of the subscriber's last answer is still unsent.  Until it is
 * sent, the subscriber gets no news. */
int comet_hub_is_blocked(const comet_subscriber_t *subscriber);

/*
 * The caller of a function whose name ends in _locked holds the lock.
 */

/** Whether no subscriber is queued to be served. */
int comet_hub_is_served_locked(const comet_hub_t *hub);

/**
 * Queue a subscriber to be served.  If it is queued or being served already,
 * this only adds the reasons.
 * @param reasons  bits of comet_reason_e
 */
void comet_hub_make_ready_locked(comet_hub_t *hub,
                                 comet_subscriber_t *subscriber,
                                 unsigned reasons);

/** Let a subscriber's timer fire at @a due (by comet_monotonic()) or
 * earlier. */
void comet_hub_set_timer_locked(comet_hub_t *hub,
                                comet_subscriber_t *subscriber, apr_time_t due);

/**
 * Put a subscriber that is in no queue among those that wait for messages, or
 * among the idle ones.
 * @param outcome  COMET_WAIT: it waits for messages; any other: it is idle
 */
void comet_hub_rest_locked(comet_hub_t *hub, comet_subscriber_t *subscriber,
                           comet_outcome_e outcome);

/** Serve a subscriber again soon, because what it waits for is not available
 * now. */
void comet_hub_retry_locked(comet_hub_t *hub, comet_subscriber_t *subscriber);

/** Like comet_hub_retry_locked(), but for the subscriber that is being served,
 * and after a few milliseconds only.  Each further retry in a row waits twice
 * as long, up to 500 ms. */
void comet_hub_retry_soon_locked(comet_hub_t *hub,
                                 comet_subscriber_t *subscriber);

/** Serve a blocked subscriber when its socket accepts data again or, if epoll
 * refuses the socket, soon. */
void comet_hub_watch_locked(comet_hub_t *hub, comet_subscriber_t *subscriber);

/** Remove a subscriber that is in no queue from the hub. */
void comet_hub_forget_locked(comet_hub_t *hub, comet_subscriber_t *subscriber);

/** Wake the subscribers that wait for a channel. */
void comet_hub_wake_channel_locked(comet_hub_t *hub, comet_channel_t *channel);

/** Serve a limited number of the queued subscribers, and one of those that are
 * far behind.  Called by the hub's thread, without the lock. */
void comet_hub_serve_some(comet_hub_t *hub);

/**
 * Look at a store, announce what is new, and report whether it fails.  Called
 * by the thread that follows the store, without the lock.
 * @param notified  as for comet_feed_refresh()
 */
apr_status_t comet_hub_refresh(comet_hub_t *hub, apr_size_t number,
                               int notified, apr_time_t now);

/**
 * Become the child that watches for writers outside httpd, if no child does.
 * Called by the thread that follows the store, without the lock.
 * @param epoll  the watch's descriptor is added to it, marked with @a mark
 */
void comet_hub_try_to_watch(comet_hub_t *hub, apr_size_t number, int epoll,
                            apr_uint64_t mark, apr_time_t now);

/**
 * Run the hub's thread.
 * @param baton  the hub
 */
void *comet_hub_run(void *baton);

#endif /* COMET_HUB_PRIV_H */
