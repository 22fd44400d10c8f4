/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the children of a server share about one store: an eventfd, and three
 * robust mutexes in shared memory.  Children inherit all of them through fork.
 *
 * Without the write lock the writers of one server would compete for the
 * store's own lock, which is unfair (0.2 s at the 99.9th percentile, against 11
 * ms with the write lock).  The write lock also keeps checkpoints and commits
 * apart.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "shared/bus.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "shared/memory.h"

/** How long a single attempt of comet_bus_lock() lasts. */
#define GO_USEC 1000000
/** How long a child yields to another that waits for the lock. */
#define YIELD_USEC 60
/**
 * How long a child that had to wait for the lock is assumed to wait for it
 * again.  This is a time and not a count, because a child that was killed
 * cannot decrement a count.
 */
#define CONTENDED_USEC 100000
/** How long a forward jump of the system clock is ignored. */
#define DOUBT_USEC apr_time_from_sec(86400)
/**
 * Writers outside httpd cannot queue for the write lock.  They retry the
 * store's own lock after 1, 2, 5, 10, 15, 20, 25, 25, 25, 50, 50, 100 ... ms.
 *
 * So if the lock was held for half of a period, and there might be such
 * writers, the holder keeps the lock for a moment while the store's own lock is
 * free.  That moment is slightly longer than the retry step that an outside
 * writer has reached by then, so one of its retries succeeds.  A period lasts
 * 100 ms, or as long as one transaction if that takes longer.
 */
#define PERIOD_USEC 100000
static const struct {
    apr_int64_t up_to, rest;
} rests[] = { { 128000, 26000 }, { 228000, 51000 }, { 0, 101000 } };
/** How long the result of a look for such writers is used. */
#define LOOK_USEC 1000000
/** A server rests if it has committed nothing for this long. */
#define RESTED_USEC 8000

typedef struct shared_t {
    pthread_mutex_t write;
    pthread_mutex_t watch;
    pthread_mutex_t inbox;
    _Atomic apr_int64_t contended_until; /* [atomic] monotonic: until when a
                                          * child is assumed to wait */
    _Atomic apr_int64_t upkeep_due; /* [atomic] apr_time_t: when the next round
                                     * of upkeep is due */
    _Atomic apr_int64_t publishing_due; /* [atomic] apr_time_t: when the next
                                         * round of comet_bus_claim_publishing()
                                         * is due */
    _Atomic apr_int64_t compared_at; /* [atomic] monotonic: when the clocks
                                      * were compared */
    _Atomic apr_int64_t ahead; /* [atomic] how far the system clock was ahead of
                                * the steady clock */
    apr_int64_t period_start; /* [write] monotonic: when the period began */
    apr_int64_t locked_at; /* [write] monotonic: when the lock was taken */
    apr_int64_t held; /* [write] for how long the lock was held in this
                       * period */
    apr_int64_t looked_at; /* [write] monotonic: the last look for writers
                            * outside httpd; 0: none yet */
    int has_guests; /* [write] whether the last look has found such writers */
    _Atomic apr_uint32_t commits; /* [atomic] for comet_bus_commits() */
    _Atomic apr_int64_t busy_at; /* [atomic] monotonic: when this server has
                                  * announced or notified a commit last */
    /* [atomic] for comet_bus_counts() */
    _Atomic apr_uint32_t notifications, announcements, passed_on;
} shared_t;

struct comet_bus_t {
    shared_t *shared;
    int event_fd;
};

static void sleep_usec(apr_int64_t usec)
{
    struct timespec left = { 0, (long)usec * 1000 };

    while (nanosleep(&left, &left) != 0 && errno == EINTR) {
    }
}

static void compare_clocks(shared_t *shared)
{
    apr_time_t steady = comet_monotonic();

    atomic_store(&shared->compared_at, steady);
    atomic_store(&shared->ahead, apr_time_now() - steady);
}

