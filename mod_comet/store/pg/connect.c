/* SPDX-License-Identifier: Apache-2.0 */
/* Open and close connections. */
#include "store/pg/pg.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Why this thread's last attempt to open a connection failed. */
static _Thread_local char open_error[400];

/* How long to wait for each host if there are several. */
#define HOST_USEC APR_INT64_C(2000000)
/* How often a wait for the name server checks whether the thread must stop. */
#define SLICE_USEC 50000
/* How many times in a row to read data that the server sends without being
 * asked.  If there is still more, it counts as a flood. */
#define UNASKED_MOST 64

/* Ignore the server's notices, except one warning: that the server stopped
 * waiting for a standby to confirm a commit.  Since servers translate the text,
 * only the name of the source file distinguishes this warning from others, such
 * as a trigger's. */
static void take_notice(void *baton, const PGresult *result)
{
    const char *severity =
        PQresultErrorField(result, PG_DIAG_SEVERITY_NONLOCALIZED);
    const char *file = PQresultErrorField(result, PG_DIAG_SOURCE_FILE);

    if (severity && strcmp(severity, "WARNING") == 0 && file
        && strcmp(file, "syncrep.c") == 0) {
        ((comet_pg_t *)baton)->warned = 1;
    }
}

/* Begin a connection.  This takes as long as the name server takes to
 * answer. */
static apr_status_t begin(comet_pg_t *pg, const comet_pg_hosts_t *hosts,
                          unsigned host, apr_time_t deadline)
{
    comet_pg_attempt_t *attempt =
        comet_pg_attempt_create(pg->config->place.own, hosts, host);

    if (!attempt) {
        return comet_pg_fail(pg, APR_TIMEUP,
                             "the name server does not answer, or there is no "
                             "memory for a connection");
    }
    while (!comet_pg_attempt_take(attempt, SLICE_USEC, &pg->connection)) {
        if (comet_monotonic() >= deadline || comet_pg_must_end(pg)) {
            comet_pg_attempt_abandon(attempt);
            return comet_pg_fail(pg, APR_TIMEUP,
                                 "the name server does not answer");
        }
    }
    return pg->connection
               ? APR_SUCCESS
               : comet_pg_fail(pg, APR_ENOMEM, "no memory for a connection");
}

/* Wait until a connection is made.  The deadline is this module's own, since
 * libpq's connect_timeout has no effect here. */
static apr_status_t await_connection(comet_pg_t *pg, apr_time_t deadline)
{
    PostgresPollingStatusType wants = PGRES_POLLING_WRITING;

    while (PQstatus(pg->connection) != CONNECTION_BAD
           && wants != PGRES_POLLING_OK && wants != PGRES_POLLING_FAILED) {
        if (!comet_pg_await(pg,
                            wants == PGRES_POLLING_READING ? POLLIN : POLLOUT,
                            deadline)) {
            return comet_pg_fail(pg, APR_TIMEUP,
                                 "the server did not answer in time");
        }
        wants = PQconnectPoll(pg->connection);
    }
    if (wants != PGRES_POLLING_OK || PQsetnonblocking(pg->connection, 1) != 0) {
        comet_pg_fail_connection(pg);
        return comet_pg_advise_connecting(pg);
    }
    return APR_SUCCESS;
}

static void disconnect(comet_pg_t *pg)
{
    PQfinish(pg->connection);
    pg->connection = NULL;
    pg->draining = 0;
}

static apr_status_t dial_host(comet_pg_t *pg, const comet_pg_hosts_t *hosts,
                              unsigned host, apr_interval_time_t limit)
{
    apr_time_t deadline = comet_monotonic() + limit;
    apr_status_t status;

    disconnect(pg);
    pg->lost = 0;
    status = begin(pg, hosts, host, deadline);
    return status == APR_SUCCESS ? await_connection(pg, deadline) : status;
}

/* Connect to one host.  If a pooler (PgBouncer) refuses the parameter
 * `options`, connect without it. */
static apr_status_t dial_any(comet_pg_t *pg, const comet_pg_hosts_t *hosts,
                             unsigned host)
{
    comet_pg_place_t *place = (comet_pg_place_t *)pg->config->place.own;
    apr_interval_time_t limit =
        hosts->count > 1 ? HOST_USEC : COMET_PG_CONNECT_USEC;
    /* another thread may find this out during the attempt */
    int was_known = atomic_load(&place->refuses_options);
    apr_status_t status = dial_host(pg, hosts, host, limit);

    if (status == APR_ECONNREFUSED && !was_known
        && strstr(pg->error, "unsupported startup parameter")) {
        atomic_store(&place->refuses_options, 1);
        status = dial_host(pg, hosts, host, limit);
    }
    return status;
}

/* Connect to the first host that lets this module in.  Begin with the host that
 * did so last time. */
static apr_status_t dial(comet_pg_t *pg)
{
    comet_pg_place_t *place = (comet_pg_place_t *)pg->config->place.own;
    comet_pg_hosts_t hosts = comet_pg_find_hosts(place);
    unsigned first = atomic_load(&place->good_host), i;
    apr_status_t status = APR_ECONNREFUSED;

    for (i = 0;
         i < hosts.count && status != APR_SUCCESS && !comet_pg_must_end(pg);
         i++) {
        unsigned host = (first + i) % hosts.count;

        status = dial_any(pg, &hosts, host);
        if (status == APR_SUCCESS) {
            atomic_store(&place->good_host, host);
        }
    }
    comet_pg_free_hosts(&hosts);
    return status;
}

