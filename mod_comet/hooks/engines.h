/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file hooks/engines.h
 * Register the storage engines as providers in httpd, so that other modules can
 * add engines.  Main process only.
 */
#ifndef MOD_COMET_ENGINES_H
#define MOD_COMET_ENGINES_H

#include "server/mod_comet.h"
#include "store/engines.h"

/** Register mod_comet's own engine; called where the hooks are registered. */
void mod_comet_engines_register(apr_pool_t *pconf);

/** List all registered engines, mod_comet's own first.
 * @return const comet_engine_t *, in @a p */
apr_array_header_t *mod_comet_engines_list(apr_pool_t *p);

#endif /* MOD_COMET_ENGINES_H */
