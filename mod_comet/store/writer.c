/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Group commit: the thread that takes what publishers have queued, commits
 * it at once and answers them.
 *
 * A job is queued when there is a place for it, until then in the overflow; then
 * in flight, then done.  The thread takes jobs only when it holds both write
 * locks (the bus's and SQLite's), so a publisher whose time runs out before
 * has certainly published nothing: it takes its job back.  In flight it can
 * only leave the job behind.  A publisher sleeps once, however far its job
 * comes: each has a semaphore of its own, and places are given by the thread.
 *
 * Locks: the bus's write lock, then writer->mutex.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "store/writer.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/queue.h>
#include <time.h>
#include <unistd.h>

/** How long a publisher waits for a place before it is sent away. */
#define PLACE_USEC 50000
/** How often it looks for one that another store's writer has vacated. */
#define SEIZE_USEC 2000
/** How long the bus is held while another program has SQLite's lock. */
#define TURN_USEC 20000
/** How long opening may wait for another program, holding the bus. */
#define OPEN_USEC 50000
#define REOPEN_USEC 200000
/** How long to wait for the bus's lock before looking whether to stop. */
#define LOCK_USEC 50000
/** How long a step may take before the thread is taken to be stuck. */
#define STUCK_USEC 50000
#define UPKEEP_USEC 5000000
/** How often to see whether the file is still the one at the path. */
#define LOOK_USEC 1000000

typedef enum {
    JOB_OVERFLOWING,
    JOB_QUEUED,
    JOB_IN_FLIGHT,
    JOB_DONE,
    JOB_ANSWERED
} job_state_e;

typedef struct job_t {
    TAILQ_ENTRY(job_t) link; /* [mutex] in the overflow and while queued */
    comet_store_group_t group; /* references, and texts behind it */
    apr_status_t result; /* the thread's until it is done */
    _Atomic job_state_e state; /* [mutex] to change; [atomic] */
    int left; /* [mutex] the publisher has gone: the thread frees it */
    sem_t answered; /* raised last: the job is the publisher's again */
    comet_message_t *messages[]; /* group.count of them */
} job_t;

typedef TAILQ_HEAD(jobs_t, job_t) jobs_t;

struct comet_writer_t {
    comet_writer_config_t config;
    comet_store_config_t store_config;
    pthread_t thread;
    pthread_mutex_t mutex;
    jobs_t queue, overflow; /* [mutex] */
    apr_size_t used; /* [mutex] jobs queued or in flight, <= places */
    atomic_int own_waiting; /* [atomic] where none is shared */
    apr_int64_t answered_at; /* [mutex] when somebody was, or work began */
    pthread_cond_t has_tried; /* with mutex: tried has changed */
    int tried; /* [mutex] to open the store, whatever came of it */
    apr_size_t awaiting; /* [mutex] in comet_writer_await() */
    int wake; /* eventfd, lives until the pool does */
    atomic_int awake; /* [atomic] the thread will look at the queue */
    atomic_int stopping; /* [atomic] */
    atomic_int ended; /* [atomic] */
    atomic_int joined; /* [atomic] */
    _Atomic apr_int64_t busy_since; /* [atomic] 0: it rests */
    /* the rest: [writer's thread] */
    comet_store_t *store;
    apr_status_t open_status; /* of the last attempt */
    apr_int64_t open_after;
    apr_int64_t locked_since; /* 0: it is not locked */
    apr_int64_t upkeep_after;
    int pruning, tidying; /* another step of it is due */
    apr_status_t reported;
    job_t **jobs; /* the batch, [places] */
    comet_store_group_t **groups; /* theirs */
};

/* --- Publishers' side ------------------------------------------------- */

/* Safe in a signal handler. */
static void wake(comet_writer_t *writer)
{
    static const apr_uint64_t one = 1;
    int saved = errno;
    ssize_t written;

    if (!atomic_exchange(&writer->awake, 1)) {
        do {
            written = write(writer->wake, &one, sizeof(one));
        } while (written < 0 && errno == EINTR);
    }
    errno = saved;
}

/* Copy a text to *end, and refer to the copy. */
static void copy(comet_text_t *text, char **end)
{
    if (text->data) {
        memcpy(*end, text->data, text->length);
        text->data = *end;
        *end += text->length;
    }
}

