/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Group commit: the thread that takes the jobs that publishers have queued,
 * commits all of them in one transaction, and answers the publishers.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "store/engine.h"
#include "store/writer_priv.h"

#include <stdatomic.h>
#include <time.h>

/** How long the thread waits for another program that has the engine's lock.
 * It holds the bus's lock meanwhile. */
#define TURN_USEC 20000
#define REOPEN_USEC 200000
#define REOPEN_MAX_USEC 1600000
/** How long to wait for the bus's lock before checking whether to stop. */
#define LOCK_USEC 50000
#define UPKEEP_USEC 5000000
/** How soon upkeep is tried again if it has found the store locked. */
#define UPKEEP_AGAIN_USEC 200000
/** The longest sleep of the writer.  After each sleep the writer checks whether
 * the open store is still the one at its place. */
#define LOOK_USEC 1000000

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

static void report_refusal(const comet_writer_t *writer)
{
    if (writer->config.on_refusal) {
        writer->config.on_refusal(writer->config.baton,
                                  comet_store_error(writer->store));
    }
}

/* If the store has refused a message, report the store's own error text for the
 * error log.  The publisher learns only that its message was refused. */
static void report_refusals(const comet_writer_t *writer)
{
    apr_size_t i = 0;

    while (i < writer->group_count
           && writer->groups[i]->result != COMET_EINVALID) {
        i++;
    }
    if (i < writer->group_count) {
        report_refusal(writer);
    }
}

/* Whether the writers of this server take turns by means of the bus's lock. */
static int uses_bus(const comet_writer_t *writer)
{
    return !writer->store_config.place.engine->is_remote;
}

static void unlock_bus(comet_writer_t *writer)
{
    if (uses_bus(writer)) {
        comet_bus_unlock(writer->config.bus);
    }
}

static int has_guests(void *baton)
{
    const comet_writer_t *writer = baton;

    return !writer->store || comet_store_has_guests(writer->store);
}

/* Give programs outside the server a chance to write, if there are any. */
static void let_guests_in(comet_writer_t *writer)
{
    apr_interval_time_t owed =
        comet_bus_owed_rest(writer->config.bus, has_guests, writer);

    if (owed) {
        comet_bus_rest(writer->config.bus, owed);
    }
}

/* Wait for the bus's lock.  Another child may hold it while its disk stalls, or
 * while its process is stopped.  A long wait is reported once.
 * @return whether the lock is held, or not needed; 0: this writer must stop */
static int lock_bus(comet_writer_t *writer)
{
    apr_int64_t since = comet_monotonic();

    while (uses_bus(writer)
           && comet_bus_lock_within(writer->config.bus, LOCK_USEC)
                  != APR_SUCCESS) {
        if (atomic_load(&writer->stopping)) {
            return 0;
        }
        if (comet_monotonic() - since >= writer->config.store->busy_timeout) {
            report(writer, COMET_ELOCKED,
                   "another child of this server holds the write lock");
        }
    }
    if (uses_bus(writer)) {
        let_guests_in(writer);
    }
    return 1;
}

/* Close the store, holding the bus's lock.  A writer that must stop may fail to
 * acquire the lock, and does not wait for it if the log is to be kept.  Then it
 * closes the store without the lock; but if the store was moved, it leaves the
 * store open, since closing would remove files of the new store. */
static void close_store(comet_writer_t *writer)
{
    if (writer->store) {
        int keeps_log =
            atomic_load(&writer->stopping) && atomic_load(&writer->keeps_log);
        int locked = !keeps_log && lock_bus(writer);

        if (keeps_log) {
            comet_store_keep_log(writer->store);
        }
        if (locked || comet_store_is_usable(writer->store, 0)) {
            comet_store_close(writer->store);
        }
        if (locked) {
            unlock_bus(writer);
        }
        writer->store = NULL;
    }
}

/* How long to wait before the next attempt to open the store.  If a database
 * server does not answer, the pause grows, because all children of all web
 * servers try to connect to that server. */
