/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file output/filters.h
 * httpd's output filters: what stands between us and the client, and giving
 * bytes to them without blocking.  One thread at a time writes to a request.
 */
#ifndef MOD_COMET_FILTERS_H
#define MOD_COMET_FILTERS_H

#include "wire/encode.h"
#include "server/mod_comet.h"

/** The descriptor of a connection's socket. */
int mod_comet_filters_fd(conn_rec *c);

/**
 * Whether no filter of the administrator's (SetOutputFilter …) stands between
 * us and httpd's own: none that keeps bytes back or takes its time.
 */
int mod_comet_filters_is_direct(const request_rec *r);

/**
 * Whether what comes after the headers goes to a socket as it is, or framed in
 * chunks: no TLS, no filter but httpd's own.
 */
int mod_comet_filters_is_plain(const request_rec *r);

/** Whether mod_headers computes headers when the answer goes out: their values
 * may depend on anything (`Header set X "expr=…"`). */
int mod_comet_filters_has_computed(const request_rec *r);

/** Whether a filter will compress the answer, which takes its time. */
int mod_comet_filters_is_compressed(const request_rec *r);

/**
 * Give bytes to a request's filters and send what the client takes now.
 * @param length  MOD_COMET_PIECE_BYTES at most; 0: the headers alone
 * @return APR_SUCCESS, or why the client is lost
 */
apr_status_t mod_comet_filters_write(request_rec *r,
                                     apr_bucket_brigade *brigade,
                                     const char *data, apr_size_t length);

/** Send the headers alone; as mod_comet_filters_write(). */
apr_status_t mod_comet_filters_open(request_rec *r,
                                    apr_bucket_brigade *brigade);

/**
 * End the response and the request, all of which was given to the filters:
 * r is gone afterwards.  Never blocks.
 * @param complete  whether the response was; else the client is told nothing
 */
apr_status_t mod_comet_filters_end(request_rec *r, apr_bucket_brigade *brigade,
                                   int complete);

/**
 * Send a whole answer, and end the request as mod_comet_filters_end() does, in
 * one piece.
 * @param bytes  of one piece at most; empty afterwards
 */
apr_status_t mod_comet_filters_whole(request_rec *r,
                                     apr_bucket_brigade *brigade,
                                     comet_buffer_t *bytes);

/** Give bytes, framed already, to the connection's filters and send what the
 * client takes now; the brigade is empty afterwards. */
apr_status_t mod_comet_filters_pass(conn_rec *c, apr_bucket_brigade *brigade);

/** Try to send what the filters keep. */
apr_status_t mod_comet_filters_push(conn_rec *c);

#endif /* MOD_COMET_FILTERS_H */
