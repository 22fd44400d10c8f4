/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file store/sqlite/place.h
 * Where a database file is, and whether it may be there.  place->name and
 * place->own are its path.  Main process only.
 */
#ifndef COMET_PLACE_H
#define COMET_PLACE_H

#include "store/engine.h"

/** comet_engine_t's parse: a file's path, absolute or below @a root.  The file
 * need not exist. */
const char *comet_place_parse(comet_place_t *place, const char *text,
                              const char *root, apr_pool_t *p);

/**
 * comet_engine_t's locate: the real path.  A symbolic link is followed even if
 * its target does not exist yet.  If this user may not enter a folder of the
 * path, the path stays as it is; comet_rights_advise() reports that.
 */
const char *comet_place_locate(comet_place_t *place, apr_pool_t *p);

/** comet_engine_t's check.  A database must not lie beside the server's
 * configuration, where everybody may write, or below a DocumentRoot, and must
 * not be a mount of its own. */
const char *comet_place_check(const comet_place_t *place,
                              const comet_site_t *site, apr_pool_t *p);

/** The folder of an absolute path, without a slash at the end. */
const char *comet_place_folder(const char *path, apr_pool_t *p);

/** Whether an absolute path is a folder or lies below it. */
int comet_place_is_within(const char *path, const char *folder);

/**
 * The kind of network file system that a folder is on.  Between machines neither
 * SQLite's locks nor its shared memory work.
 * @return its usual name; NULL: the folder is on no such file system, or cannot
 *         be examined
 */
const char *comet_place_network(const char *folder);

#endif /* COMET_PLACE_H */
