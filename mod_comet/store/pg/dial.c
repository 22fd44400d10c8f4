/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Begin a connection to one of the hosts that CometStore names.
 *
 * libpq can try several hosts itself.  But if a host accepts a connection and
 * then sends nothing, libpq goes on waiting for it until the caller gives up,
 * and the next attempt begins with the same host.  So this module gives libpq
 * one host at a time.
 *
 * libpq finds a host's address by getaddrinfo(), which takes no deadline: if
 * the name server does not answer, the calling thread waits for up to half a
 * minute.  So if a host is given by name, a separate thread begins the
 * connection, and the caller waits for that thread only until the caller's own
 * deadline.  If the caller gives up, the thread later closes the connection and
 * ends.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "store/pg/pg.h"

#include <arpa/inet.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* How many threads of a process may wait for the name server at a time. */
#define RESOLVERS_MOST 16

/*
 * Settings that apply unless CometStore overrides them.  If either side
 * vanishes, the other one gives up within seconds.  No statement and no open
 * transaction lasts long.  Functions of the schema themselves switch jit off
 * where they must; these settings switch it off for all other statements.
 *
 * The database server must give up on a web server that has vanished, since a
 * session of that web server may have the turn to write.  Keepalives detect
 * this only while no data is under way to the web server, and tcp_user_timeout
 * only while some data is.
 *
 * A statement waits for a lock for less time than this module waits for the
 * answer.  Otherwise each attempt to read would leave behind a session that
 * waits for the lock, until no more connections are allowed.
 *
 * With row_security=off, a statement fails if a policy would hide rows from it.
 * Otherwise messages would be stored, but delivered to nobody.
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
    " -c tcp_keepalives_count=3 -c tcp_user_timeout=5s"
    " -c statement_timeout=5s -c lock_timeout=2s"
    " -c idle_in_transaction_session_timeout=10s -c jit=off"
    " -c row_security=off"
    " -c default_transaction_isolation=read\\ committed";

/* The parameters of PQconnectStartParams(). */
typedef struct parameters_t {
    const char *keywords[DEFAULTS + 8], *values[DEFAULTS + 8];
    int count;
} parameters_t;

/* --- Hosts ---------------------------------------------------------------- */

/* An item of a list that is separated by commas. */
typedef struct item_t {
    char text[256]; /* empty: the list has no such item */
} item_t;

static void add(parameters_t *parameters, const char *keyword,
                const char *value)
{
    parameters->keywords[parameters->count] = keyword;
    parameters->values[parameters->count++] = value;
    parameters->keywords[parameters->count] = NULL;
    parameters->values[parameters->count] = NULL;
}

/* Add CometStore's connection string as dbname, which libpq expands.  It comes
 * last, since libpq takes the last value of a repeated keyword. */
static void add_place(parameters_t *parameters, const comet_pg_place_t *place)
{
    size_t i;

    for (i = 0; i < DEFAULTS; i++) {
        add(parameters, defaults[i][0], defaults[i][1]);
    }
    if (!place->has_options && !atomic_load(&place->refuses_options)) {
        add(parameters, "options", options);
    }
    add(parameters, "dbname", place->conninfo);
}

static unsigned count_items(const char *list)
{
    unsigned count = 1;

    for (; *list; list++) {
        count += *list == ',';
    }
    return count;
}

static item_t find_item(const char *list, unsigned number)
{
    item_t item = { "" };

    while (list && number-- > 0) {
        list = strchr(list, ',');
        list = list ? list + 1 : NULL;
    }
    if (list) {
        snprintf(item.text, sizeof(item.text), "%.*s", (int)strcspn(list, ","),
                 list);
    }
    return item;
}

static const char *value_of(const PQconninfoOption *option, const char *keyword)
{
    while (option->keyword && strcmp(option->keyword, keyword) != 0) {
        option++;
    }
    return option->keyword && option->val && *option->val ? option->val : NULL;
}

/* Only libpq knows what a service file and the environment say.  An invalid
 * sslmode makes libpq read both without connecting. */
comet_pg_hosts_t comet_pg_find_hosts(const comet_pg_place_t *place)
{
    parameters_t parameters = { .count = 0 };
    comet_pg_hosts_t hosts = { .count = 1 };
    PGconn *connection;

    add_place(&parameters, place);
    add(&parameters, "sslmode", "none-such");
    connection =
        PQconnectStartParams(parameters.keywords, parameters.values, 1);
    hosts.all = PQconninfo(connection);
    PQfinish(connection);
    if (hosts.all) {
        hosts.host = value_of(hosts.all, "host");
        hosts.hostaddr = value_of(hosts.all, "hostaddr");
        hosts.port = value_of(hosts.all, "port");
        hosts.count = hosts.hostaddr ? count_items(hosts.hostaddr)
                      : hosts.host   ? count_items(hosts.host)
                                     : 1;
    }
    return hosts;
}

