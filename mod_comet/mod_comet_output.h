/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file mod_comet_output.h
 * Giving bytes to httpd's output filters: whole answers, and streams that
 * never block.  A request is written to by one thread at a time.
 */
#ifndef MOD_COMET_OUTPUT_H
#define MOD_COMET_OUTPUT_H

#include "mod_comet_request.h"

/** Headers every answer of ours has. */
void mod_comet_output_headers(request_rec *r);

/**
 * Answer with a JSON body of one request, whole.
 * @param status  HTTP's
 * @return what the handler returns
 */
int mod_comet_output_body(request_rec *r, int status, const char *content_type,
                          const comet_buffer_t *body);

/**
 * Answer {"error": "…"}; the text names the parameter and what is allowed.
 * 503 and 429 carry Retry-After: 1.
 * @return what the handler returns
 */
int mod_comet_output_error(request_rec *r, int status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/** 405, or the answer to OPTIONS. */
int mod_comet_output_not_allowed(request_rec *r, const char *allow);
int mod_comet_output_options(request_rec *r, const char *allow);

/** Set the headers of an answer that a transport makes. */
void mod_comet_output_prepare(request_rec *r,
                              const comet_transport_t *transport);

/**
 * Pass bytes on as far as the client takes them now; the rest is kept by
 * the filters (c->data_in_output_filters) and sent by ..._push().  With no
 * bytes it sends the headers.  Never blocks: where a filter (TLS) would have
 * to, for an answer larger than httpd keeps, the client is lost.
 * @param data  copied by the filters if they keep it
 * @return APR_SUCCESS, or why the client is lost
 */
apr_status_t mod_comet_output_write(request_rec *r, apr_bucket_brigade *brigade,
                                    const char *data, apr_size_t length);

/**
 * End the response and the request: r is gone afterwards.
 * @param complete  whether the response was; else the client is told nothing
 */
apr_status_t mod_comet_output_end(request_rec *r, apr_bucket_brigade *brigade,
                                  int complete);

/** Try to send what the filters keep. */
apr_status_t mod_comet_output_push(conn_rec *c);

#endif /* MOD_COMET_OUTPUT_H */
