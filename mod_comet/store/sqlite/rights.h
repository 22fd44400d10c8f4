/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file store/sqlite/rights.h
 * Warn of file rights that will prevent the children from using a database.
 * Main process only.
 */
#ifndef COMET_RIGHTS_H
#define COMET_RIGHTS_H

#include "store/engine.h"

/**
 * comet_engine_t's advise.  It warns of a file that is not a database, an
 * unsuitable file system, missing rights, other users who may write the files,
 * -wal and -shm files that other users would own, and a second name of the
 * file.  A warning proposes a command only if the folder holds nothing but
 * databases: elsewhere the command could give away rights to other files.
 */
void comet_rights_advise(const comet_place_t *place, const comet_site_t *site,
                         comet_advice_cb *say, void *baton, apr_pool_t *p);

#endif /* COMET_RIGHTS_H */
