/* SPDX-License-Identifier: Apache-2.0 */
/* The jobs of a writer: publishers queue them and wait for the answers. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "store/engine.h"
#include "store/writer_priv.h"

#include <errno.h>
#include <stdatomic.h>

/** How long a publisher waits for one of the writer's `places` before it is
 * refused. */
#define PLACE_USEC 50000

/** How often a publisher whose job is in the overflow checks whether the writer
 * of another store has freed a place, and, if no other writer holds any,
 * whether the disk has stalled. */
#define SEIZE_USEC 2000
#define STALL_USEC 10000
/** How often a publisher checks whether it was dismissed. */
#define DISMISSED_USEC 20000

/** The most bytes that are stored in one transaction, unless a single job is
 * larger.  Over a slow network, or to a slow disk, a larger append would take
 * too long. */
#define COMMIT_BYTES ((apr_size_t)4 << 20)

/** The most bytes that submitted jobs may have in all.  They wait without
 * threads, so only memory limits them. */
#define SUBMITTED_BYTES ((apr_size_t)8 << 20)

void comet_writer_wake(comet_writer_t *writer)
{
    int saved = errno;

    if (!atomic_exchange(&writer->awake, 1)) {
        sem_post(&writer->wake);
    }
    errno = saved;
}

/* Take one of the places for waiting publishers, which all writers of a child
 * share.
 * @return whether one was free */
static int seize_place_locked(comet_writer_t *writer)
{
    int waiting = atomic_load(writer->config.waiting);

    while ((apr_size_t)waiting < writer->config.places) {
        if (atomic_compare_exchange_weak(writer->config.waiting, &waiting,
                                         waiting + 1)) {
            if (writer->used++ == 0) {
                writer->answered_at = comet_monotonic();
            }
            return 1;
        }
    }
    return 0;
}

/* Whether it is useless to wait for one of the writer's `places`.  With a
 * healthy disk, places become free all the time.  The disk counts as stalled if
 * no publisher was answered for as long as a publisher may wait for a place. */
static int is_stalled_locked(const comet_writer_t *writer)
{
    return writer->used > 0
           && comet_monotonic() - writer->answered_at >= PLACE_USEC;
}

/* Give the free places to the oldest jobs of the overflow.
 * @return whether any job was queued, so that the caller must wake the
 *         thread */
static int promote_locked(comet_writer_t *writer)
{
    job_t *job;
    int any = 0;

    while ((job = TAILQ_FIRST(&writer->overflow)) != NULL
           && seize_place_locked(writer)) {
        TAILQ_REMOVE(&writer->overflow, job, link);
        TAILQ_INSERT_TAIL(&writer->queue, job, link);
        job->state = JOB_QUEUED;
        any = 1;
    }
    return any;
}

/* A job leaves the queue, or is no longer in flight. */
static void vacate_locked(comet_writer_t *writer, const job_t *job)
{
    if (job->is_submitted) {
        writer->submitted--;
        writer->submitted_bytes -= job->bytes;
        return;
    }
    writer->used--;
    atomic_fetch_sub(writer->config.waiting, 1);
}

/* Wait for a job's answer until a given time.
 * @return whether the job was answered by then */
static int is_answered(job_t *job, apr_int64_t until)
{
    /* after a successful wait the state is always ANSWERED; it is read because
     * ThreadSanitizer understands atomic variables, but not sem_clockwait() */
    return comet_semaphore_wait(&job->answered, until)
           && job->state == JOB_ANSWERED;
}

/* Take a job back.
 * @return APR_SUCCESS: too late, the job is being answered; COMET_EUNSURE: the
 *         job is in flight and now belongs to the writer's thread; anything
 *         else: the job belongs to the publisher again */
static apr_status_t withdraw_locked(comet_writer_t *writer, job_t *job)
{
    switch (atomic_load(&job->state)) {
    case JOB_OVERFLOWING:
        TAILQ_REMOVE(&writer->overflow, job, link);
        return COMET_EBUSY;
    case JOB_QUEUED:
        TAILQ_REMOVE(&writer->queue, job, link);
        vacate_locked(writer, job);
        if (promote_locked(writer)) {
            comet_writer_wake(writer);
        }
        return COMET_ELOCKED;
    case JOB_IN_FLIGHT:
        job->left = 1;
        return COMET_EUNSURE;
    default:
        return APR_SUCCESS;
    }
}

/* When a publisher checks its job again.  A place that this writer frees goes
 * at once to one of its own waiting jobs, but nobody tells this writer when
 * other writers free places. */
