/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Limit the cost of reading.  While a statement runs, SQLite calls the progress
 * handler repeatedly, also after every few pages that FTS5 reads.  The handler
 * checks the time, and sometimes whether the client still waits for the answer.
 */
#include "store/sqlite/sqlite.h"

/* How many steps of SQLite's virtual machine pass between two checks.  They
 * take 20 to 200 microseconds. */
#define STEPS_PER_LOOK 1000

/* The most real time that a reading may take, as a multiple of its CPU time. */
#define WAITING 5

static int is_over(apr_time_t now, apr_time_t end)
{
    return end && now >= end;
}

static int is_spent(const comet_sqlite_spending_t *spending, apr_time_t now)
{
    return spending->budget.cpu
           && comet_allowance_is_spent(spending->budget.cpu, now);
}

/* The progress handler.
 * @return whether the statement must end now */
static int on_progress(void *baton)
{
    comet_sqlite_t *store = baton;
    comet_sqlite_spending_t *spending = &store->spending;
    apr_time_t now = comet_monotonic();

    if (is_spent(spending, now) || is_over(now, spending->ends_at)
        || is_over(now, spending->view_ends)) {
        spending->ended = COMET_ECOSTLY;
    }
    else if (spending->budget.is_gone && now >= spending->look_at) {
        spending->look_at = now + spending->budget.look_every;
        if (spending->budget.is_gone(spending->budget.baton)) {
            spending->ended = COMET_EGONE;
        }
    }
    return spending->ended != APR_SUCCESS;
}

void comet_sqlite_limit(comet_sqlite_t *store, const comet_budget_t *budget)
{
    apr_time_t now;

    store->spending = (comet_sqlite_spending_t){ .ended = APR_SUCCESS };
    if (!budget) {
        return; /* the handler stays, and ends nothing */
    }
    now = comet_monotonic();
    store->spending.budget = *budget;
    store->spending.look_at = now + budget->look_every;
    if (budget->cpu) {
        store->spending.ends_at = now + WAITING * budget->cpu->time;
    }
    if (!store->watched) {
        sqlite3_progress_handler(store->db, STEPS_PER_LOOK, on_progress, store);
        store->watched = 1;
    }
}

void comet_sqlite_limit_view(comet_sqlite_t *store, apr_interval_time_t time)
{
    store->spending.view_ends = time ? comet_monotonic() + time : 0;
    if (store->spending.ended == COMET_ECOSTLY) {
        store->spending.ended = APR_SUCCESS;
    }
}

apr_status_t comet_sqlite_look(comet_sqlite_t *store)
{
    on_progress(store);
    return store->spending.ended;
}
