/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file request/require_request.h
 * `Require comet-request URL [timeout=DURATION]`: the site's application
 * decides.
 */
#ifndef MOD_COMET_REQUIRE_REQUEST_H
#define MOD_COMET_REQUIRE_REQUEST_H

#include "request/request.h"

/** Register the provider. */
void mod_comet_require_request_register(apr_pool_t *p);

#endif /* MOD_COMET_REQUIRE_REQUEST_H */
