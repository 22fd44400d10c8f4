/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file output/filters.h
 * Give bytes to httpd's output filters without blocking.  Only one thread at a
 * time may write to a request.
 */
#ifndef MOD_COMET_FILTERS_H
#define MOD_COMET_FILTERS_H

#include "wire/encode.h"
#include "server/mod_comet.h"

/** The descriptor of a connection's socket. */
int mod_comet_filters_fd(conn_rec *c);

/**
 * Give bytes to a request's filters, and send what the client takes now.
 * @param length  at most MOD_COMET_PIECE_BYTES; 0: the headers alone
 * @return APR_SUCCESS, or why the client is lost
 */
apr_status_t mod_comet_filters_write(request_rec *r,
                                     apr_bucket_brigade *brigade,
                                     const char *data, apr_size_t length);

/** Send the headers alone; otherwise like mod_comet_filters_write(). */
apr_status_t mod_comet_filters_open(request_rec *r,
                                    apr_bucket_brigade *brigade);

/** End the response, but not the request; otherwise like
 * mod_comet_filters_write(). */
apr_status_t mod_comet_filters_finish(request_rec *r,
                                      apr_bucket_brigade *brigade);

/**
 * End a request, after all bytes of its response were given to the filters.
 * The request no longer exists afterwards.  Never blocks.
 * @param complete  whether the response is whole; if not, the end of the body
 *                  is not sent
 * @return APR_SUCCESS, or why the client is lost
 */
apr_status_t mod_comet_filters_end(request_rec *r, apr_bucket_brigade *brigade,
                                   int complete);

/**
 * Send a whole answer in one piece, and end the request as
 * mod_comet_filters_end() does.
 * @param bytes  at most MOD_COMET_PIECE_BYTES; empty afterwards
 * @return APR_SUCCESS, or why the client is lost
 */
apr_status_t mod_comet_filters_whole(request_rec *r,
                                     apr_bucket_brigade *brigade,
                                     comet_buffer_t *bytes);

/** Give bytes that are already framed to the connection's filters, and send
 * what the client takes now.  The brigade is empty afterwards.
 * @return APR_SUCCESS, or why the client is lost */
apr_status_t mod_comet_filters_pass(conn_rec *c, apr_bucket_brigade *brigade);

/** Like mod_comet_filters_pass(), but only for the filters below @a filter, a
 * connection filter of mod_comet.
 * @return APR_SUCCESS, or why the client is lost */
apr_status_t mod_comet_filters_below(conn_rec *c, ap_filter_t *filter,
                                     apr_bucket_brigade *brigade);

/** Send what the filters hold, as far as the client takes it now.
 * @return APR_SUCCESS, or why the client is lost */
apr_status_t mod_comet_filters_push(conn_rec *c);

#endif /* MOD_COMET_FILTERS_H */