static apr_interval_time_t next_back_off(const comet_writer_t *writer)
{
    apr_interval_time_t twice = 2 * writer->back_off;

    if (writer->store || uses_bus(writer) || twice < REOPEN_USEC) {
        return REOPEN_USEC;
    }
    return twice < REOPEN_MAX_USEC ? twice : REOPEN_MAX_USEC;
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
    unlock_bus(writer);
    writer->back_off = next_back_off(writer);
    writer->open_after = comet_monotonic() + writer->back_off;
    if (writer->open_status != COMET_ELOCKED) { /* a lock will soon be released,
                                                 * so readers go on waiting */
        comet_writer_note_tried(writer);
    }
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

/* React to the outcome of a step: report a failure, and open a new connection
 * if the present one may be unusable. */
static void judge(comet_writer_t *writer, apr_status_t status)
{
    switch (status) {
    case APR_SUCCESS:
        writer->locked_since = 0;
        report(writer, status, "");
        return;
    case COMET_ELOCKED: /* not a failure: each publisher waits until its own
                         * time limit */
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
 * Commit the queued jobs.  The order is: commit, release the lock, notify the
 * other children, answer the publishers.  So when a publisher learns a
 * timestamp, the message is in the store, and the other children have been
 * notified.
 */
static void publish_queued(comet_writer_t *writer)
{
    apr_size_t count = 0;
    apr_int64_t began;
    apr_status_t status;

    comet_writer_gather(writer);
    if (!lock_bus(writer)) {
        return;
    }
    began = comet_monotonic();
    status = comet_store_reserve(writer->store, TURN_USEC);
    if (status == APR_SUCCESS) {
        count = comet_writer_take_jobs(writer);
        comet_writer_announce(writer, count);
        status = comet_store_append(writer->store, writer->groups,
                                    writer->group_count);
        if (status == APR_SUCCESS && writer->config.committed) {
            comet_committed_add(writer->config.committed, writer->store,
                                writer->groups, writer->group_count);
        }
    }
    unlock_bus(writer);
    if (count && status == APR_SUCCESS) {
        report_refusals(writer);
    }
    if (count && status == COMET_ELOCKED) {
        comet_writer_requeue_jobs(writer, count);
    }
    else if (count) {
        comet_bus_notify_commit(writer->config.bus);
        comet_writer_note_commit(writer, count, comet_monotonic() - began);
        comet_writer_answer_jobs(writer, count, status);
    }
    else if (status != APR_SUCCESS && status != COMET_ELOCKED) {
        comet_writer_refuse_jobs(writer, status);
    }
    judge(writer, status);
}

/* Whether this child must do upkeep now.  Every UPKEEP_USEC, one child begins
 * upkeep, and continues until it is finished. */
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
    if (writer->owes_upkeep && now - writer->claimed_at < UPKEEP_USEC) {
        return 1;
    }
    writer->claimed_at = now;
    writer->owes_upkeep =
        comet_bus_claim_upkeep(writer->config.bus, apr_time_now(), UPKEEP_USEC);
    return writer->owes_upkeep;
}

/* Whether a step of upkeep has failed.  Then the round ends.  If another program
 * has the store's lock, this child begins the round again, after ever longer
 * pauses, until another child may claim the next round. */
static int has_failed(comet_writer_t *writer, apr_status_t status)
{
    apr_int64_t now = comet_monotonic(), since = now - writer->claimed_at;

    writer->owes_upkeep = status == COMET_ELOCKED && since < UPKEEP_USEC;
    if (status == APR_SUCCESS) {
        return 0;
    }
    writer->pruning = writer->tidying = 0;
    if (writer->owes_upkeep) {
        writer->upkeep_after =
            now + (since > UPKEEP_AGAIN_USEC ? since : UPKEEP_AGAIN_USEC);
    }
    else if (status != COMET_ELOCKED) {
        judge(writer, status);
    }
    return 1;
}

/* Report that a trigger has refused a part of upkeep, which has done the rest.
 * @return the status of the rest */
static apr_status_t unless_refused(const comet_writer_t *writer,
                                   apr_status_t status)
{
    if (status != COMET_EINVALID) {
        return status;
    }
    report_refusal(writer);
    return APR_SUCCESS;
}

/* Do one small step of pruning, or of tidying, or one of each.  Publishers are
 * served between two calls. */
static void keep_up(comet_writer_t *writer)
{
    int was_tidying = writer->tidying;
    apr_status_t status = APR_SUCCESS;

    if (!upkeep_is_due(writer)) {
        return;
    }
    if (writer->pruning || !was_tidying) {
        if (!lock_bus(writer)) {
            return;
        }
        status = comet_store_prune(
            writer->store, comet_bus_now(writer->config.bus), &writer->pruning);
        unlock_bus(writer);
        status = unless_refused(writer, status);
        if (has_failed(writer, status) || writer->pruning) {
            return;
        }
    }
    if (!lock_bus(writer)) {
        return;
    }
    status = comet_store_tidy(writer->store, &writer->tidying);
    unlock_bus(writer);
    has_failed(writer, unless_refused(writer, status));
}

/* Let the log begin anew once the copier has copied most of it.  If the log
 * grows faster than it can be copied to the disk, publishers wait for the
 * copier. */
static void checkpoint(comet_writer_t *writer)
{
    int due = comet_store_checkpoint_due(writer->store);
    apr_status_t status;

    if (due && comet_copier_has_copied(writer->copier, due > 1)
        && lock_bus(writer)) {
        status = comet_store_checkpoint(writer->store);
        unlock_bus(writer);
        if (status != APR_SUCCESS) {
            judge(writer, status);
        }
    }
}

static void take_in(comet_writer_t *writer)
{
    apr_status_t status = comet_writer_take_in(writer);

    if (status != APR_SUCCESS && status != COMET_ELOCKED) {
        judge(writer, status);
    }
}

/* Bring the store's list of members up to date. */
static void keep_presence(comet_writer_t *writer)
{
    int removed, changed;
    apr_status_t status;

    if (!writer->presence
        || comet_monotonic() < comet_presence_due(writer->presence)
        || !lock_bus(writer)) {
        return;
    }
    status = comet_presence_step(writer->presence, writer->store, &removed,
                                 &changed);
    unlock_bus(writer);
    if (changed) {
        comet_bus_notify_commit(writer->config.bus);
    }
    if (removed && writer->config.on_removed) {
        writer->config.on_removed(writer->config.baton);
    }
    if (status != APR_SUCCESS && status != COMET_ELOCKED) {
        judge(writer, status);
    }
}

/* End the presence of this child, since the child is ending. */
static void end_presence(comet_writer_t *writer)
{
    if (writer->presence && writer->store && lock_bus(writer)) {
        comet_presence_end(writer->presence, writer->store);
        unlock_bus(writer);
    }
}

/* When upkeep, the inbox or presence is due. */
static apr_int64_t next_duty(const comet_writer_t *writer)
{
    apr_int64_t due = writer->upkeep_after, other;

    if (comet_store_has_inbox(writer->store) && writer->inbox_after < due) {
        due = writer->inbox_after;
    }
    if (writer->presence) {
        other = comet_presence_due(writer->presence);
        due = other < due ? other : due;
    }
    return due;
}

/* @return how many microseconds the thread may sleep */
static apr_int64_t leisure(comet_writer_t *writer)
{
    apr_int64_t now = comet_monotonic();
    apr_int64_t until;
    int refused;

    if (!writer->store) { /* keep trying to open the store even if nobody
                           * publishes: readers need it, too */
        until = writer->open_after - now;
        refused = writer->open_status != COMET_ELOCKED
                  && comet_writer_has_jobs(writer);
        return until > 0 && !refused ? until : 0;
    }
    if (writer->pruning || writer->tidying || comet_writer_has_jobs(writer)) {
        return 0;
    }
    until = next_duty(writer) - now;
    return until > LOOK_USEC ? LOOK_USEC : until > 0 ? until : 0;
}

/* Sleep until there is something to do.  `awake` is cleared before the check of
 * the queue, so a job that is queued later wakes the thread.  While the thread
 * works, it need not be woken. */
static void rest(comet_writer_t *writer)
{
    struct timespec until;
    apr_int64_t usec, end;

    atomic_store(&writer->awake, 0);
    usec = leisure(writer);
    if (usec > 0 && !atomic_load(&writer->stopping)) {
        end = comet_monotonic() + usec;
        until = (struct timespec){ .tv_sec = (time_t)(end / 1000000),
                                   .tv_nsec = (long)(end % 1000000) * 1000 };
        sem_clockwait(&writer->wake, CLOCK_MONOTONIC, &until);
    }
    atomic_store(&writer->awake, 1);
    while (sem_trywait(&writer->wake) == 0) {
    }
}

static void begin_step(comet_writer_t *writer)
{
    atomic_store(&writer->busy_since, comet_monotonic());
}

/* What the thread does when it must stop.  Each part may wait for the disk. */
static void end(comet_writer_t *writer)
{
    /* publishers that arrive from now on see, under the mutex, that the writer
     * is stopping */
    comet_writer_refuse_jobs(writer, COMET_ESTOPPING);
    begin_step(writer);
    end_presence(writer);
    begin_step(writer);
    comet_copier_stop(writer->copier);
    begin_step(writer);
    close_store(writer);
    if (writer->has_inbox_role) {
        comet_bus_release_inbox(writer->config.bus);
    }
    atomic_store(&writer->ended, 1);
}

void *comet_writer_run(void *baton)
{
    /* each of them may find that the store is lost, and close it */
    void (*const duties[])(comet_writer_t *) = { take_in, keep_presence,
                                                 checkpoint, keep_up };
    comet_writer_t *writer = baton;
    apr_size_t i;

    begin_step(writer);
    open_store(writer);
    while (!atomic_load(&writer->stopping)) {
        atomic_store(&writer->busy_since, 0);
        rest(writer);
        begin_step(writer);
        if (atomic_load(&writer->stopping)) {
            break;
        }
        if (!open_store(writer)) {
            /* do not refuse the jobs because of a lock: the lock will be
             * released, and each publisher has its own time limit */
            if (writer->open_status != COMET_ELOCKED) {
                comet_writer_refuse_jobs(writer, writer->open_status);
            }
            continue;
        }
        if (comet_writer_has_jobs(writer)
            || !comet_store_is_usable(writer->store, 0)) {
            publish_queued(writer);
        }
        else {
            writer->locked_since = 0;
        }
        for (i = 0; writer->store && i < sizeof(duties) / sizeof(*duties);
             i++) {
            duties[i](writer);
        }
    }
    end(writer);
    return NULL;
}
