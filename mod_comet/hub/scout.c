/* SPDX-License-Identifier: Apache-2.0 */
/* A thread that follows a remote store in the hub's place. */
#include "hub/scout.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "hub/hub_priv.h"

/* A rest lasts REST_SHARE times as long as the shorter one of the last two looks,
 * but at least REST_USEC.  A single look may be long because it has waited for
 * an announced commit, or because something was stopped meanwhile. */
#define REST_SHARE 4
#define REST_USEC 2000
/* How long a notification may wait for its look while no client waits in this
 * child; clients that rest do not count.  So the looks of such children do not
 * delay those for which clients wait.  The first message for a client that has
 * just begun to wait may be that late. */
#define CALM_USEC 10000
/* The shortest rest after a look for which CROWD workers or more have waited.
 * Workers that ask during the rest share the next look: 10,000 polls a second
 * cost a hundred looks. */
#define CROWD 8
#define CROWD_REST_USEC 10000
/* After a look for an announced commit, further announcements are ignored for
 * this long. */
#define ANNOUNCED_USEC 8000
#define BACK_OFF_MIN_USEC 50000
#define BACK_OFF_MAX_USEC 2000000

struct comet_scout_t {
    comet_hub_t *hub;
    apr_size_t number;
    int epoll, kick;
    pthread_t thread;
    int has_thread; /* `thread` was started and was not joined yet */
    atomic_int stopping, ended; /* [atomic] */
    pthread_cond_t looked; /* used with hub->lock; signalled when `answered` or
                            * `failing` has changed */
    /* [hub->lock] how many questions were asked: in all, before the last look
     * began, and before the last successful look began */
    apr_uint64_t asked, begun, answered;
    int failing; /* [hub->lock] the last look failed */
    /* the following: [thread] */
    apr_time_t notified_at; /* when the first notification since the last look
                             * came; 0: none has come */
    int has_announcement; /* a commit was announced since the last look */
    apr_time_t awaited_at; /* when the last look for such a commit began */
    comet_bus_counts_t counts; /* the bus's counts when they were read last */
    apr_interval_time_t took; /* how long the last look took */
    apr_time_t rests_until;
    apr_interval_time_t back_off; /* the current pause after failures; 0: the
                                   * last look succeeded */
};

static comet_feed_t *feed_of(const comet_scout_t *scout)
{
    return &scout->hub->feeds[scout->number];
}

/* When to look because a worker waits for a look, or because a notification has
 * come.
 * @return APR_INT64_MAX: there is no such reason */
static apr_time_t look_wanted(comet_scout_t *scout)
{
    apr_time_t calm = scout->notified_at + CALM_USEC;
    int is_asked, is_awaited;

    pthread_mutex_lock(&scout->hub->lock);
    is_asked = scout->asked != scout->begun;
    is_awaited = scout->hub->members > scout->hub->resting;
    pthread_mutex_unlock(&scout->hub->lock);
    if (is_asked
        || ((scout->notified_at || scout->has_announcement) && is_awaited)) {
        return scout->rests_until;
    }
    return !scout->notified_at         ? APR_INT64_MAX
           : calm > scout->rests_until ? calm
                                       : scout->rests_until;
}

/* When to look next. */
static apr_time_t next_look(comet_scout_t *scout)
{
    apr_time_t due, wanted;

    if (scout->back_off) {
        return scout->rests_until;
    }
    due = comet_feed_due(feed_of(scout));
    wanted = look_wanted(scout);
    return wanted < due ? wanted : due;
}

/* If another server has told this one of a commit, notify every child.  This
 * child is among them. */
static void pass_on_hint(const comet_scout_t *scout)
{
    comet_feed_t *feed = feed_of(scout);

    if (!feed->watch) {
        return;
    }
    if (comet_watch_take_announcement(feed->watch)) {
        comet_bus_pass_on_announcement(feed->bus);
    }
    if (comet_watch_take_hint(feed->watch)) {
        comet_bus_notify(feed->bus);
    }
}

/* Note a notification or an announcement.  If it is for a commit of this
 * server, tell the other servers at once, before this child looks. */
