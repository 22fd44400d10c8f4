/* SPDX-License-Identifier: Apache-2.0 */
/* What the whole core shares: status texts, the steady clock, threads and
 * conditions. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* sem_clockwait() */
#endif
#include "base/comet.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <time.h>

static apr_time_t read_clock(clockid_t clock)
{
    struct timespec now;

    clock_gettime(clock, &now);
    return apr_time_from_sec(now.tv_sec) + now.tv_nsec / 1000;
}

apr_time_t comet_monotonic(void)
{
    return read_clock(CLOCK_MONOTONIC);
}

apr_time_t comet_thread_time(void)
{
    return read_clock(CLOCK_THREAD_CPUTIME_ID);
}

const char *comet_strerror(apr_status_t status, char *buffer, apr_size_t size)
{
    switch (status) {
    case COMET_ENOTDB:
        return "the file is not a mod_comet database, or a newer version made "
               "it";
    case COMET_EMOVED:
        return "the database was deleted or replaced while in use";
    case COMET_EUNSURE:
        return "the disk failed while saving; the outcome is unknown";
    case COMET_ELOCKED:
        return "another process has locked the database, or its disk does "
               "not answer";
    case COMET_EREADONLY:
        return "the database cannot be written";
    case COMET_EINVALID:
        return "the database refused the message";
    case COMET_EBUSY:
        return "too many requests already wait for the database";
    case COMET_ESTOPPING:
        return "the server is stopping";
    case COMET_EREPEATED:
        return "the message was stored before, under the same key";
    case COMET_EMISMATCH:
        return "another message was stored under the same key";
    case COMET_ENOSEARCH:
        return "the messages are not indexed";
    case COMET_EALIASED:
        return "the database file has a second name";
    case COMET_ECOSTLY:
        return "reading the messages takes too long";
    case COMET_EFULL:
        return "there are too many rules";
    case COMET_EGONE:
        return "the client has left";
    case APR_EGENERAL:
        return "the database cannot be used";
    default:
        return apr_strerror(status, buffer, size);
    }
}

int comet_condition_init(pthread_cond_t *condition)
{
    pthread_condattr_t attributes;
    int failed = pthread_condattr_init(&attributes);

    if (!failed) {
        pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
        failed = pthread_cond_init(condition, &attributes);
        pthread_condattr_destroy(&attributes);
    }
    return failed;
}

int comet_condition_wait(pthread_cond_t *condition, pthread_mutex_t *lock,
                         apr_time_t deadline)
{
    struct timespec end = { .tv_sec = (time_t)apr_time_sec(deadline),
                            .tv_nsec = (long)apr_time_usec(deadline) * 1000 };

    return pthread_cond_timedwait(condition, lock, &end);
}

int comet_semaphore_wait(sem_t *semaphore, apr_time_t deadline)
{
    struct timespec end = { .tv_sec = (time_t)apr_time_sec(deadline),
                            .tv_nsec = (long)apr_time_usec(deadline) * 1000 };
    int failed;

    do {
        failed = sem_clockwait(semaphore, CLOCK_MONOTONIC, &end);
    } while (failed && errno == EINTR);
    return !failed;
}

int comet_thread_start(pthread_t *thread, void *(*run)(void *), void *baton)
{
    sigset_t all, before;
    int error;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    error = pthread_create(thread, NULL, run, baton);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return error;
}

static atomic_int is_fork; /* [atomic] */

static void on_fork(void)
{
    atomic_store_explicit(&is_fork, 1, memory_order_relaxed);
}

int comet_process_begin(void)
{
    static atomic_int begun; /* [atomic] */

    return atomic_exchange(&begun, 1) ? 0 : pthread_atfork(NULL, NULL, on_fork);
}

int comet_process_is_fork(void)
{
    return atomic_load_explicit(&is_fork, memory_order_relaxed);
}
