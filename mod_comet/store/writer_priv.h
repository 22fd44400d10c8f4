/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file store/writer_priv.h
 * Inside the writer: its queue of jobs (job.c).  Publishers add jobs to the
 * queue (jobs.c), and the writer's thread takes them (writer.c), perhaps after
 * it has waited for more of them (gather.c).
 *
 * A job waits in the overflow until one of the `places` is free
 * (comet_writer_config_t).  Then it is queued, then in flight, done, and
 * answered.  The thread takes jobs only while it holds both write locks, the
 * bus's and the engine's.  So a publisher whose time runs out before that takes
 * its job back, and has certainly published nothing.  A publisher cannot take
 * back a job in flight; it can only leave the job to the thread.  A publisher
 * sleeps on the semaphore of its job.  A submitted job goes into the queue at
 * once; its publisher does not sleep, but is called back.
 *
 * Locks: the bus's write lock, then writer->mutex.  A submitted job's callback
 * is called under this mutex; it may take further locks.
 */
#ifndef COMET_WRITER_PRIV_H
#define COMET_WRITER_PRIV_H

#include <pthread.h>

#include "store/copier.h"
#include "store/job.h"

struct comet_writer_t {
    comet_writer_config_t config;
    comet_store_config_t store_config;
    pthread_t thread;
    pthread_mutex_t mutex;
    jobs_t queue, overflow; /* [mutex] */
    apr_size_t submitted; /* [mutex] submitted jobs that are queued or in
                           * flight */
    apr_size_t submitted_bytes; /* [mutex] the size of their bodies */
    /** [atomic] Jobs were submitted, and comet_writer_begin() was not called
     * since. */
    atomic_int has_new;
    apr_size_t used; /* [mutex] other jobs queued or in flight, <= places */
    atomic_int own_waiting; /* [atomic] the places that are taken, if this
                             * writer does not share a counter with others */
    apr_int64_t answered_at; /* [mutex] when a job was last answered, or was
                              * queued while no other job was queued or in
                              * flight */
    pthread_cond_t has_tried; /* with mutex: `tried` was set */
    int tried; /* [mutex] the thread has tried to open the store.  An attempt
                * that failed because of another program's lock does not
                * count */
    apr_size_t awaiting; /* [mutex] threads in comet_writer_await() */
    sem_t wake; /* raised to wake the thread */
    /** [atomic] The thread is working or was woken, so it will check the
     * queue. */
    atomic_int awake;
    atomic_int stopping; /* [atomic] */
    atomic_int dismissed; /* [atomic] no publisher may wait any more */
    atomic_int keeps_log; /* [atomic] see comet_writer_keep_log() */
    atomic_int ended; /* [atomic] */
    atomic_int joined; /* [atomic] */
    comet_presence_t *presence; /* NULL: presence is off */
    _Atomic apr_int64_t busy_since; /* [atomic] when the thread began its
                                     * present step; 0: it rests */
    comet_copier_t *copier; /* NULL: there is none */
    /* the rest: [writer's thread] */
    comet_store_t *store;
    apr_status_t open_status; /* result of the last attempt to open */
    apr_int64_t open_after;
    apr_interval_time_t back_off; /* the pause between the last attempt to open
                                   * and the next */
    apr_int64_t locked_since; /* since when the store has been locked; 0: it is
                               * not locked */
    apr_int64_t upkeep_after;
    int pruning, tidying; /* another step of pruning, or of tidying, is due at
                           * once */
    int owes_upkeep; /* this child has claimed a round, and not finished it */
    apr_int64_t claimed_at; /* when it has claimed the last one */
    int has_inbox_role; /* this child has claimed the task of reading the
                         * inbox */
    apr_int64_t inbox_after; /* when to look into the inbox next */
    apr_interval_time_t inbox_took; /* how long the last look took */
    apr_status_t reported;
    int called_back; /* the callbacks of submitted jobs were called, but not
                      * on_answered */
    job_t **jobs; /* the jobs in flight */
    comet_store_group_t **groups; /* the groups of these jobs.  Both arrays have
                                   * `places` + COMET_WRITER_GROUPS elements */
    apr_size_t group_count;
    /* for comet_writer_gather() */
    apr_size_t expected; /* how many jobs will probably come before the next
                          * commit */
    apr_interval_time_t commit_usec; /* how long the last commit waited for its
                                      * disk, about */
    int gather_pause; /* how many commits to begin without waiting for jobs */
};

/** Wake the thread.  Safe in a signal handler. */
void comet_writer_wake(comet_writer_t *writer);

/** The writer's thread.
 * @param baton  the writer */
void *comet_writer_run(void *baton);

/* The functions below are for the writer's thread. */

/** Whether any job is queued. */
int comet_writer_has_jobs(comet_writer_t *writer);

/** How many jobs are queued. */
apr_size_t comet_writer_count_jobs(comet_writer_t *writer);

/** Note how many jobs a commit had, and how long it took.  Call this before
 * they are answered. */
void comet_writer_note_commit(comet_writer_t *writer, apr_size_t count,
                              apr_interval_time_t took);

/** Wait a moment for more jobs, if commits are slow and more jobs will probably
 * come at once. */
void comet_writer_gather(comet_writer_t *writer);

/** Move queued jobs into writer->jobs and their groups into ->groups, as many
 * as one transaction may have.
 * @return how many; they are now in flight */
apr_size_t comet_writer_take_jobs(comet_writer_t *writer);

/** Look into the store's inbox if that is due, and publish what is there.  Only
 * one child of the server does so.
 * @return APR_SUCCESS; COMET_ELOCKED: another program has the lock; otherwise
 *         the error of the store */
apr_status_t comet_writer_take_in(comet_writer_t *writer);

/** Announce the append that follows, if that makes sense.
 * @param count  how many jobs it has */
void comet_writer_announce(comet_writer_t *writer, apr_size_t count);

/** Answer the jobs that were taken.
 * @param status  APR_SUCCESS: the result of each group is set.  Jobs whose
 *                groups all have the result COMET_ELOCKED are queued again */
void comet_writer_answer_jobs(comet_writer_t *writer, apr_size_t count,
                              apr_status_t status);

/** Put the taken jobs back at the head of the queue, since nothing of them was
 * stored.  A job that its publisher has left is freed. */
void comet_writer_requeue_jobs(comet_writer_t *writer, apr_size_t count);

/** Refuse all jobs that are queued or in the overflow.  Nothing of them was
 * stored. */
void comet_writer_refuse_jobs(comet_writer_t *writer, apr_status_t status);

/** Wake the threads that wait in comet_writer_await(). */
void comet_writer_note_tried(comet_writer_t *writer);

#endif /* COMET_WRITER_PRIV_H */
