/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file server/child.h
 * What lives in a server and in each of its children: the shared memory made
 * once, and per child the hub, and for each store a writer and readers.
 */
#ifndef MOD_COMET_CHILD_H
#define MOD_COMET_CHILD_H

#include "hub/hub.h"
#include "shared/metrics.h"
#include "store/readers.h"
#include "store/writer.h"
#include "request/ask.h"

/** One store in this child. */
typedef struct mod_comet_child_store_t {
    const comet_store_config_t *config;
    comet_writer_t *writer;
    comet_readers_t *readers;
} mod_comet_child_store_t;

typedef struct mod_comet_child_t {
    apr_pool_t *pool; /* of pconf: a thread that hangs outlives pchild */
    comet_hub_t *hub;
    mod_comet_child_store_t *stores;
    apr_size_t store_count;
    atomic_int publishers; /* [atomic] that wait for any of the stores */
} mod_comet_child_t;

/** This process's; NULL in the parent, without a store, after the end, where
 * it could not start, and in a fork of a child. */
mod_comet_child_t *mod_comet_child(void);

/**
 * Why it is not there.  A child that could not start its threads tries again
 * here, at most once a second.  Any thread of a request.
 * @return NULL: it is there; else what to tell the client
 */
const char *mod_comet_child_obstacle(const request_rec *r);

/** What this process has of the store that a request's server names; only
 * where mod_comet_child() is not NULL. */
const mod_comet_child_store_t *mod_comet_child_store(const request_rec *r);

/** A connection to read with, of a request's store: comet_readers_take(),
 * within what is left of the request's budget (mod_comet_reading_limit()).  In a
 * child that has just begun it waits for the writer to open the store, for a
 * second at most. */
apr_status_t mod_comet_child_take_reader(request_rec *r, mod_comet_ask_t *ask,
                                         comet_store_t **store);

/**
 * Give it back: comet_readers_return().  Why it could not be read is logged,
 * at most once a minute.
 * @param store  NULL: there was none
 */
void mod_comet_child_return_reader(const request_rec *r, comet_store_t *store,
                                   apr_status_t status);

/** Close the idle connections that are not to what is at a store's path any
 * more: a new one to write may have to wait for the end of the last. */
void mod_comet_child_drop_readers(const request_rec *r);

/** The counters of all children; NULL before post_config. */
comet_metrics_t *mod_comet_child_metrics(void);

/** post_config hook: shared memory, warnings that need the MPM. */
int mod_comet_lifecycle_post_config(apr_pool_t *pconf, apr_pool_t *plog,
                                    apr_pool_t *ptemp, server_rec *s);

/** child_init hook: starts the threads.  It waits for no store: httpd serves
 * the site meanwhile. */
void mod_comet_lifecycle_child_init(apr_pool_t *pchild, server_rec *s);

/** child_stopping hook: let everybody go.  On prefork it may run in a signal
 * handler. */
void mod_comet_lifecycle_child_stopping(apr_pool_t *pchild, int graceful);

#endif /* MOD_COMET_CHILD_H */
