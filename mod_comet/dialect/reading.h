/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file dialect/reading.h
 * What a request may spend on reading the log with its thread: a budget for
 * each request, and a share of all threads for those that search.
 */
#ifndef MOD_COMET_READING_H
#define MOD_COMET_READING_H

#include "request/ask.h"

#include "store/store.h"

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

#endif /* MOD_COMET_READING_H */
