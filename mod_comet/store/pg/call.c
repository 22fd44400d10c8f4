/* SPDX-License-Identifier: Apache-2.0 */
/* Call a function of the schema: encode the arguments, and wait for the answer
 * until a deadline. */
#include "store/pg/pg.h"

#include <apr_siphash.h>
#include <arpa/inet.h>
#include <endian.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* PostgreSQL's type numbers (pg_type.oid). */
#define OID_BOOL 16
#define OID_BYTEA 17
#define OID_INT8 20
#define OID_INT4 23
#define OID_TEXT 25
#define OID_BYTEA_ARRAY 1001
#define OID_TEXT_ARRAY 1009
#define OID_INT8_ARRAY 1016
#define OID_XID8 5069

/* How often a wait checks whether the thread must stop. */
#define SLICE_USEC 50000
/* How long a call that is under way may still take when the thread must
 * stop. */
#define STOP_USEC 200000

/* --- Arguments ------------------------------------------------------------ */

static void begin(comet_pg_args_t *args, Oid type)
{
    args->types[args->count] = type;
    args->formats[args->count] = 1;
    args->offsets[args->count++] = args->buffer.length;
}

static void put(comet_pg_args_t *args, const void *data, apr_size_t length)
{
    comet_buffer_add(&args->buffer, data, length);
}

static void put_int4(comet_pg_args_t *args, apr_uint32_t value)
{
    apr_uint32_t sent = htonl(value);

    put(args, &sent, sizeof(sent));
}

static void put_int8(comet_pg_args_t *args, apr_int64_t value)
{
    apr_uint64_t sent = htobe64((apr_uint64_t)value);

    put(args, &sent, sizeof(sent));
}

void comet_pg_add_int(comet_pg_args_t *args, apr_int64_t value)
{
    begin(args, OID_INT8);
    put_int8(args, value);
}

void comet_pg_add_int4(comet_pg_args_t *args, apr_int32_t value)
{
    begin(args, OID_INT4);
    put_int4(args, (apr_uint32_t)value);
}

void comet_pg_add_bool(comet_pg_args_t *args, int value)
{
    const char sent = value != 0;

    begin(args, OID_BOOL);
    put(args, &sent, 1);
}

void comet_pg_add_text(comet_pg_args_t *args, comet_text_t value)
{
    begin(args, OID_TEXT);
    put(args, value.data, value.length);
}

void comet_pg_add_xid(comet_pg_args_t *args, const char *value)
{
    begin(args, OID_XID8);
    args->formats[args->count - 1] = 0;
    put(args, value, strlen(value) + 1);
}

static void begin_array(comet_pg_args_t *args, Oid type, Oid element,
                        apr_size_t count)
{
    begin(args, type);
    put_int4(args, count > 0); /* the number of dimensions */
    put_int4(args, 1); /* the array may contain NULLs */
    put_int4(args, element);
    if (count) {
        put_int4(args, (apr_uint32_t)count);
        put_int4(args, 1); /* the lower bound of the index */
    }
}

void comet_pg_add_texts(comet_pg_args_t *args, apr_size_t count)
{
    begin_array(args, OID_TEXT_ARRAY, OID_TEXT, count);
}

void comet_pg_add_blobs(comet_pg_args_t *args, apr_size_t count)
{
    begin_array(args, OID_BYTEA_ARRAY, OID_BYTEA, count);
}

void comet_pg_add_ints(comet_pg_args_t *args, apr_size_t count)
{
    begin_array(args, OID_INT8_ARRAY, OID_INT8, count);
}

void comet_pg_add_element(comet_pg_args_t *args, comet_text_t value)
{
    put_int4(args, value.data ? (apr_uint32_t)value.length : 0xffffffffU);
    if (value.data) {
        put(args, value.data, value.length);
    }
}

void comet_pg_add_int_element(comet_pg_args_t *args, apr_int64_t value)
{
    put_int4(args, sizeof(value));
    put_int8(args, value);
}

/* --- Waiting -------------------------------------------------------------- */

static int must_stop(const comet_pg_t *pg)
{
    return pg->stopping && atomic_load(pg->stopping);
}

