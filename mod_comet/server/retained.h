/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file server/retained.h
 * Things made once and kept over httpd's restarts, shared memory above all.
 */
#ifndef MOD_COMET_RETAINED_H
#define MOD_COMET_RETAINED_H

#include "server/mod_comet.h"

/**
 * Make a thing.
 * @param thing  OUT
 * @return anything but APR_SUCCESS: it could not be made
 */
typedef apr_status_t mod_comet_retained_cb(void **thing, void *baton);

/**
 * Get the thing with a name from an earlier configuration pass or an earlier
 * generation; if there is none, make it.  Each version of the module makes its
 * own, since its layout may differ.  It is never freed: by then the code of
 * another version may be loaded.  In the parent, while httpd reads its
 * configuration.
 * @param thing  OUT
 * @param create  makes it; if it fails, the next call tries again
 * @return APR_SUCCESS, or what @a create returned
 */
apr_status_t mod_comet_retained_get(void **thing, const char *name,
                                    mod_comet_retained_cb *create, void *baton,
                                    apr_pool_t *ptemp);

#endif /* MOD_COMET_RETAINED_H */
