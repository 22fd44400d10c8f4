/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file request/require_token.h
 * `Require comet-token`: a valid token (CometTokenKey) grants the channel.
 */
#ifndef MOD_COMET_REQUIRE_TOKEN_H
#define MOD_COMET_REQUIRE_TOKEN_H

#include "request/request.h"

/** Register the provider. */
void mod_comet_require_token_register(apr_pool_t *p);

#endif /* MOD_COMET_REQUIRE_TOKEN_H */
