/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file store/job.h
 * A job of a writer: groups of messages in one block of memory.  Its states are
 * explained in store/writer_priv.h.
 */
#ifndef COMET_JOB_H
#define COMET_JOB_H

#include <semaphore.h>
#include <sys/queue.h>

#include "store/writer.h"

typedef enum {
    JOB_OVERFLOWING,
    JOB_QUEUED,
    JOB_IN_FLIGHT,
    JOB_DONE,
    JOB_ANSWERED
} job_state_e;

typedef struct comet_writer_job_t {
    TAILQ_ENTRY(comet_writer_job_t)
    link; /* [mutex] in the overflow or in the queue */
    apr_status_t result; /* until the job is done, this and the results of its
                          * groups belong to the writer's thread */
    _Atomic job_state_e state; /* [atomic] to read; [mutex] to change */
    int left; /* [mutex] the publisher no longer waits, so the writer's thread
               * frees the job */
    sem_t answered; /* raised last: from then on the publisher owns the job */
    comet_writer_done_cb *done; /* [mutex] called when the job is answered;
                                 * NULL: the publisher waits, or will wait, for
                                 * the semaphore */
    void *baton;
    int is_submitted; /* no thread waits for it, so it takes none of the
                       * `places` */
    apr_size_t bytes; /* the size of its messages' bodies */
    apr_size_t count; /* how many groups it has */
    comet_store_group_t groups[]; /* their messages and texts follow in the same
                                   * block */
} job_t;

typedef TAILQ_HEAD(jobs_t, comet_writer_job_t) jobs_t;

/**
 * Copy groups into a job, since a job in flight may outlive its publisher.
 * @return NULL: no memory is left
 */
job_t *comet_job_create(comet_store_group_t *const *groups, apr_size_t count);

void comet_job_free(job_t *job);

#endif /* COMET_JOB_H */