void comet_pg_free_hosts(comet_pg_hosts_t *hosts)
{
    PQconninfoFree(hosts->all);
    hosts->all = NULL;
}

/* Whether libpq must look up the address of a host. */
static int has_name(const char *host)
{
    struct in6_addr address;

    return *host && *host != '/' && *host != '@'
           && inet_pton(AF_INET, host, &address) != 1
           && inet_pton(AF_INET6, host, &address) != 1;
}

/* --- Attempts ------------------------------------------------------------- */

enum { RUNNING, DONE, ABANDONED };

struct comet_pg_attempt_t {
    const comet_pg_place_t *place;
    int has_others; /* CometStore names several hosts, so the items below are
                     * used */
    item_t host, hostaddr, port;
    PGconn *connection; /* [the attempt's thread while RUNNING] */
    sem_t done;
    atomic_int state; /* [atomic] */
};

/* Without this, libpq would write a server's notices to the standard error. */
static void ignore(void *baton, const PGresult *notice)
{
}

static atomic_int resolvers; /* [atomic] how many threads wait for the name
                              * server */

static void start(comet_pg_attempt_t *attempt)
{
    parameters_t parameters = { .count = 0 };

    add_place(&parameters, attempt->place);
    if (attempt->has_others) {
        add(&parameters, "host", attempt->host.text);
        add(&parameters, "hostaddr", attempt->hostaddr.text);
        add(&parameters, "port", attempt->port.text);
    }
    attempt->connection =
        PQconnectStartParams(parameters.keywords, parameters.values, 1);
    if (attempt->connection) {
        PQsetNoticeReceiver(attempt->connection, ignore, NULL);
    }
}

static void free_attempt(comet_pg_attempt_t *attempt)
{
    sem_destroy(&attempt->done);
    free(attempt);
}

static void *run(void *baton)
{
    comet_pg_attempt_t *attempt = baton;
    int running = RUNNING;

    start(attempt);
    atomic_fetch_sub(&resolvers, 1);
    if (atomic_compare_exchange_strong(&attempt->state, &running, DONE)) {
        sem_post(&attempt->done); /* from here on the caller owns the attempt */
    }
    else {
        PQfinish(attempt->connection);
        free_attempt(attempt);
    }
    return NULL;
}

/* @return whether a thread will begin the connection */
static int start_thread(comet_pg_attempt_t *attempt)
{
    pthread_t thread;

    if (atomic_fetch_add(&resolvers, 1) < RESOLVERS_MOST
        && comet_thread_start(&thread, run, attempt) == 0) {
        pthread_detach(thread);
        return 1;
    }
    atomic_fetch_sub(&resolvers, 1);
    return 0;
}

comet_pg_attempt_t *comet_pg_attempt_create(const comet_pg_place_t *place,
                                            const comet_pg_hosts_t *hosts,
                                            unsigned host)
{
    comet_pg_attempt_t *attempt = calloc(1, sizeof(*attempt));

    if (!attempt) {
        return NULL;
    }
    host %= hosts->count;
    attempt->place = place;
    attempt->host = find_item(hosts->host, host);
    attempt->hostaddr = find_item(hosts->hostaddr, host);
    attempt->port = find_item(
        hosts->port, hosts->port && count_items(hosts->port) > 1 ? host : 0);
    /* libpq ignores an empty value and would then use the whole list */
    attempt->has_others = hosts->count > 1
                          && (attempt->host.text[0]
                              || (!hosts->host && attempt->hostaddr.text[0]));
    sem_init(&attempt->done, 0, 0);
    if (attempt->hostaddr.text[0] || !has_name(attempt->host.text)) {
        start(attempt);
        atomic_store(&attempt->state, DONE);
        sem_post(&attempt->done);
    }
    else if (!start_thread(attempt)) {
        free_attempt(attempt);
        return NULL;
    }
    return attempt;
}

int comet_pg_attempt_take(comet_pg_attempt_t *attempt,
                          apr_interval_time_t limit, PGconn **connection)
{
    /* the state is read because ThreadSanitizer understands atomic variables,
     * but not sem_clockwait() */
    if (!comet_semaphore_wait(&attempt->done, comet_monotonic() + limit)
        || atomic_load(&attempt->state) != DONE) {
        return 0;
    }
    *connection = attempt->connection;
    free_attempt(attempt);
    return 1;
}

void comet_pg_attempt_abandon(comet_pg_attempt_t *attempt)
{
    int running = RUNNING;

    if (attempt
        && !atomic_compare_exchange_strong(&attempt->state, &running,
                                           ABANDONED)) {
        while (sem_wait(&attempt->done) != 0) {
            /* the thread has finished, and is about to post the semaphore */
        }
        PQfinish(attempt->connection);
        free_attempt(attempt);
    }
}