/* The job outlives the publisher when it leaves it behind in flight. */
static job_t *create_job(const comet_store_group_t *group)
{
    apr_size_t list = group->count * sizeof(comet_message_t *);
    job_t *job = malloc(sizeof(*job) + list + group->key.text.length
                        + group->key.channel.length + group->key.author.length);
    char *end;
    apr_size_t i;

    if (!job) {
        return NULL;
    }
    memset(job, 0, sizeof(*job));
    sem_init(&job->answered, 0, 0);
    job->group = *group;
    job->group.messages = job->messages;
    for (i = 0; i < group->count; i++) {
        job->messages[i] = comet_message_ref(group->messages[i]);
    }
    end = (char *)(job->messages + group->count);
    copy(&job->group.key.text, &end);
    copy(&job->group.key.channel, &end);
    copy(&job->group.key.author, &end);
    return job;
}

static void free_job(job_t *job)
{
    apr_size_t i;

    for (i = 0; i < job->group.count; i++) {
        comet_message_unref(job->messages[i]);
    }
    sem_destroy(&job->answered);
    free(job);
}

/* One of the child's places, which all of its writers share. */
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

/* A healthy disk makes room at once.  One that has not answered anybody for
 * as long as one may wait for a place will not. */
static int is_stalled_locked(const comet_writer_t *writer)
{
    return writer->used > 0
           && comet_monotonic() - writer->answered_at >= PLACE_USEC;
}

/* Give what places there are to those who came first. */
static void promote_locked(comet_writer_t *writer)
{
    job_t *job;

    while ((job = TAILQ_FIRST(&writer->overflow)) != NULL
           && seize_place_locked(writer)) {
        TAILQ_REMOVE(&writer->overflow, job, link);
        TAILQ_INSERT_TAIL(&writer->queue, job, link);
        job->state = JOB_QUEUED;
        wake(writer);
    }
}

static void vacate_locked(comet_writer_t *writer, apr_size_t count)
{
    writer->used -= count;
    atomic_fetch_sub(writer->config.waiting, (int)count);
    promote_locked(writer);
}

/* Whether it was answered by then. */
static int is_answered(job_t *job, apr_int64_t until)
{
    const struct timespec end = { .tv_sec = (time_t)(until / 1000000),
                                  .tv_nsec = (long)(until % 1000000) * 1000 };
    int failed;

    do {
        failed = sem_clockwait(&job->answered, CLOCK_MONOTONIC, &end);
    } while (failed && errno == EINTR);
    /* the latter always, then: ThreadSanitizer knows this order, and not that
     * of sem_clockwait() */
    return !failed && job->state == JOB_ANSWERED;
}

/* @return APR_SUCCESS: it is being answered; COMET_EUNSURE: it is the
 *         thread's now; else it is the publisher's again */
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

/* In the overflow it asks for a place that another store's writer vacates. */
static apr_int64_t next_look(const job_t *job, apr_int64_t deadline)
{
    return job->state == JOB_QUEUED || job->state == JOB_IN_FLIGHT
               ? deadline
               : comet_monotonic() + SEIZE_USEC;
}

/* Frees the job, or leaves it to the thread. */
static apr_status_t await(comet_writer_t *writer, job_t *job,
                          apr_int64_t deadline)
{
    apr_int64_t place_until = comet_monotonic() + PLACE_USEC;
    apr_status_t status = APR_SUCCESS;

    while (status == APR_SUCCESS
           && !is_answered(job, next_look(job, deadline))) {
        apr_int64_t now = comet_monotonic();

        pthread_mutex_lock(&writer->mutex);
        promote_locked(writer);
        if (now >= deadline
            || (job->state == JOB_OVERFLOWING
                && (now >= place_until || is_stalled_locked(writer)))) {
            status = withdraw_locked(writer, job);
        }
        pthread_mutex_unlock(&writer->mutex);
    }
    if (status == COMET_EUNSURE) {
        return status;
    }
    if (status == APR_SUCCESS) {
        status = job->result;
    }
    free_job(job);
    return status;
}

apr_status_t comet_writer_publish(comet_writer_t *writer,
                                  const comet_store_group_t *group,
                                  apr_interval_time_t timeout)
{
    apr_int64_t deadline = comet_monotonic() + (timeout > 0 ? timeout : 0);
    job_t *job = create_job(group);

    if (!job) {
        return APR_ENOMEM;
    }
    pthread_mutex_lock(&writer->mutex);
    if (atomic_load(&writer->stopping)) {
        pthread_mutex_unlock(&writer->mutex);
        free_job(job);
        return COMET_ESTOPPING;
    }
    TAILQ_INSERT_TAIL(&writer->overflow, job, link);
    promote_locked(writer);
    pthread_mutex_unlock(&writer->mutex);
    return await(writer, job, deadline);
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
    while (!writer->tried && comet_monotonic() < deadline) {
        comet_condition_wait(&writer->has_tried, &writer->mutex, deadline);
    }
    writer->awaiting--;
    tried = writer->tried;
    pthread_mutex_unlock(&writer->mutex);
    return tried;
}

