/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file store/copier.h
 * A second thread of a writer.  It copies commits from the store's log into the
 * store's file and waits for the disk, so that no publisher has to.  Then the
 * writer copies the few commits that were added meanwhile, and the log can
 * begin anew.
 *
 * With CometSync full there is no copier.  In that mode each commit waits for
 * the disk, and it would wait longer if a copier wrote to the same disk.
 */
#ifndef COMET_COPIER_H
#define COMET_COPIER_H

#include <stdatomic.h>

#include "store/store.h"

typedef struct comet_copier_t comet_copier_t;

/**
 * Make a copier.  Its thread starts, and opens the store, when it is needed for
 * the first time.
 * @param config    must outlive the copier
 * @param stopping  [atomic] the writer must stop; outlives the copier
 * @param wake      wakes the writer; called by the copier's thread at the end
 *                  of each copy
 * @param pool      the copier lives as long as this pool; nothing is allocated
 *                  later
 * @return NULL: the store has no log, or CometSync is full
 */
comet_copier_t *comet_copier_create(const comet_store_config_t *config,
                                    const atomic_int *stopping,
                                    void (*wake)(void *baton), void *baton,
                                    apr_pool_t *pool);

/**
 * Have the log copied.  The first call begins the copy; further calls return 0
 * until it has ended.  A copy that fails also counts as ended, since the writer
 * will get the same error.  Called by the writer's thread, which holds no lock.
 * @param copier  NULL, or a copier whose thread cannot be started: the writer
 *                copies everything itself
 * @param wait    whether to wait for the end of the copy
 * @return whether the writer should now copy the remaining commits
 */
int comet_copier_has_copied(comet_copier_t *copier, int wait);

/** Stop the thread, and wait until it has ended.  Called by the writer's thread
 * before it closes the store.
 * @param copier  NULL is ignored */
void comet_copier_stop(comet_copier_t *copier);

#endif /* COMET_COPIER_H */
