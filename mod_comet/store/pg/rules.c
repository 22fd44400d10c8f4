/* SPDX-License-Identifier: Apache-2.0 */
/* The retention of single channels: read and change the rules in the table
 * comet.channel_retention, which upkeep obeys. */
#include "store/pg/pg.h"

apr_status_t comet_pg_set_rule(comet_pg_t *pg, const comet_rule_t *rule,
                               apr_int64_t *changes)
{
    comet_pg_args_t args = { .count = 0 };
    PGresult *result;
    apr_status_t status;

    comet_pg_add_text(&args, rule->pattern);
    comet_pg_add_int(&args, rule->keep_count);
    comet_pg_add_int(&args, rule->keep_age_sec);
    comet_pg_add_bool(&args, rule->is_removed);
    comet_pg_add_bool(&args, pg->config->sync_full);
    comet_pg_add_int(&args, COMET_RULES_MOST);
    status = comet_pg_call(pg, "SELECT comet.set_rule($1, $2, $3, $4, $5, $6)",
                           &args, COMET_PG_ANSWER_USEC, &result);
    if (status == APR_SUCCESS) {
        *changes = comet_pg_int(result, 0, 0);
        PQclear(result);
    }
    return status;
}

apr_status_t comet_pg_rules(comet_store_t *store, comet_text_t prefix,
                            comet_text_t after, apr_size_t limit,
                            comet_store_rule_cb *callback, void *baton)
{
    comet_pg_args_t args = { .count = 0 };
    PGresult *result;
    apr_status_t status;
    int more = 1, i;

    comet_pg_add_text(&args, prefix);
    comet_pg_add_text(&args, after);
    comet_pg_add_int(&args, limit < APR_INT32_MAX ? (apr_int64_t)limit
                                                  : APR_INT32_MAX);
    status = comet_pg_ask((comet_pg_t *)store,
                          "SELECT pattern, keep_count, keep_age"
                          " FROM comet.channel_retention"
                          " WHERE starts_with(pattern, $1) AND pattern > $2"
                          " ORDER BY pattern LIMIT $3",
                          &args, &result);
    if (status != APR_SUCCESS) {
        return status;
    }
    for (i = 0; i < PQntuples(result) && more; i++) {
        more = callback(baton, &(comet_rule_t){
                                   .pattern = comet_pg_text(result, i, 0),
                                   .keep_count = comet_pg_int(result, i, 1),
                                   .keep_age_sec = comet_pg_int(result, i, 2),
                               });
    }
    PQclear(result);
    return APR_SUCCESS;
}
