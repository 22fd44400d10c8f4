/* SPDX-License-Identifier: Apache-2.0 */
/* Translate PostgreSQL's errors to the status codes of store/store.h. */
#include "store/pg/pg.h"

#include <stdio.h>
#include <string.h>

#include <apr_lib.h>

/* The connection cannot be used any more, and a pooler shares sessions. */
#define SHARED 2

/* `state` is an SQLSTATE or the first characters of one.  The first entry that
 * matches counts. */
static const struct {
    const char *state;
    apr_status_t status;
    int lost; /* 1: the connection cannot be used any more; or SHARED */
} meanings[] = {
    { "55P03", COMET_ELOCKED, 0 }, /* lock_timeout */
    { "40003", COMET_EUNSURE, 1 }, /* the transaction may have been committed */
    { "40", COMET_ELOCKED, 0 }, /* a deadlock, among others; the transaction was
                                 * undone */
    { "26000", COMET_ELOCKED, SHARED }, /* the session has lost its
                                         * statements */
    { "42P05", COMET_ELOCKED, SHARED }, /* it has those of another client */
    { "0A000", APR_EGENERAL, 1 }, /* among others: a prepared function has
                                   * changed */
    { "53100", APR_ENOSPC, 0 },
    { "53200", APR_ENOMEM, 0 },
    { "53", APR_EGENERAL, 1 }, /* too many connections */
    { "25006", COMET_EREADONLY, 1 }, /* a standby */
    { "22", COMET_EINVALID, 0 },
    { "23", COMET_EINVALID, 0 },
    { "54", COMET_EINVALID, 0 },
    { "P0001", COMET_EINVALID, 0 }, /* a trigger has refused a row */
    { "42501", APR_EACCES, 0 },
    { "28", APR_EACCES, 1 },
    { "3F000", COMET_ENOTDB, 0 }, /* no such schema */
    { "42P01", COMET_ENOTDB, 0 }, /* no such table */
    { "42883", COMET_ENOTDB, 0 }, /* no such function */
    { "57014", COMET_ECOSTLY, 0 }, /* statement_timeout */
    { "CM001", APR_ENOENT, 0 }, /* the index of words is being filled */
    { "57", APR_ECONNRESET, 1 }, /* the server is shutting down */
    { "08", APR_ECONNRESET, 1 },
    { "", APR_EGENERAL, 0 },
};

apr_status_t comet_pg_fail(comet_pg_t *pg, apr_status_t status,
                           const char *text)
{
    snprintf(pg->error, sizeof(pg->error), "%s", text);
    return status;
}

/* Get the end of an error text, which says what the administrator can do. */
static const char *remedy(apr_status_t status)
{
    switch (status) {
    case COMET_ENOTDB:
        return "; create the schema: as the role that will own it, run psql "
               "-f schema.sql (in share/mod_comet/sql/postgresql) in this "
               "database";
    case APR_EACCES:
        return "; allow this user in pg_hba.conf, and run psql -f grants.sql "
               "(in share/mod_comet/sql/postgresql) as the schema's owner";
    case COMET_EREADONLY:
        return "; name all servers in host=, and add "
               "target_session_attrs=read-write";
    case APR_ENOSPC:
        return "; make room on the database server's disk";
    default:
        return "";
    }
}

/* Find the remedy for an error.  Since servers translate the text, only the name
 * of the source file tells a policy of row-level security from another lack of
 * rights. */
static const char *remedy_for(const PGresult *result, apr_status_t status)
{
    const char *file = PQresultErrorField(result, PG_DIAG_SOURCE_FILE);

    return file && strcmp(file, "rls.c") == 0
               ? "; run ALTER TABLE ... DISABLE ROW LEVEL SECURITY for this "
                 "table, or, if a trigger reads it, ALTER FUNCTION ... SET "
                 "row_security = on for the trigger's function"
               : remedy(status);
}

/* Whether the error has also ended the session. */
static int is_fatal(const PGresult *result)
{
    const char *severity =
        PQresultErrorField(result, PG_DIAG_SEVERITY_NONLOCALIZED);

    return severity && strcmp(severity, "ERROR") != 0;
}

static int is_in_name(char c)
{
    return apr_isalnum(c) || c == '_';
}

/* Whether a message names our schema, alone or before a dot.  A name such as
 * comet_audit is one of the site's.  The marks around a name depend on the
 * server's language. */
static int names_schema(const char *message)
{
    static const char schema[] = "comet";
    const char *at = message;

    while ((at = strstr(at, schema))) {
        int is_begin = at == message || !is_in_name(at[-1]);

        at += sizeof(schema) - 1;
        if (is_begin && !is_in_name(*at)) {
            return 1;
        }
    }
    return 0;
}

/* Save only the primary message, because the other fields may contain the
 * values of a row. */
apr_status_t comet_pg_fail_result(comet_pg_t *pg, const PGresult *result)
{
    const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    const char *message = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
    apr_status_t status;
    size_t i = 0;

    if (!state) {
        return comet_pg_fail_connection(pg);
    }
    while (strncmp(state, meanings[i].state, strlen(meanings[i].state)) != 0) {
        i++;
    }
    status = meanings[i].status;
    if (status == COMET_ENOTDB && message && !names_schema(message)) {
        status = APR_EGENERAL; /* a trigger of the site lacks something */
    }
    pg->lost |= meanings[i].lost || is_fatal(result);
    if (meanings[i].lost == SHARED) {
        atomic_store(
            &((comet_pg_place_t *)pg->config->place.own)->shares_sessions, 1);
    }
    snprintf(pg->error, sizeof(pg->error), "%s (SQLSTATE %s)%s",
             message ? message : "no message", state,
             remedy_for(result, status));
    return status == APR_EGENERAL && is_fatal(result) ? APR_ECONNRESET : status;
}

void comet_pg_words(const PGconn *connection, char *buffer, apr_size_t size)
{
    const char *words = connection ? PQerrorMessage(connection) : "";

    snprintf(buffer, size, "%.*s", (int)strcspn(words, "\n"), words);
}

apr_status_t comet_pg_fail_connection(comet_pg_t *pg)
{
    pg->lost = 1;
    comet_pg_words(pg->connection, pg->error, sizeof(pg->error));
    if (!pg->error[0]) {
        comet_pg_fail(pg, 0, "the connection to the server is lost");
    }
    return APR_ECONNRESET;
}

/* libpq has no SQLSTATE for a connection that was never made, so the text of
 * the error decides. */
apr_status_t comet_pg_advise_connecting(comet_pg_t *pg)
{
    int is_denied = PQconnectionUsedPassword(pg->connection)
                    || PQconnectionNeedsPassword(pg->connection)
                    || strstr(pg->error, "pg_hba.conf");
    const char *advice = "";
    apr_size_t length = strlen(pg->error);

    if (strstr(pg->error, "too many") || strstr(pg->error, "slots")) {
        is_denied = 0;
        advice = "; raise max_connections, or run fewer children: each of them "
                 "holds up to seven connections";
    }
    else if (is_denied) {
        advice = "; check the user and the password in the passfile, and "
                 "pg_hba.conf on the database server";
    }
    snprintf(pg->error + length, sizeof(pg->error) - length, "%s", advice);
    return is_denied ? APR_EACCES : APR_ECONNREFUSED;
}
