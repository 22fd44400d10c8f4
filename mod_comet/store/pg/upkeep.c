/* SPDX-License-Identifier: Apache-2.0 */
/* Upkeep: apply retention, remove old Idempotency-Keys, and fill the index of
 * words. */
#include "store/pg/pg.h"

#include <string.h>

#define PRUNE_ROWS 1000
#define TIDY_ROWS 1000
#define INDEX_ROWS 500

#define TIDY \
    "SELECT n, current_setting('comet.refused', true)" \
    " FROM comet.tidy($1) n"
#define INDEX "SELECT comet.index_step($1), NULL"

static apr_status_t begin_round(comet_pg_t *pg)
{
    comet_store_state_t state;
    apr_status_t status = comet_pg_state(&pg->base, &state);

    if (status == APR_SUCCESS) {
        pg->pruning = 1;
        pg->until = state.last;
        pg->name[0] = '\0';
    }
    return status;
}

/* Find out whether retention has anything to do.  After a change of the rules
 * the next round covers all channels. */
static apr_status_t look_at_rules(comet_pg_t *pg, int *any)
{
    PGresult *result;
    apr_status_t status =
        comet_pg_call(pg, "SELECT changes, any_ FROM comet.retention_rules()",
                      NULL, COMET_PG_ANSWER_USEC, &result);

    if (status != APR_SUCCESS) {
        return status;
    }
    if (comet_pg_int(result, 0, 0) != pg->rule_changes) {
        pg->rule_changes = comet_pg_int(result, 0, 0);
        pg->pruning = 0;
        pg->since = 0;
    }
    *any = comet_pg_int(result, 0, 1) || pg->config->retain_count > 0
           || pg->config->retain_age > 0;
    PQclear(result);
    return status;
}

/* Note where the next step begins, or that the round is complete. */
static void note_step(comet_pg_t *pg, const PGresult *result)
{
    comet_text_t name = comet_pg_text(result, 0, 2);

    if (PQgetisnull(result, 0, 1)) {
        pg->pruning = 0;
        pg->since = pg->until;
        return;
    }
    pg->since = comet_pg_int(result, 0, 1);
    if (name.length < sizeof(pg->name)) {
        memcpy(pg->name, name.data, name.length);
        pg->name[name.length] = '\0';
    }
}

/* Look whether a trigger of the site has refused a removal.  In that case
 * comet.prune() and comet.tidy() set comet.refused, from version 6 of the schema
 * on. */
static apr_status_t judge_refusal(comet_pg_t *pg, const PGresult *result,
                                  int column)
{
    const char *refused = PQgetvalue(result, 0, column);

    return *refused ? comet_pg_fail(pg, COMET_EINVALID, refused) : APR_SUCCESS;
}

apr_status_t comet_pg_prune(comet_store_t *store, apr_time_t now, int *more)
{
    comet_pg_t *pg = (comet_pg_t *)store;
    comet_pg_args_t args = { .count = 0 };
    PGresult *result;
    int any = 0;
    apr_status_t status = look_at_rules(pg, &any);

    *more = 0;
    if (status == APR_SUCCESS && any && !pg->pruning) {
        status = begin_round(pg);
    }
    if (!any) {
        return status;
    }
    if (status != APR_SUCCESS) {
        return status;
    }
    comet_pg_add_int(&args, pg->since);
    comet_pg_add_int(&args, pg->until);
    comet_pg_add_text(&args, comet_text(pg->name));
    comet_pg_add_int(&args, pg->config->retain_count);
    comet_pg_add_int(&args, pg->config->retain_age);
    comet_pg_add_int(&args, now);
    comet_pg_add_int(&args, PRUNE_ROWS);
    status = comet_pg_call(pg,
                           "SELECT *, current_setting('comet.refused', true)"
                           " FROM comet.prune($1, $2, $3, $4, $5, $6, $7)",
                           &args, COMET_PG_ANSWER_USEC, &result);
    if (status != APR_SUCCESS) {
        return status;
    }
    note_step(pg, result);
    status = judge_refusal(pg, result, 3);
    PQclear(result);
    *more = pg->pruning;
    return status;
}

/* @param sql  its answer is how many rows it has changed, and comet.refused */
static apr_status_t step(comet_pg_t *pg, const char *sql, int rows, int *more)
{
    comet_pg_args_t args = { .count = 0 };
    PGresult *result;
    apr_status_t status;

    comet_pg_add_int4(&args, rows);
    status = comet_pg_call(pg, sql, &args, COMET_PG_ANSWER_USEC, &result);
    if (status == APR_SUCCESS) {
        *more = *more || comet_pg_int(result, 0, 0) >= rows;
        status = judge_refusal(pg, result, 1);
        PQclear(result);
    }
    return status;
}

/* Find out whether there is an index of words.  An administrator may run
 * search.sql at any time, or never. */
static apr_status_t has_index(comet_pg_t *pg, int *has)
{
    PGresult *result;
    apr_status_t status = comet_pg_call(
        pg,
        "SELECT (to_regprocedure('comet.index_step(integer)') IS NOT NULL)"
        "::integer::bigint",
        NULL, COMET_PG_ANSWER_USEC, &result);

    if (status == APR_SUCCESS) {
        *has = comet_pg_int(result, 0, 0) != 0;
        PQclear(result);
    }
    return status;
}

apr_status_t comet_pg_tidy(comet_store_t *store, int *more)
{
    comet_pg_t *pg = (comet_pg_t *)store;
    apr_status_t status;
    int has = 0, refused;

    *more = 0;
    status = step(pg, TIDY, TIDY_ROWS, more);
    refused = status == COMET_EINVALID;
    if (refused) { /* the text stays, unless something else fails */
        status = APR_SUCCESS;
    }
    if (status == APR_SUCCESS) {
        status = comet_pg_tidy_online(pg, more);
    }
    if (status == APR_SUCCESS && pg->config->search) {
        status = has_index(pg, &has);
    }
    if (status == APR_SUCCESS && has) {
        status = step(pg, INDEX, INDEX_ROWS, more);
    }
    return status == APR_SUCCESS && refused ? COMET_EINVALID : status;
}