static apr_int64_t next_look_locked(const comet_writer_t *writer,
                                    const job_t *job, apr_int64_t deadline)
{
    apr_int64_t soon =
        comet_monotonic()
        + (job->state != JOB_OVERFLOWING ? DISMISSED_USEC
           : (apr_size_t)atomic_load(writer->config.waiting) > writer->used
               ? SEIZE_USEC
               : STALL_USEC);

    return soon < deadline ? soon : deadline;
}

/* Whether a publisher shall take its job back at @a now.
 * @param place_until  when it stops waiting for a place */
static int is_over_locked(const comet_writer_t *writer, const job_t *job,
                          apr_int64_t now, apr_int64_t place_until,
                          apr_int64_t deadline)
{
    return now >= deadline || atomic_load(&writer->dismissed)
           || (job->state == JOB_OVERFLOWING
               && (now >= place_until || is_stalled_locked(writer)));
}

/* Wait for the answer.  Frees the job, or leaves it to the writer's thread.
 * @param look_at  when to check the job for the first time
 * @param groups  OUT: their ->result is set from the job's groups */
static apr_status_t await(comet_writer_t *writer, job_t *job,
                          comet_store_group_t *const *groups,
                          apr_int64_t look_at, apr_int64_t deadline)
{
    apr_size_t i;
    apr_int64_t place_until = comet_monotonic() + PLACE_USEC;
    apr_status_t status = APR_SUCCESS;

    while (status == APR_SUCCESS && !is_answered(job, look_at)) {
        apr_int64_t now = comet_monotonic();

        pthread_mutex_lock(&writer->mutex);
        if (promote_locked(writer)) {
            comet_writer_wake(writer);
        }
        if (is_over_locked(writer, job, now, place_until, deadline)) {
            status = withdraw_locked(writer, job);
        }
        look_at = next_look_locked(writer, job, deadline);
        pthread_mutex_unlock(&writer->mutex);
    }
    if (status == COMET_EUNSURE) {
        return status;
    }
    if (status == APR_SUCCESS) {
        status = job->result;
    }
    else if (atomic_load(&writer->dismissed)) {
        status = COMET_ESTOPPING;
    }
    for (i = 0; i < job->count && status == APR_SUCCESS; i++) {
        /* NOLINTNEXTLINE(clang-analyzer-core.*): both lists have this length */
        groups[i]->result = job->groups[i].result;
    }
    comet_job_free(job);
    return status;
}

apr_status_t comet_writer_publish_all(comet_writer_t *writer,
                                      comet_store_group_t *const *groups,
                                      apr_size_t count,
                                      apr_interval_time_t timeout)
{
    apr_int64_t deadline = comet_monotonic() + (timeout > 0 ? timeout : 0);
    job_t *job = comet_job_create(groups, count);
    apr_int64_t look_at;
    int queued;

    if (!job) {
        return APR_ENOMEM;
    }
    pthread_mutex_lock(&writer->mutex);
    if (atomic_load(&writer->stopping) || atomic_load(&writer->dismissed)) {
        pthread_mutex_unlock(&writer->mutex);
        comet_job_free(job);
        return COMET_ESTOPPING;
    }
    TAILQ_INSERT_TAIL(&writer->overflow, job, link);
    queued = promote_locked(writer);
    look_at = next_look_locked(writer, job, deadline);
    pthread_mutex_unlock(&writer->mutex);
    if (queued) { /* not before: the thread needs the mutex at once */
        comet_writer_wake(writer);
    }
    return await(writer, job, groups, look_at, deadline);
}

apr_status_t comet_writer_publish(comet_writer_t *writer,
                                  const comet_store_group_t *group,
                                  apr_interval_time_t timeout)
{
    comet_store_group_t own = *group, *const groups[] = { &own };
    apr_status_t status = comet_writer_publish_all(writer, groups, 1, timeout);

    return status == APR_SUCCESS ? own.result : status;
}

/* --- publishers that do not wait ------------------------------------------ */

