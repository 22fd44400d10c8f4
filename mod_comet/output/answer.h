/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file output/answer.h
 * Whole answers, and the headers that all our answers have.
 */
#ifndef MOD_COMET_ANSWER_H
#define MOD_COMET_ANSWER_H

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

/** 405, or the answer to OPTIONS. */
int mod_comet_answer_not_allowed(request_rec *r, const char *allow);

int mod_comet_answer_options(request_rec *r, const char *allow);

/** Before ap_meets_conditions(): take what compressors add to ETags out of
 * If-None-Match, and conditions by date, since no answer has one. */
void mod_comet_answer_tidy_conditions(request_rec *r);

/** Set the headers of an answer that a transport makes. */
void mod_comet_answer_prepare(request_rec *r,
                              const comet_transport_t *transport);

#endif /* MOD_COMET_ANSWER_H */
