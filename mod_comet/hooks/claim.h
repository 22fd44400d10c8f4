/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file hooks/claim.h
 * Claiming the requests that are mapped, before anything looks at the disk.
 */
#ifndef MOD_COMET_CLAIM_H
#define MOD_COMET_CLAIM_H

#include "server/mod_comet.h"

/** translate_name hook: claim what is mapped. */
int mod_comet_claim_translate_name(request_rec *r);

/** map_to_storage hook: what was claimed is not on disk. */
int mod_comet_claim_map_to_storage(request_rec *r);

/** type_checker hook: set the handler, whatever the URL's extension. It runs
 * after authorisation, and before modules set what authorisation did not see
 * (SetEnv). */
int mod_comet_claim_find_type(request_rec *r);

/** insert_error_filter hook: errors that httpd makes late get our headers,
 * too. */
void mod_comet_claim_insert_error_filter(request_rec *r);

#endif /* MOD_COMET_CLAIM_H */