static int client_is_gone(const comet_pg_t *pg)
{
    return pg->budget.is_gone && pg->budget.is_gone(pg->budget.baton);
}

int comet_pg_must_end(const comet_pg_t *pg)
{
    return must_stop(pg) || client_is_gone(pg);
}

int comet_pg_await(const comet_pg_t *pg, short events, apr_time_t deadline)
{
    struct pollfd fd = { .fd = PQsocket(pg->connection), .events = events };
    apr_time_t now = comet_monotonic(), stop_at = 0;

    for (;;) {
        apr_time_t until = now + SLICE_USEC;

        if (must_stop(pg)) {
            stop_at = stop_at ? stop_at : now + STOP_USEC;
            deadline = stop_at < deadline ? stop_at : deadline;
        }
        if (now >= deadline || client_is_gone(pg)) {
            return 0;
        }
        until = until < deadline ? until : deadline;
        if (poll(&fd, 1, (int)((until - now + 999) / 1000)) > 0) {
            return 1;
        }
        now = comet_monotonic();
    }
}

static apr_status_t fail_late(comet_pg_t *pg)
{
    pg->lost = 1;
    return comet_pg_fail(pg, client_is_gone(pg) ? COMET_EGONE : APR_TIMEUP,
                         "the server did not answer in time");
}

/* Send the data that libpq has not sent yet. */
static apr_status_t flush(comet_pg_t *pg, apr_time_t deadline)
{
    int more;

    while ((more = PQflush(pg->connection)) == 1) {
        if (!comet_pg_await(pg, POLLIN | POLLOUT, deadline)) {
            return fail_late(pg);
        }
        if (!PQconsumeInput(pg->connection)) {
            return comet_pg_fail_connection(pg);
        }
    }
    return more < 0 ? comet_pg_fail_connection(pg) : APR_SUCCESS;
}

int comet_pg_is_strange(const PGresult *result)
{
    switch (PQresultStatus(result)) {
    case PGRES_TUPLES_OK:
    case PGRES_COMMAND_OK:
    case PGRES_EMPTY_QUERY:
    case PGRES_FATAL_ERROR:
        return 0;
    default: /* COPY, among others */
        return 1;
    }
}

static apr_status_t fail_strange(comet_pg_t *pg)
{
    pg->lost = 1;
    return comet_pg_fail(pg, APR_ECONNRESET,
                         "the server sent an answer of a kind that was not "
                         "asked for");
}

/* Wait for the answer to what was sent.
 * @param last  OUT: the answer's last result, or its first error */
static apr_status_t take(comet_pg_t *pg, apr_time_t deadline, PGresult **last)
{
    apr_status_t status = flush(pg, deadline);
    PGresult *result;

    *last = NULL;
    while (status == APR_SUCCESS) {
        if (PQisBusy(pg->connection)) {
            if (!comet_pg_await(pg, POLLIN, deadline)) {
                status = fail_late(pg);
            }
            else if (!PQconsumeInput(pg->connection)) {
                status = comet_pg_fail_connection(pg);
            }
            continue;
        }
        result = PQgetResult(pg->connection);
        if (!result) {
            pg->draining = 0;
            return APR_SUCCESS;
        }
        if (comet_pg_is_strange(result)) {
            status = fail_strange(pg);
        }
        /* if several statements have results, keep the first error, or else the
         * last result */
        if (*last && PQresultStatus(*last) == PGRES_FATAL_ERROR) {
            PQclear(result);
        }
        else {
            PQclear(*last);
            *last = result;
        }
    }
    PQclear(*last);
    *last = NULL;
    return status;
}

static apr_status_t drain(comet_pg_t *pg, apr_time_t deadline)
{
    PGresult *result = NULL;
    apr_status_t status = APR_SUCCESS;

    if (pg->lost) {
        return APR_ECONNRESET; /* pg->error already says why */
    }
    if (pg->draining) {
        status = take(pg, deadline, &result);
        PQclear(result);
    }
    return status;
}

/* --- Calls ---------------------------------------------------------------- */

