/* SPDX-License-Identifier: Apache-2.0 */
/* Publish the messages that other programs have left in the inbox. */
#include "store/pg/pg.h"

#include <apr_general.h>
#include <stdio.h>

/* How long the answer to a look into the inbox may take. */
#define MOVE_USEC APR_INT64_C(5000000)
#define MOVE_ROWS 1000
/* How many bytes of bodies one transaction moves, at least one message's.
 * Publishers wait for the end of that transaction. */
#define MOVE_BYTES APR_INT64_C(1048576)
#define MOVE_TURN_MSEC 200
/* How often to read the whole inbox again.  Other reads begin at pg->low, and
 * may have skipped rows that another session had locked. */
#define LOOK_ALL_USEC APR_INT64_C(5000000)
/* How often one of the web servers looks into the inbox.  The servers take
 * turns, by the clock of the database server. */
#define TURN_USEC 15000

/* Take a place among the web servers that look into the inbox: find the times
 * of this server's turns. */
static apr_status_t take_place(comet_pg_t *pg)
{
    comet_pg_place_t *place = (comet_pg_place_t *)pg->config->place.own;
    comet_pg_args_t args = { .count = 0 };
    PGresult *result;
    apr_status_t status;

    if (!place->server) {
        apr_generate_random_bytes((unsigned char *)&place->server,
                                  sizeof(place->server));
    }
    comet_pg_add_int(&args, place->server);
    status = comet_pg_call(
        pg, "SELECT servers, place, now_ FROM comet.take_place($1)", &args,
        COMET_PG_ANSWER_USEC, &result);
    if (status == APR_SUCCESS) {
        pg->round = TURN_USEC * comet_pg_int(result, 0, 0);
        pg->turn = TURN_USEC * comet_pg_int(result, 0, 1)
                   - comet_pg_int(result, 0, 2) + comet_monotonic();
        PQclear(result);
    }
    return status;
}

/* Prepare a look: connect again if the connection is lost.  Every
 * LOOK_ALL_USEC, also find the times of this server's turns, and let the look
 * read the whole inbox. */
static apr_status_t begin_look(comet_pg_t *pg)
{
    apr_status_t status = comet_pg_connect_again(pg);
    apr_time_t now = comet_monotonic();

    if (status == APR_SUCCESS && now >= pg->look_all_at) {
        pg->low[0] = '\0';
        pg->look_all_at = now + LOOK_ALL_USEC;
        status = take_place(pg);
    }
    return status == COMET_ELOCKED ? APR_SUCCESS : status;
}

/* How long it is until this server's next turn. */
static apr_interval_time_t until_turn(const comet_pg_t *pg)
{
    apr_interval_time_t round = pg->round > TURN_USEC ? pg->round : TURN_USEC;
    apr_interval_time_t gone = (comet_monotonic() - pg->turn) % round;

    return gone < 0 ? -gone : round - gone;
}

static void add_low(const comet_pg_t *pg, comet_pg_args_t *args)
{
    comet_pg_add_xid(args, pg->low[0] ? pg->low : "0");
}

/* Note the transaction number from which the next look reads. */
static void note_low(comet_pg_t *pg, comet_text_t low)
{
    if (low.length < sizeof(pg->low)) {
        snprintf(pg->low, sizeof(pg->low), "%.*s", (int)low.length, low.data);
    }
}

/* Find out whether the inbox has anything.  Mostly it is empty, and this query
 * costs much less than comet.move(). */
static apr_status_t look(comet_pg_t *pg, int *any)
{
    comet_pg_args_t args = { .count = 0 };
    PGresult *result;
    apr_status_t status;

    add_low(pg, &args);
    status = comet_pg_call(pg, "SELECT comet.inbox_low($1)", &args, MOVE_USEC,
                           &result);
    if (status == APR_SUCCESS) {
        *any = PQgetisnull(result, 0, 0);
        if (!*any) {
            note_low(pg, comet_pg_text(result, 0, 0));
        }
        PQclear(result);
    }
    return status;
}

/* Find out how many rows to move: fewer than MOVE_ROWS if these have more than
 * MOVE_BYTES.  octet_length() does not read a long body. */
static apr_status_t count_rows(comet_pg_t *pg, apr_int32_t *rows)
{
    comet_pg_args_t args = { .count = 0 };
    PGresult *result;
    apr_status_t status;

    add_low(pg, &args);
    comet_pg_add_int(&args, MOVE_ROWS);
    comet_pg_add_int(&args, MOVE_BYTES);
    status = comet_pg_call(
        pg,
        "SELECT count(*) FILTER (WHERE bytes <= $3), count(*)"
        " FROM (SELECT sum(octet_length(f.body)) OVER (ORDER BY f.xid, f.seq)"
        " AS bytes FROM (SELECT i.xid, i.seq, i.body FROM comet.inbox i"
        " WHERE i.xid >= $1 ORDER BY i.xid, i.seq LIMIT $2) f) s",
        &args, MOVE_USEC, &result);
    if (status == APR_SUCCESS) {
        *rows = (apr_int32_t)comet_pg_int(result, 0, 0);
        if (*rows == comet_pg_int(result, 0, 1)) {
            *rows = MOVE_ROWS; /* these are all */
        }
        *rows = *rows ? *rows : 1;
        PQclear(result);
    }
    return status;
}

/* @param count  OUT: how many rows were moved
 * @param more   OUT: whether there may be more */
static apr_status_t move(comet_pg_t *pg, apr_size_t *count, int *more)
{
    apr_int32_t rows = MOVE_ROWS;
    comet_pg_args_t args = { .count = 0 };
    PGresult *result;
    apr_status_t status = count_rows(pg, &rows);

    if (status != APR_SUCCESS) {
        return status;
    }
    add_low(pg, &args);
    comet_pg_add_int4(&args, rows);
    comet_pg_add_int4(&args, MOVE_TURN_MSEC);
    comet_pg_add_bool(&args, pg->config->sync_full);
    status = comet_pg_call(pg, "SELECT * FROM comet.move($1, $2, $3, $4)",
                           &args, MOVE_USEC, &result);
    if (status == APR_SUCCESS) {
        *count = (apr_size_t)comet_pg_int(result, 0, 0);
        *more = *count == (apr_size_t)rows;
        note_low(pg, comet_pg_text(result, 0, 1));
        PQclear(result);
    }
    return status;
}

apr_status_t comet_pg_take_in(comet_store_t *store, apr_size_t *count,
                              apr_interval_time_t *rest)
{
    comet_pg_t *pg = (comet_pg_t *)store;
    apr_status_t status = begin_look(pg);
    int any = 0, more = 0;

    *count = 0;
    if (status == APR_SUCCESS) {
        status = look(pg, &any);
    }
    if (status == APR_SUCCESS && any) {
        status = move(pg, count, &more);
    }
    *rest = more ? 0 : until_turn(pg);
    return status;
}
