/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file shared/bus.h
 * What the children of a server share about one store: an eventfd that tells of
 * changes, and locks.  A notification is a hint: if it is lost, a message
 * is only late.
 */
#ifndef COMET_BUS_H
#define COMET_BUS_H

#include <stddef.h> /* before APR looks for offsetof */

#include <apr_pools.h>

#include "base/comet.h"

typedef struct comet_bus_t comet_bus_t;

/**
 * Make a bus in memory that children inherit.  Called in the parent.  A bus
 * lives as long as the process; graceful restarts keep it.
 * @param bus  set to the bus
 * @param pool  where the handle is allocated
 * @return APR_SUCCESS, or why memory or a descriptor could not be had
 */
apr_status_t comet_bus_create(comet_bus_t **bus, apr_pool_t *pool);

/**
 * Take the store's write lock.  Children get it in a fair order, and a lock
 * whose holder was killed is recovered.  Any thread that holds no other lock.
 */
void comet_bus_lock(comet_bus_t *bus);

/**
 * As comet_bus_lock(), but give up after a while, since the holder may be
 * stopped or may be waiting for a disk.
 * @return APR_SUCCESS; COMET_ELOCKED: another thread held it all the time
 */
apr_status_t comet_bus_lock_within(comet_bus_t *bus, apr_interval_time_t limit);

/** Find out whether there are programs outside httpd that may wait for the
 * store's own lock. */
typedef int comet_bus_look_cb(void *baton);

/**
 * How long the holder of the lock should leave the store's own lock free.
 * Programs outside httpd cannot queue for the bus's lock; they retry the
 * store's.  So after 100 ms of almost constant use 26 ms are owed to them, in
 * which they find it free (101 ms if a single transaction takes 300 ms, or if
 * they were not there at the last look).  A new period begins with the call,
 * whether the holder rests or not.
 * @param look  called at most once a second over all children
 * @return 0: no rest is owed
 */
apr_interval_time_t comet_bus_owed_rest(comet_bus_t *bus,
                                        comet_bus_look_cb *look, void *baton);

/** Rest: keep the bus's lock, while nobody uses the store's. */
void comet_bus_rest(comet_bus_t *bus, apr_interval_time_t rest);

/**
 * Release the write lock.  If another child waits, yield for a moment, so that
 * it gets the lock next.
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

/**
 * The eventfd of the notifications, for an epoll with EPOLLET.  Never read it:
 * every child sees every notification because no child consumes it.
 */
int comet_bus_fd(const comet_bus_t *bus);

/**
 * Try to become the child that watches the file for writers outside httpd.  The
 * calling thread keeps this role until comet_bus_release_watch() or until it
 * ends.
 * @return whether the caller has the role now
 */
int comet_bus_claim_watch(comet_bus_t *bus);

/** Give up the watching role.  Called by the thread that has it. */
void comet_bus_release_watch(comet_bus_t *bus);

/**
 * Try to become the child that publishes what programs outside httpd have left
 * in the store's inbox.  As with the watching role, the calling thread keeps
 * the role until it releases it or ends.
 * @return whether the caller has the role now
 */
int comet_bus_claim_inbox(comet_bus_t *bus);

/** Give up the inbox role.  Called by the thread that has it. */
void comet_bus_release_inbox(comet_bus_t *bus);

/**
 * The system's time.  If the system clock jumps ahead, the jump is ignored for
 * a day.  Retention by age uses this time.  If the system clock is a year ahead
 * while a message is published, that message is the newest of its channel and
 * all later ones are newer still: by the system's time, everything older would
 * be removed.
 */
apr_time_t comet_bus_now(comet_bus_t *bus);

/**
 * Claim the next round of upkeep (retention), which one child does for all.
 * @param every  the time between two rounds
 * @return whether the caller has to do it
 */
int comet_bus_claim_upkeep(comet_bus_t *bus, apr_time_t now,
                           apr_interval_time_t every);

/** Claim the next round of publishing how many members are here, as
 * comet_bus_claim_upkeep() claims one of upkeep. */
int comet_bus_claim_publishing(comet_bus_t *bus, apr_time_t now,
                               apr_interval_time_t every);

#endif /* COMET_BUS_H */
