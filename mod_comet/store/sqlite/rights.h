/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file store/sqlite/rights.h
 * What will keep the children from using a database.  Main process only.
 */
#ifndef COMET_RIGHTS_H
#define COMET_RIGHTS_H

#include "store/engine.h"

/**
 * comet_engine_t's advise: missing rights, side files that others would own, a
 * second name of the file.  A command is proposed only for a folder that holds
 * nothing but databases, since it would otherwise give away rights to what is
 * not ours.
 */
void comet_rights_advise(const comet_place_t *place, const comet_site_t *site,
                         comet_advice_cb *say, void *baton, apr_pool_t *p);

#endif /* COMET_RIGHTS_H */
