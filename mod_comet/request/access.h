/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file request/access.h
 * Checks on publishing that `Require` cannot express: no page of another site
 * may publish, unless CometAllowOrigin names that site.
 */
#ifndef MOD_COMET_ACCESS_H
#define MOD_COMET_ACCESS_H

#include "request/request.h"

/**
 * Check where a publishing request comes from.  A page of another site must not
 * publish; a browser's GET must come from a script, not from a link or image.
 * @return NULL, or the reason to refuse it (403)
 */
const char *mod_comet_access_refuse_publish(const request_rec *r);

/**
 * Check where a WebSocket handshake comes from.  Browsers let a page of another
 * site open a WebSocket and read everything that its visitor may read.
 * So a handshake is accepted only from a page that may also publish.
 * @return NULL, or the reason to refuse it (403)
 */
const char *mod_comet_access_refuse_socket(const request_rec *r);

/**
 * Whether the settings of a sub-request's own location allow what the main
 * request wants to do with the sub-request's channel.  CometPublish must be on
 * in that location if the request publishes.  CometAllowOrigin must allow the
 * page that sent the request.
 */
int mod_comet_access_permits(const request_rec *sub);

#endif /* MOD_COMET_ACCESS_H */
