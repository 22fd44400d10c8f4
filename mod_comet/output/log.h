/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file output/log.h
 * The access-log line of a stream that outlives its request.  httpd's line at
 * the request's end is withheld, and the data for it is kept.  At the stream's
 * end httpd's own log_transaction hooks write the line, with the stream's bytes
 * and duration.
 *
 * These are kept: the request line and its parts, the user, the addresses and
 * ports, the times, Referer, User-Agent, Host, X-Forwarded-For, the environment
 * and notes.  If a log shows any other header field, all fields of request and
 * response are kept.  If a log shows anything else, streams are not adopted
 * (output/log_check.h).
 */
#ifndef MOD_COMET_LOG_H
#define MOD_COMET_LOG_H

#include "request/request.h"
#include "server/child.h"

/** What a log line needs of a request, kept until the stream ends. */
typedef struct mod_comet_log_t mod_comet_log_t;

/** What became of the request's stream. */
typedef struct mod_comet_log_end_t {
    mod_comet_story_t story;
    apr_off_t body_bytes; /* how many bytes of the response's body were sent */
    apr_off_t sent_bytes; /* how many bytes of the response were sent, including
                           * headers and chunk framing */
    int aborted; /* the client had left before the end */
} mod_comet_log_end_t;

/**
 * Find out in post_config whether lines can be written later.  They cannot if
 * an unknown module hooks the end of each request, since it might not cope with
 * a rebuilt request; if a log shows what is not kept; or if lines are buffered
 * under an MPM where no lock protects the buffer.
 * @return NULL: they can; or why not, in @a p
 */
const char *mod_comet_log_check(apr_pool_t *p);

/** Get the reason why hooks at a request's end may block; NULL: they do not.
 * If they may, a worker must end requests, not the hub's thread.  Called after
 * mod_comet_log_check(). */
const char *mod_comet_log_waits(void);

/** Make the child's writer (->log) in the child's pool, and start the thread
 * that writes lines.  Called when the child starts, before its hub.
 * @param server  the main server, for the error log */
void mod_comet_log_start(mod_comet_child_t *child, server_rec *server);

/**
 * End the thread that writes lines.  Call this after the hub's thread has
 * ended.  It may be called again, and in a signal handler.
 * @param limit  how long to wait while no line gets written
 * @return whether the thread has ended, and all lines are written
 */
int mod_comet_log_stop(mod_comet_child_t *child, apr_interval_time_t limit);

/** Whether lines can be written later.  Any thread.
 * @param writer  the child's writer; NULL: lines cannot be written */
int mod_comet_log_can_write(const mod_comet_log_writer_t *writer);

/**
 * Keep what the log line of a request needs, and withhold httpd's own line.
 * @param way  the way in which the stream goes on, as in mod_comet_story_t
 * @return freed by mod_comet_log_write() or mod_comet_log_drop(); NULL: no
 *         memory, and nothing is withheld
 */
mod_comet_log_t *mod_comet_log_keep(request_rec *r, const char *way);

/** Free what was kept, and let httpd write its own line. */
void mod_comet_log_drop(request_rec *r, mod_comet_log_t *kept);

/** Queue the line.  @a kept is freed after the line is written.  The hub's
 * thread calls this, and does not wait for the log (output/log_queue.h).  It is
 * also called for a stream that could not join the hub.
 * @param end  is copied */
void mod_comet_log_write(const mod_comet_log_writer_t *writer,
                         mod_comet_log_t *kept, const mod_comet_log_end_t *end);

/** Let mod_logio, if it is loaded, count bytes that did not pass through its
 * filter.  Called by the owner of the connection. */
void mod_comet_log_count(const mod_comet_log_writer_t *writer, conn_rec *c,
                         apr_off_t sent_bytes);

/** log_transaction hook, before all others: withhold httpd's line, or set the
 * notes that the line shows (output/notes.h).  Also count a request that ends
 * on the hub's thread for mod_status, since httpd does not count such a
 * request.
 * @return DONE: the line is written later; DECLINED: httpd writes it */
int mod_comet_log_transaction(request_rec *r);

#endif /* MOD_COMET_LOG_H */
