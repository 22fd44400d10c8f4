/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file server/retained.h
 * Objects that are made once and kept across httpd's restarts, mainly shared
 * memory.
 */
#ifndef MOD_COMET_RETAINED_H
#define MOD_COMET_RETAINED_H

#include "server/mod_comet.h"

/**
 * Make an object.
 * @param thing  OUT
 * @return anything but APR_SUCCESS: it could not be made
 */
typedef apr_status_t mod_comet_retained_cb(void **thing, void *baton);

/**
 * Get the object that an earlier configuration pass or generation made under a
 * name; if there is none, make it.  Another version of the module, and a build
 * of this version with another layout, makes its own object.  The object is never freed, because
 * the code of another version might be loaded by then.  Called in the parent,
 * while httpd reads its configuration.
 * @param thing  OUT
 * @param layout  the sum of the sizes of the object's structs, which stands for
 *                the layout
 * @param create  makes the object; after a failure the next call tries again
 * @return APR_SUCCESS, or what @a create returned
 */
apr_status_t mod_comet_retained_get(void **thing, const char *name,
                                    apr_size_t layout,
                                    mod_comet_retained_cb *create, void *baton,
                                    apr_pool_t *ptemp);

#endif /* MOD_COMET_RETAINED_H */
