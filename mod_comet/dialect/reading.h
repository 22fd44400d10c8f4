/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file dialect/reading.h
 * Reading the log with a request's thread: its connection to the store, a
 * budget for each request, and a share of all threads for those that search.
 */
#ifndef MOD_COMET_READING_H
#define MOD_COMET_READING_H

#include "store/store.h"
#include "request/ask.h"

/** Limit how long a request may read from a store. Reading is cut short when
 * the request as a whole has taken too long, or when its client has left. */
void mod_comet_reading_limit(request_rec *r, mod_comet_ask_t *ask,
                             comet_store_t *store);

/** Limit how long a request may search.  This budget is smaller, because a
 * search that is cut short can be continued by the next request. */
void mod_comet_reading_limit_search(request_rec *r, mod_comet_ask_t *ask,
                                    comet_store_t *store);

/**
 * Take one of the places for searching. A quarter of each child's threads, and
 * of all threads, may search at a time. Counted in `searching` and
 * `searches_refused`.
 * @return 0: no place is free; else mod_comet_reading_leave() gives the place
 *         back
 */
int mod_comet_reading_enter(void);
void mod_comet_reading_leave(void);

/**
 * Why a request's reading was cut short; counted.
 * @param status  COMET_ECOSTLY or COMET_EGONE
 * @return what its client is told, with 503
 */
const char *mod_comet_reading_cut(const request_rec *r,
                                  const mod_comet_ask_t *ask,
                                  apr_status_t status);

/**
 * Answer a request whose reading was cut short.
 * @param status  COMET_ECOSTLY or COMET_EGONE
 * @return what the handler returns
 */
int mod_comet_reading_ended(request_rec *r, const mod_comet_ask_t *ask,
                            apr_status_t status);

/**
 * Take a connection to the store of a request (comet_readers_take()), limited
 * by what is left of the request's budget. In a child that has just started it
 * waits up to a second for the writer to open the store.
 * @param store  OUT: mod_comet_reading_return() gives it back
 * @return of comet_readers_take()
 */
apr_status_t mod_comet_reading_take(request_rec *r, mod_comet_ask_t *ask,
                                    comet_store_t **store);

/**
 * Give a connection back (comet_readers_return()). A failure of the store is
 * logged, at most once a minute.
 * @param store   NULL: there was none
 * @param status  of the reading
 */
void mod_comet_reading_return(const request_rec *r, comet_store_t *store,
                              apr_status_t status);

/** Close idle connections to a database that is no longer the one at the
 * store's path. A writer may have to wait for the last of them before it can
 * open the new one. */
void mod_comet_reading_drop(const request_rec *r);

#endif /* MOD_COMET_READING_H */
