/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file output/opening.h
 * Hold a stream's opening back until it is clear whether the content filters
 * let it pass.  The headers are held back with it.  A filter that holds back
 * part of the opening would also hold back part of each message.
 *
 * Only the thread that owns the request calls these functions.
 */
#ifndef MOD_COMET_OPENING_H
#define MOD_COMET_OPENING_H

#include "base/text.h"
#include "server/mod_comet.h"

/** An opening that is held back. */
typedef struct mod_comet_opening_t {
    ap_filter_t *filter;
    apr_bucket_brigade *held;
    comet_text_t written; /* the filters' input; in the request's pool */
} mod_comet_opening_t;

/**
 * From now on, hold back what the content filters let pass.
 * @param opening  must stay at its address until mod_comet_opening_end()
 * @param bytes    the opening, which the caller writes next
 */
void mod_comet_opening_begin(request_rec *r, mod_comet_opening_t *opening,
                             comet_text_t bytes);

/** Whether the whole opening has passed.  A filter that changes the opening can
 * make it shorter.  Then the last bytes of the opening must have passed.
 * @return 0: the answer can still be refused, after mod_comet_chain_clear() */
int mod_comet_opening_has_passed(const mod_comet_opening_t *opening);

/** Send what was held back, and hold nothing back any more. */
apr_status_t mod_comet_opening_end(mod_comet_opening_t *opening);

/** The output filter that holds the opening back: the last one before the
 * headers are written. */
apr_status_t mod_comet_opening_filter(ap_filter_t *filter,
                                      apr_bucket_brigade *brigade);

#endif /* MOD_COMET_OPENING_H */
