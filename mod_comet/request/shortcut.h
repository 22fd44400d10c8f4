/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file request/shortcut.h
 * Judge a channel by the request's token alone, if a sub-request to the
 * channel's own URL would come to the same result.  This costs only string
 * comparisons.
 */
#ifndef MOD_COMET_SHORTCUT_H
#define MOD_COMET_SHORTCUT_H

#include "request/request.h"

/**
 * Find out which servers have rules that can depend on the URL (RewriteRule,
 * Redirect, Lua, Deny).  Called in post_config, for all servers.
 */
void mod_comet_shortcut_prepare(server_rec *main);

/**
 * Whether the token of a request grants a channel, and nothing but `Require
 * comet-token` would judge the channel's own URL: the same sections apply to
 * both URLs, this Require stands alone in its section, no <If> applies, the
 * server has no rules, and no module but httpd's own decides on access.
 * @param channel  without the endpoint's prefix, as for
 *                 mod_comet_judge_channel()
 * @return 0: a sub-request to the channel's own URL must judge it.  Called by
 *         the request's thread.
 */
int mod_comet_shortcut_grants(const request_rec *r,
                              const mod_comet_mapping_t *mapping,
                              comet_text_t channel);

#endif /* MOD_COMET_SHORTCUT_H */
