/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file mod_comet_access.h
 * Who may publish, as far as Apache's own directives do not say it already:
 * no page of another site, and whom `Require comet-publish` names.
 */
#ifndef MOD_COMET_ACCESS_H
#define MOD_COMET_ACCESS_H

#include "mod_comet_request.h"

/**
 * Whether a publishing request may be what it claims to be: not sent by a
 * page of another site, and, by GET, not by a mere link or image.
 * @return NULL, or the reason to refuse it (403)
 */
const char *mod_comet_refuse_publish(const request_rec *r);

/** Register `Require comet-publish PROVIDER ARGUMENTS`. */
void mod_comet_access_register(apr_pool_t *p);

#endif /* MOD_COMET_ACCESS_H */
