/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file dialect/reading.h
 * Read messages in a request's thread.  Each request has a connection to the
 * store, and a budget.  Only some of the threads may search at the same time.
 */
#ifndef MOD_COMET_READING_H
#define MOD_COMET_READING_H

#include "store/store.h"
#include "request/ask.h"

/** Limit how long a request may read from a store.  Reading is cut short when
 * the request's readings have taken too long in total, or when its client has
 * left. */
void mod_comet_reading_limit(request_rec *r, mod_comet_ask_t *ask,
                             comet_store_t *store);

/** Limit how long a request may search.  This budget is smaller than that for
 * reading, because the next request can continue a search that was cut
 * short. */
void mod_comet_reading_limit_search(request_rec *r, mod_comet_ask_t *ask,
                                    comet_store_t *store);

/**
 * Take one of the places for searching.  At most a quarter of each child's
 * threads, and a quarter of all threads, may search at a time.  The metrics
 * `searching` and `searches_refused` count the searches.
 * @return 0: no place is free; otherwise mod_comet_reading_leave() gives the
 *         place back
 */
int mod_comet_reading_enter(void);
void mod_comet_reading_leave(void);

/**
 * Say why a request's reading failed.  A reading that was cut short is counted.
 * @param status  not APR_SUCCESS; COMET_ECOSTLY or COMET_EGONE: it was cut short
 * @param what    what was read, such as "the messages"
 * @param pool    the reason is allocated from it
 * @return the reason, which is sent to the client with the status 503
 */
const char *mod_comet_reading_reason(const request_rec *r,
                                     const mod_comet_ask_t *ask,
                                     apr_status_t status, const char *what,
                                     apr_pool_t *pool);

/**
 * Answer a request whose reading failed, with mod_comet_reading_reason().
 * @return what the handler returns
 */
int mod_comet_reading_refuse(request_rec *r, const mod_comet_ask_t *ask,
                             apr_status_t status, const char *what);

/**
 * Take a connection to the store of a request (comet_readers_take()).  In a
 * child that has just started, this waits for up to a second for the writer to
 * open the store.  Reading is not limited yet (mod_comet_reading_limit()).
 * @param store  OUT: mod_comet_reading_return() gives it back
 * @return as comet_readers_take()
 */
apr_status_t mod_comet_reading_borrow(const request_rec *r,
                                      comet_store_t **store);

/** Take a connection as mod_comet_reading_borrow() does.  Reading is limited by
 * what is left of the request's budget. */
apr_status_t mod_comet_reading_take(request_rec *r, mod_comet_ask_t *ask,
                                    comet_store_t **store);

/**
 * Give a connection back (comet_readers_return()).  A failure of the store is
 * logged, at most once a minute.
 * @param store   NULL: none was taken
 * @param status  the result of the reading
 */
void mod_comet_reading_return(const request_rec *r, comet_store_t *store,
                              apr_status_t status);

/** Close idle connections to a database that is no longer the one at the
 * store's path.  The writer might be unable to open the new database before the
 * last of these connections is closed. */
void mod_comet_reading_drop(const request_rec *r);

#endif /* MOD_COMET_READING_H */