/* Name a statement by a hash of its text.  So if a pooler shares a session
 * between clients, a name never stands for another statement.  All processes make
 * the same names, so the hash has no secret key.
 * @param name  OUT: COMET_PG_NAME_BYTES bytes */
static void name_statement(const char *sql, char *name)
{
    static const unsigned char no_secret[APR_SIPHASH_KSIZE];

    snprintf(name, COMET_PG_NAME_BYTES, "comet_%016" APR_UINT64_T_HEX_FMT,
             apr_siphash24(sql, strlen(sql), no_secret));
}

/* Find the name of a prepared statement.
 * @return NULL: the statement is not prepared */
static const char *find_prepared(const comet_pg_t *pg, const char *sql)
{
    int i = pg->prepared_count - 1;

    while (i >= 0 && pg->prepared[i].sql != sql) {
        i--;
    }
    return i >= 0 ? pg->prepared[i].name : NULL;
}

/* Prepare a statement, so that the server need not parse it again each time.
 * Only connections of threads that repeat a few statements do so, and only if
 * there is no pooler, which would send the statements to changing sessions. */
static apr_status_t prepare(comet_pg_t *pg, const char *sql,
                            const comet_pg_args_t *args, apr_time_t deadline)
{
    comet_pg_place_t *place = (comet_pg_place_t *)pg->config->place.own;
    comet_pg_prepared_t *next = &pg->prepared[pg->prepared_count];
    PGresult *result = NULL;
    apr_status_t status;

    if (!pg->is_direct || pg->mode == COMET_STORE_READ
        || atomic_load(&place->shares_sessions)
        || pg->prepared_count == COMET_PG_PREPARED || find_prepared(pg, sql)) {
        return APR_SUCCESS;
    }
    name_statement(sql, next->name);
    if (!PQsendPrepare(pg->connection, next->name, sql, args ? args->count : 0,
                       args ? args->types : NULL)) {
        return comet_pg_fail_connection(pg);
    }
    pg->draining = 1;
    status = take(pg, deadline, &result);
    if (status == APR_SUCCESS && PQresultStatus(result) != PGRES_COMMAND_OK) {
        status = result ? comet_pg_fail_result(pg, result)
                        : comet_pg_fail_connection(pg);
    }
    PQclear(result);
    if (status == APR_SUCCESS) {
        next->sql = sql;
        pg->prepared_count++;
    }
    return status;
}

static int send_call(comet_pg_t *pg, const char *sql,
                     const comet_pg_args_t *args)
{
    static const comet_pg_args_t none = { .count = 0 };
    const char *values[COMET_PG_ARGS];
    const char *name = find_prepared(pg, sql);
    int lengths[COMET_PG_ARGS], i;

    args = args ? args : &none;
    for (i = 0; i < args->count; i++) {
        apr_size_t end =
            i + 1 < args->count ? args->offsets[i + 1] : args->buffer.length;

        values[i] =
            args->buffer.data ? args->buffer.data + args->offsets[i] : "";
        lengths[i] = (int)(end - args->offsets[i]);
    }
    if (name) {
        return PQsendQueryPrepared(pg->connection, name, args->count, values,
                                   lengths, args->formats, 1);
    }
    return PQsendQueryParams(pg->connection, sql, args->count, args->types,
                             values, lengths, args->formats, 1);
}

apr_status_t comet_pg_call(comet_pg_t *pg, const char *sql,
                           comet_pg_args_t *args, apr_interval_time_t limit,
                           PGresult **result)
{
    apr_time_t deadline = comet_monotonic() + limit;
    apr_status_t status = drain(pg, deadline);
    PGresult *got = NULL;

    pg->warned = 0;
    if (status == APR_SUCCESS && args && args->buffer.failed) {
        status = comet_pg_fail(pg, APR_ENOMEM, "no memory for a statement");
    }
    if (status == APR_SUCCESS) {
        status = prepare(pg, sql, args, deadline);
    }
    if (status == APR_SUCCESS && !send_call(pg, sql, args)) {
        status = comet_pg_fail_connection(pg);
    }
    if (args) {
        comet_buffer_free(&args->buffer);
    }
    if (status == APR_SUCCESS) {
        pg->draining = 1;
        status = take(pg, deadline, &got);
    }
    if (status == APR_SUCCESS && PQresultStatus(got) != PGRES_TUPLES_OK) {
        status =
            got ? comet_pg_fail_result(pg, got) : comet_pg_fail_connection(pg);
    }
    if (result) {
        *result = status == APR_SUCCESS ? got : NULL;
    }
    if (!result || status != APR_SUCCESS) {
        PQclear(got);
    }
    return status;
}

