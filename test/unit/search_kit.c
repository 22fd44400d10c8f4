/* SPDX-License-Identifier: Apache-2.0 */
/* Searches of a store. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "search_kit.h"

#include <stdio.h>

comet_timestamp_t search_rest;

comet_store_t *search_open(int search, comet_store_mode_e mode)
{
    kit_config.search = search;
    return kit_open_store(mode);
}

int search_tidy(comet_store_t *store)
{
    int more, steps = 0;

    do {
        if (comet_store_tidy(store, &more) != APR_SUCCESS) {
            fail_msg("%s", comet_store_error(store));
        }
        steps++;
        assert_in_range(steps, 1, 1000);
    } while (more);
    return steps;
}

apr_status_t search_try(comet_store_t *store, const char *channel,
                        const char *words, size_t limit)
{
    kit_empty_list();
    return comet_store_search(store, scratch_select(comet_text(channel)),
                              comet_text(words), 0, COMET_TIMESTAMP_MAX, limit,
                              kit_collect, &kit_list, &search_rest);
}

const char *search_for(comet_store_t *store, const char *channel,
                       const char *words, size_t limit)
{
    apr_status_t status = search_try(store, channel, words, limit);

    if (status != APR_SUCCESS) {
        fail_msg("%s: %d: %s", words, status, comet_store_error(store));
    }
    return kit_joined("|");
}

size_t search_count(comet_store_t *store, const char *channel,
                    const char *words)
{
    search_for(store, channel, words, COMET_LIMIT_MAX);
    return kit_list.count;
}

void search_fill(const char *channel, int count)
{
    char sql[256];

    snprintf(sql, sizeof(sql),
             "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n"
             " WHERE i < %d) INSERT INTO message(channel, body)"
             " SELECT '%s', 'word w' || i FROM n",
             count, channel);
    kit_run_outside(sql);
}

sqlite3_int64 search_pieces(void)
{
    return kit_number("SELECT count(*) FROM sqlite_master"
                      " WHERE name LIKE '%search%'");
}
