/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file dialect/post.h
 * Publish by a POST to the endpoint.
 */
#ifndef MOD_COMET_POST_H
#define MOD_COMET_POST_H

#include "request/request.h"

/** The media types of a POST, as Accept-Post lists them. */
#define MOD_COMET_POST_FORM "application/x-www-form-urlencoded"
#define MOD_COMET_POST_LINES "application/x-ndjson"
#define MOD_COMET_POST_ACCEPTS \
    "text/*, application/json, application/xml, " MOD_COMET_POST_FORM \
    ", " MOD_COMET_POST_LINES

/**
 * Store the request's body: a message, a form, or a batch of lines.  A body
 * that is sent again with the same Idempotency-Key is not stored again.
 * @return what the handler returns
 */
int mod_comet_post_body(request_rec *r, const mod_comet_request_t *request,
                        comet_text_t channel);

#endif /* MOD_COMET_POST_H */