/* --- The thread's side ------------------------------------------------ */

static void report(comet_writer_t *writer, apr_status_t status,
                   const char *detail)
{
    if (status != writer->reported) {
        writer->reported = status;
        if (writer->config.on_error) {
            writer->config.on_error(writer->config.baton, status, detail);
        }
    }
}

/* What the publisher has left goes; what it waits for joins `done`. */
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

/* Without the mutex: whom it wakes may publish again at once. */
static void wake_publishers(jobs_t *done)
{
    job_t *job;

    while ((job = TAILQ_FIRST(done)) != NULL) {
        TAILQ_REMOVE(done, job, link);
        job->state = JOB_ANSWERED;
        sem_post(&job->answered); /* from here on it is the publisher's */
    }
}

static int anything_queued(comet_writer_t *writer)
{
    int any;

    pthread_mutex_lock(&writer->mutex);
    any = !TAILQ_EMPTY(&writer->queue);
    pthread_mutex_unlock(&writer->mutex);
    return any;
}

/* Answer all that have come: nothing of it was stored. */
static void refuse_queued(comet_writer_t *writer, apr_status_t status)
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

/* @return how many jobs are in flight now */
static apr_size_t take_queued(comet_writer_t *writer)
{
    apr_size_t count = 0;
    job_t *job;

    pthread_mutex_lock(&writer->mutex);
    while ((job = TAILQ_FIRST(&writer->queue)) != NULL) {
        TAILQ_REMOVE(&writer->queue, job, link);
        job->state = JOB_IN_FLIGHT;
        writer->jobs[count] = job;
        writer->groups[count] = &job->group;
        count++;
    }
    pthread_mutex_unlock(&writer->mutex);
    return count;
}

static void answer(comet_writer_t *writer, apr_size_t count,
                   apr_status_t status)
{
    jobs_t done = TAILQ_HEAD_INITIALIZER(done);
    apr_size_t i;

    pthread_mutex_lock(&writer->mutex);
    for (i = 0; i < count; i++) {
        finish_locked(
            writer->jobs[i],
            status == APR_SUCCESS ? writer->groups[i]->result : status, &done);
    }
    vacate_locked(writer, count);
    writer->answered_at = comet_monotonic();
    pthread_mutex_unlock(&writer->mutex);
    wake_publishers(&done);
}

/* Another child may hold the lock for as long as its disk keeps it waiting, or
 * while it is stopped.  That is told, once.
 * @return whether it is locked; not, when this writer is to stop */
static int lock_bus(comet_writer_t *writer)
{
    apr_int64_t since = comet_monotonic();

    while (comet_bus_lock_within(writer->config.bus, LOCK_USEC)
           != APR_SUCCESS) {
        if (atomic_load(&writer->stopping)) {
            return 0;
        }
        if (comet_monotonic() - since >= writer->config.store->busy_timeout) {
            report(writer, COMET_ELOCKED,
                   "another child of this server holds its lock");
        }
    }
    return 1;
}

/* A writer that is to stop may not get the lock.  Then it closes all the same,
 * unless that would remove the files of a database that was moved. */
static void close_store(comet_writer_t *writer)
{
    if (writer->store) {
        int locked = lock_bus(writer);

        if (locked || !comet_store_moved(writer->store)) {
            comet_store_close(writer->store);
        }
        if (locked) {
            comet_bus_unlock(writer->config.bus);
        }
        writer->store = NULL;
    }
}

static void note_tried(comet_writer_t *writer)
{
    pthread_mutex_lock(&writer->mutex);
    writer->tried = 1;
    pthread_cond_broadcast(&writer->has_tried);
    pthread_mutex_unlock(&writer->mutex);
}

