/* SPDX-License-Identifier: Apache-2.0 */
/* Read messages in a request's thread, within the request's budget. */
#include "dialect/reading.h"

#include <apr_strings.h>
#include <poll.h>

#include "server/child.h"
#include "server/share.h"
#include "output/answer.h"
#include "output/filters.h"

/* How much CPU time a request may spend on reading.  A few hundredths of a
 * second are usual; a large CometReplay, or a wildcard for many channels, takes
 * more. */
#define READING_TIME apr_time_from_sec(1)
#define SEARCHING_TIME apr_time_from_msec(300)
/* How often the thread checks whether the client has left. */
#define LOOK_EVERY apr_time_from_msec(50)

static mod_comet_share_t searching = { .gauge = COMET_METRIC_searching };

/* Whether the client, or httpd at its own end, has closed the connection.
 * Nothing is read from the connection: the next bytes may be the client's next
 * request. */
static int is_gone(void *baton)
{
    conn_rec *c = ((request_rec *)baton)->connection;
    struct pollfd look = { .events = POLLRDHUP };

    if (mod_comet_child_must_end()) {
        c->aborted = 1;
    }
    if (!c->aborted && !c->master) {
        look.fd = mod_comet_filters_fd(c);
        c->aborted = poll(&look, 1, 0) > 0;
    }
    return c->aborted != 0;
}

static void limit(request_rec *r, comet_store_t *store, comet_allowance_t *cpu)
{
    const comet_budget_t budget = {
        .cpu = cpu,
        .is_gone = is_gone,
        .baton = r,
        .look_every = LOOK_EVERY,
    };

    comet_store_limit(store, &budget);
}

void mod_comet_reading_limit(request_rec *r, mod_comet_ask_t *ask,
                             comet_store_t *store)
{
    if (!ask->reading.time) {
        ask->reading = comet_allowance_begin(READING_TIME);
    }
    limit(r, store, &ask->reading);
}

void mod_comet_reading_limit_search(request_rec *r, mod_comet_ask_t *ask,
                                    comet_store_t *store)
{
    ask->reading = comet_allowance_begin(SEARCHING_TIME);
    limit(r, store, &ask->reading);
}

int mod_comet_reading_enter(void)
{
    int entered = mod_comet_share_enter(&searching);

    comet_metrics_add(COMET_METRIC_searches_refused, !entered);
    return entered;
}

void mod_comet_reading_leave(void)
{
    mod_comet_share_leave(&searching);
}

const char *mod_comet_reading_reason(const request_rec *r,
                                     const mod_comet_ask_t *ask,
                                     apr_status_t status, const char *what,
                                     apr_pool_t *pool)
{
    char buffer[200];

    if (status == COMET_EGONE) {
        comet_metrics_add(COMET_METRIC_departed, 1);
        r->connection->keepalive = AP_CONN_CLOSE;
        return "the client has left";
    }
    if (status != COMET_ECOSTLY) {
        return apr_psprintf(pool, "%s cannot be read: %s", what,
                            comet_strerror(status, buffer, sizeof(buffer)));
    }
    comet_metrics_add(COMET_METRIC_readings_cut, 1);
    return ask->words.data ? "q: the search took too long; try again, with "
                             "fewer or longer words"
                           : "reading the messages took too long; try "
                             "again, with fewer channels";
}

int mod_comet_reading_refuse(request_rec *r, const mod_comet_ask_t *ask,
                             apr_status_t status, const char *what)
{
    return mod_comet_answer_error(
        r, HTTP_SERVICE_UNAVAILABLE, "%s",
        mod_comet_reading_reason(r, ask, status, what, r->pool));
}

/* How long a reader waits for the writer of a new child to open the store. */
#define OPEN_PATIENCE apr_time_from_sec(1)

/* The shortest time between two log entries about failures to read.  It keeps
 * them from filling the log of a busy site. */
#define READ_FAILURE_EVERY apr_time_from_sec(60)

apr_status_t mod_comet_reading_borrow(const request_rec *r,
                                      comet_store_t **store)
{
    const mod_comet_child_store_t *mine = mod_comet_child_store(r);
    apr_status_t status = comet_readers_take(mine->readers, store);

    if (status == APR_ENOENT
        && comet_writer_await(mine->writer, OPEN_PATIENCE)) {
        status = comet_readers_take(mine->readers, store);
    }
    return status;
}

apr_status_t mod_comet_reading_take(request_rec *r, mod_comet_ask_t *ask,
                                    comet_store_t **store)
{
    apr_status_t status = mod_comet_reading_borrow(r, store);

    if (status == APR_SUCCESS) {
        mod_comet_reading_limit(r, ask, *store);
    }
    return status;
}

void mod_comet_reading_drop(const request_rec *r)
{
    comet_readers_t *readers = mod_comet_child_store(r)->readers;
    comet_store_t *store;
    apr_status_t status = comet_readers_take(readers, &store);

    comet_readers_return(readers, store, status);
}

static int is_worth_logging(apr_status_t status)
{
    static _Atomic apr_time_t next;
    apr_time_t now = comet_monotonic(), due = atomic_load(&next);

    return comet_store_is_at_fault(status) && now >= due
           && atomic_compare_exchange_strong(&next, &due,
                                             now + READ_FAILURE_EVERY);
}

void mod_comet_reading_return(const request_rec *r, comet_store_t *store,
                              apr_status_t status)
{
    const mod_comet_child_store_t *mine = mod_comet_child_store(r);
    char buffer[200];

    if (is_worth_logging(status)) {
        /* COMET_EBUSY: no connection was free, so the store was not asked and
         * has no error text */
        const char *detail =
            status == COMET_EBUSY ? "it hangs" : comet_store_error(store);

        comet_metrics_add(COMET_METRIC_store_errors, 1);
        ap_log_rerror(APLOG_MARK, APLOG_ERR, 0, r,
                      "COMET0123: CometStore: %s: reading: %s: %s",
                      mine->config->place.name,
                      comet_strerror(status, buffer, sizeof(buffer)), detail);
    }
    if (store) {
        comet_store_limit(store, NULL);
    }
    if (status == COMET_ECOSTLY || status == COMET_EGONE) {
        status = APR_SUCCESS; /* the connection can be used again */
    }
    comet_readers_return(mine->readers, store, status);
}
