/* SPDX-License-Identifier: Apache-2.0 */
/* Presence in the writer's thread: write the table of members to the store, and
 * maintain the leases. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "store/presence_priv.h"

#include <apr_general.h>
#include <stdlib.h>
#include <unistd.h>

/* The shortest time between two writes of members, between two writes of the
 * numbers of clients without a name, and between two publications of
 * numbers. */
#define WRITE_USEC 50000
#define NUMBERS_USEC 1000000
#define PUBLISH_USEC 2000000
/* The shortest time between two comparisons of rows, however many members were
 * thrown out. */
#define COMPARE_USEC 100000
/* How long to wait before a failed step is repeated. */
#define RETRY_USEC 200000
/* When a child ends, its lease is extended by this time for each entry, because
 * many clients take longer to reconnect. */
#define RETURN_USEC 200

/* A lease lasts for two grace periods, and is renewed three times in that
 * time. */
static apr_interval_time_t patience_of(const comet_presence_t *presence)
{
    return 2 * presence->grace;
}

static apr_time_t renewal_after(const comet_presence_t *presence)
{
    return comet_monotonic() + patience_of(presence) / 3;
}

apr_time_t comet_presence_due(comet_presence_t *presence)
{
    apr_time_t due = presence->look_at, other;

    if (presence->holder.id && presence->renew_at < due) {
        due = presence->renew_at;
    }
    if (presence->publish_at < due) {
        due = presence->publish_at;
    }
    if (atomic_load(&presence->noticed) && presence->notice_at < due) {
        due = presence->notice_at;
    }
    pthread_mutex_lock(&presence->lock);
    if (!TAILQ_EMPTY(&presence->dirty)) {
        other = presence->hurried ? presence->write_at : presence->numbers_at;
        due = other < due ? other : due;
    }
    other = comet_wheel_due(&presence->wheel);
    due = other && other < due ? other : due;
    pthread_mutex_unlock(&presence->lock);
    return due > presence->step_at ? due : presence->step_at;
}

/* --- this child's lease ---------------------------------------------------- */

static void take_lease(comet_presence_t *presence)
{
    apr_int64_t id = 0;

    while (id <= 0) {
        apr_generate_random_bytes((unsigned char *)&id, sizeof(id));
        id &= COMET_TIMESTAMP_MAX;
    }
    if (!presence->host[0]
        && gethostname(presence->host, sizeof(presence->host) - 1) != 0) {
        presence->host[0] = '?';
    }
    presence->holder = (comet_holder_t){
        .id = id,
        .host = presence->host,
        .pid = (int)getpid(),
        .patience = patience_of(presence),
    };
    presence->is_new = 1;
}

/* The store no longer has rows of this child: write all members again. */
static void lose_lease(comet_presence_t *presence)
{
    apr_size_t i;

    presence->holder.id = 0;
    pthread_mutex_lock(&presence->lock);
    for (i = 0; i < presence->size; i++) {
        comet_entry_t *entry = presence->buckets[i], *next;

        for (; entry; entry = next) {
            next = entry->next;
            entry->stored = 0;
            comet_presence_touch_locked(presence, entry);
        }
    }
    presence->hurried = 1;
    pthread_mutex_unlock(&presence->lock);
}

/* --- writing --------------------------------------------------------------- */

/* End the grace periods that are over: set each entry's ->wanted by its present
 * clients. */
static void end_graces(comet_presence_t *presence)
{
    apr_time_t now = comet_monotonic();
    comet_timer_t *timer;

    pthread_mutex_lock(&presence->lock);
    while ((timer = comet_wheel_expire(&presence->wheel, now)) != NULL) {
        comet_entry_t *entry =
            (comet_entry_t *)((char *)timer - offsetof(comet_entry_t, grace));

        entry->wanted =
            entry->member.length ? entry->clients > 0 : entry->clients;
        presence->hurried |= entry->member.length > 0;
        comet_presence_touch_locked(presence, entry);
    }
    pthread_mutex_unlock(&presence->lock);
}