/* @return whether the store is open */
static int open_store(comet_writer_t *writer)
{
    apr_status_t before = writer->open_status;

    if (writer->store) {
        return 1;
    }
    if (comet_monotonic() < writer->open_after) {
        return 0;
    }
    if (!lock_bus(writer)) {
        writer->open_status = COMET_ESTOPPING;
        return 0;
    }
    writer->open_status =
        comet_store_open(&writer->store, &writer->store_config,
                         COMET_STORE_WRITE, &writer->stopping);
    comet_bus_unlock(writer->config.bus);
    writer->open_after = comet_monotonic() + REOPEN_USEC;
    note_tried(writer);
    if (writer->store) {
        comet_bus_notify(writer->config.bus);
        if (writer->reported == COMET_EMOVED
            || writer->reported == COMET_ELOCKED
            || writer->reported == before) {
            report(writer, APR_SUCCESS, "");
        }
        return 1;
    }
    if (!atomic_load(&writer->stopping)) {
        report(writer, writer->open_status, comet_store_error(NULL));
    }
    return 0;
}

/* After a failure: what cannot go on with this connection gets another. */
static void judge(comet_writer_t *writer, apr_status_t status)
{
    switch (status) {
    case APR_SUCCESS:
        writer->locked_since = 0;
        report(writer, status, "");
        return;
    case COMET_ELOCKED: /* each publisher waits as long as it can */
        if (!writer->locked_since) {
            writer->locked_since = comet_monotonic();
        }
        else if (comet_monotonic() - writer->locked_since
                 >= writer->config.store->busy_timeout) {
            report(writer, status, comet_store_error(writer->store));
        }
        return;
    case APR_ENOSPC:
    case APR_ENOMEM:
        report(writer, status, comet_store_error(writer->store));
        return;
    default:
        report(writer, status, comet_store_error(writer->store));
        close_store(writer);
        writer->open_after = 0;
        open_store(writer);
    }
}

/*
 * Commit what is queued.  The order: commit, release the lock, ring, answer;
 * so whoever is told of the timestamp finds it, and the others are told soon.
 */
static void publish_queued(comet_writer_t *writer)
{
    apr_size_t count = 0;
    apr_status_t status;

    if (!lock_bus(writer)) {
        return;
    }
    status = comet_store_reserve(writer->store, TURN_USEC);
    if (status == APR_SUCCESS) {
        count = take_queued(writer);
        status = comet_store_append(writer->store, writer->groups, count);
    }
    comet_bus_unlock(writer->config.bus);
    if (count) {
        comet_bus_notify(writer->config.bus);
        answer(writer, count, status);
    }
    else if (status != APR_SUCCESS && status != COMET_ELOCKED) {
        refuse_queued(writer, status);
    }
    judge(writer, status);
}

static int retains(const comet_writer_t *writer)
{
    return writer->store_config.retain_count > 0
           || writer->store_config.retain_age > 0;
}

/* Whether it is this child's turn, which comes once in UPKEEP_USEC. */
static int upkeep_is_due(comet_writer_t *writer)
{
    apr_int64_t now = comet_monotonic();

    if (writer->pruning || writer->tidying) {
        return 1;
    }
    if (now < writer->upkeep_after) {
        return 0;
    }
    writer->upkeep_after = now + UPKEEP_USEC;
    return comet_bus_claim_upkeep(writer->config.bus, apr_time_now(),
                                  UPKEEP_USEC);
}

static int has_failed(comet_writer_t *writer, apr_status_t status)
{
    if (status == APR_SUCCESS) {
        return 0;
    }
    writer->pruning = writer->tidying = 0;
    if (status != COMET_ELOCKED) {
        judge(writer, status);
    }
    return 1;
}

/* One small step, or one of each kind; publishers may come between. */
static void keep_up(comet_writer_t *writer)
{
    int was_tidying = writer->tidying;
    apr_status_t status = APR_SUCCESS;

    if (!upkeep_is_due(writer)) {
        return;
    }
    if (retains(writer) && (writer->pruning || !was_tidying)) {
        if (!lock_bus(writer)) {
            return;
        }
        status = comet_store_prune(
            writer->store, comet_bus_now(writer->config.bus), &writer->pruning);
        comet_bus_unlock(writer->config.bus);
        if (has_failed(writer, status) || writer->pruning) {
            return;
        }
    }
    if (!lock_bus(writer)) {
        return;
    }
    status = comet_store_tidy(writer->store, &writer->tidying);
    comet_bus_unlock(writer->config.bus);
    has_failed(writer, status);
}

static void checkpoint(comet_writer_t *writer)
{
    apr_status_t status;

    if (comet_store_checkpoint_due(writer->store) && lock_bus(writer)) {
        status = comet_store_checkpoint(writer->store);
        comet_bus_unlock(writer->config.bus);
        if (status != APR_SUCCESS) {
            judge(writer, status);
        }
    }
}

