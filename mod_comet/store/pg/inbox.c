/* SPDX-License-Identifier: Apache-2.0 */
/* Publish the messages that other programs have left in the inbox. */
#include "store/pg/pg.h"

#include <apr_general.h>
#include <stdio.h>

/* How long the answer to a look into the inbox may take. */
#define MOVE_USEC APR_INT64_C(5000000)
#define MOVE_ROWS 1000
#define MOVE_TURN_MSEC 200
/* How often to read the whole inbox again.  Other reads begin at pg->low, and
 * may have skipped rows that another session had locked. */
#define LOOK_ALL_USEC APR_INT64_C(5000000)

/* If there are several web servers, each looks into the inbox less often.
 * Together they look about SHARE times per INBOX_USEC.  SHARE is more than one
 * because they do not take turns: it is then very unlikely that no server looks
 * for five times INBOX_USEC. */
#define INBOX_USEC 10000
#define SHARE 3

/* Find out how many web servers look into the inbox, and how long this one may
 * rest between two looks. */
static apr_status_t attend(comet_pg_t *pg)
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
    status = comet_pg_call(pg, "SELECT comet.attend($1)", &args,
                           COMET_PG_ANSWER_USEC, &result);
    if (status == APR_SUCCESS) {
        pg->rest = INBOX_USEC * comet_pg_int(result, 0, 0) / SHARE;
        PQclear(result);
    }
    return status;
}

/* Prepare a look: connect if the connection is lost.  Every LOOK_ALL_USEC, also
 * count the web servers, and let the look read the whole inbox. */
static apr_status_t begin_look(comet_pg_t *pg, apr_time_t now)
{
    apr_status_t status = comet_pg_connect_again(pg);

    if (status == APR_SUCCESS && now >= pg->look_all_at) {
        pg->low[0] = '\0';
        pg->look_all_at = now + LOOK_ALL_USEC;
        status = attend(pg);
    }
    return status == COMET_ELOCKED ? APR_SUCCESS : status;
}

/* Set when to look again.  The pause varies by up to a quarter, so that the
 * servers do not all look at the same moment.  The caller itself pauses for
 * INBOX_USEC. */
static void note_look(comet_pg_t *pg, int more)
{
    apr_time_t now = comet_monotonic();

    pg->look_at = now;
    if (!more && pg->rest > INBOX_USEC) {
        pg->look_at += pg->rest * 3 / 4 + now % (pg->rest / 2) - INBOX_USEC / 2;
    }
}

apr_status_t comet_pg_take_in(comet_store_t *store, apr_size_t *count,
                              int *more)
{
    comet_pg_t *pg = (comet_pg_t *)store;
    apr_time_t now = comet_monotonic();
    comet_pg_args_t args = { .count = 0 };
    PGresult *result;
    apr_status_t status;

    *count = 0;
    *more = 0;
    if (now < pg->look_at) {
        return APR_SUCCESS;
    }
    status = begin_look(pg, now);
    if (status != APR_SUCCESS) {
        return status;
    }
    comet_pg_add_xid(&args, pg->low[0] ? pg->low : "0");
    comet_pg_add_int4(&args, MOVE_ROWS);
    comet_pg_add_int4(&args, MOVE_TURN_MSEC);
    comet_pg_add_bool(&args, pg->config->sync_full);
    status = comet_pg_call(pg, "SELECT * FROM comet.move($1, $2, $3, $4)",
                           &args, MOVE_USEC, &result);
    if (status == APR_SUCCESS) {
        comet_text_t low = comet_pg_text(result, 0, 1);

        *count = (apr_size_t)comet_pg_int(result, 0, 0);
        *more = *count == MOVE_ROWS;
        if (low.length < sizeof(pg->low)) {
            snprintf(pg->low, sizeof(pg->low), "%.*s", (int)low.length,
                     low.data);
        }
        PQclear(result);
        note_look(pg, *more);
    }
    return status;
}
