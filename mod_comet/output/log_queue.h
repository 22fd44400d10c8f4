/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file output/log_queue.h
 * Log lines that wait to be written, and the thread that writes them.  Writing
 * to a log can take long: its program hangs, or its disk stalls.  The hub's
 * thread never waits for that.
 */
#ifndef MOD_COMET_LOG_QUEUE_H
#define MOD_COMET_LOG_QUEUE_H

#include "server/mod_comet.h"

/** What each line begins with. */
typedef struct mod_comet_log_line_t mod_comet_log_line_t;
struct mod_comet_log_line_t {
    mod_comet_log_line_t *next; /* [queue->lock] */
};

typedef struct mod_comet_log_queue_t mod_comet_log_queue_t;

/** Write a line, and free it.  Called by the queue's thread alone. */
typedef void mod_comet_log_queue_cb(void *baton, mod_comet_log_line_t *line);

/**
 * Make a queue, and start its thread.
 * @param server  for the error log
 * @return NULL: no thread could be started
 */
mod_comet_log_queue_t *mod_comet_log_queue_start(apr_pool_t *pool,
                                                 server_rec *server,
                                                 mod_comet_log_queue_cb *write,
                                                 void *baton);

/**
 * Hand a line over.  Never waits.  Any thread, but none in a signal handler.
 * @return whether the queue has taken it; if not, too many lines wait already.
 *         Once lines are written again, the error log says how many were
 *         refused
 */
int mod_comet_log_queue_add(mod_comet_log_queue_t *queue,
                            mod_comet_log_line_t *line);

/** Count a line for which there was no memory as refused.  Threads as above. */
void mod_comet_log_queue_miss(mod_comet_log_queue_t *queue);

/**
 * Let the thread write what is queued, and end.  Nothing may be handed over any
 * more.  May be called again, and in a signal handler.
 * @param limit  how long to wait for a line that does not get written; all
 *               lines together may take ten times as long
 * @return whether the thread has ended
 */
int mod_comet_log_queue_stop(mod_comet_log_queue_t *queue,
                             apr_interval_time_t limit);

#endif /* MOD_COMET_LOG_QUEUE_H */
