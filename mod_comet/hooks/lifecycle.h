/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file hooks/lifecycle.h
 * Start and end the server and each child: what post_config makes, what a child
 * starts, and how a child ends.
 */
#ifndef MOD_COMET_LIFECYCLE_H
#define MOD_COMET_LIFECYCLE_H

#include "server/mod_comet.h"

/**
 * Find out why mod_comet_child() is NULL. A child that could not start its
 * threads tries again here, at most once a second. Called on the thread of a
 * request.
 * @return NULL: the threads have been started; else what to tell the client
 */
const char *mod_comet_lifecycle_obstacle(const request_rec *r);

/** post_config hook: make the shared memory, and log warnings. */
int mod_comet_lifecycle_post_config(apr_pool_t *pconf, apr_pool_t *plog,
                                    apr_pool_t *ptemp, server_rec *s);

/** child_init hook: start the threads.  This waits for no store: httpd serves
 * the site meanwhile. */
void mod_comet_lifecycle_child_init(apr_pool_t *pchild, server_rec *s);

/** child_stopping hook: answer all waiting clients.  On prefork it may run in a
 * signal handler. */
void mod_comet_lifecycle_child_stopping(apr_pool_t *pchild, int graceful);

#endif /* MOD_COMET_LIFECYCLE_H */
