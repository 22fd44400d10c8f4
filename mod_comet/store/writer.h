/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file store/writer.h
 * Group commit: one thread per child and store collects what the workers
 * publish, commits it at once, and answers them all.
 *
 * Only this thread waits for the engine.  A publisher waits for the thread, but
 * never longer than its own timeout.  At most `places` publishers wait at any
 * time, so that a stalled disk never takes all of a child's threads.
 */
#ifndef COMET_WRITER_H
#define COMET_WRITER_H

#include <stdatomic.h>

#include "shared/bus.h"
#include "store/committed.h"
#include "store/presence.h"
#include "store/store.h"

typedef struct comet_writer_t comet_writer_t;

/** Called on the writer's thread when the store begins to fail, fails in
 * another way, or works again. */
typedef void comet_writer_error_cb(void *baton, apr_status_t status,
                                   const char *detail);

typedef struct comet_writer_config_t {
    const comet_store_config_t *store; /* the configuration and the bus must
                                        * outlive the writer */
    comet_bus_t *bus;
    comet_committed_t *committed; /* gets what is committed; NULL: none */
    apr_size_t places; /* publishers that may wait at a time; at least 1 */
    /** [atomic] How many wait, counted over all writers of a child.  NULL: this
     * writer counts its own only. */
    atomic_int *waiting;
    comet_writer_error_cb *on_error; /* APR_SUCCESS: it works again */
    /** Called on the writer's thread for each commit, and each step of retention,
     * in which the store refused a change, with the store's own words for the
     * last refusal; or NULL. */
    void (*on_refusal)(void *baton, const char *detail);
    /** Called on the writer's thread when members may have been thrown out
     * (store/presence.h); or NULL. */
    void (*on_removed)(void *baton);
    void *baton;
} comet_writer_config_t;

/**
 * Start a writer, whose thread opens the store: this call waits for no disk and
 * no lock.  Called in child_init; it does not allocate from @a pool later.  The
 * store need not be usable: the writer keeps trying, at most once in 200 ms,
 * whenever something is published.  Once a second it checks whether the store
 * was deleted or replaced; then it opens (or creates) it again.
 */
apr_status_t comet_writer_create(comet_writer_t **writer,
                                 const comet_writer_config_t *config,
                                 apr_pool_t *pool);

/**
 * Store a group of messages, and wait until it is durable as CometSync says.
 * Copies what it needs of the group and takes references of its own, so the
 * caller's group is free again when the call returns, whatever the outcome.
 * @param group    its messages' timestamps are set on success, also when they
 *                 were stored before under the same key; its result is not set
 * @param timeout  how long to wait in all
 * @return APR_SUCCESS: committed.  COMET_EREPEATED: the group was committed
 *         before.  COMET_EUNSURE: the time ran out, or the sync failed, during
 *         the commit, and the outcome is unknown.  After anything else the
 *         group is not stored and will not be: COMET_EBUSY: all places are
 *         taken and the disk does not keep up; COMET_ELOCKED: the time ran out
 *         before its turn; COMET_ESTOPPING; and those of comet_store_append().
 *         Any thread but the writer's.
 */
apr_status_t comet_writer_publish(comet_writer_t *writer,
                                  const comet_store_group_t *group,
                                  apr_interval_time_t timeout);

/** Who is here, by this writer's store; NULL where presence is off.  Any
 * thread. */
comet_presence_t *comet_writer_presence(comet_writer_t *writer);

/** The most groups of one comet_writer_publish_all(). */
#define COMET_WRITER_GROUPS 1000

/**
 * Store groups of messages in one commit, in their order; each is stored or
 * refused by itself.  They take one place together.  Otherwise this is as
 * comet_writer_publish().
 * @param groups  1 to COMET_WRITER_GROUPS
 * @return APR_SUCCESS: committed, and each group has its own result: that of
 *         comet_store_append().  Anything else holds for all of them
 */
apr_status_t comet_writer_publish_all(comet_writer_t *writer,
                                      comet_store_group_t *const *groups,
                                      apr_size_t count,
                                      apr_interval_time_t timeout);

/**
 * Wait until the writer has tried to open the store.  Until then readers may
 * find no store.  An attempt that another program's lock made fail does not
 * count; the writer soon makes another.
 * @param limit  how long to wait.  If twice as many threads as `places` wait
 *               already, the call waits 50 ms at most.
 * @return whether it has tried.  Any thread but the writer's.
 */
int comet_writer_await(comet_writer_t *writer, apr_interval_time_t limit);

/**
 * Stop: finish what is being saved, refuse the rest, join the thread.  It takes
 * no lock that a publisher may hold, because on prefork it may run in a signal
 * handler.  It gives up after @a limit.
 * @return whether the thread has ended
 */
int comet_writer_stop(comet_writer_t *writer, apr_interval_time_t limit);

/** Whether the thread has waited for a disk or a lock for 500 ms already, so
 * that it may not stop soon.  Any thread; safe in a signal handler. */
int comet_writer_is_stuck(const comet_writer_t *writer);

#endif /* COMET_WRITER_H */
