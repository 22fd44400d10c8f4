/* SPDX-License-Identifier: Apache-2.0 */
/* Memory that processes share, and robust mutexes in it. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "shared/memory.h"

#include <errno.h>
#include <sys/mman.h>
#include <time.h>

/** How long to wait for a mutex that is held for moments only.  After that its
 * holder is assumed to be stopped. */
#define LOCK_USEC 100000
/** How long a holder that did not release the mutex in time is assumed to be
 * stopped. */
#define STOPPED_USEC 1000000

apr_status_t comet_memory_map(void **memory, apr_size_t size)
{
    void *mapped = mmap(NULL, size, PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    *memory = mapped == MAP_FAILED ? NULL : mapped;
    return *memory ? APR_SUCCESS : errno;
}

void comet_memory_unmap(void *memory, apr_size_t size)
{
    munmap(memory, size);
}

int comet_memory_init_mutex(pthread_mutex_t *mutex)
{
    pthread_mutexattr_t attributes;
    int failed = pthread_mutexattr_init(&attributes);

    if (failed) {
        return failed;
    }
    pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
    pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_ERRORCHECK);
    failed = pthread_mutex_init(mutex, &attributes);
    pthread_mutexattr_destroy(&attributes);
    return failed;
}

/* Make a mutex usable again after its holder died. */
static int recover(pthread_mutex_t *mutex, int result)
{
    if (result == EOWNERDEAD) {
        pthread_mutex_consistent(mutex);
    }
    return result;
}

int comet_memory_trylock(pthread_mutex_t *mutex)
{
    return recover(mutex, pthread_mutex_trylock(mutex));
}

#ifdef __SANITIZE_THREAD__
/* ThreadSanitizer does not know pthread_mutex_clocklock().  ThreadSanitizer
 * also makes the program slow, so this version waits ten times as long. */
static int wait_for(pthread_mutex_t *mutex, apr_interval_time_t limit)
{
    static const struct timespec step = { 0, 100000 };
    apr_time_t until = comet_monotonic() + 10 * limit;
    int result = pthread_mutex_trylock(mutex);

    while (result == EBUSY && comet_monotonic() < until) {
        nanosleep(&step, NULL);
        result = pthread_mutex_trylock(mutex);
    }
    return result == EBUSY ? ETIMEDOUT : result;
}
#else
static int wait_for(pthread_mutex_t *mutex, apr_interval_time_t limit)
{
    apr_time_t until = comet_monotonic() + limit;
    struct timespec end = { .tv_sec = (time_t)apr_time_sec(until),
                            .tv_nsec = (long)apr_time_usec(until) * 1000 };

    return pthread_mutex_clocklock(mutex, CLOCK_MONOTONIC, &end);
}
#endif

int comet_memory_lock_within(pthread_mutex_t *mutex, apr_interval_time_t limit)
{
    return recover(mutex, wait_for(mutex, limit));
}

int comet_memory_lock_briefly(pthread_mutex_t *mutex,
                              _Atomic apr_time_t *stopped_until)
{
    int result = comet_memory_trylock(mutex);

    if (result == EBUSY && comet_monotonic() >= atomic_load(stopped_until)) {
        result = comet_memory_lock_within(mutex, LOCK_USEC);
        if (result == ETIMEDOUT) {
            atomic_store(stopped_until, comet_monotonic() + STOPPED_USEC);
        }
    }
    if (comet_memory_is_locked(result) && atomic_load(stopped_until)) {
        atomic_store(stopped_until, 0);
    }
    return result;
}

int comet_memory_is_locked(int result)
{
    return result == 0 || result == EOWNERDEAD;
}
