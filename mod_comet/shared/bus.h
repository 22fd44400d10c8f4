/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file shared/bus.h
 * What the children of one server share about one store: a bell, and two
 * locks.  The bell is a hint; a lost one costs latency only.
 */
#ifndef COMET_BUS_H
#define COMET_BUS_H

#include <stddef.h> /* before APR looks for offsetof */

#include <apr_pools.h>

#include "base/comet.h"

typedef struct comet_bus_t comet_bus_t;

/**
 * Make a bus in memory that children inherit.  Called in the parent; lives
 * as long as the process (graceful restarts hand it on).
 * @param bus   set to the bus
 * @param pool  where it is kept
 * @return APR_SUCCESS, or why there is no memory or descriptor
 */
apr_status_t comet_bus_create(comet_bus_t **bus, apr_pool_t *pool);

/**
 * Take the write lock of the store; fair among children, and recovered when
 * its holder was killed.  Any thread, no other lock held.
 * After 100 ms of nearly constant use it takes 26 ms longer (101 ms where one
 * transaction takes 300 ms), in which programs outside httpd, which cannot
 * queue here, find SQLite's lock free.
 */
void comet_bus_lock(comet_bus_t *bus);

/**
 * As comet_bus_lock(), but give up after a while: its holder may be stopped,
 * or wait for a disk.
 * @return APR_SUCCESS; COMET_ELOCKED: another has held it all the time
 */
apr_status_t comet_bus_lock_within(comet_bus_t *bus, apr_interval_time_t limit);

/**
 * Release it.  When another child waits, step back for an instant so that
 * it is the next to get it.
 */
void comet_bus_unlock(comet_bus_t *bus);

/** Ring the bell: something changed.  Any thread, any process. */
void comet_bus_ring(comet_bus_t *bus);

/**
 * The bell's descriptor, for an epoll with EPOLLET.  Never read it: every
 * child sees every ring just because nobody takes it away.
 */
int comet_bus_fd(const comet_bus_t *bus);

/**
 * Try to become the child that watches the file for writers outside httpd.
 * The thread that succeeds watches until it ends.
 * @return whether the caller holds it now
 */
int comet_bus_watch(comet_bus_t *bus);

/** Stop watching, by the thread that holds it. */
void comet_bus_unwatch(comet_bus_t *bus);

/**
 * The system's time, but for a jump ahead of less than a day: for what is
 * removed by age.  A message that is published while the clock is a year ahead
 * is the newest of its channel, and all that come after it are newer still.
 */
apr_time_t comet_bus_now(comet_bus_t *bus);

/**
 * Claim the next round of upkeep (retention), which one child does for all.
 * @param every  how far apart rounds are
 * @return whether the caller is to do it
 */
int comet_bus_claim_upkeep(comet_bus_t *bus, apr_time_t now,
                           apr_interval_time_t every);

#endif /* COMET_BUS_H */
