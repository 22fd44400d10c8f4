/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file hooks/site.h
 * What the stores' engines must know about httpd.  Main process only.
 */
#ifndef MOD_COMET_SITE_H
#define MOD_COMET_SITE_H

#include "server/mod_comet.h"
#include "store/engine.h"

/**
 * Collect the user and group of the children, the folders of the configuration
 * files (by the names that the configuration uses and by their real names), all
 * DocumentRoots and Aliases, and ChrootDir.  Works only while httpd keeps
 * ap_conftree: in the check_config and post_config hooks.
 * @return with texts and arrays in @a p
 */
comet_site_t mod_comet_site(const server_rec *main, apr_pool_t *p);

#endif /* MOD_COMET_SITE_H */
