/* SPDX-License-Identifier: Apache-2.0 */
/* Look up engines by name.  Outside the engines' folders, only this file names
 * an engine. */
#include "store/engines.h"

#include <apr_strings.h>
#include <string.h>

#include "store/sqlite/engine.h"

const comet_engine_t *comet_engines_own(void)
{
    return &comet_engine_sqlite;
}

const char *comet_engines_usage(const apr_array_header_t *engines,
                                apr_pool_t *p)
{
    const char *usage = "";
    int i;

    for (i = 0; i < engines->nelts; i++) {
        usage = apr_pstrcat(
            p, usage, i ? " or " : "",
            APR_ARRAY_IDX(engines, i, const comet_engine_t *)->usage, NULL);
    }
    return usage;
}

const char *comet_engines_parse(comet_place_t *place, const char *value,
                                const apr_array_header_t *engines,
                                const char *root, apr_pool_t *p)
{
    const char *usage;
    int i;

    *place = (comet_place_t){ .engine = NULL };
    for (i = 0; i < engines->nelts; i++) {
        const comet_engine_t *engine =
            APR_ARRAY_IDX(engines, i, const comet_engine_t *);
        size_t length = strlen(engine->name);

        if (strncmp(value, engine->name, length) == 0 && value[length] == ':'
            && value[length + 1]) {
            place->engine = engine;
            return engine->parse(place, value + length + 1, root, p);
        }
    }
    usage = comet_engines_usage(engines, p);
    return strncmp(value, "postgres", 8) == 0 && !strstr(usage, "postgresql:")
               ? apr_pstrcat(p, usage,
                             " or, after \"LoadModule comet_pg_module "
                             "modules/mod_comet_pg.so\" (Debian: a2enmod "
                             "comet_pg), postgresql:CONNECTION",
                             NULL)
               : usage;
}
