/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file store/sqlite/rights.h
 * Warn of file rights that will keep the children from using a database.  Main
 * process only.
 */
#ifndef COMET_RIGHTS_H
#define COMET_RIGHTS_H

#include "store/engine.h"

/**
 * comet_engine_t's advise: warns of a file that is no database, of missing
 * rights, of side files that other
 * users would own, and of a second name of the file.  A warning proposes a
 * command only if the folder holds nothing but databases: elsewhere the command
 * could give away rights to other files.
 */
void comet_rights_advise(const comet_place_t *place, const comet_site_t *site,
                         comet_advice_cb *say, void *baton, apr_pool_t *p);

#endif /* COMET_RIGHTS_H */
