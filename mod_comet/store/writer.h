/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file store/writer.h
 * Group commit: one thread per child and store collects what the workers
 * publish, commits it at once, and answers them all.
 *
 * Only this thread waits for SQLite.  A publisher waits for it at most its
 * timeout, and at most `places` publishers wait at any time, so that a
 * stalled disk never takes all of a child's threads.
 */
#ifndef COMET_WRITER_H
#define COMET_WRITER_H

#include <stdatomic.h>

#include "shared/bus.h"
#include "store/store.h"

typedef struct comet_writer_t comet_writer_t;

/** Told of a failure of the store (once per change), by the writer thread. */
typedef void comet_writer_error_cb(void *baton, apr_status_t status,
                                   const char *detail);

typedef struct comet_writer_config_t {
    const comet_store_config_t *store; /* outlives the writer, as the bus */
    comet_bus_t *bus;
    apr_size_t places; /* publishers that may wait at a time; at least 1 */
    /** [atomic] How many do, counted over all writers of a child; NULL: over
     * this one alone. */
    atomic_int *waiting;
    comet_writer_error_cb *on_error; /* APR_SUCCESS: it works again */
    void *baton;
} comet_writer_config_t;

/**
 * Start a writer, whose thread opens the store: this call waits for no disk and
 * no lock.  Called in child_init; allocates from @a pool then only.
 * The store need not be usable: the writer keeps trying, at most once in
 * 200 ms, whenever something is published.  Once a second it sees whether
 * the file was deleted or replaced; then it opens (or creates) it anew.
 */
apr_status_t comet_writer_create(comet_writer_t **writer,
                                 const comet_writer_config_t *config,
                                 apr_pool_t *pool);

/**
 * Store a group of messages and wait until it is durable as CometSync says.
 * Copies what it needs of the group, and takes its own references: so the
 * caller's is free again when the call returns, whatever the outcome.
 * @param group    its messages' timestamps are set on success, and when they
 *                 were stored before under the same key; its result is not
 * @param timeout  how long to wait, in all
 * @return APR_SUCCESS: committed.  COMET_EREPEATED: it was before.
 *         Anything else but COMET_EUNSURE: not stored,
 *         and it will not be.  COMET_EBUSY: all places are taken and the
 *         disk does not keep up.  COMET_ELOCKED: timed out before its turn.
 *         COMET_EUNSURE: timed out, or the sync failed, while being saved.
 *         COMET_ESTOPPING, and all of comet_store_append()'s.
 *         Any thread but the writer's.
 */
apr_status_t comet_writer_publish(comet_writer_t *writer,
                                  const comet_store_group_t *group,
                                  apr_interval_time_t timeout);

/**
 * Wait until the writer has tried to open the store, which a reader finds
 * missing until then.
 * @param limit  how long to wait; while twice as many as `places` wait already,
 *               50 ms at most
 * @return whether it has tried.  Any thread but the writer's.
 */
int comet_writer_await(comet_writer_t *writer, apr_interval_time_t limit);

/**
 * Stop: finish what is being saved, refuse the rest, join the thread.
 * Takes no lock of the caller's side (on prefork it may run in a signal
 * handler) and gives up after @a limit.
 * @return whether the thread has ended
 */
int comet_writer_stop(comet_writer_t *writer, apr_interval_time_t limit);

/** Whether the thread has been waiting for a disk or a lock for 50 ms, so that
 * it may not stop soon.  Any thread; safe in a signal handler. */
int comet_writer_is_stuck(const comet_writer_t *writer);

#endif /* COMET_WRITER_H */
