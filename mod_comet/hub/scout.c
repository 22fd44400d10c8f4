/* SPDX-License-Identifier: Apache-2.0 */
/* A thread that follows a remote store in the hub's place. */
#include "hub/scout.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "hub/hub_priv.h"

/* A rest lasts REST_SHARE times as long as the look before it, but at least
 * REST_USEC. */
#define REST_SHARE 4
#define REST_USEC 2000
#define BACK_OFF_MIN_USEC 50000
#define BACK_OFF_MAX_USEC 2000000

struct comet_scout_t {
    comet_hub_t *hub;
    apr_size_t number;
    int epoll, kick;
    pthread_t thread;
    int has_thread; /* `thread` was started and was not joined yet */
    atomic_int stopping, ended; /* [atomic] */
    /* the rest: [thread] */
    int notified; /* a notification has come since the last look */
    apr_time_t rests_until;
    apr_interval_time_t back_off; /* 0: the last look succeeded */
};

static comet_feed_t *feed_of(const comet_scout_t *scout)
{
    return &scout->hub->feeds[scout->number];
}

/* When to look next. */
static apr_time_t next_look(const comet_scout_t *scout)
{
    apr_time_t due = comet_feed_due(feed_of(scout));

    if (scout->back_off) {
        return scout->rests_until;
    }
    if (scout->notified && scout->rests_until < due) {
        return scout->rests_until;
    }
    return due;
}

/* Sleep until it is time to look, or until something happens. */
static void rest(comet_scout_t *scout)
{
    apr_time_t until = next_look(scout), now = comet_monotonic();
    struct epoll_event events[3];
    apr_uint64_t counter;
    int n = epoll_wait(scout->epoll, events, 3,
                       until > now ? (int)((until - now + 999) / 1000) : 0);

    while (n-- > 0) {
        switch (events[n].data.u64) {
        case EVENT_WAKE:
            if (read(scout->kick, &counter, sizeof(counter)) < 0) {
                /* the thread is told to end, and checks that anyway */
            }
            break;
        case EVENT_NOTIFY:
            scout->notified = 1;
            break;
        case EVENT_WATCH:
            comet_watch_event(feed_of(scout)->watch, comet_monotonic());
            break;
        }
    }
}

/* Set how long to rest after a look.  After a failure the rest is twice as long
 * as after the failure before, and up to a quarter shorter or longer, so that
 * not all children come back at the same moment. */
static void note_look(comet_scout_t *scout, apr_status_t status,
                      apr_time_t begun)
{
    apr_time_t now = comet_monotonic();
    apr_interval_time_t pause = REST_SHARE * (now - begun);

    if (status == APR_SUCCESS) {
        scout->back_off = 0;
        scout->rests_until = now + (pause > REST_USEC ? pause : REST_USEC);
        return;
    }
    scout->back_off *= 2;
    if (scout->back_off < BACK_OFF_MIN_USEC) {
        scout->back_off = BACK_OFF_MIN_USEC;
    }
    if (scout->back_off > BACK_OFF_MAX_USEC) {
        scout->back_off = BACK_OFF_MAX_USEC;
    }
    scout->rests_until =
        now + scout->back_off * 3 / 4 + now % (scout->back_off / 2);
}

static void look(comet_scout_t *scout)
{
    apr_time_t now = comet_monotonic();
    int notified = scout->notified;
    apr_status_t status;

    if (now >= feed_of(scout)->safety_at) {
        comet_hub_try_to_watch(scout->hub, scout->number, scout->epoll,
                               EVENT_WATCH, now);
        now = comet_monotonic();
    }
    scout->notified = 0;
    status = comet_hub_refresh(scout->hub, scout->number, notified, now);
    note_look(scout, status, now);
    comet_hub_wake(scout->hub);
}

static void *run(void *baton)
{
    comet_scout_t *scout = baton;

    while (!atomic_load(&scout->stopping)) {
        rest(scout);
        if (!atomic_load(&scout->stopping)
            && comet_monotonic() >= next_look(scout)) {
            look(scout);
        }
    }
    comet_feed_close(feed_of(scout));
    atomic_store(&scout->ended, 1);
    return NULL;
}

static apr_status_t listen_to(const comet_scout_t *scout, int fd,
                              apr_uint64_t mark)
{
    struct epoll_event event = { .events = EPOLLIN | EPOLLET,
                                 .data.u64 = mark };

    return epoll_ctl(scout->epoll, EPOLL_CTL_ADD, fd, &event) == 0 ? APR_SUCCESS
                                                                   : errno;
}

apr_status_t comet_scout_create(comet_scout_t **scout, comet_hub_t *hub,
                                apr_size_t number, apr_pool_t *pool)
{
    comet_scout_t *made = *scout = apr_pcalloc(pool, sizeof(*made));
    apr_status_t status;

    made->hub = hub;
    made->number = number;
    made->epoll = epoll_create1(EPOLL_CLOEXEC);
    made->kick = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (made->epoll < 0 || made->kick < 0) {
        return errno;
    }
    hub->feeds[number].stopping = &made->stopping;
    status = listen_to(made, made->kick, EVENT_WAKE);
    if (status == APR_SUCCESS && !hub->config.no_hints) {
        status =
            listen_to(made, comet_bus_fd(hub->feeds[number].bus), EVENT_NOTIFY);
    }
    if (status == APR_SUCCESS) {
        status = comet_thread_start(&made->thread, run, made);
        made->has_thread = status == APR_SUCCESS;
    }
    return status;
}

void comet_scout_end(comet_scout_t *scout)
{
    static const apr_uint64_t one = 1;

    atomic_store(&scout->stopping, 1);
    if (write(scout->kick, &one, sizeof(one)) < 0) {
        /* the thread wakes up when its next look is due, and ends then */
    }
}

int comet_scout_has_ended(comet_scout_t *scout)
{
    if (scout->has_thread && atomic_load(&scout->ended)) {
        scout->has_thread = pthread_join(scout->thread, NULL) != 0;
    }
    return !scout->has_thread;
}

void comet_scout_free(comet_scout_t *scout)
{
    close(scout->epoll);
    close(scout->kick);
}
