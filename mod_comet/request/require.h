/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file request/require.h
 * `Require comet-publish PROVIDER ARGUMENTS`: applies to publishing requests
 * only. `Require comet-channel PATTERN…`: names channels, as the URL does below
 * the endpoint; "user/%{REMOTE_USER}/…" is a user's own.
 */
#ifndef MOD_COMET_REQUIRE_H
#define MOD_COMET_REQUIRE_H

#include "request/request.h"

/** Register both providers. */
void mod_comet_require_register(apr_pool_t *p);

#endif /* MOD_COMET_REQUIRE_H */
