/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file request/require.h
 * `Require comet-publish PROVIDER ARGUMENTS` applies only to requests that
 * publish.  `Require comet-channel PATTERN…` grants the channels that match a
 * pattern.  A pattern names channels as a URL below the endpoint does;
 * "user/%{REMOTE_USER}/…" stands for a user's own channels.
 */
#ifndef MOD_COMET_REQUIRE_H
#define MOD_COMET_REQUIRE_H

#include "request/request.h"

/** Register both providers. */
void mod_comet_require_register(apr_pool_t *p);

#endif /* MOD_COMET_REQUIRE_H */
