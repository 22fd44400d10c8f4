/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file hooks/claim.h
 * Claim mapped requests before any module looks at the disk.
 */
#ifndef MOD_COMET_CLAIM_H
#define MOD_COMET_CLAIM_H

#include "server/mod_comet.h"

/**
 * pre_translate_name hook, before all others: httpd decodes a mapped URL as
 * usual, even if ProxyPass with mapping=servlet or mapping=encoded takes all
 * URLs as they are.  Otherwise a channel's name and the <Location> that protects
 * it would be compared with the encoded path.
 * @return OK: the path is decoded; DECLINED: the request is not mapped; or the
 *         status with which another module refuses the request
 */
int mod_comet_claim_pre_translate_name(request_rec *r);

/**
 * translate_name hook, before all others: claim a mapped request, unless a rule
 * of the site (mod_rewrite, mod_alias, mod_lua) redirects or refuses it.
 * @return OK; DECLINED: the request is not mapped; or the status that the rule
 *         asks for
 */
int mod_comet_claim_translate_name(request_rec *r);

/** translate_name hook, after mod_rewrite's: claim a URL that mod_rewrite made
 * and passed through ([PT]), unless a later rule redirects or refuses it. */
int mod_comet_claim_passed_through(request_rec *r);

/** map_to_storage hook: a claimed URL names no file. */
int mod_comet_claim_map_to_storage(request_rec *r);

/** post_perdir_config hook: make httpd authorise each channel's sub-request,
 * even if the sub-request has the same configuration as its main request. */
int mod_comet_claim_post_perdir_config(request_rec *r);

/** type_checker hook: set the handler, whatever the URL's extension.  The hook
 * runs after authorisation, but before modules set variables that authorisation
 * did not see (SetEnv). */
int mod_comet_claim_find_type(request_rec *r);

/** insert_error_filter hook: add mod_comet's headers to error answers of httpd,
 * too. */
void mod_comet_claim_insert_error_filter(request_rec *r);

#endif /* MOD_COMET_CLAIM_H */
