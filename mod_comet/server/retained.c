/* SPDX-License-Identifier: Apache-2.0 */
/* Objects that are made once and kept across httpd's restarts. */
#include "server/retained.h"

#include <apr_strings.h>

apr_status_t mod_comet_retained_get(void **thing, const char *name,
                                    apr_size_t layout,
                                    mod_comet_retained_cb *create, void *baton,
                                    apr_pool_t *ptemp)
{
    const char *key = apr_psprintf(
        ptemp, "comet-%s-" MOD_COMET_VERSION "-%" APR_SIZE_T_FMT, name, layout);
    void **kept = ap_retained_data_get(key);
    apr_status_t status = APR_SUCCESS;

    if (!kept) {
        kept = ap_retained_data_create(key, sizeof(*kept));
    }
    if (!*kept) {
        status = create(kept, baton);
    }
    *thing = *kept;
    return status;
}
