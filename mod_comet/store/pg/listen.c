/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Hints between the web servers: LISTEN and NOTIFY, on a separate connection in
 * one child of each server.  A hint says only "look at the store", so a
 * needless hint costs one look.
 *
 * Nothing here waits: each step, including those of connecting, is done when
 * the socket is ready.
 *
 * Through a pooler, LISTEN succeeds, but no notification arrives between two
 * statements.  To detect a pooler, the watch sends itself a NOTIFY.  The
 * notification comes back in any case, and names the server process that sent
 * it.  If libpq is connected to that very process, there is no pooler in
 * between, and LISTEN works.  Until this is known, and behind a pooler, the
 * watch asks for a look every 20 ms, and what it finds is a hint for the other
 * children.
 */
#include "store/pg/pg.h"

#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

/* A server sends at most one hint in this time. */
#define PACE_USEC 5000
/* Servers announce commits on this channel, and send hints on `comet`. */
#define SOON "comet_soon"
#define DEAF_USEC 20000
#define BACK_OFF_MIN_USEC 50000
#define BACK_OFF_MAX_USEC 2000000

typedef enum { DOWN, STARTING, CONNECTING, UP } phase_e;

typedef struct listen_t {
    comet_watch_t base;
    const comet_pg_place_t *place;
    comet_pg_attempt_t *attempt; /* NULL unless STARTING */
    PGconn *connection; /* NULL while DOWN or STARTING */
    phase_e phase;
    unsigned host; /* the number of the host to connect to */
    int epoll; /* an epoll instance with the connection's socket; unlike the
                * socket, this descriptor never changes */
    int busy; /* a statement's result has not been read yet */
    apr_time_t sent_at; /* when that statement was sent */
    int hears; /* LISTEN works on this connection */
    int has_hint; /* a hint has come that was not taken yet */
    int has_announcement; /* so has an announcement */
    apr_time_t looked_at, told_at;
    int must_tell; /* a hint must be sent when PACE_USEC allows it */
    apr_time_t again_at; /* when to give up (while STARTING or CONNECTING), or
                          * to try again (while DOWN) */
    apr_interval_time_t back_off;
} listen_t;

/* Close the connection, and set the time of the next attempt.  If the
 * connection was never made, the next attempt uses the next host. */
static void go_down(listen_t *listen, apr_time_t now)
{
    comet_pg_attempt_abandon(listen->attempt);
    listen->attempt = NULL;
    PQfinish(listen->connection); /* this closes the socket, too */
    listen->connection = NULL;
    listen->host += listen->phase != UP;
    listen->phase = DOWN;
    listen->busy = listen->hears = 0;
    listen->back_off = listen->back_off * 2 > BACK_OFF_MAX_USEC
                           ? BACK_OFF_MAX_USEC
                           : listen->back_off * 2;
    listen->again_at = now + listen->back_off;
}

/* Let epoll watch the socket.  libpq may have opened another socket since the
 * last call. */
static void await(const listen_t *listen, int writes)
{
    int fd = PQsocket(listen->connection);
    struct epoll_event event = {
        .events = EPOLLIN | (writes ? (unsigned)EPOLLOUT : 0U),
    };

    if (fd >= 0 && epoll_ctl(listen->epoll, EPOLL_CTL_MOD, fd, &event) != 0) {
        epoll_ctl(listen->epoll, EPOLL_CTL_ADD, fd, &event);
    }
}

static void send_on(listen_t *listen, const char *sql, apr_time_t now)
{
    if (!PQsendQuery(listen->connection, sql)) {
        go_down(listen, now);
        return;
    }
    listen->busy = 1;
    listen->sent_at = now;
    await(listen, PQflush(listen->connection) == 1);
}

static void start(listen_t *listen, apr_time_t now)
{
    comet_pg_hosts_t hosts = comet_pg_find_hosts(listen->place);

    listen->phase = STARTING;
    listen->again_at = now + COMET_PG_CONNECT_USEC;
    listen->attempt =
        comet_pg_attempt_create(listen->place, &hosts, listen->host);
    comet_pg_free_hosts(&hosts);
    if (!listen->attempt) {
        go_down(listen, now);
    }
}

static void continue_starting(listen_t *listen, apr_time_t now)
{
    if (!comet_pg_attempt_take(listen->attempt, 0, &listen->connection)) {
        return;
    }
    listen->attempt = NULL;
    if (!listen->connection || PQstatus(listen->connection) == CONNECTION_BAD) {
        go_down(listen, now);
        return;
    }
    listen->phase = CONNECTING;
    await(listen, 1);
}

static void continue_connecting(listen_t *listen, apr_time_t now)
{
    switch (PQconnectPoll(listen->connection)) {
    case PGRES_POLLING_OK:
        listen->phase = UP;
        listen->back_off = BACK_OFF_MIN_USEC / 2;
        PQsetnonblocking(listen->connection, 1);
        send_on(listen, "LISTEN comet_soon; LISTEN comet; NOTIFY comet", now);
        listen->has_hint = 1; /* some may have been missed meanwhile */
        break;
    case PGRES_POLLING_READING:
        await(listen, 0);
        break;
    case PGRES_POLLING_WRITING:
        await(listen, 1);
        break;
    default:
        go_down(listen, now);
    }
}

