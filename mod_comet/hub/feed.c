/* SPDX-License-Identifier: Apache-2.0 */
/* Keeps the ring of recent messages in step with the log. */
#include "hub/feed.h"

#include <stdio.h>
#include <string.h>

#include "store/engine.h"

#define SAFETY_USEC APR_INT64_C(500000)
#define BATCH 256
/* How often to check that the file is still at its path while nothing is
 * committed.  Checking at every look would be too often: after a commit some
 * looks are 1 ms apart. */
#define IN_PLACE_USEC APR_INT64_C(25000)

/* The state of an unusable ring.  No store is ever in this state. */
static const comet_store_state_t unknown = { .last = -1, .erased = -1 };

typedef enum { NOTHING, GREW, REWRITTEN } change_e;

/* Make the ring unusable until it is filled from the store. */
static void forget(comet_feed_t *feed)
{
    comet_ring_reset(&feed->ring, COMET_TIMESTAMP_MAX);
    feed->ring.state = unknown;
}

void comet_feed_init(comet_feed_t *feed, const comet_store_config_t *config,
                     comet_bus_t *bus)
{
    feed->store_config = config;
    feed->bus = bus;
    feed->is_remote = config->place.engine->is_remote;
    feed->watch = NULL;
    feed->safety_at = 1; /* in the past: look as soon as possible */
    forget(feed);
}

void comet_feed_close(comet_feed_t *feed)
{
    if (feed->watch) {
        comet_watch_close(feed->watch);
        comet_bus_release_watch(feed->bus);
        feed->watch = NULL;
    }
    comet_store_close(feed->store);
    feed->store = NULL;
}

apr_time_t comet_feed_due(const comet_feed_t *feed)
{
    apr_time_t due = feed->watch ? comet_watch_due(feed->watch) : 0;

    return due && due < feed->safety_at ? due : feed->safety_at;
}

/* Close the store.  The next file that is opened might be another one, so the
 * ring is emptied.  For a remote store the ring is kept: after a lost
 * connection the log is most likely the same, and find_change() notices if it
 * is not. */
static void give_up_store(comet_feed_t *feed, pthread_mutex_t *lock)
{
    feed->has_tally = 0;
    comet_store_close(feed->store);
    feed->store = NULL;
    if (!feed->is_remote) {
        pthread_mutex_lock(lock);
        forget(feed);
        pthread_mutex_unlock(lock);
    }
}

/*
 * Find out what has happened to the log since the ring was in step with it.
 * The newest message of the ring is looked up, because the state's numbers
 * alone can mislead: if an older copy of the database was restored and then
 * written to, it can look as if the log had only grown.
 */
static apr_status_t find_change(comet_feed_t *feed,
                                const comet_store_state_t *state,
                                change_e *change)
{
    const comet_store_state_t *known = &feed->ring.state;
    comet_timestamp_t newest = comet_ring_newest(&feed->ring);
    apr_int64_t has = 1;
    apr_status_t status = APR_SUCCESS;

    *change = NOTHING;
    if (state->last == known->last && state->erased == known->erased) {
        return APR_SUCCESS;
    }
    if (newest) {
        status = comet_store_has(feed->store, newest, &has);
    }
    *change =
        has && state->last >= known->last && state->erased == known->erased
            ? GREW
            : REWRITTEN;
    return status;
}

/* Where to continue reading: at the end of the ring or, if the log has changed
 * before that point, further back. */
static apr_status_t find_start(comet_feed_t *feed, change_e change,
                               comet_timestamp_t *start)
{
    const comet_store_state_t *known = &feed->ring.state;
    apr_status_t status;

    *start = known->last;
    if (change == GREW) {
        return APR_SUCCESS;
    }
    status = comet_store_recent(feed->store, COMET_RING_MESSAGES, start);
    if (feed->ring.count && *start < feed->ring.from) {
        *start = feed->ring.from; /* the ring need not reach further back than
                                   * before */
    }
    if (known->last >= 0 && known->last < *start) {
        *start = known->last; /* every new message must be announced */
    }
    return status;
}

/* Put a batch into the ring, and announce the messages that are new. */
static void take_locked(comet_feed_t *feed, const comet_batch_t *batch,
                        comet_timestamp_t known, comet_feed_cb *callback,
                        void *baton)
{
    apr_size_t i;

    for (i = 0; i < batch->count; i++) {
        comet_message_t *message = batch->messages[i];

        comet_ring_push(&feed->ring, message);
        feed->ring.state.last = message->timestamp;
        if (message->timestamp > known) {
            callback(baton, feed, message, known >= 0);
        }
    }
}