comet_writer_job_t *comet_writer_submit(comet_writer_t *writer,
                                        const comet_store_group_t *group,
                                        comet_writer_done_cb *done, void *baton)
{
    comet_store_group_t own = *group, *const groups[] = { &own };
    job_t *job = comet_job_create(groups, 1);
    int taken = 0;

    if (!job) {
        return NULL;
    }
    job->done = done;
    job->baton = baton;
    job->is_submitted = 1;
    pthread_mutex_lock(&writer->mutex);
    if (!atomic_load(&writer->stopping) && !atomic_load(&writer->dismissed)
        && writer->submitted < COMET_WRITER_GROUPS
        && writer->submitted_bytes + job->bytes <= SUBMITTED_BYTES) {
        taken = 1;
        writer->submitted++;
        writer->submitted_bytes += job->bytes;
        job->state = JOB_QUEUED;
        TAILQ_INSERT_TAIL(&writer->queue, job, link);
        atomic_store(&writer->has_new, 1);
    }
    pthread_mutex_unlock(&writer->mutex);
    if (!taken) {
        comet_job_free(job);
        return NULL;
    }
    return job;
}

void comet_writer_begin(comet_writer_t *writer)
{
    if (atomic_load(&writer->has_new) && atomic_exchange(&writer->has_new, 0)) {
        comet_writer_wake(writer);
    }
}

int comet_writer_is_answered(const comet_writer_job_t *job, int *stored)
{
    int answered = job->state == JOB_ANSWERED;

    *stored = answered && job->result == APR_SUCCESS
              && job->groups[0].result == APR_SUCCESS;
    return answered;
}

void comet_writer_mute(comet_writer_t *writer, comet_writer_job_t *job)
{
    pthread_mutex_lock(&writer->mutex);
    job->done = NULL;
    pthread_mutex_unlock(&writer->mutex);
}

apr_status_t comet_writer_finish(comet_writer_t *writer,
                                 comet_writer_job_t *job,
                                 apr_interval_time_t timeout,
                                 comet_timestamp_t *timestamp)
{
    comet_store_group_t own = { .result = APR_SUCCESS };
    comet_store_group_t *const groups[] = { &own };
    const comet_store_group_t *group = &job->groups[0];
    comet_message_t *last =
        comet_message_ref(group->messages[group->count - 1]);
    apr_int64_t now = comet_monotonic();
    apr_status_t status;

    comet_writer_mute(writer, job);
    status = await(writer, job, groups, now, now + (timeout > 0 ? timeout : 0));
    if (status == APR_SUCCESS) {
        status = own.result;
    }
    if (status == APR_SUCCESS || status == COMET_EREPEATED) {
        *timestamp = last->timestamp;
    }
    comet_message_unref(last);
    return status;
}

void comet_writer_abandon(comet_writer_t *writer, comet_writer_job_t *job)
{
    apr_status_t status;

    pthread_mutex_lock(&writer->mutex);
    job->done = NULL;
    status = withdraw_locked(writer, job);
    pthread_mutex_unlock(&writer->mutex);
    if (status == APR_SUCCESS) {
        /* the writer might not have raised the semaphore yet */
        while (!is_answered(job, comet_monotonic() + DISMISSED_USEC)) {
        }
    }
    if (status != COMET_EUNSURE) {
        comet_job_free(job);
    }
}

int comet_writer_await(comet_writer_t *writer, apr_interval_time_t limit)
{
    apr_int64_t deadline;
    int tried;

    pthread_mutex_lock(&writer->mutex);
    if (limit > PLACE_USEC && writer->awaiting >= 2 * writer->config.places) {
        limit = PLACE_USEC;
    }
    deadline = comet_monotonic() + limit;
    writer->awaiting++;
    while (!writer->tried && comet_monotonic() < deadline
           && !atomic_load(&writer->dismissed)) {
        apr_int64_t look_at = comet_monotonic() + DISMISSED_USEC;

        comet_condition_wait(&writer->has_tried, &writer->mutex,
                             look_at < deadline ? look_at : deadline);
    }
    writer->awaiting--;
    tried = writer->tried;
    pthread_mutex_unlock(&writer->mutex);
    return tried;
}

/* --- For the thread ------------------------------------------------------- */

/* Free a job that its publisher has left; append any other job to `done`. */
static void finish_locked(comet_writer_t *writer, job_t *job,
                          apr_status_t result, jobs_t *done)
{
    job->result = result;
    if (job->left) {
        comet_job_free(job);
    }
    else if (job->done) {
        job->state = JOB_ANSWERED;
        job->done(job->baton);
        writer->called_back = 1;
        sem_post(&job->answered);
    }
    else {
        job->state = JOB_DONE;
        TAILQ_INSERT_TAIL(done, job, link);
    }
}

