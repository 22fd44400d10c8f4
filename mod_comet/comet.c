/* SPDX-License-Identifier: Apache-2.0 */
/* What all of the core shares: status texts, the steady clock, threads
 * and what they wait for. */
#include "comet.h"

#include <signal.h>
#include <time.h>

apr_time_t comet_monotonic(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return apr_time_from_sec(now.tv_sec) + now.tv_nsec / 1000;
}

const char *comet_strerror(apr_status_t status, char *buffer, apr_size_t size)
{
    switch (status) {
    case COMET_ENOTDB:
        return "the file is not a mod_comet database, or is of a newer version";
    case COMET_EMOVED:
        return "the database was deleted or replaced while in use";
    case COMET_EUNSURE:
        return "the disk failed while saving; the outcome is unknown";
    case COMET_ELOCKED:
        return "the database is locked by another process";
    case COMET_EREADONLY:
        return "the database cannot be written";
    case COMET_EINVALID:
        return "the database refused the message";
    case COMET_EBUSY:
        return "too many messages are waiting to be saved";
    case COMET_ESTOPPING:
        return "the server is stopping";
    case COMET_EREPEATED:
        return "it was stored before, under the same key";
    case COMET_EMISMATCH:
        return "something else was stored under the same key";
    case COMET_ENOSEARCH:
        return "the messages are not indexed";
    case COMET_EALIASED:
        return "the database file has a second name";
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