/* Collect the entries that must be written, and mark them as in flight, so that
 * nobody frees them.
 * @return how many */
static apr_size_t collect(comet_presence_t *presence, apr_time_t now)
{
    int numbers = now >= presence->numbers_at;
    apr_size_t count = 0;
    comet_entry_t *entry, *next;

    pthread_mutex_lock(&presence->lock);
    for (entry = TAILQ_FIRST(&presence->dirty);
         entry && count < COMET_PRESENCE_CHANGES; entry = next) {
        next = TAILQ_NEXT(entry, link);
        if (!numbers
            && (!entry->member.length || entry->wanted == entry->stored)) {
            continue; /* numbers and marks are less urgent */
        }
        presence->flight[count] = entry;
        presence->changes[count++] = (comet_online_change_t){
            .channel = entry->channel,
            .most = entry->most,
            .member = entry->member,
            .info = entry->info,
            .since = entry->since,
            .clients = entry->wanted,
            .read_at = entry->read_at > entry->read_stored ? entry->read_at : 0,
        };
        entry->in_flight = 1;
    }
    presence->hurried = entry != NULL;
    pthread_mutex_unlock(&presence->lock);
    if (numbers) {
        presence->numbers_at = now + NUMBERS_USEC;
    }
    return count;
}

/* Note the outcome of a write for the entries in flight.
 * @param written  whether the store has the changes now */
static void settle(comet_presence_t *presence, apr_size_t count, int written)
{
    apr_size_t i;

    pthread_mutex_lock(&presence->lock);
    for (i = 0; i < count; i++) {
        comet_entry_t *entry = presence->flight[i];

        entry->in_flight = 0;
        if (written) {
            entry->stored = presence->changes[i].clients;
            if (presence->changes[i].read_at) {
                entry->read_stored = presence->changes[i].read_at;
            }
        }
        comet_presence_touch_locked(presence, entry);
    }
    presence->hurried |= !written;
    pthread_mutex_unlock(&presence->lock);
}

static apr_status_t write_changes(comet_presence_t *presence,
                                  comet_store_t *store, int *changed)
{
    apr_time_t now = comet_monotonic();
    apr_size_t count = now >= presence->write_at ? collect(presence, now) : 0;
    apr_status_t status;

    if (!count && !(presence->holder.id && now >= presence->renew_at)) {
        return APR_SUCCESS;
    }
    if (!presence->holder.id) {
        take_lease(presence);
    }
    status = comet_online_write(store, &presence->holder, presence->is_new,
                                presence->changes, count);
    settle(presence, count, status == APR_SUCCESS);
    presence->write_at = comet_monotonic() + WRITE_USEC;
    if (status == APR_SUCCESS) {
        presence->is_new = 0;
        presence->renew_at = renewal_after(presence);
        *changed |= count > 0;
    }
    else if (status == APR_NOTFOUND) {
        lose_lease(presence);
        presence->write_at = 0;
        status = APR_SUCCESS;
    }
    return status;
}

/* Give up the lease if no entry is left in this child. */
static apr_status_t rest(comet_presence_t *presence, comet_store_t *store)
{
    apr_status_t status;
    int more, any;

    pthread_mutex_lock(&presence->lock);
    any = presence->count > 0;
    pthread_mutex_unlock(&presence->lock);
    if (any || !presence->holder.id || presence->is_new) {
        return APR_SUCCESS;
    }
    status = comet_online_sweep(store, presence->holder.id, &more);
    if (status == APR_SUCCESS && !more) {
        presence->holder.id = 0;
    }
    return status;
}

/* --- thrown out ------------------------------------------------------------ */

/* Note that the store has this row.  If this child has no entry for the row,
 * make one whose ->wanted is 0, so that the row is deleted.  A commit with an
 * unknown outcome can leave such a row. */
