/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file base/comet.h
 * Timestamps, limits, status codes, the steady clock and threads: what every
 * file of the core may use.
 */
#ifndef COMET_H
#define COMET_H

#include <apr.h>
#include <apr_errno.h>
#include <apr_time.h>
#include <pthread.h>
#include <semaphore.h>

/**
 * A message's identity and a client's cursor: microseconds since the epoch.
 * Timestamps are unique and strictly increasing over a whole store. 0 is before
 * all messages.
 */
typedef apr_int64_t comet_timestamp_t;

/** The largest timestamp a JavaScript number holds exactly: 2^53 - 1. */
#define COMET_TIMESTAMP_MAX APR_INT64_C(9007199254740991)

#define COMET_CHANNEL_MAX_BYTES 255
#define COMET_TYPE_MAX_BYTES 255
#define COMET_AUTHOR_MAX_BYTES 255
#define COMET_KEY_MAX_BYTES 255 /* of an Idempotency-Key */
/** The largest value that CometMaxMessageSize and the schema accept. */
#define COMET_BODY_MAX_BYTES (1024 * 1024)
/** The longest time for which a passing message is kept. */
#define COMET_KEEP_MAX_SEC 86400
/** The most messages that one answer or one read of the store carries. */
#define COMET_LIMIT_MAX 1000
#define COMET_LIMIT_DEFAULT 100
#define COMET_REPLAY_MAX 1000000

/*
 * Status codes in addition to APR's.  An engine never passes on the codes of
 * its library, and only the glue knows HTTP status codes.
 */
/** the file is not a mod_comet database, or a newer version made it */
#define COMET_ENOTDB (APR_OS_START_USERERR + 1)
/** the database was deleted or replaced */
#define COMET_EMOVED (APR_OS_START_USERERR + 2)
/** a sync failed: the outcome is unknown */
#define COMET_EUNSURE (APR_OS_START_USERERR + 3)
/** another process holds the lock */
#define COMET_ELOCKED (APR_OS_START_USERERR + 4)
/** the database cannot be written */
#define COMET_EREADONLY (APR_OS_START_USERERR + 5)
#define COMET_EINVALID (APR_OS_START_USERERR + 6) /**< a constraint failed */
#define COMET_EBUSY (APR_OS_START_USERERR + 7) /**< too many requests wait */
#define COMET_ESTOPPING (APR_OS_START_USERERR + 8) /**< the child is ending */
/** the same key and content were stored before */
#define COMET_EREPEATED (APR_OS_START_USERERR + 9)
/** the key was used for other content */
#define COMET_EMISMATCH (APR_OS_START_USERERR + 10)
#define COMET_ENOSEARCH (APR_OS_START_USERERR + 11) /**< no search index */
/** the file has a second name */
#define COMET_EALIASED (APR_OS_START_USERERR + 12)
/** the read exceeded its budget */
#define COMET_ECOSTLY (APR_OS_START_USERERR + 13)
#define COMET_EGONE (APR_OS_START_USERERR + 14) /**< the client has left */
/** there are too many rules already */
#define COMET_EFULL (APR_OS_START_USERERR + 15)

/**
 * Describe a status code of this module or of APR in English.
 * @param buffer  where APR may write; owned by the caller
 * @return a constant string or @a buffer.  Any thread.
 */
const char *comet_strerror(apr_status_t status, char *buffer, apr_size_t size);

/**
 * The steady clock in microseconds, for time limits.  It never jumps.  Use
 * apr_time_now() for the time that people and messages see.  Any thread.
 */
apr_time_t comet_monotonic(void);

/** The CPU time that this thread has used, in microseconds. */
apr_time_t comet_thread_time(void);

/** Initialise a condition for comet_condition_wait().  @return 0 or errno */
int comet_condition_init(pthread_cond_t *condition);

/**
 * Wait for a condition, as pthread_cond_timedwait() does.
 * @param deadline  by comet_monotonic(), so that setting the system clock back
 *                  does not prolong the wait
 * @return 0, or ETIMEDOUT
 */
int comet_condition_wait(pthread_cond_t *condition, pthread_mutex_t *lock,
                         apr_time_t deadline);

/**
 * Wait until a semaphore is posted, and decrement it.
 * @param deadline  by comet_monotonic()
 * @return whether it was posted in time
 */
int comet_semaphore_wait(sem_t *semaphore, apr_time_t deadline);

/**
 * Start one of mod_comet's threads.  All signals are blocked in it, because
 * they are meant for httpd's own threads.
 * @return 0 or errno
 */
int comet_thread_start(pthread_t *thread, void *(*run)(void *), void *baton);

/**
 * Begin to notice forks of this process.  Called in child_init, before the
 * first thread is started.  A second call does nothing.
 * @return 0 or errno
 */
int comet_process_begin(void);

/**
 * Whether this process is a fork of the one that called comet_process_begin().
 * A fork has none of its parent's threads, and it must not use its parent's
 * database handles, locks or counters.  Any thread; no system call.
 */
int comet_process_is_fork(void);

#endif /* COMET_H */