apr_status_t comet_bus_create(comet_bus_t **bus, apr_pool_t *pool)
{
    void *memory;
    shared_t *shared;
    int failed = comet_memory_map(&memory, sizeof(*shared));

    *bus = NULL;
    if (failed) {
        return failed;
    }
    shared = memory;
    compare_clocks(shared);
    failed = comet_memory_init_mutex(&shared->write);
    if (!failed) {
        failed = comet_memory_init_mutex(&shared->watch);
    }
    if (!failed) {
        failed = comet_memory_init_mutex(&shared->inbox);
    }
    if (!failed) {
        *bus = apr_palloc(pool, sizeof(**bus));
        (*bus)->shared = shared;
        (*bus)->event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
        failed = (*bus)->event_fd < 0 ? errno : 0;
    }
    if (failed) {
        *bus = NULL;
        comet_memory_unmap(shared, sizeof(*shared));
    }
    return failed;
}

apr_size_t comet_bus_layout(void)
{
    return sizeof(comet_bus_t) + sizeof(shared_t);
}

/*
 * How long to leave the store's lock free for outside writers.
 * @param period  how long such writers can have waited, in microseconds
 */
static apr_int64_t rest_after(apr_int64_t period)
{
    int i = 0;

    while (rests[i].up_to && period >= rests[i].up_to) {
        i++;
    }
    return rests[i].rest;
}

apr_status_t comet_bus_lock_within(comet_bus_t *bus, apr_interval_time_t limit)
{
    shared_t *shared = bus->shared;
    int result = comet_memory_trylock(&shared->write);

    if (result == EBUSY) {
        atomic_store_explicit(&shared->contended_until,
                              comet_monotonic() + CONTENDED_USEC,
                              memory_order_relaxed);
        result = comet_memory_lock_within(&shared->write, limit);
    }
    /* A holder that was killed leaves nothing to repair here: the store rolls
     * back its transaction. */
    if (!comet_memory_is_locked(result)) {
        return COMET_ELOCKED;
    }
    shared->locked_at = comet_monotonic();
    return APR_SUCCESS;
}

/*
 * How long to rest for writers outside httpd.  If this call's look finds such
 * writers and the look before it found none, they might have waited since that
 * earlier look.
 * @param period  the longest time writers can have waited otherwise
 */
static apr_int64_t rest_for_guests(shared_t *shared, apr_int64_t period,
                                   comet_bus_look_cb *look, void *baton)
{
    int had = shared->has_guests;

    if (shared->locked_at - shared->looked_at >= LOOK_USEC) {
        had |= !shared->looked_at;
        shared->has_guests = look(baton);
        shared->looked_at = comet_monotonic();
    }
    return !shared->has_guests ? 0 : rest_after(had ? period : LOOK_USEC);
}

apr_interval_time_t comet_bus_owed_rest(comet_bus_t *bus,
                                        comet_bus_look_cb *look, void *baton)
{
    shared_t *shared = bus->shared;
    apr_int64_t period = shared->locked_at - shared->period_start;
    apr_int64_t owed = 0;

    if (period >= PERIOD_USEC) {
        owed = shared->held >= period / 2
                   ? rest_for_guests(shared, period, look, baton)
                   : 0;
        shared->period_start = shared->locked_at;
        shared->held = 0;
    }
    return owed;
}

void comet_bus_rest(comet_bus_t *bus, apr_interval_time_t rest)
{
    sleep_usec(rest);
    bus->shared->locked_at = bus->shared->period_start = comet_monotonic();
}

void comet_bus_lock(comet_bus_t *bus)
{
    while (comet_bus_lock_within(bus, GO_USEC) != APR_SUCCESS) {
    }
}