/* Check that the schema exists and is not older than this module, and that the
 * database has the encoding UTF8. */
static apr_status_t check_schema(comet_pg_t *pg)
{
    PGresult *result;
    apr_status_t status = comet_pg_call(
        pg,
        "SELECT version::bigint, (getdatabaseencoding() = 'UTF8')::int::bigint,"
        " pg_backend_pid()::bigint FROM comet.schema",
        NULL, COMET_PG_ANSWER_USEC, &result);

    if (status != APR_SUCCESS) {
        return status;
    }
    if (!PQntuples(result) || comet_pg_int(result, 0, 0) < COMET_PG_SCHEMA) {
        status = comet_pg_fail(pg, COMET_ENOTDB,
                               "the schema comet is older than this module: as "
                               "its owner run psql -f schema.sql (in "
                               "share/mod_comet/sql/postgresql) in this "
                               "database");
    }
    else if (!comet_pg_int(result, 0, 1)) {
        status = comet_pg_fail(pg, COMET_ENOTDB,
                               "the database's encoding is not UTF8: create a "
                               "database with createdb -E UTF8 -T template0 "
                               "-l C.UTF-8");
    }
    pg->is_direct = comet_pg_int(result, 0, 2) == PQbackendPID(pg->connection);
    PQclear(result);
    return status;
}

/* Tell the database whether this server reports deleted messages to clients
 * (CometDeletions). */
static apr_status_t configure(comet_pg_t *pg)
{
    comet_pg_args_t args = { .count = 0 };

    comet_pg_add_bool(&args, pg->config->deletions);
    return comet_pg_call(pg, "SELECT comet.configure($1)", &args,
                         COMET_PG_ANSWER_USEC, NULL);
}

static apr_status_t check(comet_pg_t *pg)
{
    apr_status_t status = check_schema(pg);

    return status == APR_SUCCESS && pg->mode == COMET_STORE_WRITE
               ? configure(pg)
               : status;
}

/* Connect, and check the database.  If a host lets this module in but does not
 * answer, or is a standby, the next attempt begins with the next host. */
static apr_status_t connect_to(comet_pg_t *pg)
{
    comet_pg_place_t *place = (comet_pg_place_t *)pg->config->place.own;
    apr_status_t status;

    pg->is_direct = pg->prepared_count = 0;
    status = dial(pg);
    pg->look_all_at = 0; /* this may be another database server, with other
                          * transaction numbers */
    if (status == APR_SUCCESS) {
        PQsetNoticeReceiver(pg->connection, take_notice, pg);
        status = check(pg);
        if (status != APR_SUCCESS) {
            atomic_fetch_add(&place->good_host, 1);
        }
    }
    if (status != APR_SUCCESS) {
        disconnect(pg);
        pg->lost = 1;
    }
    return status;
}

apr_status_t comet_pg_open(comet_store_t **store,
                           const comet_store_config_t *config,
                           comet_store_mode_e mode, const atomic_int *stopping)
{
    comet_pg_t *pg = calloc(1, sizeof(*pg));
    apr_status_t status;

    *store = NULL;
    if (!pg) {
        snprintf(open_error, sizeof(open_error), "no memory for a connection");
        return APR_ENOMEM;
    }
    pg->config = config;
    pg->mode = mode;
    pg->stopping = stopping;
    status = connect_to(pg);
    if (status != APR_SUCCESS) {
        snprintf(open_error, sizeof(open_error), "%s", pg->error);
        free(pg);
        return status;
    }
    *store = &pg->base;
    return APR_SUCCESS;
}

apr_status_t comet_pg_connect_again(comet_pg_t *pg)
{
    if (comet_pg_is_usable(&pg->base, 0)) {
        return APR_SUCCESS;
    }
    if (pg->connection) {
        disconnect(pg);
    }
    return connect_to(pg);
}

void comet_pg_close(comet_store_t *store)
{
    PQfinish(((comet_pg_t *)store)->connection);
    free(store);
}

const char *comet_pg_error(const comet_store_t *store)
{
    return store ? ((const comet_pg_t *)store)->error : open_error;
}

/* This checks the socket: a server that stops, or ends this session, closes
 * it. */
int comet_pg_is_usable(comet_store_t *store, apr_interval_time_t within)
{
    comet_pg_t *pg = (comet_pg_t *)store;
    struct pollfd fd;
    int unasked = 0;

    if (pg->lost || !pg->connection) {
        return 0;
    }
    fd = (struct pollfd){ .fd = PQsocket(pg->connection), .events = POLLIN };
    while (!pg->lost && poll(&fd, 1, 0) > 0) {
        if (!PQconsumeInput(pg->connection)
            || PQstatus(pg->connection) != CONNECTION_OK) {
            comet_pg_fail_connection(pg);
        }
        else if (++unasked > UNASKED_MOST) {
            pg->lost = 1;
            comet_pg_fail(pg, 0, "the server keeps sending unrequested data");
        }
    }
    return !pg->lost;
}
