/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file server/mpm.h
 * What the MPM can hold and what it is doing.  wait/park_hooks.c parks
 * connections in it; no other file knows the MPM.
 */
#ifndef MOD_COMET_MPM_H
#define MOD_COMET_MPM_H

#include "server/mod_comet.h"

/** What the MPM can hold. */
typedef struct mod_comet_capacity_t {
    int threads; /* per child */
    int children; /* at most */
    int children_limit; /* ServerLimit, which includes old generations */
    int prefork; /* a child has one thread; a signal handler may run hooks */
    int parks; /* whether clients can wait without a thread */
    int has_waitio; /* the MPM can wait for a socket in a state of its own:
                     * httpd 2.4.63 and later */
    apr_size_t per_child; /* how many clients may be parked in a child */
    apr_size_t descriptors; /* how many clients a child has descriptors for,
                             * including adopted ones */
    int blocked; /* how many clients of all children may hold a thread each */
} mod_comet_capacity_t;

/**
 * Ask the MPM what it can hold.  Called in post_config, when the logs are open,
 * and again in child_init, before the stores are opened.
 * @param stores  how many stores there are
 */
void mod_comet_mpm_query(apr_size_t stores);

/** How many connections to each store a child keeps open for reading: the
 * stores share as many as the child has threads, and each has at least one. */
apr_size_t mod_comet_mpm_readers_kept(apr_size_t stores);

/** What mod_comet_mpm_query() has found.  Any thread. */
const mod_comet_capacity_t *mod_comet_mpm_capacity(void);

/** Whether this MPM can park connections.  Also valid before
 * mod_comet_mpm_query(). */
int mod_comet_mpm_is_async(void);

/** Whether HTTP/2 clients can wait without a thread: the MPM parks connections,
 * and parking supports the mod_http2 of this httpd (2.0).
 * Also valid before mod_comet_mpm_query(). */
int mod_comet_mpm_parks_http2(void);

/** Whether httpd is ending this child.  Any thread. */
int mod_comet_mpm_is_stopping(void);

/** Whether a new generation of children takes the place of this one: httpd
 * restarts, gracefully or not.  Any thread; safe in a signal handler. */
int mod_comet_mpm_is_replaced(void);

/**
 * Count in the scoreboard, for mod_status, requests that httpd does not count
 * because they do not end on one of its threads.  Any thread of a child.
 * @param bytes  how many bytes were sent in their answers
 */
void mod_comet_mpm_count(unsigned long accesses, apr_off_t bytes);

/** Make the MPM accept connections again when it has forgotten to.  Used as
 * on_look of a comet_hub_config_t. */
void mod_comet_mpm_wake_listener(void *baton);

/**
 * At an ungraceful stop, wait until the MPM's listener has left its loop, but a
 * second at most.  The MPM's workers have already exited, so each connection
 * that still wakes the listener makes the listener wait half a second for a
 * worker that is gone (httpd 2.4.71: get_worker and join_workers).  Without
 * this call a stop took 6 s.  Called in child_stopping.
 */
void mod_comet_mpm_await_listener(void);

#endif /* MOD_COMET_MPM_H */
