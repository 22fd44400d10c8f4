/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file mod_comet_subrequest.h
 * What httpd copies into a sub-request from the request that made it, though
 * rules may judge a channel by it: made anew from the channel's own URL.
 */
#ifndef MOD_COMET_SUBREQUEST_H
#define MOD_COMET_SUBREQUEST_H

#include "mod_comet.h"

/** In translate_name, for a sub-request that was claimed: the request line
 * (THE_REQUEST), and what the server's SetEnvIf say. */
void mod_comet_subrequest_begin(request_rec *r);

/** post_perdir_config hook: what SetEnvIf of its sections say. */
int mod_comet_subrequest_enter(request_rec *r);

#endif /* MOD_COMET_SUBREQUEST_H */