/*
 * Read the snapshot into the ring, from where find_start() says to the
 * snapshot's end.  A ring that is refilled is unusable until it is complete: a
 * subscriber that joins between two batches would otherwise miss messages it
 * has not seen.
 */
static apr_status_t read_on(comet_feed_t *feed, pthread_mutex_t *lock,
                            const comet_store_state_t *state, change_e change,
                            comet_feed_cb *callback, void *baton)
{
    comet_message_t *room[BATCH];
    comet_batch_t batch = { .messages = room, .size = BATCH };
    comet_timestamp_t known = feed->ring.state.last, cursor;
    int refill = change == REWRITTEN, first = 1, more;
    apr_status_t status = find_start(feed, change, &cursor);

    for (more = status == APR_SUCCESS; more; first = 0) {
        status = comet_store_tail(feed->store, cursor, BATCH, comet_batch_add,
                                  &batch);
        more = status == APR_SUCCESS && comet_batch_is_full(&batch);
        if (status == APR_SUCCESS) {
            pthread_mutex_lock(lock);
            if (refill && first) {
                comet_ring_reset(&feed->ring, cursor);
            }
            take_locked(feed, &batch, known, callback, baton);
            cursor = feed->ring.state.last;
            if (!more) {
                feed->ring.state = *state;
            }
            else if (refill) {
                feed->ring.state = unknown;
            }
            pthread_mutex_unlock(lock);
        }
        comet_batch_clear(&batch);
    }
    return status;
}

/*
 * Compare the log with the ring in one consistent view of the store.  Whether
 * the store is usable is checked after the view is opened: from then on the log
 * at this path cannot be replaced.
 */
static apr_status_t look(comet_feed_t *feed, pthread_mutex_t *lock,
                         int *changed, comet_feed_cb *callback, void *baton)
{
    comet_store_state_t state;
    comet_tally_t tally;
    change_e change;
    int tallied = comet_store_tally(feed->store, &tally);
    apr_status_t status = comet_store_begin(feed->store, &state);

    feed->has_tally = 0;
    if (status != APR_SUCCESS) {
        return status;
    }
    if (!comet_store_is_usable(feed->store, 0)) {
        comet_store_end(feed->store);
        return COMET_EMOVED;
    }
    status = find_change(feed, &state, &change);
    if (change == REWRITTEN) {
        pthread_mutex_lock(lock);
        feed->erased_until = state.last;
        pthread_mutex_unlock(lock);
    }
    *changed = change != NOTHING;
    if (*changed && status == APR_SUCCESS) {
        status = read_on(feed, lock, &state, change, callback, baton);
    }
    comet_store_end(feed->store);
    feed->tally = tally;
    feed->has_tally = tallied && status == APR_SUCCESS;
    return status;
}

/* Compare the store's tally with that of the last look.
 * @return COMET_FEED_COVERS: nothing was committed since */
static comet_feed_coverage_e compare_tally(const comet_feed_t *feed)
{
    comet_tally_t now;

    if (feed->is_remote || !feed->has_tally
        || !comet_store_tally(feed->store, &now)) {
        return COMET_FEED_CANNOT_TELL;
    }
    return memcmp(&now, &feed->tally, sizeof(now)) == 0 ? COMET_FEED_COVERS
                                                        : COMET_FEED_IS_BEHIND;
}

/* Whether nothing was committed since the last look, so that the ring need not
 * be compared with the log.  A commit causes several notifications, and all but
 * the first usually find nothing new. */
static int is_in_step(comet_feed_t *feed)
{
    return compare_tally(feed) == COMET_FEED_COVERS
           && comet_store_is_usable(feed->store, IN_PLACE_USEC);
}

/*
 * Take over what this child's writer has committed since the last look.  That
 * look might have seen a part of these commits, since the tally was read before
 * the look began.
 * @return whether anything was taken over
 */
static int take_over(comet_feed_t *feed, pthread_mutex_t *lock,
                     comet_feed_cb *callback, void *baton)
{
    comet_transaction_t *transaction;
    int any = 0;

    while (
        feed->has_tally
        && (transaction = comet_committed_take(feed->committed, &feed->tally))
               != NULL) {
        comet_batch_t batch = { .messages = transaction->messages,
                                .count = transaction->count };

        pthread_mutex_lock(lock);
        while (batch.count
               && batch.messages[0]->timestamp <= feed->ring.state.last) {
            batch.messages++;
            batch.count--;
        }
        take_locked(feed, &batch, feed->ring.state.last, callback, baton);
        pthread_mutex_unlock(lock);
        feed->tally = transaction->after;
        comet_committed_free(transaction);
        any = 1;
    }
    return any;
}

