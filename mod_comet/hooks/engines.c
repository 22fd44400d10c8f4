/* SPDX-License-Identifier: Apache-2.0 */
/* Register the storage engines as providers in httpd. */
#include "hooks/engines.h"

#include <ap_provider.h>

void mod_comet_engines_register(apr_pool_t *pconf)
{
    const comet_engine_t *own = comet_engines_own();

    ap_register_provider(pconf, COMET_ENGINE_GROUP, own->name,
                         COMET_ENGINE_VERSION, own);
}

apr_array_header_t *mod_comet_engines_list(apr_pool_t *p)
{
    const apr_array_header_t *names =
        ap_list_provider_names(p, COMET_ENGINE_GROUP, COMET_ENGINE_VERSION);
    apr_array_header_t *engines =
        apr_array_make(p, names->nelts, sizeof(const comet_engine_t *));
    int i;

    APR_ARRAY_PUSH(engines, const comet_engine_t *) = comet_engines_own();
    for (i = 0; i < names->nelts; i++) {
        const comet_engine_t *engine = ap_lookup_provider(
            COMET_ENGINE_GROUP,
            APR_ARRAY_IDX(names, i, ap_list_provider_names_t).provider_name,
            COMET_ENGINE_VERSION);

        if (engine && engine != comet_engines_own()) {
            APR_ARRAY_PUSH(engines, const comet_engine_t *) = engine;
        }
    }
    return engines;
}
