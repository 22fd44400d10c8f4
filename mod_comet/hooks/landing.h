/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file hooks/landing.h
 * The soft landing of a stream that a rule of the site or another module refuses
 * for a while (503, 429).
 */
#ifndef MOD_COMET_LANDING_H
#define MOD_COMET_LANDING_H

#include "request/request.h"

/** What such a client is told. */
#define MOD_COMET_LANDING_REASON "a rule of this site closes it for a while"

/**
 * Find out whether the client of a request would give up for good after an
 * error (`softly` in request/request.h).  If so, neither ErrorDocument nor an
 * error page is used for 503 and 429.  Called by the request's thread.
 * @param request  its query is parsed; OUT: softly
 */
void mod_comet_landing_prepare(request_rec *r, mod_comet_request_t *request,
                               const mod_comet_mapping_t *mapping);

/** post_read_request hook: prepare for modules that refuse a request before
 * mod_comet claims it.
 * @return DECLINED */
int mod_comet_landing_post_read_request(request_rec *r);

/** insert_error_filter hook, after those of mod_headers and mod_session: if the
 * error is only for now, let the filter below answer. */
void mod_comet_landing_insert_error_filter(request_rec *r);

/** Output filter COMET_LANDING: in place of httpd's error page, tell the client
 * when to come back. */
apr_status_t mod_comet_landing_filter(ap_filter_t *filter,
                                      apr_bucket_brigade *brigade);

#endif /* MOD_COMET_LANDING_H */
