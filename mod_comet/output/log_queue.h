/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file output/log_queue.h
 * Log lines that wait to be written, and the thread that writes them.  Writing
 * to a log can take long: the program that it is piped to hangs, or the disk
 * stalls.  The hub's thread never waits for that.
 */
#ifndef MOD_COMET_LOG_QUEUE_H
#define MOD_COMET_LOG_QUEUE_H

#include "server/mod_comet.h"

/** The first member of each queued line. */
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
 * Hand a line over to the thread.  This never waits.  Any thread may call it,
 * but no signal handler.
 * @return whether the queue has taken the line; if not, too many lines wait
 *         already.  When lines are written again, the error log says how many
 *         were refused
 */
int mod_comet_log_queue_add(mod_comet_log_queue_t *queue,
                            mod_comet_log_line_t *line);

/** Count a line for which there was no memory as refused.  Called as
 * mod_comet_log_queue_add() is. */
void mod_comet_log_queue_miss(mod_comet_log_queue_t *queue);

/**
 * Let the thread write what is queued, and end.  No line may be handed over any
 * more.  This may be called again, and in a signal handler.
 * @param limit  how long to wait while no line gets written; all lines together
 *               may take ten times as long
 * @return whether the thread has ended
 */
int mod_comet_log_queue_stop(mod_comet_log_queue_t *queue,
                             apr_interval_time_t limit);

#endif /* MOD_COMET_LOG_QUEUE_H */
