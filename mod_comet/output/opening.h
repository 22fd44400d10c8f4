/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file output/opening.h
 * Holds a stream's opening before the headers go out, to see whether the
 * content filters let it pass: whatever they keep of it, they would keep of
 * each message.
 *
 * All of these calls belong to the thread that owns the request.
 */
#ifndef MOD_COMET_OPENING_H
#define MOD_COMET_OPENING_H

#include "base/text.h"
#include "server/mod_comet.h"

/** An opening that is held. */
typedef struct mod_comet_opening_t {
    ap_filter_t *filter;
    apr_bucket_brigade *held;
    comet_text_t written; /* what the filters got, in the request's pool */
} mod_comet_opening_t;

/**
 * Hold what the content filters let pass, from now on.
 * @param opening  stays where it is until mod_comet_opening_end()
 * @param bytes    what will be written
 */
void mod_comet_opening_begin(request_rec *r, mod_comet_opening_t *opening,
                             comet_text_t bytes);

/** Whether everything has passed.  A filter that changes bytes may make them
 * fewer, but then their end passes.
 * @return 0: the answer can still be refused; all of its filters are to be
 *         taken out (mod_comet_chain_clear()) */
int mod_comet_opening_has_passed(const mod_comet_opening_t *opening);

/** Send what was held, and hold nothing more. */
apr_status_t mod_comet_opening_end(mod_comet_opening_t *opening);

/** The output filter that holds; it is the last one before the headers. */
apr_status_t mod_comet_opening_filter(ap_filter_t *filter,
                                      apr_bucket_brigade *brigade);

#endif /* MOD_COMET_OPENING_H */