static int take_row(void *baton, const comet_online_member_t *row)
{
    static const comet_text_t none = { NULL, 0 };
    comet_presence_t *presence = baton;
    comet_entry_t *entry;

    pthread_mutex_lock(&presence->lock);
    entry = comet_presence_find_locked(presence, row->channel, row->member,
                                       none, 1);
    if (entry) {
        entry->seen = presence->round;
        entry->stored = 1;
        comet_presence_touch_locked(presence, entry);
    }
    pthread_mutex_unlock(&presence->lock);
    return entry != NULL;
}

/* Throw out the members whose rows the store no longer has.
 * @return whether there were any */
static int throw_out_unseen(comet_presence_t *presence)
{
    apr_size_t i;
    int any = 0;

    pthread_mutex_lock(&presence->lock);
    for (i = 0; i < presence->size; i++) {
        comet_entry_t *entry = presence->buckets[i], *next;

        for (; entry; entry = next) {
            next = entry->next;
            if (entry->member.length && entry->stored
                && entry->seen != presence->round) {
                comet_presence_throw_out_locked(presence, entry);
                any = 1;
            }
        }
    }
    pthread_mutex_unlock(&presence->lock);
    return any;
}

/* Compare the store's rows with the rows that this child has written, if this
 * is due. */
static apr_status_t compare(comet_presence_t *presence, comet_store_t *store,
                            int *removed)
{
    apr_time_t now = comet_monotonic();
    apr_status_t status = APR_SUCCESS;
    int noticed =
        now >= presence->notice_at && atomic_exchange(&presence->noticed, 0);

    if (!noticed && now < presence->compare_at) {
        return APR_SUCCESS;
    }
    if (noticed) {
        presence->notice_at = now + COMPARE_USEC;
    }
    presence->compare_at = renewal_after(presence);
    if (presence->holder.id && !presence->is_new) {
        presence->round++;
        status =
            comet_online_rows(store, presence->holder.id, take_row, presence);
    }
    if (status == APR_NOTFOUND) {
        lose_lease(presence);
        status = APR_SUCCESS;
    }
    if (status != APR_SUCCESS) {
        atomic_fetch_or(&presence->noticed, noticed);
        return status;
    }
    if (presence->holder.id && !presence->is_new) {
        noticed |= throw_out_unseen(presence);
    }
    *removed |= noticed;
    return APR_SUCCESS;
}

/* --- the other children's leases ------------------------------------------- */

static comet_lease_t *find_lease(comet_presence_t *presence, apr_int64_t id)
{
    apr_size_t i;

    for (i = 0; i < presence->lease_count; i++) {
        if (presence->leases[i].holder == id) {
            return &presence->leases[i];
        }
    }
    return NULL;
}

static comet_lease_t *add_lease(comet_presence_t *presence)
{
    apr_size_t room = presence->lease_room ? 2 * presence->lease_room : 16;
    comet_lease_t *leases;

    if (presence->lease_count == presence->lease_room) {
        leases = realloc(presence->leases, room * sizeof(*leases));
        if (!leases) {
            return NULL;
        }
        presence->leases = leases;
        presence->lease_room = room;
    }
    return &presence->leases[presence->lease_count++];
}

static int take_holder(void *baton, const comet_holder_t *holder)
{
    comet_presence_t *presence = baton;
    comet_lease_t *lease = find_lease(presence, holder->id);

    if (holder->id == presence->holder.id) {
        return 1;
    }
    if (!lease) {
        lease = add_lease(presence);
        if (!lease) {
            return 0;
        }
        *lease =
            (comet_lease_t){ .holder = holder->id, .beat = holder->beat - 1 };
    }
    lease->seen = presence->round;
    if (lease->beat != holder->beat) {
        lease->beat = holder->beat;
        lease->patience = holder->patience;
        lease->since = comet_monotonic();
    }
    return 1;
}

/* Forget the leases that the last look did not find in the store. */
static void tidy_leases(comet_presence_t *presence)
{
    apr_size_t kept = 0, i;

    for (i = 0; i < presence->lease_count; i++) {
        if (presence->leases[i].seen == presence->round) {
            presence->leases[kept++] = presence->leases[i];
        }
    }
    presence->lease_count = kept;
}