void comet_bus_unlock(comet_bus_t *bus)
{
    shared_t *shared = bus->shared;
    apr_int64_t now = comet_monotonic();

    shared->held += now - shared->locked_at;
    pthread_mutex_unlock(&shared->write);
    if (now < atomic_load_explicit(&shared->contended_until,
                                   memory_order_relaxed)) {
        sleep_usec(YIELD_USEC);
    }
}

/* Wake every child. */
static void wake(comet_bus_t *bus)
{
    static const apr_uint64_t one = 1;
    ssize_t written;

    /* Nobody reads the counter, so it only grows: 2^64 notifications fit. */
    do {
        written = write(bus->event_fd, &one, sizeof(one));
    } while (written < 0 && errno == EINTR);
}

void comet_bus_notify(comet_bus_t *bus)
{
    atomic_fetch_add(&bus->shared->notifications, 1);
    wake(bus);
}

void comet_bus_notify_commit(comet_bus_t *bus)
{
    atomic_store(&bus->shared->busy_at, comet_monotonic());
    atomic_fetch_add(&bus->shared->commits, 1);
    comet_bus_notify(bus);
}

int comet_bus_rests(const comet_bus_t *bus)
{
    return comet_monotonic() - atomic_load(&bus->shared->busy_at)
           >= RESTED_USEC;
}

void comet_bus_announce_commit(comet_bus_t *bus)
{
    atomic_store(&bus->shared->busy_at, comet_monotonic());
    atomic_fetch_add(&bus->shared->announcements, 1);
    wake(bus);
}

void comet_bus_pass_on_announcement(comet_bus_t *bus)
{
    atomic_fetch_add(&bus->shared->passed_on, 1);
    wake(bus);
}

comet_bus_counts_t comet_bus_counts(const comet_bus_t *bus)
{
    const shared_t *shared = bus->shared;

    return (comet_bus_counts_t){
        .notifications = atomic_load(&shared->notifications),
        .announcements = atomic_load(&shared->announcements),
        .passed_on = atomic_load(&shared->passed_on),
    };
}

apr_uint32_t comet_bus_commits(const comet_bus_t *bus)
{
    return atomic_load(&bus->shared->commits);
}

int comet_bus_fd(const comet_bus_t *bus)
{
    return bus->event_fd;
}

int comet_bus_claim_watch(comet_bus_t *bus)
{
    return comet_memory_is_locked(comet_memory_trylock(&bus->shared->watch));
}

void comet_bus_release_watch(comet_bus_t *bus)
{
    pthread_mutex_unlock(&bus->shared->watch);
}

int comet_bus_claim_inbox(comet_bus_t *bus)
{
    return comet_memory_is_locked(comet_memory_trylock(&bus->shared->inbox));
}

void comet_bus_release_inbox(comet_bus_t *bus)
{
    pthread_mutex_unlock(&bus->shared->inbox);
}

apr_time_t comet_bus_now(comet_bus_t *bus)
{
    shared_t *shared = bus->shared;
    apr_time_t steady = comet_monotonic(), now = apr_time_now(), expected;

    if (steady - atomic_load(&shared->compared_at) >= DOUBT_USEC) {
        compare_clocks(shared);
    }
    expected = steady + atomic_load(&shared->ahead);
    return now < expected ? now : expected;
}

/* @param when  when the next round is due */
static int claim(_Atomic apr_int64_t *when, apr_time_t now,
                 apr_interval_time_t every)
{
    apr_int64_t due = atomic_load(when);

    /* A due time more than one round ahead means that the system clock was set
     * back. */
    if (now < due && due - now <= every) {
        return 0;
    }
    return atomic_compare_exchange_strong(when, &due, now + every);
}

int comet_bus_claim_upkeep(comet_bus_t *bus, apr_time_t now,
                           apr_interval_time_t every)
{
    return claim(&bus->shared->upkeep_due, now, every);
}

int comet_bus_claim_publishing(comet_bus_t *bus, apr_time_t now,
                               apr_interval_time_t every)
{
    return claim(&bus->shared->publishing_due, now, every);
}
