/* SPDX-License-Identifier: Apache-2.0 */
/* Open and close connections. */
#include "store/pg/pg.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Why this thread's last attempt to open a connection failed. */
static _Thread_local char open_error[400];

/*
 * Settings for what CometStore does not set.  Each side gives the other up
 * within seconds if the other vanishes, and no statement and no open
 * transaction lasts long.  Functions of the schema that need it switch jit off
 * themselves; this switches it off for all other statements.
 */
static const char *const defaults[][2] = {
    { "fallback_application_name", "mod_comet" },
    { "client_encoding", "UTF8" },
    { "gssencmode", "disable" },
    { "tcp_user_timeout", "3000" },
    { "keepalives_idle", "5" },
    { "keepalives_interval", "2" },
    { "keepalives_count", "3" },
};
#define DEFAULTS (sizeof(defaults) / sizeof(*defaults))
static const char options[] =
    "-c tcp_keepalives_idle=3 -c tcp_keepalives_interval=1"
    " -c tcp_keepalives_count=3 -c statement_timeout=10s"
    " -c idle_in_transaction_session_timeout=10s -c jit=off"
    " -c default_transaction_isolation=read\\ committed";

/* libpq takes the last value of a keyword, and expands dbname. */
PGconn *comet_pg_start(const comet_pg_place_t *place)
{
    const char *keywords[DEFAULTS + 3], *values[DEFAULTS + 3];
    size_t n = 0;

    while (n < DEFAULTS) {
        keywords[n] = defaults[n][0];
        values[n] = defaults[n][1];
        n++;
    }
    if (!place->has_options && !atomic_load(&place->refuses_options)) {
        keywords[n] = "options";
        values[n++] = options;
    }
    keywords[n] = "dbname";
    values[n++] = place->conninfo;
    keywords[n] = values[n] = NULL;
    return PQconnectStartParams(keywords, values, 1);
}

/* A server's NOTICE goes nowhere; a WARNING is remembered. */
static void take_notice(void *baton, const PGresult *result)
{
    const char *severity =
        PQresultErrorField(result, PG_DIAG_SEVERITY_NONLOCALIZED);

    if (severity && strcmp(severity, "WARNING") == 0) {
        ((comet_pg_t *)baton)->warned = 1;
    }
}

/* Wait for a connection that is being made, by a deadline of ours: libpq's
 * connect_timeout does not count here. */
static apr_status_t await_connection(comet_pg_t *pg)
{
    apr_time_t deadline = comet_monotonic() + COMET_PG_CONNECT_USEC;
    PostgresPollingStatusType wants = PGRES_POLLING_WRITING;

    if (!pg->connection) {
        return comet_pg_fail(pg, APR_ENOMEM, "no memory for a connection");
    }
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
        return PQconnectionUsedPassword(pg->connection)
                       || PQconnectionNeedsPassword(pg->connection)
                   ? APR_EACCES
                   : APR_ECONNREFUSED;
    }
    return APR_SUCCESS;
}

static void disconnect(comet_pg_t *pg)
{
    PQfinish(pg->connection);
    pg->connection = NULL;
    pg->draining = 0;
}

/* Connect.  If a pooler (PgBouncer) refuses the parameter `options`, connect
 * without it. */
static apr_status_t dial(comet_pg_t *pg)
{
    comet_pg_place_t *place = (comet_pg_place_t *)pg->config->place.own;
    apr_status_t status;

    pg->lost = 0;
    pg->connection = comet_pg_start(place);
    status = await_connection(pg);
    if (status == APR_ECONNREFUSED && !atomic_load(&place->refuses_options)
        && strstr(pg->error, "unsupported startup parameter")) {
        atomic_store(&place->refuses_options, 1);
        disconnect(pg);
        pg->lost = 0;
        pg->connection = comet_pg_start(place);
        status = await_connection(pg);
    }
    return status;
}

/* Name the files that bring the schema up to date. */
static apr_status_t fail_old(comet_pg_t *pg, apr_int64_t version)
{
    static const char *const files[COMET_PG_SCHEMA] = { "001_initial.sql",
                                                        "002_messages.sql",
                                                        "003_presence.sql" };
    char text[sizeof(pg->error)];
    int length = snprintf(text, sizeof(text),
                          "the schema comet is older than this module: as its "
                          "owner run psql");

    for (version = version > 0 ? version : 0; version < COMET_PG_SCHEMA;
         version++) {
        length += snprintf(text + length, sizeof(text) - (size_t)length,
                           " -f %s", files[version]);
    }
    snprintf(text + length, sizeof(text) - (size_t)length,
             " -f grants.sql (in share/mod_comet/sql/postgresql)");
    return comet_pg_fail(pg, COMET_ENOTDB, text);
}

/* Check that the schema is there, and that its version is one that this module
 * knows. */
static apr_status_t check_schema(comet_pg_t *pg)
{
    PGresult *result;
    apr_status_t status = comet_pg_call(
        pg,
        "SELECT version::bigint, (getdatabaseencoding() = 'UTF8')::int::bigint"
        " FROM comet.schema",
        NULL, COMET_PG_ANSWER_USEC, &result);
    apr_int64_t version;

    if (status != APR_SUCCESS) {
        return status;
    }
    version = PQntuples(result) ? comet_pg_int(result, 0, 0) : 0;
    if (version < COMET_PG_SCHEMA) {
        status = fail_old(pg, version);
    }
    else if (!comet_pg_int(result, 0, 1)) {
        status = comet_pg_fail(pg, COMET_ENOTDB,
                               "the database has another encoding than UTF8: "
                               "make one with createdb -E UTF8 -T template0");
    }
    PQclear(result);
    return status;
}

/* Tell the database which of its triggers this server's configuration wants:
 * those that report deleted messages (CometDeletions), or none. */
static apr_status_t configure(comet_pg_t *pg)
{
    comet_pg_args_t args = { .count = 0 };

    comet_pg_add_bool(&args, pg->config->deletions);
    return comet_pg_call(pg, "SELECT comet.configure($1)", &args,
                         COMET_PG_ANSWER_USEC, NULL);
}

static apr_status_t connect_to(comet_pg_t *pg)
{
    apr_status_t status = dial(pg);

    if (status == APR_SUCCESS) {
        PQsetNoticeReceiver(pg->connection, take_notice, pg);
        status = check_schema(pg);
    }
    if (status == APR_SUCCESS && pg->mode == COMET_STORE_WRITE) {
        status = configure(pg);
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

/* Look at the socket: the server closes it when the server stops or ends this
 * session. */
int comet_pg_is_usable(comet_store_t *store, apr_interval_time_t within)
{
    comet_pg_t *pg = (comet_pg_t *)store;
    struct pollfd fd;

    if (pg->lost || !pg->connection) {
        return 0;
    }
    fd = (struct pollfd){ .fd = PQsocket(pg->connection), .events = POLLIN };
    while (!pg->lost && poll(&fd, 1, 0) > 0) {
        if (!PQconsumeInput(pg->connection)
            || PQstatus(pg->connection) != CONNECTION_OK) {
            comet_pg_fail_connection(pg);
        }
    }
    return !pg->lost;
}