static void note_notification(comet_scout_t *scout, apr_time_t now)
{
    comet_feed_t *feed = feed_of(scout);
    comet_bus_counts_t before = scout->counts;
    int is_own;

    scout->counts = comet_bus_counts(feed->bus);
    if (scout->counts.notifications != before.notifications) {
        if (!scout->notified_at) {
            scout->notified_at = now;
        }
        comet_feed_tell_others(feed, now);
        return;
    }
    is_own = scout->counts.announcements != before.announcements;
    if (is_own && feed->watch) {
        comet_watch_announce(feed->watch, now);
    }
    if ((is_own || scout->counts.passed_on != before.passed_on)
        && now - scout->awaited_at >= ANNOUNCED_USEC) {
        scout->has_announcement = 1;
    }
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
                /* the thread is told to end, or asked to look, and checks both
                 * anyway */
            }
            break;
        case EVENT_NOTIFY:
            note_notification(scout, comet_monotonic());
            break;
        case EVENT_WATCH:
            comet_watch_event(feed_of(scout)->watch, comet_monotonic());
            break;
        }
    }
    pass_on_hint(scout);
}

/* Set how long to rest after a look.  After each further failure the rest is
 * twice as long, and up to a quarter shorter or longer, so that the children do
 * not all come back at the same moment. */
static void note_look(comet_scout_t *scout, apr_status_t status,
                      apr_time_t begun, apr_interval_time_t least)
{
    apr_time_t now = comet_monotonic();
    apr_interval_time_t took = now - begun;
    apr_interval_time_t pause =
        REST_SHARE * (took < scout->took ? took : scout->took);

    scout->took = took;
    if (status == APR_SUCCESS) {
        scout->back_off = 0;
        scout->rests_until = now + (pause > least ? pause : least);
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

/* Note which questions the look that begins now will answer.
 * @return how many questions these are */
static apr_uint64_t take_questions(comet_scout_t *scout)
{
    apr_uint64_t count;

    pthread_mutex_lock(&scout->hub->lock);
    count = scout->asked - scout->begun;
    scout->begun = scout->asked;
    pthread_mutex_unlock(&scout->hub->lock);
    return count;
}

static void answer_questions(comet_scout_t *scout, apr_status_t status)
{
    pthread_mutex_lock(&scout->hub->lock);
    scout->failing = status != APR_SUCCESS;
    if (!scout->failing) {
        scout->answered = scout->begun;
    }
    pthread_cond_broadcast(&scout->looked);
    pthread_mutex_unlock(&scout->hub->lock);
}

/* Whether the look that begins now may wait for an announced commit.  It may not
 * if there is anything else to look for. */
static int may_await(comet_scout_t *scout, apr_uint64_t asked, apr_time_t now)
{
    int may = scout->has_announcement && !scout->notified_at && !asked;

    scout->has_announcement = 0;
    if (may) {
        scout->awaited_at = now;
    }
    return may;
}

static void look(comet_scout_t *scout)
{
    apr_time_t now = comet_monotonic();
    int notified, awaits;
    apr_uint64_t asked;
    apr_status_t status;

    if (now >= feed_of(scout)->safety_at) {
        comet_hub_try_to_watch(scout->hub, scout->number, scout->epoll,
                               EVENT_WATCH, now);
        now = comet_monotonic();
    }
    asked = take_questions(scout);
    awaits = may_await(scout, asked, now);
    notified = scout->notified_at != 0 || awaits;
    scout->notified_at = 0;
    feed_of(scout)->awaits_commit = awaits;
    status = comet_hub_refresh(scout->hub, scout->number, notified, now);
    answer_questions(scout, status);
    pass_on_hint(scout);
    note_look(scout, status, now, asked < CROWD ? REST_USEC : CROWD_REST_USEC);
    if (awaits && status == APR_SUCCESS) {
        scout->rests_until = 0; /* the look may have been too early */
    }
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
    made->failing = 1; /* the scout has not looked yet */
    if (comet_condition_init(&made->looked) != 0) {
        return APR_ENOMEM;
    }
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

static void wake(const comet_scout_t *scout)
{
    static const apr_uint64_t one = 1;

    if (write(scout->kick, &one, sizeof(one)) < 0) {
        /* the thread wakes up when its next look is due */
    }
}

int comet_scout_await_look(comet_scout_t *scout, apr_interval_time_t limit)
{
    apr_time_t deadline = comet_monotonic() + limit;
    apr_uint64_t question;
    int is_answered;

    pthread_mutex_lock(&scout->hub->lock);
    question = ++scout->asked;
    if (question == scout->begun + 1) {
        wake(scout); /* once is enough for all questions since a look began */
    }
    while (scout->answered < question && !scout->failing
           && !atomic_load(&scout->stopping) && comet_monotonic() < deadline) {
        comet_condition_wait(&scout->looked, &scout->hub->lock, deadline);
    }
    is_answered = scout->answered >= question;
    pthread_mutex_unlock(&scout->hub->lock);
    return is_answered;
}

void comet_scout_end(comet_scout_t *scout)
{
    atomic_store(&scout->stopping, 1);
    wake(scout);
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
