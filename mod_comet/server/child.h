/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file server/child.h
 * What this process has: the counters of all children and, in a child, the hub
 * and for each store a writer and readers.
 */
#ifndef MOD_COMET_CHILD_H
#define MOD_COMET_CHILD_H

#include "hub/hub.h"
#include "shared/metrics.h"
#include "store/readers.h"
#include "store/writer.h"
#include "server/mod_comet.h"

/** One store in this child. */
typedef struct mod_comet_child_store_t {
    const comet_store_config_t *config;
    comet_writer_t *writer;
    comet_readers_t *readers;
} mod_comet_child_store_t;

/** What output/log.c and wait/ keep in a child.  The structs are defined
 * there. */
typedef struct mod_comet_log_writer_t mod_comet_log_writer_t;
typedef struct mod_comet_waiting_t mod_comet_waiting_t;
typedef struct mod_comet_verdicts_t mod_comet_verdicts_t;

typedef struct mod_comet_child_t {
    apr_pool_t *pool; /* its parent is pconf, because a hanging thread outlives
                       * pchild */
    apr_allocator_t *kept; /* the memory of brief pools (server/pool.h); NULL:
                            * none */
    comet_hub_t *hub;
    mod_comet_child_store_t *stores;
    apr_size_t store_count;
    atomic_int publishers; /* [atomic] how many publishers wait for a store */
    mod_comet_log_writer_t *log; /* NULL: its pool could not be made */
    mod_comet_waiting_t *waiting;
    mod_comet_verdicts_t *verdicts; /* NULL: verdicts are not kept */
} mod_comet_child_t;

/** What this child has.  NULL in the parent, in a fork of a child, and in a
 * child that has no store, has ended or could not start.  Any thread. */
mod_comet_child_t *mod_comet_child(void);

/** Set what this child has; NULL when it ends.  Called by the thread of
 * child_init or, if that failed, by a thread that tries again; other threads
 * may read the value at the same time. */
void mod_comet_child_set(mod_comet_child_t *made);

/** Note that httpd ends this child without waiting for its requests: it has
 * closed their connections.  Safe in a signal handler. */
void mod_comet_child_note_end(void);

/** Whether mod_comet_child_note_end() was called.  Then a request must not work
 * on, because httpd waits for its thread.  Any thread. */
int mod_comet_child_must_end(void);

/** What this child has for the store that a request's server names.  Call this
 * only while mod_comet_child() is not NULL. */
const mod_comet_child_store_t *mod_comet_child_store(const request_rec *r);

/** The counters of all children; NULL before post_config. */
comet_metrics_t *mod_comet_child_metrics(void);

/** Set the counters, in post_config. */
void mod_comet_child_set_metrics(comet_metrics_t *made);

#endif /* MOD_COMET_CHILD_H */