/*
 * Bring the ring into step with a remote log, with one query for each batch.
 * @param goes_on  OUT: whether this was possible.  If not, the ring is unusable
 *                 or the log was not merely extended, and look() has to compare
 *                 the two
 */
static apr_status_t ask_for_news(comet_feed_t *feed, pthread_mutex_t *lock,
                                 int *changed, int *goes_on,
                                 comet_feed_cb *callback, void *baton)
{
    comet_message_t *room[BATCH];
    comet_batch_t batch = { .messages = room, .size = BATCH };
    apr_status_t status = APR_SUCCESS;
    int more;

    *goes_on = feed->ring.state.last >= 0;
    for (more = *goes_on; more && status == APR_SUCCESS;) {
        const comet_store_state_t known = feed->ring.state;
        comet_store_state_t state;

        status = comet_store_news(
            feed->store, &known, comet_ring_newest(&feed->ring), BATCH,
            feed->awaits_commit, comet_batch_add, &batch, &state, goes_on);
        more = comet_batch_is_full(&batch);
        feed->awaits_commit = 0;
        if (status == APR_SUCCESS && *goes_on) {
            pthread_mutex_lock(lock);
            take_locked(feed, &batch, known.last, callback, baton);
            if (!more) {
                feed->ring.state = state;
            }
            pthread_mutex_unlock(lock);
            *changed |= state.last != known.last;
        }
        comet_batch_clear(&batch);
    }
    return status;
}

static apr_status_t open_and_look(comet_feed_t *feed, pthread_mutex_t *lock,
                                  int *changed, comet_feed_cb *callback,
                                  void *baton)
{
    int goes_on = 0;
    apr_status_t status =
        feed->store
            ? APR_SUCCESS
            : comet_store_open(&feed->store, feed->store_config,
                               COMET_STORE_READ_AT_ONCE, feed->stopping);

    if (status == APR_SUCCESS && feed->is_remote) {
        status = ask_for_news(feed, lock, changed, &goes_on, callback, baton);
    }
    return status == APR_SUCCESS && !goes_on
               ? look(feed, lock, changed, callback, baton)
               : status;
}

comet_feed_coverage_e comet_feed_coverage(comet_feed_t *feed,
                                          comet_timestamp_t after)
{
    comet_feed_coverage_e tally = compare_tally(feed);

    if (tally != COMET_FEED_COVERS) {
        return tally;
    }
    return after >= feed->erased_until && after <= feed->ring.state.last
                   && comet_ring_covers(&feed->ring, after)
               ? COMET_FEED_COVERS
               : COMET_FEED_CANNOT_TELL;
}

static void note_look(comet_feed_t *feed, apr_status_t status, int changed,
                      int notified, apr_time_t now)
{
    comet_watch_looked(feed->watch, changed, now);
    if (status != APR_SUCCESS) {
        comet_watch_pause(feed->watch, now);
    }
    if (changed && !notified) {
        comet_bus_notify(feed->bus);
    }
}

void comet_feed_tell_others(comet_feed_t *feed, apr_time_t now)
{
    apr_uint32_t commits = comet_bus_commits(feed->bus);

    if (feed->watch && commits != feed->told) {
        feed->told = commits;
        comet_watch_tell(feed->watch, now);
    }
}

apr_status_t comet_feed_refresh(comet_feed_t *feed, pthread_mutex_t *lock,
                                int notified, apr_time_t now,
                                comet_feed_cb *callback, void *baton)
{
    int taken, changed = 0, was_unknown = feed->ring.state.last < 0;
    int thorough = now >= feed->safety_at;
    apr_status_t status = APR_SUCCESS;

    if (thorough) {
        feed->safety_at = now + SAFETY_USEC;
    }
    if (feed->watch) {
        comet_watch_look(feed->watch, now);
    }
    taken = take_over(feed, lock, callback, baton);
    if (thorough || !is_in_step(feed)) {
        status = open_and_look(feed, lock, &changed, callback, baton);
    }
    if (status == COMET_EMOVED) {
        give_up_store(feed, lock);
        was_unknown = 1;
        status = open_and_look(feed, lock, &changed, callback, baton);
    }
    if (status != APR_SUCCESS) {
        snprintf(feed->error, sizeof(feed->error), "%s",
                 comet_store_error(feed->store));
    }
    if (status != APR_SUCCESS && status != COMET_ELOCKED) {
        give_up_store(feed, lock);
    }
    if (feed->watch) {
        note_look(feed, status, changed || taken, notified, now);
        comet_feed_tell_others(feed, now);
    }
    /* if the ring was not kept, it is unknown which messages were announced */
    feed->restarted =
        status == APR_SUCCESS
        && (was_unknown || (feed->status != APR_SUCCESS && !feed->is_remote));
    feed->status = status;
    return status;
}
