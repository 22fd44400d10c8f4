/* SPDX-License-Identifier: Apache-2.0 */
/* The jobs of a writer: publishers queue them and wait for the answers. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "store/engine.h"
#include "store/writer_priv.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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

void comet_writer_wake(comet_writer_t *writer)
{
    int saved = errno;

    if (!atomic_exchange(&writer->awake, 1)) {
        sem_post(&writer->wake);
    }
    errno = saved;
}

static apr_size_t texts_of(const comet_store_group_t *group)
{
    return group->key.text.length + group->key.channel.length
           + group->key.author.length + group->removal.channel.length
           + group->removal.member.length + group->rule.pattern.length;
}

static job_t *allocate_job(comet_store_group_t *const *groups, apr_size_t count)
{
    apr_size_t size = sizeof(job_t) + count * sizeof(comet_store_group_t), i;

    for (i = 0; i < count; i++) {
        size +=
            groups[i]->count * sizeof(comet_message_t *) + texts_of(groups[i]);
    }
    return malloc(size);
}

/* The total length of the bodies of a job's messages. */
static apr_size_t bytes_of(const job_t *job)
{
    apr_size_t bytes = 0, i, k;

    for (i = 0; i < job->count; i++) {
        for (k = 0; k < job->groups[i].count; k++) {
            bytes += job->groups[i].messages[k]->body.length;
        }
    }
    return bytes;
}

/* Copy groups into a job, since a job in flight may outlive its publisher. */
static job_t *create_job(comet_store_group_t *const *groups, apr_size_t count)
{
    job_t *job = allocate_job(groups, count);
    comet_message_t **list;
    char *end;
    apr_size_t i, k;

    if (!job) {
        return NULL;
    }
    memset(job, 0, sizeof(*job));
    sem_init(&job->answered, 0, 0);
    job->count = count;
    list = (comet_message_t **)(job->groups + count);
    for (i = 0; i < count; i++) {
        job->groups[i] = *groups[i];
        job->groups[i].messages = list;
        for (k = 0; k < groups[i]->count; k++) {
            *list++ = comet_message_ref(groups[i]->messages[k]);
        }
    }
    job->bytes = bytes_of(job);
    end = (char *)list;
    for (i = 0; i < count; i++) {
        job->groups[i].key.text =
            comet_text_copy(job->groups[i].key.text, &end);
        job->groups[i].key.channel =
            comet_text_copy(job->groups[i].key.channel, &end);
        job->groups[i].key.author =
            comet_text_copy(job->groups[i].key.author, &end);
        job->groups[i].removal.channel =
            comet_text_copy(job->groups[i].removal.channel, &end);
        job->groups[i].removal.member =
            comet_text_copy(job->groups[i].removal.member, &end);
        job->groups[i].rule.pattern =
            comet_text_copy(job->groups[i].rule.pattern, &end);
    }
    return job;
}

static void free_job(job_t *job)
{
    apr_size_t i, k;

    for (i = 0; i < job->count; i++) {
        for (k = 0; k < job->groups[i].count; k++) {
            comet_message_unref(job->groups[i].messages[k]);
        }
    }
    sem_destroy(&job->answered);
    free(job);
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

static void vacate_locked(comet_writer_t *writer, apr_size_t count)
{
    writer->used -= count;
    atomic_fetch_sub(writer->config.waiting, (int)count);
    if (promote_locked(writer)) {
        comet_writer_wake(writer);
    }
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
        vacate_locked(writer, 1);
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
    free_job(job);
    return status;
}

apr_status_t comet_writer_publish_all(comet_writer_t *writer,
                                      comet_store_group_t *const *groups,
                                      apr_size_t count,
                                      apr_interval_time_t timeout)
{
    apr_int64_t deadline = comet_monotonic() + (timeout > 0 ? timeout : 0);
    job_t *job = create_job(groups, count);
    apr_int64_t look_at;
    int queued;

    if (!job) {
        return APR_ENOMEM;
    }
    pthread_mutex_lock(&writer->mutex);
    if (atomic_load(&writer->stopping) || atomic_load(&writer->dismissed)) {
        pthread_mutex_unlock(&writer->mutex);
        free_job(job);
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
static void finish_locked(job_t *job, apr_status_t result, jobs_t *done)
{
    job->result = result;
    job->state = JOB_DONE;
    if (job->left) {
        free_job(job);
    }
    else {
        TAILQ_INSERT_TAIL(done, job, link);
    }
}

/* The caller must not hold the mutex: a woken publisher may need it at once. */
static void wake_publishers(jobs_t *done)
{
    job_t *job;

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
        finish_locked(job, status, &done);
    }
    while ((job = TAILQ_FIRST(&writer->queue)) != NULL) {
        TAILQ_REMOVE(&writer->queue, job, link);
        finish_locked(job, status, &done);
        vacate_locked(writer, 1);
    }
    writer->answered_at = comet_monotonic();
    pthread_mutex_unlock(&writer->mutex);
    wake_publishers(&done);
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
    apr_size_t i, put_off = 0;

    pthread_mutex_lock(&writer->mutex);
    for (i = 0; i < count; i++) {
        job_t *job = writer->jobs[i];

        if (status == APR_SUCCESS && !job->left && is_put_off(job)) {
            job->state = JOB_QUEUED;
            TAILQ_INSERT_TAIL(&writer->queue, job, link);
            put_off++;
        }
        else {
            finish_locked(job, status, &done);
        }
    }
    vacate_locked(writer, count - put_off);
    writer->answered_at = comet_monotonic();
    pthread_mutex_unlock(&writer->mutex);
    wake_publishers(&done);
}

void comet_writer_requeue_jobs(comet_writer_t *writer, apr_size_t count)
{
    apr_size_t left = 0;

    pthread_mutex_lock(&writer->mutex);
    while (count) {
        job_t *job = writer->jobs[--count];

        if (job->left) {
            free_job(job);
            left++;
        }
        else {
            job->state = JOB_QUEUED;
            TAILQ_INSERT_HEAD(&writer->queue, job, link);
        }
    }
    vacate_locked(writer, left);
    pthread_mutex_unlock(&writer->mutex);
}

void comet_writer_note_tried(comet_writer_t *writer)
{
    pthread_mutex_lock(&writer->mutex);
    writer->tried = 1;
    pthread_cond_broadcast(&writer->has_tried);
    pthread_mutex_unlock(&writer->mutex);
}