/* If the store could not be reached for some time, let all leases begin anew,
 * since nobody could renew one in that time. */
static void forgive_gap(comet_presence_t *presence, apr_time_t now)
{
    apr_size_t i;

    if (presence->looked_at
        && now - presence->looked_at > patience_of(presence) / 2) {
        for (i = 0; i < presence->lease_count; i++) {
            presence->leases[i].since = now;
        }
    }
    presence->looked_at = now;
}

/* Check the leases of the other children, and remove some rows of one that has
 * run out.  Several children may do so at the same time. */
static apr_status_t look_after(comet_presence_t *presence, comet_store_t *store,
                               int *changed)
{
    apr_time_t now = comet_monotonic();
    apr_status_t status;
    apr_size_t i;
    int more = 0;

    if (now < presence->look_at) {
        return APR_SUCCESS;
    }
    presence->look_at = now + patience_of(presence) / 6;
    presence->round++;
    status = comet_online_holders(store, take_holder, presence);
    if (status != APR_SUCCESS) {
        return status;
    }
    tidy_leases(presence);
    forgive_gap(presence, now);
    for (i = 0; i < presence->lease_count && status == APR_SUCCESS; i++) {
        if (now - presence->leases[i].since > presence->leases[i].patience) {
            status =
                comet_online_sweep(store, presence->leases[i].holder, &more);
            *changed = 1;
            break;
        }
    }
    if (i < presence->lease_count) {
        presence->look_at = 0; /* look again at once: more rows may be left, or
                                * another lease may have run out */
    }
    return status;
}

/* --- steps ----------------------------------------------------------------- */

static apr_status_t publish(comet_presence_t *presence, comet_store_t *store,
                            int *changed)
{
    apr_time_t now = comet_monotonic();
    apr_status_t status;
    int count = 0;

    if (now < presence->publish_at) {
        return APR_SUCCESS;
    }
    presence->publish_at = now + PUBLISH_USEC;
    if (!presence->publishing
        && !comet_bus_claim_publishing(presence->config.bus, apr_time_now(),
                                       PUBLISH_USEC)) {
        return APR_SUCCESS;
    }
    status = comet_online_publish(store, &count);
    *changed |= count > 0;
    presence->publishing = count == COMET_ONLINE_SLICE;
    if (presence->publishing) {
        presence->publish_at = now; /* continue soon, after the waiting
                                     * publishers */
    }
    return status;
}

apr_status_t comet_presence_step(comet_presence_t *presence,
                                 comet_store_t *store, int *removed,
                                 int *changed)
{
    apr_status_t status;

    *removed = *changed = 0;
    end_graces(presence);
    status = write_changes(presence, store, changed);
    if (status == APR_SUCCESS) {
        status = compare(presence, store, removed);
    }
    if (status == APR_SUCCESS) {
        status = look_after(presence, store, changed);
    }
    if (status == APR_SUCCESS) {
        status = publish(presence, store, changed);
    }
    if (status == APR_SUCCESS) {
        status = rest(presence, store);
    }
    presence->step_at =
        status == APR_SUCCESS ? 0 : comet_monotonic() + RETRY_USEC;
    return status;
}

/* This must not wait for the presence's lock.  On prefork, the thread that
 * holds the lock may be interrupted by a signal handler, which waits for this
 * thread. */
apr_status_t comet_presence_end(comet_presence_t *presence,
                                comet_store_t *store)
{
    apr_status_t status;
    apr_size_t count = 0;

    if (!presence->holder.id || presence->is_new) {
        return APR_SUCCESS;
    }
    if (pthread_mutex_trylock(&presence->lock) == 0) {
        count = presence->count;
        pthread_mutex_unlock(&presence->lock);
    }
    presence->holder.patience =
        presence->grace + (apr_interval_time_t)count * RETURN_USEC;
    status = comet_online_write(store, &presence->holder, 0, NULL, 0);
    return status == APR_NOTFOUND ? APR_SUCCESS /* another child has removed the
                                                 * lease */
                                  : status;
}
