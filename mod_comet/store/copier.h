/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file store/copier.h
 * A second thread of a writer.  It copies what was committed from the store's
 * log into the store's file, and waits for the disk meanwhile, so that no
 * publisher has to.  Then the writer copies the little that was committed since,
 * and the log can begin anew.
 *
 * With CometSync full there is no copier.  There each commit waits for the disk,
 * and would wait longer if the disk had to take the pages of the file meanwhile.
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
 * @param wake      wakes the writer; called by the copier's thread whenever it
 *                  has copied
 * @param pool      the copier lives as long; nothing is allocated later
 * @return NULL: the store has no log, or CometSync is full
 */
comet_copier_t *comet_copier_create(const comet_store_config_t *config,
                                    const atomic_int *stopping,
                                    void (*wake)(void *baton), void *baton,
                                    apr_pool_t *pool);

/**
 * Have the log copied.  The first call begins that; further ones return 0 until
 * it is done.  It is done as well if it has failed: then the writer will meet
 * the same fault.  Called by the writer's thread, which holds no lock.
 * @param copier  NULL, or without a thread: the writer copies everything
 * @param wait    whether to wait until it is done
 * @return whether the writer should copy the rest now
 */
int comet_copier_has_copied(comet_copier_t *copier, int wait);

/** End the thread, and wait for that.  Called by the writer's thread before it
 * closes the store.
 * @param copier  NULL is ignored */
void comet_copier_stop(comet_copier_t *copier);

#endif /* COMET_COPIER_H */
