/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file hooks/stop.h
 * End a child's threads.
 */
#ifndef MOD_COMET_STOP_H
#define MOD_COMET_STOP_H

#include "server/child.h"
#include "server/mod_comet.h"

/** Which thread has not ended in time. Both members are NULL: all threads have
 * ended. */
typedef struct mod_comet_late_t {
    const char *thread; /* the thread's name for the log, a constant */
    const comet_store_config_t *store; /* the store of a writer that has not
                                        * ended; NULL: all writers have ended */
} mod_comet_late_t;

/**
 * End a child's threads, and wait for them as long as the end of a child may
 * take.  Call it on the thread that ends the child.
 * @param in_signal_handler  if so, nothing is freed
 * @return a thread that has not ended, for example because its disk does not
 *         answer; what it uses must not be freed
 */
mod_comet_late_t mod_comet_stop(mod_comet_child_t *made, int in_signal_handler);

/**
 * When httpd ends this child without waiting for its requests: let no request
 * wait for a store any more, since httpd joins the threads of its requests.
 * Safe in a signal handler.
 */
void mod_comet_stop_dismiss(mod_comet_child_t *made);

/** Like mod_comet_stop(), but without waiting. Call it again until all threads
 * have ended.
 * @return whether all threads have ended */
int mod_comet_stop_at_once(mod_comet_child_t *made);

int mod_comet_stop_is_late(mod_comet_late_t late);

/** Log which thread was late. */
void mod_comet_stop_log(mod_comet_late_t late, server_rec *server);

#endif /* MOD_COMET_STOP_H */
