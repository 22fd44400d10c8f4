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

/**
 * Limit what a request reads by a connection.  Reading ends when everything
 * that the request has read takes too long, and when its client has left.
 */
void mod_comet_reading_limit(request_rec *r, mod_comet_ask_t *ask,
                             comet_store_t *store);

/** The same for a search alone, which has a smaller budget: it can go on where
 * it was. */
void mod_comet_reading_limit_search(request_rec *r, comet_store_t *store);

/**
 * Take a place among the requests that search: at most a quarter of a child's
 * threads do, and of all children's.  Counted (searching, searches_refused).
 * @return 0: there is none.  Else mod_comet_reading_leave() gives it back.
 */
int mod_comet_reading_enter(void);
void mod_comet_reading_leave(void);

/**
 * Answer a request whose reading was ended by its limit.
 * @param status  COMET_ECOSTLY or COMET_EGONE
 * @return what the handler returns
 */
int mod_comet_reading_ended(request_rec *r, const mod_comet_ask_t *ask,
                            apr_status_t status);

/** A connection to read with, of a request's store: comet_readers_take(),
 * within what is left of the request's budget (mod_comet_reading_limit()).  In a
 * child that has just begun it waits for the writer to open the store, for a
 * second at most. */
apr_status_t mod_comet_reading_take(request_rec *r, mod_comet_ask_t *ask,
                                    comet_store_t **store);

/**
 * Give it back: comet_readers_return().  Why it could not be read is logged,
 * at most once a minute.
 * @param store  NULL: there was none
 */
void mod_comet_reading_return(const request_rec *r, comet_store_t *store,
                              apr_status_t status);

/** Close the idle connections that are not to what is at a store's path any
 * more: a new one to write may have to wait for the end of the last. */
void mod_comet_reading_drop(const request_rec *r);

#endif /* MOD_COMET_READING_H */
