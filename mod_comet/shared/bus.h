/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file shared/bus.h
 * What the children of a server share about one store: an eventfd that signals
 * changes, and locks.  A notification is a hint: if it is lost, a message is
 * only late.
 */
#ifndef COMET_BUS_H
#define COMET_BUS_H

#include <stddef.h> /* must precede APR, which uses its offsetof */

#include <apr_pools.h>

#include "base/comet.h"

typedef struct comet_bus_t comet_bus_t;

/**
 * Make a bus in memory that children inherit.  Called in the parent.  A bus
 * lives as long as the process; graceful restarts keep it.
 * @param bus  set to the bus
 * @param pool  where the handle is allocated
 * @return APR_SUCCESS, or why there is no memory or no descriptor
 */
apr_status_t comet_bus_create(comet_bus_t **bus, apr_pool_t *pool);

/** Get the sum of the sizes of a bus's structs. */
apr_size_t comet_bus_layout(void);

/**
 * Take the store's write lock.  The lock is fair to the children, and it is
 * recovered if its holder was killed.  Any thread that holds no other lock.
 */
void comet_bus_lock(comet_bus_t *bus);

/**
 * Like comet_bus_lock(), but give up after a while: the holder might be
 * stopped, or might be waiting for a disk.
 * @return APR_SUCCESS; COMET_ELOCKED: another thread held the lock all the time
 */
apr_status_t comet_bus_lock_within(comet_bus_t *bus, apr_interval_time_t limit);

/** Find out whether there are programs outside httpd that might wait for the
 * store's own lock. */
typedef int comet_bus_look_cb(void *baton);

/**
 * How long the holder of the lock should leave the store's own lock free.
 * Programs outside httpd cannot queue for the bus's lock; they retry the
 * store's lock.  So if such programs exist, and the bus's lock was held for
 * half of a period of 100 ms, they are owed 26 ms in which the store's lock is
 * free (101 ms after a transaction of 300 ms, or if they might have come up to
 * a second ago).  If the period is over, the call begins a new one.
 * @param look  looks for such programs; all children together call it at most
 *              once a second
 * @return 0: no rest is owed
 */
apr_interval_time_t comet_bus_owed_rest(comet_bus_t *bus,
                                        comet_bus_look_cb *look, void *baton);

/** Rest: keep the bus's lock while the store's own lock is free. */
void comet_bus_rest(comet_bus_t *bus, apr_interval_time_t rest);

/**
 * Release the write lock.  If another child waits, yield for a moment, so that
 * the other child gets the lock next.
 */
void comet_bus_unlock(comet_bus_t *bus);

/** Notify every child that the store has changed.  Any thread, any process. */
void comet_bus_notify(comet_bus_t *bus);

/**
 * Count a commit of this server, and notify every child of it.  Any thread, any
 * process.
 */
void comet_bus_notify_commit(comet_bus_t *bus);

/** How many commits of this server were counted.  Any thread, any process. */
apr_uint32_t comet_bus_commits(const comet_bus_t *bus);

/** Whether this server rests: for 20 ms no child has announced a commit or
 * notified the others of one.  Any thread, any process. */
int comet_bus_rests(const comet_bus_t *bus);

/** Announce to every child that a commit has begun.  Any thread, any
 * process. */
void comet_bus_announce_commit(comet_bus_t *bus);

/** Pass on to every child the announcement of another server.  Any thread, any
 * process. */
void comet_bus_pass_on_announcement(comet_bus_t *bus);

/** What the eventfd was written for, and how often. */
typedef struct comet_bus_counts_t {
    apr_uint32_t notifications; /* that the store has changed */
    apr_uint32_t announcements; /* of this server's commits */
    apr_uint32_t passed_on; /* announcements of other servers' commits */
} comet_bus_counts_t;

/** Any thread, any process. */
comet_bus_counts_t comet_bus_counts(const comet_bus_t *bus);

/**
 * The eventfd of the notifications, for an epoll with EPOLLET.  Never read it:
 * every child sees every notification because no child consumes it.
 */
int comet_bus_fd(const comet_bus_t *bus);

/**
 * Try to become the child that watches the file for writers outside httpd.  The
 * calling thread keeps this role until comet_bus_release_watch(), or until the
 * thread ends.
 * @return whether the caller has the role now
 */
int comet_bus_claim_watch(comet_bus_t *bus);

/** Give up the watching role.  Called by the thread that has it. */
void comet_bus_release_watch(comet_bus_t *bus);

/**
 * Try to become the child that publishes what programs outside httpd have left
 * in the store's inbox.  As with the watching role, the calling thread keeps
 * the role until it gives the role up or ends.
 * @return whether the caller has the role now
 */
int comet_bus_claim_inbox(comet_bus_t *bus);

/** Give up the inbox role.  Called by the thread that has it. */
void comet_bus_release_inbox(comet_bus_t *bus);

/**
 * The system clock's time, except that a forward jump is ignored for a day.
 * Retention by age uses this time.  Otherwise a message that is published while
 * the clock is a year ahead would make all older ones a year old, and they
 * would be removed.
 */
apr_time_t comet_bus_now(comet_bus_t *bus);

/**
 * Claim the next round of upkeep (retention), which one child does for all.
 * @param every  the time between two rounds
 * @return whether the caller has to do this round
 */
int comet_bus_claim_upkeep(comet_bus_t *bus, apr_time_t now,
                           apr_interval_time_t every);

/** Claim the next round of publishing how many members are present; otherwise
 * like comet_bus_claim_upkeep(). */
int comet_bus_claim_publishing(comet_bus_t *bus, apr_time_t now,
                               apr_interval_time_t every);

#endif /* COMET_BUS_H */
