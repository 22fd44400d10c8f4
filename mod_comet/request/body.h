/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file request/body.h
 * The body of a request: its declared type, and its bytes.
 */
#ifndef MOD_COMET_BODY_H
#define MOD_COMET_BODY_H

#include "wire/encode.h"
#include "server/mod_comet.h"

/**
 * Read the whole body.
 * @param limit  the most bytes that the body may have
 * @param text  OUT: the body, in the request's pool
 * @return OK, or an HTTP status.  HTTP_UNSUPPORTED_MEDIA_TYPE: the body is
 *         encoded (Content-Encoding) and no input filter has decoded it;
 *         AP_FILTER_ERROR: the request was answered already
 */
int mod_comet_body_read(request_rec *r, apr_size_t limit, comet_text_t *text);

/** The media type without its parameters, in lower case; "" for none. */
const char *mod_comet_body_type(const request_rec *r);

/** Whether the body's charset is UTF-8 or not named.  Text in another charset
 * would be misread. */
int mod_comet_body_is_utf8(const request_rec *r);

#endif /* MOD_COMET_BODY_H */
