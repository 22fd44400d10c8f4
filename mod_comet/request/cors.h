/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file request/cors.h
 * Pages of other sites that CometAllowOrigin lets in (Fetch standard, "CORS
 * protocol"): how their preflights are answered, which headers they get, and
 * whether they may publish.
 */
#ifndef MOD_COMET_CORS_H
#define MOD_COMET_CORS_H

#include "request/request.h"

/**
 * Set the CORS headers that let the requesting page read the answer; remove any
 * that were set before.
 * @param headers  r->headers_out or r->err_headers_out
 */
void mod_comet_cors_headers(request_rec *r, apr_table_t *headers);

/** Whether a page of another site may publish with this request.  If any site
 * may ("*"), the request must carry nothing that identifies a user: otherwise
 * every page could publish in the name of its visitors. */
int mod_comet_cors_may_publish(const request_rec *r);

/** Whether a page that may read the main request's answer may also read answers
 * from the sub-request's URL. */
int mod_comet_cors_permits(const request_rec *sub);

/** header_parser hook: answer the preflight of an allowed origin. The location
 * is known by then, and nobody has been asked for a password yet. */
int mod_comet_cors_parse_headers(request_rec *r);

#endif /* MOD_COMET_CORS_H */
