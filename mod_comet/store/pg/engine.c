/* SPDX-License-Identifier: Apache-2.0 */
/* PostgreSQL as a comet_engine_t: maps the calls of store/store.h to the
 * functions of this folder. */
#include "store/pg/engine.h"

#include <stdio.h>

#include "store/pg/pg.h"

/* How many connections the workers of a child may have at a time. */
#define READERS 4

static const char *version(void)
{
    static char text[40];
    int number = PQlibVersion();

    snprintf(text, sizeof(text), "libpq %d.%d", number / 10000, number % 10000);
    return text;
}

static apr_status_t open_store(comet_store_t **store,
                               const comet_store_config_t *config,
                               comet_store_mode_e mode,
                               const atomic_int *stopping)
{
    apr_status_t status = comet_pg_open(store, config, mode, stopping);

    if (status == APR_SUCCESS) {
        (*store)->engine = &comet_engine_pg;
    }
    return status;
}

static const char *cannot_search(void)
{
    return NULL;
}

const comet_engine_t comet_engine_pg = {
    .name = "postgresql",
    .usage = "postgresql:CONNECTION",
    .is_remote = 1,
    .reader_limit = READERS,
    .parse = comet_pg_parse,
    .locate = comet_pg_locate,
    .advise = comet_pg_advise,
    .version = version,
    .cannot_search = cannot_search,
    .open = open_store,
    .close = comet_pg_close,
    .error = comet_pg_error,
    .is_usable = comet_pg_is_usable,
    .limit = comet_pg_limit,
    .begin = comet_pg_begin,
    .end = comet_pg_end,
    .state = comet_pg_state,
    .sizes = comet_pg_sizes,
    .replay = comet_pg_replay,
    .floor = comet_pg_floor,
    .read = comet_pg_read,
    .page = comet_pg_page,
    .search = comet_pg_search,
    .channels = comet_pg_channels,
    .recent = comet_pg_recent,
    .has = comet_pg_has,
    .news = comet_pg_news,
    .rules = comet_pg_rules,
    .find_event = comet_pg_find_event,
    .reserve = comet_pg_reserve,
    .append = comet_pg_append,
    .prune = comet_pg_prune,
    .tidy = comet_pg_tidy,
    .take_in = comet_pg_take_in,
    .online = &comet_pg_online,
    .watch = &comet_pg_listen,
};
