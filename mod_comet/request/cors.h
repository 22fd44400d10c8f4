/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file request/cors.h
 * Pages of other sites that CometAllowOrigin lets in (Fetch standard, "CORS
 * protocol"): their preflights, the headers of their answers, and whether
 * they may publish.
 */
#ifndef MOD_COMET_CORS_H
#define MOD_COMET_CORS_H

#include "request/request.h"

/** Set, in one of the request's tables of headers, what lets the page that
 * asks read the answer; and take away what said so before. */
void mod_comet_cors_headers(request_rec *r, apr_table_t *headers);

/**
 * Whether the page of another site that sent the request may publish.  Where
 * any site may, it is without what identifies the user: else every page could
 * publish in the name of its visitors.
 */
int mod_comet_cors_may_publish(const request_rec *r);

/** Whether a page that is let read the answer of a sub-request's main request
 * would be let read the sub-request's own. */
int mod_comet_cors_permits(const request_rec *sub);

/** header_parser hook: the location is known, nobody has been asked for a
 * password yet.  Answers the preflight of an allowed origin. */
int mod_comet_cors_parse_headers(request_rec *r);

#endif /* MOD_COMET_CORS_H */