apr_status_t comet_pg_ask(comet_pg_t *pg, const char *sql,
                          comet_pg_args_t *args, PGresult **result)
{
    apr_interval_time_t limit = COMET_PG_ANSWER_USEC;
    apr_time_t left = pg->reading_until - comet_monotonic();
    int is_cut = pg->reading_until && left < limit;
    apr_status_t status;

    if (is_cut) {
        limit = left > 0 ? left : 0;
    }
    status = comet_pg_call(pg, sql, args, limit, result);
    return status == APR_TIMEUP && is_cut ? COMET_ECOSTLY : status;
}

apr_int64_t comet_pg_int(const PGresult *result, int row, int column)
{
    const unsigned char *data =
        (const unsigned char *)PQgetvalue(result, row, column);
    int length = PQgetlength(result, row, column), i;
    apr_uint64_t value;

    if (length <= 0 || length > (int)sizeof(value)) {
        return 0;
    }
    value = data[0] & 0x80 ? ~(apr_uint64_t)0 : 0;
    for (i = 0; i < length; i++) {
        value = value << 8 | data[i];
    }
    return (apr_int64_t)value;
}

comet_text_t comet_pg_text(const PGresult *result, int row, int column)
{
    if (PQgetisnull(result, row, column)) {
        return (comet_text_t){ NULL, 0 };
    }
    return (comet_text_t){ PQgetvalue(result, row, column),
                           (apr_size_t)PQgetlength(result, row, column) };
}

/* --- Views ---------------------------------------------------------------- */

/* Begin the transaction and read the state in one round trip.  Only the simple
 * query protocol allows two statements at once; its values are text. */
static const char begin_text[] =
    "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;"
    " SELECT last, erased FROM comet.state()";

apr_status_t comet_pg_begin(comet_store_t *store, comet_store_state_t *state)
{
    comet_pg_t *pg = (comet_pg_t *)store;
    apr_time_t deadline = comet_monotonic() + COMET_PG_ANSWER_USEC;
    apr_status_t status = drain(pg, deadline);
    PGresult *result = NULL;

    if (status == APR_SUCCESS && !PQsendQuery(pg->connection, begin_text)) {
        status = comet_pg_fail_connection(pg);
    }
    if (status == APR_SUCCESS) {
        pg->draining = 1;
        status = take(pg, deadline, &result);
    }
    if (status == APR_SUCCESS && PQresultStatus(result) != PGRES_TUPLES_OK) {
        status = result ? comet_pg_fail_result(pg, result)
                        : comet_pg_fail_connection(pg);
        comet_pg_end(store);
    }
    if (status == APR_SUCCESS
        && (PQntuples(result) != 1 || PQnfields(result) != 2)) {
        status = fail_strange(pg);
    }
    if (status == APR_SUCCESS) {
        state->last = strtoll(PQgetvalue(result, 0, 0), NULL, 10);
        state->erased = strtoll(PQgetvalue(result, 0, 1), NULL, 10);
    }
    PQclear(result);
    return status;
}

/* This does not wait for the answer to ROLLBACK, which the next call reads
 * first. */
void comet_pg_end(comet_store_t *store)
{
    comet_pg_t *pg = (comet_pg_t *)store;

    if (pg->lost || pg->draining) {
        pg->lost = 1;
        return;
    }
    if (!PQsendQuery(pg->connection, "ROLLBACK")
        || PQflush(pg->connection) != 0) {
        comet_pg_fail_connection(pg);
        return;
    }
    pg->draining = 1;
}
