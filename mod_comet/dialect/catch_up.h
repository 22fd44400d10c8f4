/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file dialect/catch_up.h
 * Find the messages that a reader has missed.  Answer the reader at once, or
 * when there is news.
 */
#ifndef MOD_COMET_CATCH_UP_H
#define MOD_COMET_CATCH_UP_H

#include "request/ask.h"

/**
 * Look up what the reader has missed.  Answer with that, or let the reader
 * wait.
 * @param ask  its transport, selection, cursor and extent are set
 * @return what the handler returns
 */
int mod_comet_catch_up_answer(request_rec *r, mod_comet_ask_t *ask);

/** Let a reader wait, without looking at the store first.
 * @return what the handler returns */
int mod_comet_catch_up_wait(request_rec *r, mod_comet_ask_t *ask);

/** Answer HEAD at once, with the headers alone.
 * @return what the handler returns */
int mod_comet_catch_up_head(request_rec *r, const mod_comet_ask_t *ask);

/**
 * Find where a stream begins to read, starting from ask->cursor.  Called by the
 * request's thread.
 * @param ask  ->cursor, ->seen, ->floor and ->pruned are set
 * @return APR_SUCCESS, or why the store cannot be read
 */
apr_status_t mod_comet_catch_up_find(request_rec *r, mod_comet_ask_t *ask);

#endif /* MOD_COMET_CATCH_UP_H */
