/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file shared/memory.h
 * Memory that all children of a server share, and the mutexes in it.
 *
 * The parent maps the memory before it forks, and its children inherit it.
 * The mutexes are robust: when a process dies while it holds one, the next
 * thread that locks it succeeds and is told of the death.
 */
#ifndef COMET_MEMORY_H
#define COMET_MEMORY_H

#include <stdatomic.h>

#include "base/comet.h"

/**
 * Map zeroed memory that every later fork of this process shares.  Called in
 * the parent.  Pages cost nothing until they are touched.
 * @param memory  set to the memory; NULL on failure
 * @param size    in bytes
 * @return APR_SUCCESS, or the errno of mmap(2)
 */
apr_status_t comet_memory_map(void **memory, apr_size_t size);

/** Unmap memory that no other process uses. */
void comet_memory_unmap(void *memory, apr_size_t size);

/**
 * Make a mutex in shared memory.  The mutex checks for errors: a thread that
 * locks it twice gets EDEADLK and does not block.
 * @return 0 or errno
 */
int comet_memory_init_mutex(pthread_mutex_t *mutex);

/**
 * Lock a mutex if it is free.  Any thread.
 * @return 0: it is locked; EOWNERDEAD: it is locked, but its last holder died
 *         while holding it, and the guarded data may be half changed; EBUSY:
 *         another thread holds it; EDEADLK: the calling thread holds it already
 */
int comet_memory_trylock(pthread_mutex_t *mutex);

/**
 * Like comet_memory_trylock(), but wait while another thread holds the mutex.
 * @param limit  how long to wait, by the steady clock
 * @return as comet_memory_trylock(), but ETIMEDOUT instead of EBUSY
 */
int comet_memory_lock_within(pthread_mutex_t *mutex, apr_interval_time_t limit);

/**
 * Lock a mutex that is held for moments only.  A holder that does not release
 * it within 100 ms is assumed to be stopped (SIGSTOP, a debugger).  For the
 * next second no thread of this process waits for the mutex, but each still
 * locks it if it is free.
 * @param stopped_until  [atomic] a variable of this process that belongs to the
 *                       mutex, 0 at first
 * @return as comet_memory_trylock(), or ETIMEDOUT.  Any thread.
 */
int comet_memory_lock_briefly(pthread_mutex_t *mutex,
                              _Atomic apr_time_t *stopped_until);

/** Whether the result of one of these functions says that the mutex is
 * locked. */
int comet_memory_is_locked(int result);

#endif /* COMET_MEMORY_H */
