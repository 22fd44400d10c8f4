/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file request/access.h
 * Who may publish, as far as `Require` cannot say it: no page of another site,
 * unless CometAllowOrigin names it.
 */
#ifndef MOD_COMET_ACCESS_H
#define MOD_COMET_ACCESS_H

#include "request/request.h"

/**
 * Whether a publishing request may be what it claims to be: not sent by a
 * page of another site, and, by GET, not by a mere link or image.
 * @return NULL, or the reason to refuse it (403)
 */
const char *mod_comet_access_refuse_publish(const request_rec *r);

/**
 * Whether what its own location says lets a sub-request pass, which asks for
 * one channel more than its main request's URL names: CometPublish, and
 * CometAllowOrigin for the page that has sent the request.
 */
int mod_comet_access_permits(const request_rec *sub);

#endif /* MOD_COMET_ACCESS_H */
