/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file mod_comet_publish.h
 * A request that stores a message: by POST to the endpoint, by ?msg= to the
 * classic chat.
 */
#ifndef MOD_COMET_PUBLISH_H
#define MOD_COMET_PUBLISH_H

#include "mod_comet_request.h"

/** Store what ?msg= says. @return what the handler returns */
int mod_comet_publish_classic(request_rec *r,
                              const mod_comet_request_t *request,
                              comet_text_t channel);

/** Store the request's body. @return what the handler returns */
int mod_comet_publish_body(request_rec *r, const mod_comet_request_t *request,
                           comet_text_t channel);

#endif /* MOD_COMET_PUBLISH_H */
