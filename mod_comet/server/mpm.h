/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file server/mpm.h
 * What the MPM can hold, and what it is doing.  How connections are parked in
 * it is in mod_comet_wait; no other file knows the MPM.
 */
#ifndef MOD_COMET_MPM_H
#define MOD_COMET_MPM_H

#include "server/mod_comet.h"

/** What the MPM can hold, asked once at start. */
typedef struct mod_comet_capacity_t {
    int threads; /* per child */
    int children; /* at most */
    int children_limit; /* ServerLimit: also old generations */
    int prefork; /* a child is one thread; signals run hooks in handlers */
    int parks; /* whether waiting costs no thread */
    apr_size_t per_child; /* clients that may be parked in a child */
    apr_size_t descriptors; /* clients in a child, adopted ones too */
    int blocked; /* clients of all children that may hold a thread each */
    const char *how; /* for the log */
} mod_comet_capacity_t;

/** Ask the MPM.  Called in post_config and, again, in child_init. */
const mod_comet_capacity_t *mod_comet_mpm_capacity(void);
void mod_comet_mpm_query(void);

/** Whether httpd is ending this child.  Any thread. */
int mod_comet_mpm_is_stopping(void);

/** See that the MPM accepts connections when it can; a comet_hub_config_t's
 * on_look. */
void mod_comet_mpm_wake_listener(void *baton);

/**
 * At an ungraceful stop: wait, at most a second, until the MPM's listener has
 * left its loop.  Its threads have ended then; a connection that wakes it before
 * that has it wait for one, half a second each (httpd 2.4.71: get_worker and
 * join_workers), so that a stop took 6 s.  Runs in child_stopping.
 */
void mod_comet_mpm_await_listener(void);

#endif /* MOD_COMET_MPM_H */
