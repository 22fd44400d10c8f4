/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file hooks/stores.h
 * Find all stores that the servers name, and check them together.
 */
#ifndef MOD_COMET_STORES_H
#define MOD_COMET_STORES_H

#include "server/config.h"

/**
 * Find the stores of all servers that map a URL, and list each store once.
 * Note in each server's configuration which store is its own, or why its
 * mappings are left out (all of them are optional, and they can use no store).
 * @param stores  OUT: filled with comet_store_config_t *, in the array's pool
 * @return OK; or HTTP_INTERNAL_SERVER_ERROR, after the log has said what is
 *         wrong with a mapping that is not optional: no store, a store that
 *         cannot be found or searched, or two configurations of one store
 */
int mod_comet_stores_find(apr_array_header_t *stores, server_rec *main);

/**
 * Log what will keep the children from using the stores.
 * @param stores  from mod_comet_stores_find()
 */
void mod_comet_stores_advise(const apr_array_header_t *stores, server_rec *main,
                             apr_pool_t *p);

/**
 * Name the stores as the children see them (ChrootDir).  After this, only the
 * children use the stores.
 * @param stores  from mod_comet_stores_find()
 */
void mod_comet_stores_confine(const apr_array_header_t *stores,
                              const server_rec *main);

/** check_config hook: check what no single directive can know. httpd -t runs
 * this hook. */
int mod_comet_stores_check_config(apr_pool_t *pconf, apr_pool_t *plog,
                                  apr_pool_t *ptemp, server_rec *main);

#endif /* MOD_COMET_STORES_H */
