/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file output/filters.h
 * Giving bytes to httpd's output filters: whole answers, and streams that
 * never block.  A request is written to by one thread at a time.
 */
#ifndef MOD_COMET_FILTERS_H
#define MOD_COMET_FILTERS_H

#include "request/ask.h"

/** Set the headers every answer has, our own answers and the errors that
 * httpd makes for our requests (401, 403 …): at once, when one is claimed. */
void mod_comet_answer_claim(request_rec *r);

/** The same for an answer of our own. */
void mod_comet_answer_headers(request_rec *r);

/**
 * Answer with a JSON body of one request, whole.
 * @param status  HTTP's
 * @return what the handler returns
 */
int mod_comet_answer_body(request_rec *r, int status, const char *content_type,
                          const comet_buffer_t *body);

/**
 * Answer {"error": "…"}; the text names the parameter and what is allowed.
 * 503 and 429 carry Retry-After: 1, if none was set.
 * @return what the handler returns
 */
int mod_comet_answer_error(request_rec *r, int status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/** 503: no place to wait is free; counted. */
int mod_comet_answer_full(request_rec *r);

/**
 * Encode an answer for a client, and count it.
 * @param batch  the messages; none of them: no news
 * @param out  appended to
 */
void mod_comet_news_encode(const mod_comet_ask_t *ask,
                           const comet_batch_t *batch, comet_buffer_t *out);

/** Encode what a stream opens with. */
void mod_comet_news_encode_opening(const mod_comet_ask_t *ask,
                                   comet_buffer_t *out);

/**
 * Whether a stream ends now, and within how many milliseconds its client is
 * to come back; 0: it goes on.
 * @param reasons  comet_reason_e
 * @param ends_at  of its lifetime, by comet_monotonic(); 0: never
 */
int mod_comet_news_retry(unsigned reasons, apr_time_t ends_at);

/**
 * Encode what a waiting client gets: messages; where a stream is over, the
 * words of parting; where it was silent for long, what keeps it alive and its
 * page does not see.
 * @param retry_msec  of mod_comet_news_retry()
 * @param out  appended to; nothing, when there is nothing to say
 */
void mod_comet_news_encode_next(const mod_comet_ask_t *ask,
                                const comet_batch_t *batch, int retry_msec,
                                int silent, comet_buffer_t *out);

/** Encode the words of parting alone, if there are any. */
void mod_comet_news_encode_closing(const comet_transport_t *transport,
                                   int retry_msec, comet_buffer_t *out);

/**
 * When a waiting client is to be looked at next: after a while, or at the end
 * of its lifetime.
 * @param ends_at  as for mod_comet_news_retry()
 */
apr_time_t mod_comet_news_due(apr_time_t ends_at, apr_interval_time_t wait);

/** At the end of a child, how long a client may still take what is left. */
#define MOD_COMET_CLOSING_LIMIT apr_time_from_sec(2)

/** The descriptor of a connection's socket. */
int mod_comet_filters_fd(conn_rec *c);

/** 405, or the answer to OPTIONS. */
int mod_comet_answer_not_allowed(request_rec *r, const char *allow);
int mod_comet_answer_options(request_rec *r, const char *allow);

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
int mod_comet_output_has_computed_headers(const request_rec *r);

/** Whether a filter will compress the answer, which takes its time. */
int mod_comet_filters_is_compressed(const request_rec *r);

/** Before ap_meets_conditions(): take what compressors add to ETags out of
 * If-None-Match, and conditions by date, since no answer has one. */
void mod_comet_answer_tidy_conditions(request_rec *r);

/** Set the headers of an answer that a transport makes. */
void mod_comet_answer_prepare(request_rec *r,
                              const comet_transport_t *transport);

/**
 * Bytes on their way to one client, given to the filters, or to a socket,
 * piece by piece as the client takes them.  Zero-initialised is empty.  Owned
 * by whoever owns the request, or the socket.
 */
typedef struct mod_comet_outbox_t {
    comet_buffer_t bytes;
    apr_size_t sent; /* given to them */
} mod_comet_outbox_t;

/** The most that is given to the filters at a time: beyond 64 KB core blocks
 * whoever gives it (FlushMaxThreshold). */
#define MOD_COMET_PIECE_BYTES (32 * 1024)

/** Whether all was given to them. */
int mod_comet_outbox_is_empty(const mod_comet_outbox_t *outbox);

/** Drop what it holds. */
void mod_comet_outbox_clear(mod_comet_outbox_t *outbox);

/**
 * Send what the client takes now; never blocks.  What stays in the filters
 * (c->data_in_output_filters) is sent by mod_comet_filters_push(), what stays
 * in the outbox by the next call.
 * @return APR_SUCCESS, or why the client is lost
 */
apr_status_t mod_comet_outbox_send(mod_comet_outbox_t *outbox, request_rec *r,
                                   apr_bucket_brigade *brigade);

/**
 * Send bytes to a socket, behind what the outbox holds, and keep what it does
 * not take; never blocks.
 * @return how many bytes it took; -1: the client is lost, or there is no
 *         memory for what is left
 */
apr_ssize_t mod_comet_outbox_write(mod_comet_outbox_t *outbox, int fd,
                                   comet_text_t bytes);

/** Send what the outbox holds; as mod_comet_outbox_write(). */
apr_ssize_t mod_comet_outbox_flush(mod_comet_outbox_t *outbox, int fd);

/** Send the headers alone; as mod_comet_outbox_send(). */
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
