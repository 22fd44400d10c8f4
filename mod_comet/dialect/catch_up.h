/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file dialect/catch_up.h
 * Find what a reader has missed, and answer it: at once, or when there is news.
 */
#ifndef MOD_COMET_CATCH_UP_H
#define MOD_COMET_CATCH_UP_H

#include "request/ask.h"

/**
 * Look up what the reader has missed; answer with it, or let it wait.
 * @param ask  its transport, selection, cursor and extent are set
 * @return what the handler returns
 */
int mod_comet_catch_up_answer(request_rec *r, mod_comet_ask_t *ask);

/** Let a reader wait without a look at the store.
 * @return what the handler returns */
int mod_comet_catch_up_wait(request_rec *r, mod_comet_ask_t *ask);

/** Answer HEAD: the headers alone, and no wait.
 * @return what the handler returns */
int mod_comet_catch_up_head(request_rec *r, const mod_comet_ask_t *ask);

/**
 * Find where a stream begins to read, by ask->cursor.  Called by the request's
 * thread.
 * @param ask  ->seen, ->floor, ->pruned and ->is_unknown are set
 * @return APR_SUCCESS, or why the store cannot be read
 */
apr_status_t mod_comet_catch_up_find(request_rec *r, mod_comet_ask_t *ask);

#endif /* MOD_COMET_CATCH_UP_H */
