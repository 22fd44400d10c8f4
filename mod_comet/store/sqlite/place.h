/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file store/sqlite/place.h
 * Find out where a database file is, and check that it may be there.  The
 * file's path is in place->name and place->own.  Main process only.
 */
#ifndef COMET_PLACE_H
#define COMET_PLACE_H

#include "store/engine.h"

/** comet_engine_t's parse.  The text is a file's path, absolute or below @a
 * root.  The file need not exist. */
const char *comet_place_parse(comet_place_t *place, const char *text,
                              const char *root, apr_pool_t *p);

/**
 * comet_engine_t's locate.  Finds the real path.  A symbolic link is followed
 * even if its target does not exist yet.  If the user of this process may not
 * enter a folder of the path, the path stays unchanged, and
 * comet_rights_advise() reports the folder.
 */
const char *comet_place_locate(comet_place_t *place, apr_pool_t *p);

/** comet_engine_t's check.  A database must not be in a folder of the server's
 * configuration, in a folder that everybody may write, or below a DocumentRoot
 * or Alias; it must be where the children can reach it (ChrootDir).  None of its
 * files may be mounted as a single file. */
const char *comet_place_check(const comet_place_t *place,
                              const comet_site_t *site, apr_pool_t *p);

/** comet_engine_t's confine. */
void comet_place_confine(comet_place_t *place, const char *jail);

/** The folder of an absolute path, without a slash at the end. */
const char *comet_place_folder(const char *path, apr_pool_t *p);

/** What a file system means for a database. */
typedef enum comet_medium_e {
    COMET_MEDIUM_LOCAL, /**< a local disk, or unknown */
    COMET_MEDIUM_NETWORK, /**< SQLite's locks and its shared memory do not work
                           * between machines */
    COMET_MEDIUM_MEMORY, /**< all data is lost when the machine restarts */
} comet_medium_e;

/**
 * Find out what file system a folder is on.
 * @param name  OUT: the file system's usual name; unchanged if it is local
 */
comet_medium_e comet_place_medium(const char *folder, const char **name);

#endif /* COMET_PLACE_H */
