/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file store/writer.h
 * Group commit: one thread per child and store collects what the workers
 * publish, commits all of it in one transaction, and answers them.
 *
 * Only this thread waits for the engine.  A publisher waits for the thread, but
 * never longer than its own timeout.  At most `places` publishers may wait for
 * a commit, each with a thread of its own, so that a stalled disk never blocks
 * all of a child's threads.  Further publishers wait for one of these places,
 * for at most 50 ms.  What is submitted waits without a thread, and takes no
 * place.
 */
#ifndef COMET_WRITER_H
#define COMET_WRITER_H

#include <stdatomic.h>

#include "shared/bus.h"
#include "store/committed.h"
#include "store/presence.h"
#include "store/store.h"

typedef struct comet_writer_t comet_writer_t;

/** Called on the writer's thread when the store begins to fail, when the
 * failure changes, and when the store works again. */
typedef void comet_writer_error_cb(void *baton, apr_status_t status,
                                   const char *detail);

typedef struct comet_writer_config_t {
    const comet_store_config_t *store; /* this and the bus must outlive the
                                        * writer */
    comet_bus_t *bus;
    comet_committed_t *committed; /* where committed messages are passed on to
                                   * the hub; or NULL */
    apr_size_t places; /* how many publishers may wait for a commit at a time;
                        * at least 1 */
    /** [atomic] How many places are taken, counted over all writers of a child.
     * NULL: this writer counts only its own. */
    atomic_int *waiting;
    comet_writer_error_cb *on_error; /* or NULL; called with APR_SUCCESS when
                                      * the store works again */
    /** Called on the writer's thread after each commit, and each step of
     * retention, in which the store refused a change.  @a detail is the store's
     * error text for the last refusal.  May be NULL. */
    void (*on_refusal)(void *baton, const char *detail);
    /** Called on the writer's thread, without its lock, when submitted groups
     * were answered; or NULL. */
    void (*on_answered)(void *baton);
    /** Called on the writer's thread when members may have been thrown out
     * (store/presence.h); or NULL. */
    void (*on_removed)(void *baton);
    void *baton;
} comet_writer_config_t;

/**
 * Start a writer.  Its thread opens the store, so this call waits for no disk
 * and no lock.  Call it in child_init: later nothing is allocated from @a pool.
 * The store need not be usable yet: the writer keeps trying to open it, at most
 * every 200 ms.  Once a second the writer checks whether the store was deleted
 * or replaced; if so, it opens or creates the store again.
 */
apr_status_t comet_writer_create(comet_writer_t **writer,
                                 const comet_writer_config_t *config,
                                 apr_pool_t *pool);

/**
 * Store a group of messages, and wait until it is as durable as CometSync says.
 * The call copies what it needs and takes its own references, so the caller may
 * free the group when the call returns, whatever the outcome.
 * @param group    the timestamps of its messages are set on success, and also
 *                 if they were stored before under the same key; its ->result
 *                 is not set
 * @param timeout  how long to wait in all
 * @return APR_SUCCESS: committed.  COMET_EREPEATED: the group was committed
 *         before.  COMET_EUNSURE: during the commit, the time ran out or the
 *         sync failed, so the outcome is unknown.  Any other status: the group
 *         is not stored and will not be.  COMET_EBUSY: all places are taken and
 *         the disk does not keep up.  COMET_ELOCKED: the time ran out before
 *         the group's turn.  COMET_ESTOPPING: the writer is stopping.  Also the
 *         statuses of comet_store_append().  Any thread except the writer's.
 */
apr_status_t comet_writer_publish(comet_writer_t *writer,
                                  const comet_store_group_t *group,
                                  apr_interval_time_t timeout);

/** Get the presence of this writer's store.  Any thread.
 * @return NULL: presence is off */
comet_presence_t *comet_writer_presence(comet_writer_t *writer);

/** The most groups of one comet_writer_publish_all(). */
#define COMET_WRITER_GROUPS 1000

/**
 * Store groups of messages in one commit, in the given order.  Each group is
 * stored or refused on its own.  Together they take one of the writer's places.
 * Otherwise this is like comet_writer_publish().
 * @param groups  1 to COMET_WRITER_GROUPS
 * @return APR_SUCCESS: committed, and the ->result of each group is set as by
 *         comet_store_append().  Any other status applies to all groups
 */