/* @return how long there is nothing to do, in usec */
static apr_int64_t leisure(comet_writer_t *writer)
{
    apr_int64_t now = comet_monotonic();
    apr_int64_t until;

    if (!writer->store) {
        until =
            anything_queued(writer) ? writer->open_after - now : UPKEEP_USEC;
        return until > 0 ? until : 0;
    }
    if (writer->pruning || writer->tidying || anything_queued(writer)) {
        return 0;
    }
    until = writer->upkeep_after - now;
    return until > LOOK_USEC ? LOOK_USEC : until > 0 ? until : 0;
}

static void rest(comet_writer_t *writer)
{
    apr_int64_t usec = leisure(writer);
    struct pollfd fd = { .fd = writer->wake, .events = POLLIN };
    apr_uint64_t count;

    if (usec > 0) {
        poll(&fd, 1, (int)(usec / 1000 + 1));
    }
    /* in this order: what is queued from here on writes again */
    if (read(writer->wake, &count, sizeof(count)) > 0) {
        atomic_store(&writer->awake, 0);
    }
}

static void *work(void *baton)
{
    comet_writer_t *writer = baton;

    atomic_store(&writer->busy_since, comet_monotonic());
    open_store(writer);
    while (!atomic_load(&writer->stopping)) {
        atomic_store(&writer->busy_since, 0);
        rest(writer);
        atomic_store(&writer->busy_since, comet_monotonic());
        if (atomic_load(&writer->stopping)) {
            break;
        }
        if (!open_store(writer)) {
            /* a lock goes away: the publishers know how long they can wait */
            if (writer->open_status != COMET_ELOCKED) {
                refuse_queued(writer, writer->open_status);
            }
            continue;
        }
        if (anything_queued(writer) || comet_store_moved(writer->store)) {
            publish_queued(writer);
        }
        else {
            writer->locked_since = 0;
        }
        if (writer->store) {
            checkpoint(writer);
        }
        if (writer->store) {
            keep_up(writer);
        }
    }
    /* whoever comes from now on sees that it is stopping, under the mutex */
    refuse_queued(writer, COMET_ESTOPPING);
    close_store(writer);
    atomic_store(&writer->ended, 1);
    return NULL;
}

/* --- Life ------------------------------------------------------------- */

static apr_status_t close_wake(void *baton)
{
    comet_writer_t *writer = baton;

    if (atomic_load(&writer->joined)) {
        close(writer->wake);
    }
    return APR_SUCCESS;
}

apr_status_t comet_writer_create(comet_writer_t **writer,
                                 const comet_writer_config_t *config,
                                 apr_pool_t *pool)
{
    comet_writer_t *made = apr_pcalloc(pool, sizeof(*made));
    apr_size_t places = config->places ? config->places : 1;
    int failed;

    *writer = NULL;
    made->config = *config;
    made->config.places = places;
    if (!config->waiting) {
        made->config.waiting = &made->own_waiting;
    }
    made->store_config = *config->store;
    made->store_config.busy_timeout = OPEN_USEC;
    TAILQ_INIT(&made->queue);
    TAILQ_INIT(&made->overflow);
    made->jobs = apr_palloc(pool, places * sizeof(*made->jobs));
    made->groups = apr_palloc(pool, places * sizeof(*made->groups));
    made->wake = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (made->wake < 0) {
        return errno;
    }
    failed = pthread_mutex_init(&made->mutex, NULL);
    if (!failed) {
        failed = comet_condition_init(&made->has_tried);
    }
    if (!failed) {
        failed = comet_thread_start(&made->thread, work, made);
    }
    if (failed) {
        close(made->wake);
        return failed;
    }
    apr_pool_cleanup_register(pool, made, close_wake, apr_pool_cleanup_null);
    *writer = made;
    return APR_SUCCESS;
}

int comet_writer_stop(comet_writer_t *writer, apr_interval_time_t limit)
{
    apr_int64_t deadline = comet_monotonic() + limit;

    atomic_store(&writer->stopping, 1);
    /* a publisher that this handler interrupts may not have written yet */
    atomic_store(&writer->awake, 0);
    wake(writer);
    while (!atomic_load(&writer->ended)) {
        if (comet_monotonic() >= deadline) {
            return 0;
        }
        poll(NULL, 0, 1);
    }
    if (!atomic_exchange(&writer->joined, 1)) {
        pthread_join(writer->thread, NULL);
    }
    return 1;
}

int comet_writer_is_stuck(const comet_writer_t *writer)
{
    apr_int64_t since = atomic_load(&writer->busy_since);

    return since && !atomic_load(&writer->ended)
           && comet_monotonic() - since >= STUCK_USEC;
}
