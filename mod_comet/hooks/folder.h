/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file hooks/folder.h
 * Whether a store may lie where its configuration says, and what to tell the
 * administrator.  Main process only.
 */
#ifndef MOD_COMET_FOLDER_H
#define MOD_COMET_FOLDER_H

#include "server/mod_comet.h"

/**
 * Find a database's real path.  The file need not exist; a symbolic link to a
 * file that does not exist yet is followed all the same.
 * @param path   absolute
 * @param error  OUT: errno when NULL is returned
 * @return allocated in @a p; NULL: its folder cannot be resolved
 */
const char *mod_comet_folder_real_path(const char *path, int *error,
                                       apr_pool_t *p);

/**
 * The folders of httpd's configuration files, by the names that the
 * configuration uses and by their real ones.  Only while httpd keeps
 * ap_conftree: in the check_config and post_config hooks.
 * @return const char *, without a slash at the end, in @a p
 */
apr_array_header_t *mod_comet_folder_of_config(apr_pool_t *p);

/**
 * Why a store must not lie in its folder.
 * @param path     real
 * @param configs  mod_comet_folder_of_config()
 * @return a sentence that names the path, in @a p; NULL: it may
 */
const char *mod_comet_folder_refusal(const char *path,
                                     const apr_array_header_t *configs,
                                     apr_pool_t *p);

/**
 * Log what will keep the children from using a store: missing rights, side
 * files that others would own, a second name of the file.  A command is
 * proposed only for a folder that holds nothing but databases, since it would
 * otherwise give away rights to what is not ours.
 * @param path  real
 */
void mod_comet_folder_warn(const server_rec *s, const char *path,
                           apr_pool_t *p);

#endif /* MOD_COMET_FOLDER_H */
