/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file dialect/publish.h
 * A request that stores messages: by POST to the endpoint, by ?msg= to the
 * classic chat.
 */
#ifndef MOD_COMET_PUBLISH_H
#define MOD_COMET_PUBLISH_H

#include "request/request.h"

/** Store what ?msg= says. @return what the handler returns */
int mod_comet_classic_publish(request_rec *r,
                              const mod_comet_request_t *request,
                              comet_text_t channel);

/** Tell what may be posted to the endpoint (Accept-Post). */
void mod_comet_post_accept(request_rec *r);

/**
 * Store the request's body: a message, a form, or a batch of lines; once only
 * under an Idempotency-Key.
 * @return what the handler returns
 */
int mod_comet_post_body(request_rec *r, const mod_comet_request_t *request,
                        comet_text_t channel);

#endif /* MOD_COMET_PUBLISH_H */