apr_status_t comet_writer_publish_all(comet_writer_t *writer,
                                      comet_store_group_t *const *groups,
                                      apr_size_t count,
                                      apr_interval_time_t timeout);

/** A group that was submitted (comet_writer_submit()). */
typedef struct comet_writer_job_t comet_writer_job_t;

/** Called when a submitted group is answered, on the writer's thread with the
 * writer's lock held: it must not block, and must not call the writer. */
typedef void comet_writer_done_cb(void *baton);

/**
 * Store a group of messages like comet_writer_publish(), but without waiting.
 * The caller calls comet_writer_begin() after it has submitted what it has, so
 * that all of it shares a commit.
 * @param done  called once when the group is answered
 * @return the job, which the caller passes to comet_writer_finish() or
 *         comet_writer_abandon(); NULL: too many groups, or too many bytes, are
 *         waiting already, the writer is stopping, or no memory is left.  Then
 *         nothing was submitted.  Any thread except the writer's.
 */
comet_writer_job_t *comet_writer_submit(comet_writer_t *writer,
                                        const comet_store_group_t *group,
                                        comet_writer_done_cb *done,
                                        void *baton);

/** Wake the writer's thread if anything was submitted.  Any thread. */
void comet_writer_begin(comet_writer_t *writer);

/** Whether a job is answered.  If so, comet_writer_finish() does not wait.  Any
 * thread.
 * @param stored  OUT: if it is answered, whether its messages are stored */
int comet_writer_is_answered(const comet_writer_job_t *job, int *stored);

/** Call nobody back when a job is answered.  When this returns, the callback is
 * not running.  Any thread except the writer's. */
void comet_writer_mute(comet_writer_t *writer, comet_writer_job_t *job);

/**
 * Wait for the outcome of a job, and free the job.
 * @param timeout  how long to wait
 * @param timestamp  OUT, on success: the timestamp of the group's last message
 * @return as comet_writer_publish().  Any thread except the writer's.
 */
apr_status_t comet_writer_finish(comet_writer_t *writer,
                                 comet_writer_job_t *job,
                                 apr_interval_time_t timeout,
                                 comet_timestamp_t *timestamp);

/** Take a job back, or leave it to the writer if it is in flight.  Its messages
 * may have been stored, and nobody is told.  Any thread except the writer's. */
void comet_writer_abandon(comet_writer_t *writer, comet_writer_job_t *job);

/**
 * Wait until the writer has tried to open the store.  Before that, readers may
 * find no store.  An attempt that failed because of another program's lock does
 * not count, since the writer soon tries again.
 * @param limit  how long to wait.  If at least 2 * `places` threads already
 *               wait in this function, the call waits for at most 50 ms.
 * @return whether the writer has tried.  Any thread except the writer's.
 */
int comet_writer_await(comet_writer_t *writer, apr_interval_time_t limit);

/**
 * Stop the writer: finish the jobs in flight, refuse the others, and join the
 * thread.  The call takes no lock that a publisher may hold, because on prefork
 * a signal handler may make it.  It gives up after @a limit.
 * @return whether the thread has ended
 */
int comet_writer_stop(comet_writer_t *writer, apr_interval_time_t limit);

/**
 * Let no publisher wait any more.  Each one returns within 20 ms, even if the
 * thread waits for a disk: with COMET_EUNSURE if its commit has begun, otherwise
 * with COMET_ESTOPPING.  The writer itself goes on.  Any thread; safe in a
 * signal handler.
 */
void comet_writer_dismiss(comet_writer_t *writer);

/**
 * When the writer stops, it shall close the store without copying the log into
 * the file (comet_store_keep_log()).  Then a writer without work stops without
 * the disk.  Call this before comet_writer_stop().  Safe in a signal handler.
 */
void comet_writer_keep_log(comet_writer_t *writer);

/**
 * Whether the thread's present step, for example a commit, has taken so long
 * that it might not end soon: the thread waits for a disk or a lock.  Any
 * thread; safe in a signal handler.
 * @param time  the shortest time that counts as long
 */
int comet_writer_is_stuck(const comet_writer_t *writer,
                          apr_interval_time_t time);

#endif /* COMET_WRITER_H */
