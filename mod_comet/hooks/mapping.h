/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file hooks/mapping.h
 * The directives that map URLs: CometEndpoint and the others in
 * tables/dialects.def.  Parent only.
 */
#ifndef MOD_COMET_MAPPING_H
#define MOD_COMET_MAPPING_H

#include "server/mod_comet.h"

/**
 * Read a directive that maps a URL. cmd->info is the directive's
 * mod_comet_dialect_t.
 * @param url   the URL
 * @param word  the dialect's argument, or the word "optional"; NULL: neither
 * @param last  the word "optional" after the dialect's argument; NULL: the word
 *              is absent
 * @return NULL, or the error, in cmd->pool
 */
const char *mod_comet_mapping_set(cmd_parms *cmd, void *dir, const char *url,
                                  const char *word, const char *last);

#endif /* MOD_COMET_MAPPING_H */
