/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mod_comet_pg: PostgreSQL as a storage engine of mod_comet.  It is a separate
 * module, so that mod_comet does not need libpq.  It only registers the engine.
 */
#include "store/pg/engine.h"

#include <httpd.h>
#include <http_config.h>
#include <ap_provider.h>

static void register_hooks(apr_pool_t *p)
{
    ap_register_provider(p, COMET_ENGINE_GROUP, comet_engine_pg.name,
                         COMET_ENGINE_VERSION, &comet_engine_pg);
}

module AP_MODULE_DECLARE_DATA comet_pg_module = {
    STANDARD20_MODULE_STUFF,
    .register_hooks = register_hooks,
};