/* The caller must not hold the mutex: a woken publisher may need it at once. */
static void wake_publishers(comet_writer_t *writer, jobs_t *done)
{
    job_t *job;

    if (writer->called_back && writer->config.on_answered) {
        writer->config.on_answered(writer->config.baton);
    }
    writer->called_back = 0;

    while ((job = TAILQ_FIRST(done)) != NULL) {
        TAILQ_REMOVE(done, job, link);
        job->state = JOB_ANSWERED;
        sem_post(&job->answered); /* from here on the publisher owns the job */
    }
}

int comet_writer_has_jobs(comet_writer_t *writer)
{
    int any;

    pthread_mutex_lock(&writer->mutex);
    any = !TAILQ_EMPTY(&writer->queue);
    pthread_mutex_unlock(&writer->mutex);
    return any;
}

apr_size_t comet_writer_count_jobs(comet_writer_t *writer)
{
    apr_size_t count = 0;
    const job_t *job;

    pthread_mutex_lock(&writer->mutex);
    TAILQ_FOREACH(job, &writer->queue, link)
    {
        count++;
    }
    pthread_mutex_unlock(&writer->mutex);
    return count;
}

void comet_writer_refuse_jobs(comet_writer_t *writer, apr_status_t status)
{
    jobs_t done = TAILQ_HEAD_INITIALIZER(done);
    job_t *job;

    pthread_mutex_lock(&writer->mutex);
    while ((job = TAILQ_FIRST(&writer->overflow)) != NULL) {
        TAILQ_REMOVE(&writer->overflow, job, link);
        finish_locked(writer, job, status, &done);
    }
    while ((job = TAILQ_FIRST(&writer->queue)) != NULL) {
        TAILQ_REMOVE(&writer->queue, job, link);
        vacate_locked(writer, job);
        finish_locked(writer, job, status, &done);
    }
    writer->answered_at = comet_monotonic();
    pthread_mutex_unlock(&writer->mutex);
    wake_publishers(writer, &done);
}

apr_size_t comet_writer_take_jobs(comet_writer_t *writer)
{
    const apr_size_t room = writer->config.places + COMET_WRITER_GROUPS;
    apr_size_t count = 0, bytes = 0, i;
    job_t *job;

    writer->group_count = 0;
    pthread_mutex_lock(&writer->mutex);
    while ((job = TAILQ_FIRST(&writer->queue)) != NULL
           && writer->group_count + job->count <= room
           && (!count || bytes + job->bytes <= COMMIT_BYTES)) {
        bytes += job->bytes;
        TAILQ_REMOVE(&writer->queue, job, link);
        job->state = JOB_IN_FLIGHT;
        writer->jobs[count++] = job;
        for (i = 0; i < job->count; i++) {
            writer->groups[writer->group_count++] = &job->groups[i];
        }
    }
    pthread_mutex_unlock(&writer->mutex);
    return count;
}

/* Whether nothing of a job was stored because another program held a lock. */
static int is_put_off(const job_t *job)
{
    apr_size_t i = 0;

    while (i < job->count && job->groups[i].result == COMET_ELOCKED) {
        i++;
    }
    return job->count && i == job->count;
}

void comet_writer_answer_jobs(comet_writer_t *writer, apr_size_t count,
                              apr_status_t status)
{
    jobs_t done = TAILQ_HEAD_INITIALIZER(done);
    apr_size_t i;

    pthread_mutex_lock(&writer->mutex);
    for (i = 0; i < count; i++) {
        job_t *job = writer->jobs[i];

        if (status == APR_SUCCESS && !job->left && is_put_off(job)) {
            job->state = JOB_QUEUED;
            TAILQ_INSERT_TAIL(&writer->queue, job, link);
        }
        else {
            vacate_locked(writer, job);
            finish_locked(writer, job, status, &done);
        }
    }
    promote_locked(writer);
    writer->answered_at = comet_monotonic();
    pthread_mutex_unlock(&writer->mutex);
    wake_publishers(writer, &done);
}

void comet_writer_requeue_jobs(comet_writer_t *writer, apr_size_t count)
{
    pthread_mutex_lock(&writer->mutex);
    while (count) {
        job_t *job = writer->jobs[--count];

        if (job->left) {
            vacate_locked(writer, job);
            comet_job_free(job);
        }
        else {
            job->state = JOB_QUEUED;
            TAILQ_INSERT_HEAD(&writer->queue, job, link);
        }
    }
    promote_locked(writer);
    pthread_mutex_unlock(&writer->mutex);
}

void comet_writer_note_tried(comet_writer_t *writer)
{
    pthread_mutex_lock(&writer->mutex);
    writer->tried = 1;
    pthread_cond_broadcast(&writer->has_tried);
    pthread_mutex_unlock(&writer->mutex);
}
