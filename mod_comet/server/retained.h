/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file server/retained.h
 * What is made once and kept over httpd's restarts, shared memory above all.
 */
#ifndef MOD_COMET_RETAINED_H
#define MOD_COMET_RETAINED_H

#include "server/mod_comet.h"

/**
 * Make a thing.
 * @param thing  OUT
 * @return anything but APR_SUCCESS: there is none
 */
typedef apr_status_t mod_comet_retained_cb(void **thing, void *baton);

/**
 * The thing of a name that an earlier configuration pass or an earlier
 * generation has made; else make it.  Another version of the module may lay it
 * out in another way, so it makes its own.  It is never freed: by then the
 * module's code may be another one.  In the parent, while it is configured.
 * @param thing  OUT
 * @param create  is asked again next time, if it fails now
 * @return APR_SUCCESS, or what @a create returned
 */
apr_status_t mod_comet_retained_get(void **thing, const char *name,
                                    mod_comet_retained_cb *create, void *baton,
                                    apr_pool_t *ptemp);

#endif /* MOD_COMET_RETAINED_H */