static void take_hints(listen_t *listen)
{
    PGnotify *hint;

    while ((hint = PQnotifies(listen->connection)) != NULL) {
        if (hint->be_pid == PQbackendPID(listen->connection)) {
            listen->hears = 1;
        }
        else if (strcmp(hint->relname, SOON) == 0) {
            listen->has_announcement = 1;
        }
        else {
            listen->has_hint = 1;
        }
        PQfreemem(hint);
    }
}

static void take_input(listen_t *listen, apr_time_t now)
{
    PGresult *result;
    int is_strange = 0;

    if (!PQconsumeInput(listen->connection)) {
        go_down(listen, now);
        return;
    }
    while (listen->busy && !is_strange && !PQisBusy(listen->connection)) {
        result = PQgetResult(listen->connection);
        listen->busy = result != NULL;
        is_strange = result && comet_pg_is_strange(result);
        PQclear(result);
    }
    take_hints(listen);
    if (is_strange || PQstatus(listen->connection) != CONNECTION_OK
        || (listen->busy && now - listen->sent_at >= COMET_PG_ANSWER_USEC)) {
        go_down(listen, now);
        return;
    }
    await(listen, PQflush(listen->connection) == 1);
}

static int may_tell(const listen_t *listen, apr_time_t now)
{
    return listen->phase == UP && !listen->busy
           && now - listen->told_at >= PACE_USEC;
}

/* Do every step that can be done now without waiting. */
static void advance(listen_t *listen, apr_time_t now)
{
    if (listen->phase == DOWN && now >= listen->again_at) {
        start(listen, now);
    }
    if (listen->phase == STARTING) {
        continue_starting(listen, now);
    }
    if (listen->phase == CONNECTING) {
        continue_connecting(listen, now);
    }
    if ((listen->phase == STARTING || listen->phase == CONNECTING)
        && now >= listen->again_at) {
        go_down(listen, now);
    }
    if (listen->phase == UP) {
        take_input(listen, now);
    }
    if (listen->must_tell && may_tell(listen, now)) {
        listen->must_tell = 0;
        listen->told_at = now;
        send_on(listen, "NOTIFY comet", now);
    }
}

/* --- The watch ------------------------------------------------------------ */

static comet_watch_t *open_watch(const comet_place_t *place, apr_time_t now)
{
    listen_t *listen = calloc(1, sizeof(*listen));

    if (!listen) {
        return NULL;
    }
    listen->base.engine = &comet_pg_listen;
    listen->place = place->own;
    listen->host = atomic_load(&listen->place->good_host);
    listen->back_off = BACK_OFF_MIN_USEC / 2;
    listen->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (listen->epoll < 0) {
        free(listen);
        return NULL;
    }
    advance(listen, now);
    return &listen->base;
}

static void close_watch(comet_watch_t *watch)
{
    listen_t *listen = (listen_t *)watch;

    comet_pg_attempt_abandon(listen->attempt);
    PQfinish(listen->connection);
    close(listen->epoll);
    free(listen);
}

static int fd_of(const comet_watch_t *watch)
{
    return ((const listen_t *)watch)->epoll;
}

static void on_event(comet_watch_t *watch, apr_time_t now)
{
    advance((listen_t *)watch, now);
}

static void take_earlier(apr_time_t *due, apr_time_t other)
{
    if (!*due || other < *due) {
        *due = other;
    }
}

static apr_time_t due_of(const comet_watch_t *watch)
{
    const listen_t *listen = (const listen_t *)watch;
    apr_time_t due = 0;

    if (!listen->hears) {
        take_earlier(&due, listen->looked_at + DEAF_USEC);
    }
    if (listen->must_tell && listen->phase == UP && !listen->busy) {
        take_earlier(&due, listen->told_at + PACE_USEC);
    }
    return due;
}

static void before_look(comet_watch_t *watch, apr_time_t now)
{
    advance((listen_t *)watch, now);
}

static void after_look(comet_watch_t *watch, int changed, apr_time_t now)
{
    listen_t *listen = (listen_t *)watch;

    listen->looked_at = now;
    if (changed && !listen->hears) {
        listen->has_hint = 1; /* only this child looks so often */
    }
}

static void after_failure(comet_watch_t *watch, apr_time_t now)
{
}

static void tell(comet_watch_t *watch, apr_time_t now)
{
    listen_t *listen = (listen_t *)watch;

    listen->must_tell = 1;
    advance(listen, now);
}

static void announce(comet_watch_t *watch, apr_time_t now)
{
    listen_t *listen = (listen_t *)watch;

    advance(listen, now);
    if (listen->phase == UP && !listen->busy && !listen->must_tell) {
        send_on(listen, "NOTIFY " SOON, now);
    }
}

static int take_announcement(comet_watch_t *watch)
{
    listen_t *listen = (listen_t *)watch;
    int had = listen->has_announcement;

    listen->has_announcement = 0;
    return had;
}

static int take_hint(comet_watch_t *watch)
{
    listen_t *listen = (listen_t *)watch;
    int had = listen->has_hint;

    listen->has_hint = 0;
    return had;
}

const comet_watch_engine_t comet_pg_listen = {
    .open = open_watch,
    .close = close_watch,
    .fd = fd_of,
    .event = on_event,
    .due = due_of,
    .look = before_look,
    .looked = after_look,
    .pause = after_failure,
    .tell = tell,
    .announce = announce,
    .take_hint = take_hint,
    .take_announcement = take_announcement,
};
