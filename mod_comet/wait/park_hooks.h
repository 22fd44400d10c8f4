/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file wait/park_hooks.h
 * The hooks that the MPM calls when it takes a connection to park it, and when
 * it gives the connection back (wait/park.h).
 */
#ifndef MOD_COMET_PARK_HOOKS_H
#define MOD_COMET_PARK_HOOKS_H

#include "server/mod_comet.h"

/** process_connection hook, first of all: the MPM has woken a connection. */
int mod_comet_park_hooks_process_connection(conn_rec *c);

/** suspend_connection hook, last of all: the MPM is about to own the
 * connection. */
void mod_comet_park_hooks_suspend(conn_rec *c, request_rec *r);

/** resume_connection hook, first of all: a worker is about to own the
 * connection. */
void mod_comet_park_hooks_resume(conn_rec *c, request_rec *r);

#endif /* MOD_COMET_PARK_HOOKS_H */
