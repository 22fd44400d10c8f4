/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file output/log.h
 * The access log of a stream that outlives its request: httpd's line at the
 * request's end is withheld, what it needs is kept, and the line is written
 * at the stream's end, with its bytes and its duration, by httpd's own
 * log_transaction hooks.
 *
 * Kept are the request line and its parts, the user, the addresses and ports,
 * the times, Referer, User-Agent, Host, X-Forwarded-For, the environment and
 * notes; all header fields of request and response if a log looks at any
 * other.  A log that looks at anything else keeps streams with httpd
 * (mod_comet_log_check).
 */
#ifndef MOD_COMET_LOG_H
#define MOD_COMET_LOG_H

#include "request/request.h"
#include "server/child.h"

/** What is kept of a request; one block. */
typedef struct mod_comet_log_t mod_comet_log_t;

/** What became of its stream. */
typedef struct mod_comet_log_end_t {
    apr_off_t body_bytes; /* of the response's body */
    apr_off_t sent_bytes; /* of the response as it went out */
    int aborted; /* the client was gone */
} mod_comet_log_end_t;

/**
 * In post_config: whether lines can be written later.  Not if a module that
 * is not known to take a rebuilt request wants to see each request's end, nor
 * if a log looks at what is not kept, nor if lines are buffered where no lock
 * keeps two threads apart.
 * @return NULL; or why not, in @a p
 */
const char *mod_comet_log_check(apr_pool_t *p);

/** Make what writing lines takes (->log), in the child's pool.  Called when
 * the child starts, before its hub. */
void mod_comet_log_start(mod_comet_child_t *child);

/** Whether lines can be written later.  Any thread.
 * @param writer  may be NULL: they cannot */
int mod_comet_log_can_write(const mod_comet_log_writer_t *writer);

/**
 * Keep what the line needs, and withhold httpd's own.
 * @return freed by mod_comet_log_write(); NULL: no memory
 */
mod_comet_log_t *mod_comet_log_keep(request_rec *r);

/** Have httpd's own line written after all. */
void mod_comet_log_drop(request_rec *r, mod_comet_log_t *kept);

/** Write the line, and free what was kept.  The hub's thread only. */
void mod_comet_log_write(const mod_comet_log_writer_t *writer,
                         mod_comet_log_t *kept, const mod_comet_log_end_t *end);

/** Have mod_logio, if it is there, count what was sent past its filter.
 * Whoever has the connection. */
void mod_comet_log_count(const mod_comet_log_writer_t *writer, conn_rec *c,
                         apr_off_t sent_bytes);

/** log_transaction hook, first of all. */
int mod_comet_log_transaction(request_rec *r);

#endif /* MOD_COMET_LOG_H */
