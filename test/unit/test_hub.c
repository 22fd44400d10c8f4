/* SPDX-License-Identifier: Apache-2.0 */
/* The hub, with a real log and made-up clients: each sees every message of
 * its channel after its cursor once and in order, whatever happens. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "scratch.h"

#include <apr_general.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "comet_hub.h"
#include "comet_metrics.h"

#define MS APR_INT64_C(1000)
#define SECOND APR_INT64_C(1000000)
#define STORES 2
#define ROOM 4096 /* messages a client can take in a test */

/* Sanitizers are slow; what is proven is the same. */
#if defined(__SANITIZE_THREAD__)
#define ROUNDS 300
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define ROUNDS 300
#endif
#endif
#ifndef ROUNDS
#define ROUNDS 500
#endif

/** A made-up client.  What it saw is the hub's thread's while it is joined. */
typedef struct client_t client_t;
struct client_t {
    comet_subscriber_t subscriber; /* first: serve() gets its address */

    /* how it behaves */
    comet_verdict_e verdict; /* once it has got something */
    apr_interval_time_t rearm; /* 0: its timer goes off once */
    void (*hook)(client_t *client, const comet_occasion_t *occasion);
    int accepts; /* so many messages, then its socket blocks; -1: any */
    int fd; /* of this socket */
    int stays_blocked; /* for so many times that it is writable */

    /* what it saw */
    comet_timestamp_t *got;
    comet_timestamp_t cursor;
    apr_time_t was_due; /* when the timer went off last */
    unsigned first_reasons;
    int rests; /* it has said so */
    size_t largest; /* how many messages came at once */
    atomic_int count; /* of what it got */
    _Atomic comet_timestamp_t newest; /* of these */
    int finished; /* it rests though it got nothing */
    atomic_int served, news, timeouts, writables, stops, outgrown;
};

static apr_pool_t *pool;
static comet_store_config_t store_configs[STORES];
static const comet_store_config_t *configs[STORES];
static char paths[STORES][800];
static comet_bus_t *buses[STORES];
static comet_store_t *writers[STORES];
static comet_hub_config_t hub_config;
static comet_hub_t *hub;
static comet_metrics_t *metrics;

/** Found wrong where assert_… must not be called: on the hub's thread. */
static atomic_int faults;

/** What the hub reported. */
static atomic_int errors, last_error;

/** Keeps the hub's thread in serve(). */
static struct {
    client_t *client;
    sem_t open;
    atomic_int held;
} gate;

/* --- Helpers ---------------------------------------------------------- */

static void fault(const char *what)
{
    if (atomic_fetch_add(&faults, 1) < 3) {
        fprintf(stderr, "# fault: %s\n", what);
    }
}

/* A condition that a fault would keep from coming true for ever. */
#define wait_at_most(usec, condition) \
    do { \
        int64_t at_most_end = scratch_usec() + (usec); \
        while (!(condition) && scratch_usec() < at_most_end) { \
            sched_yield(); \
        } \
        assert_true(condition); \
    } while (0)

static int ascending(const void *a, const void *b)
{
    apr_int64_t x = *(const apr_int64_t *)a;
    apr_int64_t y = *(const apr_int64_t *)b;

    return x < y ? -1 : x > y;
}

static void on_error(void *baton, const comet_store_config_t *store,
                     apr_status_t status)
{
    if (baton != &errors || (store != configs[0] && store != configs[1])) {
        fault("on_error was told nonsense");
    }
    if (store == configs[0]) {
        atomic_store(&last_error, status);
        atomic_fetch_add(&errors, 1);
    }
}

static void open_writer(size_t i)
{
    assert_int_equal(
        comet_store_open(&writers[i], configs[i], COMET_STORE_WRITE, NULL), 0);
}

static void start_hub(void)
{
    assert_int_equal(comet_hub_create(&hub, &hub_config, pool), APR_SUCCESS);
    assert_int_equal(comet_hub_is_stopping(hub), 0);
}

static void stop_hub(void)
{
    assert_int_equal(comet_hub_stop(hub, 30 * SECOND), 1);
    assert_int_equal(comet_hub_is_stopping(hub), 1);
    comet_hub_free(hub);
    hub = NULL;
}

/* All but the hub and the first database. */
static int setup_bare(void **state)
{
    size_t i;

    scratch_clear();
    apr_pool_create(&pool, NULL);
    for (i = 0; i < STORES; i++) {
        snprintf(paths[i], sizeof(paths[i]), "%s",
                 scratch_path(i ? "second.db" : "comet.db"));
        store_configs[i] = (comet_store_config_t){ .path = paths[i],
                                                   .busy_timeout = 5 * SECOND };
        configs[i] = &store_configs[i];
        assert_int_equal(comet_bus_create(&buses[i], pool), 0);
    }
    hub_config = (comet_hub_config_t){ .stores = configs,
                                       .buses = buses,
                                       .count = STORES,
                                       .on_error = on_error,
                                       .baton = &errors };
    atomic_store(&faults, 0);
    atomic_store(&errors, 0);
    atomic_store(&last_error, 0);
    open_writer(1);
    return 0;
}

static int setup(void **state)
{
    setup_bare(state);
    open_writer(0);
    start_hub();
    return 0;
}

static int teardown(void **state)
{
    size_t i;

    if (hub) {
        stop_hub();
    }
    for (i = 0; i < STORES; i++) {
        comet_store_close(writers[i]);
        writers[i] = NULL;
        close(comet_bus_fd(buses[i]));
    }
    apr_pool_destroy(pool);
    assert_int_equal(atomic_load(&faults), 0);
    return 0;
}

static comet_timestamp_t append_to(comet_store_t *store, const char *channel)
{
    comet_message_t *message = comet_message_create(&(comet_message_fields_t){
        .channel = comet_text(channel), .body = comet_text("x") });
    comet_timestamp_t timestamp;
    apr_status_t result = APR_SUCCESS;
    apr_status_t status = scratch_append(store, &message, &result, 1);

    if (status != APR_SUCCESS || result != APR_SUCCESS) {
        fault("append");
    }
    timestamp = message->timestamp;
    comet_message_unref(message);
    return timestamp;
}

static comet_timestamp_t append(const char *channel)
{
    return append_to(writers[0], channel);
}

static comet_timestamp_t publish(const char *channel)
{
    comet_timestamp_t timestamp = append(channel);

    comet_bus_ring(buses[0]);
    return timestamp;
}

static comet_store_state_t state_of(size_t i)
{
    comet_store_state_t state;

    assert_int_equal(comet_store_state(writers[i], &state), 0);
    return state;
}

static comet_timestamp_t last(void)
{
    return state_of(0).last;
}

/* Whether the hub has seen all that is in the log. */
static int in_step(void)
{
    comet_store_state_t state = state_of(0);
    comet_batch_t none = { .count = 0 };
    comet_reading_t reading = {
        .selection = scratch_select(comet_text("nobody's")),
        .batch = &none,
    };

    return comet_hub_recall(hub, 0, &state, state.last, &reading);
}

/* --- The client ------------------------------------------------------- */

static int got(const client_t *client)
{
    return atomic_load(&client->count);
}

static void take(client_t *client, const comet_occasion_t *occasion)
{
    size_t i;

    client->largest = occasion->batch->count > client->largest
                          ? occasion->batch->count
                          : client->largest;
    for (i = 0; i < occasion->batch->count && client->accepts; i++) {
        int count = atomic_load(&client->count);

        if (occasion->batch->messages[i]->timestamp <= client->cursor) {
            fault("timestamps do not increase");
        }
        client->cursor = occasion->batch->messages[i]->timestamp;
        if (count < ROOM) {
            client->got[count] = client->cursor;
        }
        atomic_store(&client->count, count + 1);
        atomic_store(&client->newest, client->cursor);
        client->accepts -= client->accepts > 0;
    }
    if (occasion->batch->count && !client->accepts) {
        client->accepts = -1;
        client->subscriber.blocked_fd = client->fd;
        client->subscriber.seen = client->cursor;
    }
}

static void check_timer(client_t *client)
{
    apr_time_t due = client->subscriber.timeout_at;

    if (!due || comet_monotonic() < due) {
        fault("a timer went off early");
    }
    client->was_due = due;
    client->subscriber.timeout_at =
        client->rearm ? comet_monotonic() + client->rearm : 0;
}

static void check_occasion(client_t *client, const comet_occasion_t *occasion)
{
    if (client->subscriber.state != COMET_SUBSCRIBER_SERVED) {
        fault("served in another state");
    }
    if (!occasion->reasons) {
        fault("served for nothing");
    }
    if (occasion->batch->count
        && (!(occasion->reasons & COMET_NEWS)
            || client->subscriber.blocked_fd >= 0
            || occasion->batch->count > client->subscriber.limit)) {
        fault("it did not ask for these messages");
    }
    if (occasion->batch->count && client->rests) {
        fault("it rests");
    }
    comet_hub_members(hub, NULL); /* takes the lock: it must be free */
}

static comet_verdict_e serve(comet_subscriber_t *subscriber,
                             const comet_occasion_t *occasion)
{
    client_t *client = (client_t *)subscriber;

    check_occasion(client, occasion);
    if (!atomic_load(&client->served)) {
        client->first_reasons = occasion->reasons;
    }
    if (occasion->reasons & COMET_TIMEOUT) {
        check_timer(client);
        atomic_fetch_add(&client->timeouts, 1);
    }
    if (occasion->reasons & COMET_WRITABLE) {
        if (client->stays_blocked-- <= 0) {
            subscriber->blocked_fd = -1;
        }
        atomic_fetch_add(&client->writables, 1);
    }
    take(client, occasion);
    if (client->hook) {
        client->hook(client, occasion);
    }
    atomic_fetch_add(&client->news, (occasion->reasons & COMET_NEWS) != 0);
    atomic_fetch_add(&client->stops, (occasion->reasons & COMET_STOPPING) != 0);
    atomic_fetch_add(&client->served, 1);
    client->rests =
        client->verdict == COMET_REST && (got(client) || client->finished);
    return client->rests ? COMET_REST : COMET_WAIT;
}

static client_t *new_client(comet_timestamp_t seen)
{
    client_t *client = calloc(1, sizeof(*client));

    client->got = calloc(ROOM, sizeof(*client->got));
    client->subscriber.serve = serve;
    client->subscriber.seen = client->cursor = seen;
    client->subscriber.limit = 100;
    client->subscriber.blocked_fd = -1;
    client->accepts = -1;
    return client;
}

static void join(client_t *client, const char *channel)
{
    client->rests = 0;
    assert_int_equal(comet_hub_join(hub, &client->subscriber, 0,
                                    scratch_select(comet_text(channel))),
                     APR_SUCCESS);
}

static client_t *joined(const char *channel, comet_timestamp_t seen)
{
    client_t *client = new_client(seen);

    join(client, channel);
    return client;
}

/* Whoever still touches it is found out. */
static void free_client(client_t *client)
{
    comet_timestamp_t *got = client->got;

    memset(client, 0xa5, sizeof(*client));
    free(got);
    free(client);
}

static void leave(client_t *client)
{
    comet_hub_leave(hub, &client->subscriber);
    if (client->subscriber.state != COMET_SUBSCRIBER_OUT
        || client->subscriber.channel) {
        fault("it left and is still in");
    }
}

static void leave_and_free(client_t *client)
{
    leave(client);
    free_client(client);
}

/* It left; it got exactly these. */
static void check_got(const client_t *client, const comet_timestamp_t *expected,
                      int count)
{
    assert_int_equal(got(client), count);
    assert_memory_equal(client->got, expected,
                        (size_t)count * sizeof(*expected));
}

/* --- The gate --------------------------------------------------------- */

static void wait_at_gate(client_t *client, const comet_occasion_t *occasion)
{
    if (occasion->batch->count || (occasion->reasons & COMET_TIMEOUT)) {
        client->hook = NULL;
        atomic_store(&gate.held, 1);
        while (sem_wait(&gate.open) != 0) {
        }
        atomic_store(&gate.held, 0);
    }
}

/* From here on the hub's thread is in serve(). */
static void hold_hub(void)
{
    gate.client = new_client(last());
    gate.client->hook = wait_at_gate;
    join(gate.client, "gate");
    publish("gate");
    wait_until(atomic_load(&gate.held));
}

static void let_hub_go(void)
{
    sem_post(&gate.open);
    leave_and_free(gate.client);
}

/* --- News ------------------------------------------------------------- */

static void test_join_then_publish(void **state)
{
    client_t *client = joined("chat", last());
    comet_timestamp_t sent[3];
    int i;

    assert_int_equal(comet_hub_members(hub, NULL), 1);
    for (i = 0; i < 3; i++) {
        sent[i] = publish("chat");
        wait_until(got(client) == i + 1);
    }
    leave(client);
    assert_int_equal(comet_hub_members(hub, NULL), 0);
    assert_int_equal(client->subscriber.seen, sent[2]);
    assert_int_equal(atomic_load(&client->timeouts), 0);
    assert_int_equal(atomic_load(&client->stops), 0);
    check_got(client, sent, 3);
    free_client(client);
}

/* A hint is enough: long before it looks by itself, and though another child
 * watches the file. */
static void test_hints(void **state)
{
    client_t *client;
    apr_int64_t took[9];
    int i;

    stop_hub();
    assert_int_equal(comet_bus_watch(buses[0]), 1);
    start_hub();
    client = joined("chat", last());
    for (i = 0; i < 9; i++) {
        took[i] = comet_monotonic();
        publish("chat");
        wait_until(got(client) == i + 1);
        took[i] = comet_monotonic() - took[i];
    }
    qsort(took, 9, sizeof(*took), ascending);
    print_message("# served after %d us (median)\n", (int)took[4]);
    assert_true(took[4] < 150 * MS);
    leave_and_free(client);
    comet_bus_unwatch(buses[0]);
}

/* What it missed is served at once: from the ring, or from the log. */
static void test_publish_then_join(void **state)
{
    comet_timestamp_t sent[5];
    client_t *clients[5];
    int i;

    for (i = 0; i < 5; i++) {
        sent[i] = publish("chat");
    }
    for (i = 0; i < 5; i++) {
        clients[i] = joined("chat", i ? sent[i - 1] : 0);
    }
    for (i = 0; i < 5; i++) {
        wait_until(got(clients[i]) == 5 - i);
        leave(clients[i]);
        assert_int_equal(clients[i]->first_reasons, COMET_NEWS);
        check_got(clients[i], sent + i, 5 - i);
        free_client(clients[i]);
    }
}

static void test_channels(void **state)
{
    static const char *const names[] = { "costarring", "liquid", "chat" };
    comet_timestamp_t sent[3][4];
    client_t *clients[3];
    int i, k;

    for (i = 0; i < 3; i++) {
        clients[i] = joined(names[i], last());
    }
    for (k = 0; k < 4; k++) {
        for (i = 0; i < 3; i++) {
            sent[i][k] = k == 2 ? append(names[i]) : publish(names[i]);
        }
    }
    for (i = 0; i < 3; i++) {
        wait_until(got(clients[i]) == 4);
        leave(clients[i]);
        check_got(clients[i], sent[i], 4);
        free_client(clients[i]);
    }
}

static void test_stores(void **state)
{
    client_t *first = joined("chat", 0), *second = new_client(0);
    comet_timestamp_t sent[2];

    comet_hub_join(hub, &second->subscriber, 1,
                   scratch_select(comet_text("chat")));
    sent[0] = publish("chat");
    wait_until(got(first) == 1);
    sent[1] = append_to(writers[1], "chat");
    comet_bus_ring(buses[1]);
    wait_until(got(second) == 1);
    leave(first);
    leave(second);
    check_got(first, &sent[0], 1);
    check_got(second, &sent[1], 1);
    free_client(first);
    free_client(second);
}

/* Answered: it rests, though messages come. */
static void test_rest(void **state)
{
    client_t *client = new_client(last());
    client_t *witness = joined("chat", last());
    comet_timestamp_t sent;

    client->verdict = COMET_REST;
    join(client, "chat");
    sent = publish("chat");
    wait_until(got(client) == 1);
    publish("chat");
    wait_until(got(witness) == 2);
    leave(client);
    check_got(client, &sent, 1);
    /* and again, as a client that polls */
    join(client, "chat");
    wait_until(got(client) == 2);
    leave_and_free(client);
    leave_and_free(witness);
}

static void wait_again(client_t *client, const comet_occasion_t *occasion)
{
    if (occasion->reasons & COMET_TIMEOUT) {
        client->verdict = COMET_WAIT;
    }
}

/* It rests, and then waits again: it is told of what came meanwhile. */
/* One that has got its answer elsewhere: no news, but its timer; and it waits
 * when it joins anew. */
static void test_joins_resting(void **state)
{
    client_t *client = new_client(last());
    client_t *other;

    client->verdict = COMET_REST;
    client->finished = 1;
    client->subscriber.resting = 1;
    client->subscriber.timeout_at = comet_monotonic() + 100 * MS;
    publish("chat"); /* after what it has seen */
    join(client, "chat");
    other = joined("chat", last());
    publish("chat");
    wait_until(got(other) == 1);
    wait_until(atomic_load(&client->timeouts) == 1);
    assert_int_equal(got(client), 0);
    comet_hub_leave(hub, &client->subscriber);
    client->subscriber.timeout_at = 0;
    client->verdict = COMET_WAIT;
    join(client, "chat");
    wait_until(got(client) == 2);
    leave_and_free(client);
    leave_and_free(other);
}

static void test_rest_and_wait_again(void **state)
{
    client_t *client = new_client(last());
    client_t *witness = joined("chat", last());
    comet_timestamp_t sent[3];

    client->verdict = COMET_REST;
    client->hook = wait_again;
    client->subscriber.timeout_at = comet_monotonic() + 400 * MS;
    join(client, "chat");
    sent[0] = publish("chat");
    wait_until(got(client) == 1);
    sent[1] = publish("chat");
    wait_until(got(witness) == 2);
    wait_until(atomic_load(&client->timeouts) == 1);
    sent[2] = publish("chat");
    wait_until(atomic_load(&client->newest) == sent[2]);
    leave(client);
    check_got(client, sent, 3);
    free_client(client);
    leave_and_free(witness);
}

static void test_limit(void **state)
{
    static const size_t limits[] = { 1, 3, 4, 100, 1000 };
    comet_timestamp_t sent[1500];
    size_t i;
    int k;

    for (k = 0; k < 1500; k++) {
        sent[k] = append("chat");
    }
    comet_bus_ring(buses[0]);
    for (i = 0; i < sizeof(limits) / sizeof(*limits); i++) {
        client_t *old = new_client(0), *recent = new_client(sent[1487]);

        old->subscriber.limit = recent->subscriber.limit = limits[i];
        join(old, "chat");
        join(recent, "chat");
        wait_until(got(old) == 1500 && got(recent) == 12);
        leave(old);
        leave(recent);
        check_got(old, sent, 1500);
        check_got(recent, sent + 1488, 12);
        assert_int_equal(old->largest, limits[i]);
        assert_true(recent->largest <= limits[i]);
        free_client(old);
        free_client(recent);
    }
}

/* Messages of a megabyte: few at a time, and none is forgotten. */
static void test_large_messages(void **state)
{
    static char body[COMET_BODY_MAX_BYTES];
    client_t *client = joined("chat", 0);
    comet_timestamp_t sent[20];
    client_t *late;
    int i;

    memset(body, 'x', sizeof(body));
    for (i = 0; i < 20; i++) {
        comet_message_t *message =
            comet_message_create(&(comet_message_fields_t){
                .channel = comet_text("chat"),
                .body = { body, i % 3 ? sizeof(body) : 100000 } });
        apr_status_t result;

        assert_int_equal(scratch_append(writers[0], &message, &result, 1), 0);
        sent[i] = message->timestamp;
        comet_message_unref(message);
    }
    comet_bus_ring(buses[0]);
    late = joined("chat", 0);
    wait_until(got(client) == 20 && got(late) == 20);
    leave(client);
    leave(late);
    assert_true(late->largest < 20);
    check_got(client, sent, 20);
    check_got(late, sent, 20);
    free_client(client);
    free_client(late);
}

/* Deleted before it was served: it is never served. */
static void test_erased(void **state)
{
    client_t *client = joined("chat", last());
    comet_timestamp_t sent[3];
    char sql[100];
    sqlite3 *db;
    int i;

    hold_hub();
    for (i = 0; i < 3; i++) {
        sent[i] = publish("chat");
    }
    snprintf(sql, sizeof(sql), "DELETE FROM message WHERE timestamp = %lld",
             (long long)sent[1]);
    assert_int_equal(sqlite3_open(paths[0], &db), SQLITE_OK);
    sqlite3_busy_timeout(db, 5000);
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
    let_hub_go();
    wait_until(got(client) == 2);
    leave(client);
    sent[1] = sent[2];
    check_got(client, sent, 2);
    free_client(client);
}

/* --- Races ------------------------------------------------------------ */

#define JOINERS 6
#define LOG 1000000

/** What was published, by channel. */
static struct {
    atomic_int count;
    comet_timestamp_t timestamps[LOG];
} logs[2];
static const char *const log_names[2] = { "even", "odd" };
static atomic_int joiners;

static void *publish_for_joiners(void *baton)
{
    unsigned int seed = 1;

    while (atomic_load(&joiners)) {
        int i = rand_r(&seed) % 2;
        int count = atomic_load(&logs[i].count);

        if (count == LOG) {
            fault("too many were published");
            break;
        }
        logs[i].timestamps[count] = append(log_names[i]);
        atomic_store(&logs[i].count, count + 1);
        if (rand_r(&seed) % 4) {
            comet_bus_ring(buses[0]);
        }
        comet_store_checkpoint(writers[0]);
    }
    return NULL;
}

/* All that it saw follows what it had seen, without a gap. */
static void check_sequence(const client_t *client, int i,
                           comet_timestamp_t seen)
{
    int count = got(client), at = 0, high, k;

    if (!count) {
        return;
    }
    while (logs[i].timestamps[atomic_load(&logs[i].count) - 1]
           < client->cursor) {
        sched_yield(); /* the publisher has not yet noted it */
    }
    high = atomic_load(&logs[i].count);
    while (at < high) {
        int middle = (at + high) / 2;

        if (logs[i].timestamps[middle] > seen) {
            high = middle;
        }
        else {
            at = middle + 1;
        }
    }
    for (k = 0; k < count && k < ROOM; k++) {
        if (client->got[k] != logs[i].timestamps[at + k]) {
            fault("it missed one, or got one twice");
            return;
        }
    }
}

/* Where it starts: mostly at what a page has just been shown. */
static comet_timestamp_t some_cursor(comet_store_t *store, int i,
                                     unsigned int *seed)
{
    comet_store_state_t state = { 0, 0 };
    int count = atomic_load(&logs[i].count);
    int back = 1 + rand_r(seed) % 1500;

    if (rand_r(seed) % 4 == 0 && count > back) {
        return logs[i].timestamps[count - back];
    }
    if (comet_store_state(store, &state) != APR_SUCCESS) {
        fault("state");
    }
    return state.last;
}

static void join_once(comet_store_t *store, unsigned int *seed)
{
    int i = rand_r(seed) % 2, enough = rand_r(seed) % 4;
    int64_t end = scratch_usec() + 30 * SECOND;
    comet_timestamp_t seen = some_cursor(store, i, seed);
    client_t *client = new_client(seen);

    client->subscriber.limit = 1 + (size_t)rand_r(seed) % 100;
    if (comet_hub_join(hub, &client->subscriber, 0,
                       scratch_select(comet_text(log_names[i])))
        != APR_SUCCESS) {
        fault("join");
    }
    while (got(client) < enough) {
        if (scratch_usec() > end) {
            fault("it got nothing");
            break;
        }
        sched_yield();
    }
    leave(client);
    check_sequence(client, i, seen);
    free_client(client);
}

static void *join_often(void *baton)
{
    unsigned int seed = (unsigned int)(size_t)baton;
    comet_store_t *store;
    int i;

    if (comet_store_open(&store, configs[0], COMET_STORE_READ, NULL) != 0) {
        fault("open");
    }
    for (i = 0; i < ROUNDS && !atomic_load(&faults); i++) {
        join_once(store, &seed);
    }
    comet_store_close(store);
    atomic_fetch_sub(&joiners, 1);
    return NULL;
}

/* They look at the log and join while others publish: nothing falls between,
 * and after leave() nobody touches what they free. */
static void test_join_while_publishing(void **state)
{
    pthread_t threads[JOINERS + 1];
    size_t i;

    atomic_store(&logs[0].count, 0);
    atomic_store(&logs[1].count, 0);
    atomic_store(&joiners, JOINERS);
    pthread_create(&threads[0], NULL, publish_for_joiners, NULL);
    for (i = 1; i <= JOINERS; i++) {
        pthread_create(&threads[i], NULL, join_often, (void *)i);
    }
    for (i = 0; i <= JOINERS; i++) {
        pthread_join(threads[i], NULL);
    }
    print_message("# %d rounds while %d messages were published\n",
                  JOINERS * ROUNDS,
                  atomic_load(&logs[0].count) + atomic_load(&logs[1].count));
    assert_int_equal(comet_hub_members(hub, NULL), 0);
}

/** The one whose leave() is watched. */
static atomic_int inside, leaving;

static void be_slow(client_t *client, const comet_occasion_t *occasion)
{
    int64_t end = scratch_usec() + MS;

    atomic_store(&inside, 1);
    while (scratch_usec() < end || !atomic_load(&leaving)) {
        sched_yield();
    }
    atomic_store(&inside, 0);
}

/* leave() waits for serve() to end, and no longer. */
static void test_leave_while_served(void **state)
{
    int i;

    for (i = 0; i < 100; i++) {
        client_t *client = new_client(last());

        atomic_store(&leaving, 0);
        client->hook = be_slow;
        join(client, "chat");
        publish("chat");
        wait_until(atomic_load(&inside));
        atomic_store(&leaving, 1);
        leave(client);
        assert_int_equal(atomic_load(&inside), 0);
        assert_int_equal(got(client), 1);
        free_client(client);
    }
}

/* Another one is being served: that does not matter. */
static void test_leave_while_another_is_served(void **state)
{
    client_t *client = joined("chat", last());

    hold_hub();
    publish("chat");
    leave(client);
    assert_int_equal(got(client), 0);
    let_hub_go();
    leave(client); /* once more: it is left as it is */
    free_client(client);
    client = new_client(0);
    leave(client); /* it never joined */
    free_client(client);
}

/* --- Timers ----------------------------------------------------------- */

static void test_timers(void **state)
{
    client_t *clients[200];
    apr_time_t now = comet_monotonic();
    int i;

    for (i = 0; i < 200; i++) {
        clients[i] = new_client(last());
        clients[i]->subscriber.timeout_at = now + (i * 37 % 300) * MS;
        join(clients[i], i % 2 ? "chat" : "news");
    }
    for (i = 0; i < 200; i++) {
        wait_until(atomic_load(&clients[i]->timeouts) == 1);
    }
    for (i = 0; i < 200; i++) {
        leave(clients[i]);
        assert_int_equal(atomic_load(&clients[i]->timeouts), 1);
        assert_int_equal(got(clients[i]), 0);
        assert_true(clients[i]->was_due == now + (i * 37 % 300) * MS);
        free_client(clients[i]);
    }
}

/* It goes off again, while waiting and while resting. */
static void test_timer_set_anew(void **state)
{
    client_t *waiting = new_client(last()), *resting = new_client(last());
    apr_time_t began = comet_monotonic();

    waiting->rearm = resting->rearm = 10 * MS;
    waiting->subscriber.timeout_at = began + 10 * MS;
    resting->verdict = COMET_REST;
    join(waiting, "chat");
    join(resting, "chat");
    publish("chat");
    wait_until(got(resting) == 1);
    leave(resting);
    resting->subscriber.timeout_at = comet_monotonic() + 10 * MS;
    join(resting, "chat");
    wait_until(atomic_load(&waiting->timeouts) >= 4
               && atomic_load(&resting->timeouts) >= 3);
    assert_true(comet_monotonic() - began >= 40 * MS);
    leave_and_free(waiting);
    leave_and_free(resting);
}

static void put_off(client_t *client, const comet_occasion_t *occasion)
{
    client->subscriber.timeout_at = comet_monotonic() + 3600 * SECOND;
}

/* Put off by serve(), or gone with leave(). */
static void test_timer_put_off(void **state)
{
    client_t *client = new_client(last()), *gone = new_client(last());
    client_t *witness = new_client(last());
    apr_time_t due = comet_monotonic() + 400 * MS;

    client->subscriber.timeout_at = gone->subscriber.timeout_at = due;
    witness->subscriber.timeout_at = due + 60 * MS;
    client->hook = put_off;
    join(client, "chat");
    join(gone, "chat");
    join(witness, "none");
    publish("chat");
    wait_until(got(client) == 1);
    leave_and_free(gone);
    wait_until(atomic_load(&witness->timeouts) == 1);
    leave(client);
    assert_int_equal(atomic_load(&client->timeouts), 0);
    free_client(client);
    leave_and_free(witness);
}

/* A sleeping hub is woken for a timer that is sooner than all it knows. */
static void test_timers_are_in_time(void **state)
{
    apr_int64_t late[9];
    int i;

    for (i = 0; i < 9; i++) {
        client_t *client = new_client(last());
        apr_time_t due = comet_monotonic() + 20 * MS;

        client->subscriber.timeout_at = due;
        join(client, "chat");
        wait_until(atomic_load(&client->timeouts) == 1);
        late[i] = comet_monotonic() - due;
        leave_and_free(client);
    }
    qsort(late, 9, sizeof(*late), ascending);
    print_message("# timers: %d ms late (median)\n", (int)(late[4] / MS));
    assert_true(late[4] < 200 * MS); /* without it, a quarter of a second */
}

/** The messages of test_news_while_due. */
static atomic_int first_of_many;

static void first_waits_at_gate(client_t *client,
                                const comet_occasion_t *occasion)
{
    if ((occasion->reasons & COMET_TIMEOUT)
        && !atomic_exchange(&first_of_many, 1)) {
        wait_at_gate(client, occasion);
    }
}

/* So many timers go off at once that news comes before all are served. */
static void test_news_while_due(void **state)
{
    client_t *clients[1200];
    comet_timestamp_t sent[2];
    apr_time_t due = comet_monotonic() + 300 * MS;
    int i;

    atomic_store(&first_of_many, 0);
    for (i = 0; i < 1200; i++) {
        clients[i] = new_client(last());
        clients[i]->subscriber.timeout_at = due;
        clients[i]->hook = first_waits_at_gate;
        join(clients[i], "chat");
    }
    wait_until(atomic_load(&gate.held));
    sent[0] = publish("chat");
    sem_post(&gate.open);
    wait_until(in_step());
    for (i = 0; i < 1200; i++) {
        wait_until(atomic_load(&clients[i]->timeouts) == 1);
    }
    sent[1] = publish("chat");
    for (i = 0; i < 1200; i++) {
        wait_until(atomic_load(&clients[i]->newest) == sent[1]);
    }
    for (i = 0; i < 1200; i++) {
        leave(clients[i]);
        check_got(clients[i], sent, 2);
        free_client(clients[i]);
    }
}

/* --- The clock -------------------------------------------------------- */

static client_t *joined_clock(apr_interval_time_t young_for,
                              apr_interval_time_t period)
{
    client_t *client = new_client(comet_monotonic() + young_for);

    client->subscriber.limit = 1;
    assert_int_equal(comet_hub_join_clock(hub, &client->subscriber, period),
                     APR_SUCCESS);
    return client;
}

/* One tick in each period, soon after it has begun. */
static void check_ticks(const client_t *client, apr_interval_time_t period)
{
    apr_int64_t late[ROOM];
    int count = got(client) - 1, i;

    assert_true(count >= 3);
    for (i = 0; i < count; i++) {
        apr_time_t tick = client->got[i + 1];

        assert_true(tick / period > client->got[i] / period);
        late[i] = tick % period;
    }
    qsort(late, (size_t)count, sizeof(*late), ascending);
    assert_true(late[count / 2] < period / 2);
}

static void test_clock(void **state)
{
    apr_time_t began = apr_time_now();
    client_t *fast = joined_clock(0, 50 * MS);
    client_t *slow = joined_clock(0, 70 * MS);
    client_t *young = joined_clock(200 * MS, 50 * MS);

    assert_int_equal(comet_hub_members(hub, NULL), 3);
    wait_until(got(fast) >= 8 && got(slow) >= 6 && got(young) >= 2);
    leave(fast);
    leave(slow);
    leave(young);
    check_ticks(fast, 50 * MS);
    check_ticks(slow, 70 * MS);
    assert_int_equal(atomic_load(&fast->news), got(fast)); /* once for each */
    assert_true(fast->got[0] >= began);
    assert_true(fast->got[0] < young->got[0]);
    assert_true(young->got[0] > began + 150 * MS);
    assert_true(apr_time_now() - began >= 7 * 50 * MS);
    free_client(fast);
    free_client(slow);
    free_client(young);
}

/* Nobody has waited for a while: the next tick is on the multiple again. */
static void test_clock_after_a_pause(void **state)
{
    const apr_interval_time_t period = 100 * MS;
    int i;

    for (i = 0; i < 5; i++) {
        client_t *client = joined_clock(0, period);
        apr_time_t now = apr_time_now(), began = now / period;

        leave_and_free(client);
        do {
            sched_yield();
            now = apr_time_now();
        } while (now / period < began + 2 || now % period < period / 2);
        client = joined_clock(0, period);
        wait_until(got(client));
        leave(client);
        assert_true(client->got[0] / period > now / period);
        free_client(client);
    }
}

/* One tick was late: the next is on the multiple again. */
static void test_clock_after_a_late_tick(void **state)
{
    const apr_interval_time_t period = 100 * MS;
    client_t *client = joined_clock(0, period);
    apr_int64_t late[5];
    apr_time_t now;
    int before, i;

    wait_until(got(client));
    hold_hub();
    before = got(client);
    do {
        sched_yield();
        now = apr_time_now();
    } while (now / period == client->got[before - 1] / period
             || now % period < 6 * period / 10);
    let_hub_go();
    wait_until(got(client) >= before + 6);
    leave(client);
    for (i = 0; i < 5; i++) {
        late[i] = client->got[before + 1 + i] % period;
    }
    qsort(late, 5, sizeof(*late), ascending);
    assert_true(late[2] < period / 2);
    free_client(client);
}

static void test_clock_and_channel(void **state)
{
    const apr_interval_time_t period = 50 * MS;
    client_t *clock = joined_clock(0, period);
    char name[sizeof(period)];
    client_t *client = new_client(last());

    memcpy(name, &period, sizeof(period));
    comet_hub_join(hub, &client->subscriber, 0,
                   scratch_select((comet_text_t){ name, sizeof(name) }));
    wait_until(got(clock) >= 2);
    leave(client);
    assert_int_equal(got(client), 0);
    free_client(client);
    leave_and_free(clock);
}

/* --- Sockets that take no more ---------------------------------------- */

typedef struct pair_t {
    int ours, peers;
} pair_t;

/* A socket that takes nothing more until its peer reads. */
static pair_t blocked_pair(void)
{
    static const char bytes[4096];
    int ends[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends),
                     0);
    while (write(ends[0], bytes, sizeof(bytes)) > 0) {
    }
    return (pair_t){ ends[0], ends[1] };
}

static void drain(pair_t pair)
{
    char bytes[4096];

    while (read(pair.peers, bytes, sizeof(bytes)) > 0) {
    }
}

static void close_pair(pair_t pair)
{
    close(pair.ours);
    close(pair.peers);
}

static apr_int64_t catch_ups(void)
{
    comet_metrics_total_t total;

    comet_metrics_sum(metrics, &total);
    return total.values[COMET_METRIC_catch_ups];
}

/* Nothing while it is blocked; then all, from the ring or from the log. */
static void blocked_with(int count)
{
    client_t *client = new_client(last()), *witness = joined("chat", last());
    comet_timestamp_t *sent = calloc((size_t)count, sizeof(*sent));
    pair_t pair = blocked_pair();
    apr_int64_t before;
    int i;

    client->subscriber.blocked_fd = pair.ours;
    join(client, "chat");
    wait_until(in_step());
    before = catch_ups();
    for (i = 0; i < count; i++) {
        sent[i] = i % 500 == 499 ? publish("chat") : append("chat");
    }
    comet_bus_ring(buses[0]);
    wait_until(got(witness) == count);
    assert_int_equal(got(client), 0);
    assert_int_equal(atomic_load(&client->writables), 0);
    drain(pair);
    wait_until(got(client) == count);
    leave(client);
    assert_int_equal(atomic_load(&client->writables), 1);
    check_got(client, sent, count);
    assert_int_equal(catch_ups() > before, count > COMET_RING_MESSAGES);
    free_client(client);
    leave_and_free(witness);
    close_pair(pair);
    free(sent);
}

static void test_blocked(void **state)
{
    blocked_with(5);
    blocked_with(400);
}

static void test_blocked_for_long(void **state)
{
    blocked_with(1100);
    blocked_with(2500);
}

/* It takes two of five, and the rest when it can. */
static void test_blocks_while_served(void **state)
{
    client_t *client = new_client(last());
    pair_t pair = blocked_pair();
    comet_timestamp_t sent[6];
    int i;

    client->accepts = 2;
    client->fd = pair.ours;
    client->stays_blocked = 1; /* the first time it is not enough */
    hold_hub();
    join(client, "chat");
    for (i = 0; i < 5; i++) {
        sent[i] = append("chat");
    }
    let_hub_go();
    comet_bus_ring(buses[0]);
    wait_until(got(client) == 2);
    sent[5] = publish("chat");
    wait_until(in_step());
    assert_int_equal(got(client), 2);
    drain(pair);
    wait_until(got(client) == 6);
    leave(client);
    assert_int_equal(atomic_load(&client->writables), 2);
    check_got(client, sent, 6);
    free_client(client);
    close_pair(pair);
}

/* Its timer goes off all the same, and the child may end. */
static void test_blocked_timer(void **state)
{
    client_t *client = new_client(last());
    pair_t pair = blocked_pair();

    client->subscriber.blocked_fd = pair.ours;
    client->subscriber.timeout_at = comet_monotonic() + 20 * MS;
    join(client, "chat");
    publish("chat");
    wait_until(atomic_load(&client->timeouts) == 1);
    assert_int_equal(got(client), 0);
    comet_hub_stopping(hub);
    wait_until(atomic_load(&client->stops) == 1);
    leave_and_free(client);
    close_pair(pair);
}

/* It joins with news waiting, blocked: not before it is writable. */
static void test_joins_blocked(void **state)
{
    comet_timestamp_t seen = last(), sent = publish("chat");
    client_t *client = new_client(seen);
    pair_t pair = blocked_pair();

    wait_until(in_step());
    client->subscriber.blocked_fd = pair.ours;
    join(client, "chat");
    publish("news");
    wait_until(in_step());
    assert_int_equal(got(client), 0);
    drain(pair);
    wait_until(got(client) == 1);
    leave(client);
    check_got(client, &sent, 1);
    free_client(client);
    close_pair(pair);
}

/* One leaves blocked, another comes by the same descriptor. */
static void test_descriptor_used_again(void **state)
{
    int i;

    for (i = 0; i < 50; i++) {
        client_t *first = new_client(last()), *second = new_client(last());
        pair_t pair = blocked_pair();

        first->subscriber.blocked_fd = pair.ours;
        join(first, "chat");
        if (i % 3 == 0) {
            drain(pair);
        }
        leave_and_free(first);
        drain(pair); /* nobody is there to be told of it */
        publish("news");
        wait_until(in_step());
        close_pair(pair);
        pair = blocked_pair();
        second->subscriber.blocked_fd = pair.ours;
        join(second, "chat");
        publish("chat");
        drain(pair);
        wait_until(got(second) == 1);
        leave_and_free(second);
        close_pair(pair);
    }
}

/* --- Recall ----------------------------------------------------------- */

static int recall(const comet_store_state_t *state, comet_timestamp_t after,
                  size_t limit)
{
    comet_message_t *room[100];
    comet_batch_t batch = { .messages = room, .size = limit };
    comet_reading_t reading = { .selection = scratch_select(comet_text("chat")),
                                .batch = &batch };
    int count = -1;

    if (comet_hub_recall(hub, 0, state, after, &reading)) {
        count = (int)batch.count;
        while (batch.count
               && batch.messages[batch.count - 1]->timestamp > after) {
            comet_message_unref(batch.messages[--batch.count]);
        }
    }
    assert_int_equal(batch.count, 0);
    comet_batch_clear(&batch);
    return count;
}

static void test_recall(void **state)
{
    comet_store_state_t before, after;
    comet_timestamp_t sent[10];
    client_t *client = joined("chat", last());
    int i;

    for (i = 0; i < 10; i++) {
        sent[i] = append(i == 5 ? "news" : "chat");
    }
    comet_bus_ring(buses[0]);
    before = state_of(0);
    wait_until(in_step());
    assert_int_equal(recall(&before, 0, 100), 9);
    assert_int_equal(recall(&before, 0, 4), 4);
    assert_int_equal(recall(&before, sent[3], 100), 5);
    assert_int_equal(recall(&before, sent[9], 100), 0);
    hold_hub();
    append("chat");
    after = state_of(0);
    assert_int_equal(recall(&after, 0, 100), -1); /* the log is ahead */
    assert_int_equal(recall(&before, 0, 100), -1); /* the ring is */
    let_hub_go();
    comet_bus_ring(buses[0]);
    wait_until(in_step());
    assert_int_equal(recall(&after, sent[8], 100), 2);
    after.erased++;
    assert_int_equal(recall(&after, sent[8], 100), -1);
    leave_and_free(client);
}

/* Of a long log it tells only what it holds. */
static void test_recall_far_back(void **state)
{
    comet_timestamp_t sent[1100];
    comet_store_state_t now;
    client_t *client;
    int i;

    for (i = 0; i < 1100; i++) {
        sent[i] = append("chat");
    }
    comet_bus_ring(buses[0]);
    client = joined("chat", last());
    wait_until(in_step());
    now = state_of(0);
    assert_int_equal(recall(&now, sent[1100 - 1025], 10), 10);
    assert_int_equal(recall(&now, sent[1100 - 1025] - 1, 10), -1);
    leave_and_free(client);
}

/* --- The end of a child ------------------------------------------------ */

static void test_stopping(void **state)
{
    client_t *clients[8];
    pair_t pair = blocked_pair();
    int i;

    for (i = 0; i < 6; i++) {
        clients[i] = new_client(last());
        clients[i]->verdict = i == 1 ? COMET_REST : COMET_WAIT;
        clients[i]->subscriber.blocked_fd = i == 2 ? pair.ours : -1;
        join(clients[i], i < 3 ? "chat" : "news");
    }
    clients[6] = joined_clock(0, 3600 * SECOND);
    publish("chat");
    wait_until(got(clients[0]) == 1 && got(clients[1]) == 1);
    hold_hub();
    publish("news"); /* some are to be served anyhow */
    comet_hub_stopping(hub);
    assert_int_equal(comet_hub_is_stopping(hub), 1);
    let_hub_go();
    clients[7] = joined("late", last());
    for (i = 0; i < 8; i++) {
        wait_until(atomic_load(&clients[i]->stops) == 1);
    }
    comet_hub_stopping(hub); /* again: they know */
    publish("chat");
    wait_until(got(clients[0]) == 2);
    for (i = 0; i < 8; i++) {
        leave(clients[i]);
        assert_int_equal(atomic_load(&clients[i]->stops), 1);
        free_client(clients[i]);
    }
    close_pair(pair);
}

static void *join_meanwhile(void *baton)
{
    client_t **clients = baton;
    int i;

    for (i = 0; i < 20; i++) {
        clients[i] = new_client(0);
        clients[i]->subscriber.limit = 1;
        if (comet_hub_join(hub, &clients[i]->subscriber, 0,
                           scratch_select(comet_text("chat")))
            != APR_SUCCESS) {
            fault("join");
        }
    }
    return NULL;
}

/* Whoever joins just then is told once, too. */
static void test_stopping_while_joining(void **state)
{
    int round, i;

    stop_hub();
    for (round = 0; round < 60; round++) {
        client_t *clients[20];
        pthread_t thread;

        start_hub();
        pthread_create(&thread, NULL, join_meanwhile, clients);
        while (comet_hub_members(hub, NULL) < (apr_size_t)round % 20) {
        }
        comet_hub_stopping(hub);
        pthread_join(thread, NULL);
        for (i = 0; i < 20; i++) {
            wait_until(atomic_load(&clients[i]->stops) > 0);
        }
        assert_int_equal(comet_hub_stop(hub, 30 * SECOND), 1);
        for (i = 0; i < 20; i++) {
            leave(clients[i]);
            assert_int_equal(atomic_load(&clients[i]->stops), 1);
            free_client(clients[i]);
        }
        comet_hub_free(hub);
    }
    start_hub();
}

/* All are let go before the thread ends. */
static void test_stop(void **state)
{
    client_t *clients[1200];
    int i;

    for (i = 0; i < 1200; i++) {
        clients[i] = joined(i % 2 ? "chat" : "news", last());
    }
    assert_int_equal(comet_hub_stop(hub, 30 * SECOND), 1);
    for (i = 0; i < 1200; i++) {
        assert_int_equal(atomic_load(&clients[i]->stops), 1);
        leave(clients[i]);
        free_client(clients[i]);
    }
    comet_hub_free(hub);
    hub = NULL;
}

static void *open_gate(void *baton)
{
    int64_t end = scratch_usec() + 50 * MS;

    while (scratch_usec() < end) {
        sched_yield();
    }
    sem_post(&gate.open);
    return NULL;
}

/* It waits as long as it may, parts of a second included. */
static void test_stop_within_a_limit(void **state)
{
    pthread_t thread;
    int64_t began;

    hold_hub();
    began = scratch_usec();
    assert_int_equal(comet_hub_stop(hub, 100 * MS), 0);
    assert_true(scratch_usec() - began >= 100 * MS);
    assert_true(scratch_usec() - began < 20 * SECOND);
    pthread_create(&thread, NULL, open_gate, NULL);
    assert_int_equal(comet_hub_stop(hub, 900 * MS), 1);
    pthread_join(thread, NULL);
    leave_and_free(gate.client);
    comet_hub_free(hub);
    hub = NULL;
}

static void test_start_and_stop(void **state)
{
    int i;

    for (i = 0; i < 30; i++) {
        stop_hub();
        start_hub();
    }
}

/* --- Faults of the store, and lost hints -------------------------------- */

/* A database that somebody has made elsewhere: one rare message, and then
 * more others than a ring holds. */
static comet_timestamp_t make_elsewhere(const char *path)
{
    comet_store_config_t config = { .path = path, .busy_timeout = SECOND };
    comet_timestamp_t rare;
    comet_store_t *store;
    int i;

    assert_int_equal(comet_store_open(&store, &config, COMET_STORE_WRITE, NULL),
                     0);
    rare = append_to(store, "rare");
    for (i = 0; i < 1100; i++) {
        append_to(store, "other");
    }
    comet_store_close(store);
    return rare;
}

/* There is nothing yet when it joins; it is served when there is. */
static void test_no_store_yet(void **state)
{
    comet_timestamp_t sent[2];
    client_t *client;

    start_hub();
    client = joined("rare", 0);
    wait_until(atomic_load(&last_error) == APR_ENOENT);
    sent[0] = make_elsewhere(scratch_path("other.db"));
    rename(scratch_path("other.db"), paths[0]);
    wait_until(atomic_load(&last_error) == APR_SUCCESS);
    wait_at_most(5 * SECOND, got(client) == 1);
    open_writer(0);
    sent[1] = publish("rare");
    wait_until(atomic_load(&client->newest) == sent[1]);
    leave(client);
    check_got(client, sent, 2);
    assert_int_equal(atomic_load(&errors), 2); /* once for each change */
    free_client(client);
}

/* Without its table the log cannot be read, but it can be looked at. */
static void rename_log(const char *from, const char *to)
{
    char sql[200];
    sqlite3 *db;

    snprintf(sql, sizeof(sql),
             "PRAGMA legacy_alter_table = ON; ALTER TABLE %s RENAME TO %s",
             from, to);
    assert_int_equal(sqlite3_open(paths[0], &db), SQLITE_OK);
    sqlite3_busy_timeout(db, 5000);
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
}

/* What it missed cannot be read: it gets it later, before what is new. */
static void test_read_fails(void **state)
{
    comet_timestamp_t sent[2];
    client_t *client;
    int i;

    sent[0] = append("rare");
    for (i = 0; i < 1100; i++) {
        append("other");
    }
    comet_bus_ring(buses[0]);
    wait_until(in_step());
    for (i = 0; i < 2; i++) {
        rename_log("message_log", "elsewhere");
        client = joined("rare", 0);
        wait_until(atomic_load(&client->served));
        assert_int_equal(got(client), 0);
        rename_log("elsewhere", "message_log");
        if (i) {
            sent[1] = publish("rare");
        }
        wait_at_most(5 * SECOND, got(client) == i + 1);
        leave(client);
        check_got(client, sent, i + 1);
        free_client(client);
    }
}

/* Another file is put in its place, with more than the ring can tell. */
static void test_replaced(void **state)
{
    client_t *client = joined("rare", last());
    client_t *other = joined("other", last());
    comet_timestamp_t sent[2];

    publish("chat");
    wait_until(in_step());
    sent[0] = make_elsewhere(scratch_path("other.db"));
    comet_store_close(writers[0]);
    unlink(scratch_path("comet.db-wal"));
    unlink(scratch_path("comet.db-shm"));
    rename(scratch_path("other.db"), paths[0]);
    open_writer(0);
    wait_until(in_step());
    sent[1] = publish("rare");
    wait_until(atomic_load(&client->newest) == sent[1]);
    wait_until(got(other) == 1100);
    leave(client);
    check_got(client, sent, 2);
    free_client(client);
    leave_and_free(other);
}

static void test_errors_are_told(void **state)
{
    FILE *file;
    client_t *client = joined("chat", 0);

    assert_int_equal(atomic_load(&errors), 0);
    comet_store_close(writers[0]);
    writers[0] = NULL;
    file = fopen(scratch_path("diary"), "w");
    fputs("Dear diary, this is not a database at all.\n", file);
    fclose(file);
    unlink(scratch_path("comet.db-wal"));
    unlink(scratch_path("comet.db-shm"));
    rename(scratch_path("diary"), paths[0]);
    wait_until(atomic_load(&last_error) != APR_SUCCESS);
    unlink(paths[0]);
    open_writer(0);
    publish("chat");
    wait_until(got(client) == 1);
    wait_until(atomic_load(&last_error) == APR_SUCCESS);
    leave_and_free(client);
}

/* No hint reaches it, but it looks now and then. */
static void test_deaf(void **state)
{
    apr_int64_t took[3];
    client_t *client;
    int i;

    stop_hub();
    hub_config.deaf = 1;
    start_hub();
    client = joined("chat", last());
    for (i = 0; i < 3; i++) {
        took[i] = comet_monotonic();
        publish("chat");
        wait_until(got(client) == i + 1);
        took[i] = comet_monotonic() - took[i];
        assert_true(took[i] < 5 * SECOND); /* a loaded machine */
    }
    qsort(took, 3, sizeof(*took), ascending);
    assert_true(took[1] < SECOND);
    assert_true(took[2] > 50 * MS);
    leave_and_free(client);
    assert_int_equal(comet_bus_watch(buses[0]), 1); /* nor does it watch */
    comet_bus_unwatch(buses[0]);
}

/* --- Two children ------------------------------------------------------- */

#define EACH 50

typedef struct board_t {
    atomic_int ready;
    atomic_int published;
    _Atomic comet_timestamp_t sent[2 * EACH];
} board_t;

static board_t *board;

static int ready_to_publish(void)
{
    int64_t end = scratch_usec() + 30 * SECOND;

    atomic_fetch_add(&board->ready, 1);
    while (atomic_load(&board->ready) < 2) {
        if (scratch_usec() > end) {
            return 0;
        }
    }
    return 1;
}

/* What its client reads, and the channels that are published to in turn. */
static const char *children_read = "chat";
static const char *const chat_alone[] = { "chat" };
static const char *const *children_write = chat_alone;
static int children_write_count = 1;

static void publish_each(void)
{
    comet_store_t *store;
    int i;

    for (i = 0; i < EACH; i++) {
        comet_timestamp_t sent;

        comet_bus_lock(buses[0]);
        if (comet_store_open(&store, configs[0], COMET_STORE_WRITE, NULL)) {
            fault("open");
        }
        sent = append_to(store, children_write[i % children_write_count]);
        atomic_store(&board->sent[atomic_fetch_add(&board->published, 1)],
                     sent);
        comet_store_close(store);
        comet_bus_unlock(buses[0]);
        comet_bus_ring(buses[0]);
    }
}

/* A child: its client sees what both publish. @return 0: it did */
static int be_a_child(void *baton)
{
    int64_t end = scratch_usec() + 30 * SECOND;
    client_t *client = new_client(0);
    comet_selection_t *selection = scratch_choose(children_read);
    int i, wrong = 0;

    if (comet_hub_create(&hub, &hub_config, pool) != APR_SUCCESS
        || comet_hub_join(hub, &client->subscriber, 0, selection) != APR_SUCCESS
        || !ready_to_publish()) {
        return 1;
    }
    publish_each();
    while (got(client) < 2 * EACH && scratch_usec() < end) {
        sched_yield();
    }
    leave(client);
    for (i = 0; i < 2 * EACH; i++) {
        wrong |= client->got[i] != atomic_load(&board->sent[i]);
    }
    wrong |= got(client) != 2 * EACH || atomic_load(&faults);
    wrong |= !comet_hub_stop(hub, 30 * SECOND);
    comet_hub_free(hub);
    comet_selection_unref(selection);
    free_client(client);
    return wrong;
}

static void test_two_children(void **state)
{
    int pids[2];

    board = mmap(NULL, sizeof(*board), PROT_READ | PROT_WRITE,
                 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    open_writer(0);
    pids[0] = scratch_fork(be_a_child, NULL);
    pids[1] = scratch_fork(be_a_child, NULL);
    assert_int_equal(scratch_reap(pids[0]), 0);
    assert_int_equal(scratch_reap(pids[1]), 0);
    assert_int_equal(atomic_load(&board->published), 2 * EACH);
    munmap(board, sizeof(*board));
}

static void test_two_children_selections(void **state)
{
    static const char *const names[] = { "chat", "room/1", "room/2" };

    children_read = "room/1 chat room/2 room/*";
    children_write = names;
    children_write_count = 3;
    test_two_children(state);
}

/* --- Selections --------------------------------------------------------- */

/* Join by words: those that end in a star are prefixes. */
static void join_words(client_t *client, const char *words)
{
    comet_selection_t *selection = scratch_choose(words);

    assert_int_equal(comet_hub_join(hub, &client->subscriber, 0, selection),
                     APR_SUCCESS);
    comet_selection_unref(selection); /* the hub has its own */
}

static client_t *joined_words(const char *words, comet_timestamp_t seen)
{
    client_t *client = new_client(seen);

    join_words(client, words);
    return client;
}

/* As the glue does: one that has outgrown what it reads is finished. */
static void finish_outgrown(client_t *client, const comet_occasion_t *occasion)
{
    if (occasion->reasons & COMET_OUTGROWN) {
        atomic_fetch_add(&client->outgrown, 1);
        client->verdict = COMET_REST;
        client->finished = 1;
    }
}

static client_t *finishing(const char *words, comet_timestamp_t seen)
{
    client_t *client = new_client(seen);

    client->hook = finish_outgrown;
    join_words(client, words);
    return client;
}

#define MIXED 3000

/* Many channels, published at random, in every way a client can stand to
 * them: each gets its own, in order, once. */
static void test_selections(void **state)
{
    static const char *const words[] = {
        "c0",
        "c0 c1",
        "c1 c2 c3",
        "c0 c1 c2 c3 c4 c5 c6 c7 r/1 r/2 costarring",
        "r/1 r/2",
        "liquid c5",
        "c0 c1 c2 c3 c4 c5 c6 c7 r/1 r/2 costarring "
        "liquid *",
        "r/1 r/2 r/* c7",
        "nobody's",
    };
    static const char *const names[] = {
        "c0", "c1", "c2",  "c3",  "c4",         "c5",
        "c6", "c7", "r/1", "r/2", "costarring", "liquid",
    };
    enum { CLIENTS = sizeof(words) / sizeof(*words), NAMES = 12 };
    static comet_timestamp_t sent[MIXED], expected[CLIENTS][MIXED];
    int counts[CLIENTS] = { 0 }, i, k;
    unsigned int seed = 20261121;
    client_t *clients[CLIENTS], *late[CLIENTS];

    for (k = 0; k < CLIENTS; k++) {
        clients[k] = new_client(last());
        clients[k]->subscriber.limit = 1 + (size_t)(k * 7) % 100;
        join_words(clients[k], words[k]);
    }
    for (i = 0; i < MIXED; i++) {
        const char *name = names[(rand_r(&seed) >> 8) % NAMES];
        comet_text_t text = comet_text(name);

        sent[i] = i % 10 ? append(name) : publish(name);
        for (k = 0; k < CLIENTS; k++) {
            if (comet_selection_match(clients[k]->subscriber.channel->selection,
                                      text, comet_message_hash(text))
                == COMET_SELECTION_NAMED) {
                expected[k][counts[k]++] = sent[i];
            }
        }
    }
    comet_bus_ring(buses[0]);
    for (k = 0; k < CLIENTS; k++) {
        late[k] = joined_words(words[k], sent[0] - 1); /* not in the ring */
    }
    for (k = 0; k < CLIENTS; k++) {
        wait_until(got(clients[k]) == counts[k] && got(late[k]) == counts[k]);
    }
    for (k = 0; k < CLIENTS; k++) {
        leave(clients[k]);
        leave(late[k]);
        check_got(clients[k], expected[k], counts[k]);
        check_got(late[k], expected[k], counts[k]);
        free_client(clients[k]);
        free_client(late[k]);
    }
    assert_int_equal(counts[CLIENTS - 1], 0);
    assert_int_equal(counts[6], MIXED);
    assert_int_equal(comet_hub_members(hub, NULL), 0);
}

/* A message wakes those it is news to, and nobody else. */
static void test_wakes_only_those_concerned(void **state)
{
    static const char *const others[] = { "a b",     "x",   "x y z", "s/*",
                                          "x r/1/*", "R/1", "r" };
    client_t *concerned, *named, *clients[7];
    int i;

    wait_until(in_step());
    concerned = joined_words("x r/1 r/*", last());
    named = joined_words("r/1", last());
    for (i = 0; i < 7; i++) {
        clients[i] = joined_words(others[i], last());
    }
    for (i = 0; i < 10; i++) {
        publish("r/1");
        wait_until(got(concerned) == i + 1 && got(named) == i + 1);
    }
    for (i = 0; i < 7; i++) {
        leave(clients[i]);
        assert_int_equal(atomic_load(&clients[i]->served), 0);
        free_client(clients[i]);
    }
    leave(concerned);
    /* though it names the channel in two ways: once for each */
    assert_int_equal(atomic_load(&concerned->served), 10);
    free_client(concerned);
    leave_and_free(named);
}

/* It ends before the message of a channel that was not there when its rights
 * were looked at; what comes before, it gets. */
static void check_outgrown(const char *words, comet_timestamp_t seen,
                           const comet_timestamp_t *expected, int count)
{
    client_t *client = finishing(words, seen);

    wait_until(atomic_load(&client->outgrown));
    leave(client);
    assert_int_equal(atomic_load(&client->outgrown), 1);
    check_got(client, expected, count);
    assert_int_equal(client->subscriber.seen,
                     count ? expected[count - 1] : seen);
    free_client(client);
}

static void test_outgrown(void **state)
{
    client_t *client = finishing("a r/1 r/*", last());
    client_t *witness = joined_words("r/2", last());
    comet_timestamp_t sent[3];

    sent[0] = publish("a");
    sent[1] = publish("r/1");
    wait_until(got(client) == 2);
    assert_int_equal(atomic_load(&client->outgrown), 0);
    publish("r/2");
    wait_until(atomic_load(&client->outgrown) == 1);
    publish("a");
    publish("r/2");
    wait_until(got(witness) == 2);
    leave(client);
    assert_int_equal(atomic_load(&client->outgrown), 1);
    check_got(client, sent, 2);
    free_client(client);
    leave_and_free(witness);
    /* the same from the ring, at once */
    check_outgrown("a r/1 r/*", sent[0] - 1, sent, 2);
    check_outgrown("a *", sent[0] - 1, sent, 1);
    check_outgrown("*", sent[0] - 1, NULL, 0);
    /* and with more than it takes at a time before it */
    client = new_client(sent[0] - 1);
    client->hook = finish_outgrown;
    client->subscriber.limit = 1;
    join_words(client, "a r/1 r/*");
    wait_until(atomic_load(&client->outgrown) == 1);
    leave(client);
    check_got(client, sent, 2);
    free_client(client);
}

/* The message it ends before is no longer in memory. */
static void test_outgrown_far_back(void **state)
{
    static comet_timestamp_t sent[4];
    comet_batch_t none = { .count = 0 };
    comet_selection_t *selection = scratch_choose("a");
    comet_reading_t reading = { .selection = selection, .batch = &none };
    comet_store_state_t now;
    int i;

    sent[0] = append("a");
    sent[1] = append("r/1");
    append("r/2");
    for (i = 0; i < COMET_RING_MESSAGES + 10; i++) {
        append("noise");
    }
    sent[2] = publish("a");
    wait_until(in_step());
    now = state_of(0);
    assert_int_equal(comet_hub_recall(hub, 0, &now, sent[1], &reading),
                     0); /* far back */
    comet_selection_unref(selection);
    check_outgrown("a r/1 r/*", sent[0] - 1, sent, 2);
    check_outgrown("r/*", sent[0] - 1, NULL, 0);
    check_outgrown("a *", sent[0] - 1, sent, 1);
    /* one that names it is not stopped */
    {
        client_t *client = finishing("a r/1 r/2 r/*", sent[1]);

        wait_until(got(client) == 2);
        leave(client);
        assert_int_equal(atomic_load(&client->outgrown), 0);
        assert_int_equal(client->got[1], sent[2]);
        free_client(client);
    }
}

/* Recalled for a poll: up to the unknown one, and it is told. */
static void test_recall_outgrown(void **state)
{
    comet_message_t *room[10];
    comet_batch_t batch = { .messages = room, .size = 10 };
    comet_selection_t *selection = scratch_choose("a r/*");
    comet_reading_t reading = { .selection = selection, .batch = &batch };
    comet_timestamp_t before = last();
    comet_store_state_t now;

    publish("a");
    publish("r/1");
    publish("a");
    wait_until(in_step());
    now = state_of(0);
    assert_int_equal(comet_hub_recall(hub, 0, &now, before, &reading), 1);
    assert_int_equal(batch.count, 1);
    assert_int_equal(reading.outgrown, 1);
    comet_batch_clear(&batch);
    comet_selection_unref(selection);
}

#define USERS 3000

/* Thousands of selections that share one channel: each gets what is his, and
 * what is everybody's. */
static void test_many_selections(void **state)
{
    static client_t *clients[USERS];
    comet_timestamp_t news[2], own;
    char words[64];
    int i;

    for (i = 0; i < USERS; i++) {
        sprintf(words, "news user/%d", i);
        clients[i] = joined_words(words, last());
    }
    assert_int_equal(comet_hub_members(hub, NULL), USERS);
    news[0] = publish("news");
    own = publish("user/1234");
    news[1] = publish("news");
    for (i = 0; i < USERS; i++) {
        comet_timestamp_t mine[] = { news[0], own, news[1] };

        wait_until(atomic_load(&clients[i]->newest) == news[1]);
        leave(clients[i]);
        if (i == 1234) {
            check_got(clients[i], mine, 3);
        }
        else {
            check_got(clients[i], news, 2);
        }
        free_client(clients[i]);
    }
    assert_int_equal(comet_hub_members(hub, NULL), 0);
}

/* A thread that leaves and joins again and again, as one that waits with its
 * request's thread does: what comes between is after its cursor. */
static void *join_and_leave(void *baton)
{
    client_t *client = baton;

    while (got(client) < ROUNDS) {
        int seen = got(client);

        client->rests = 0;
        if (comet_hub_join(hub, &client->subscriber, 0,
                           scratch_select(comet_text("chat")))
            != APR_SUCCESS) {
            fault("join");
        }
        while (got(client) == seen) {
            sched_yield();
        }
        leave(client);
    }
    return NULL;
}

static void test_leave_and_join_while_publishing(void **state)
{
    client_t *client = new_client(last());
    comet_timestamp_t sent[ROUNDS];
    pthread_t thread;
    int i;

    client->verdict = COMET_REST;
    client->subscriber.limit = 3;
    assert_int_equal(comet_thread_start(&thread, join_and_leave, client), 0);
    for (i = 0; i < ROUNDS; i++) {
        sent[i] = publish("chat");
    }
    pthread_join(thread, NULL);
    check_got(client, sent, ROUNDS);
    free_client(client);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
#define TEST_BARE(name) \
    cmocka_unit_test_setup_teardown(name, setup_bare, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_join_then_publish),
        TEST(test_hints),
        TEST(test_publish_then_join),
        TEST(test_channels),
        TEST(test_stores),
        TEST(test_rest),
        TEST(test_joins_resting),
        TEST(test_rest_and_wait_again),
        TEST(test_limit),
        TEST(test_large_messages),
        TEST(test_erased),
        TEST(test_join_while_publishing),
        TEST(test_leave_while_served),
        TEST(test_leave_while_another_is_served),
        TEST(test_timers),
        TEST(test_timer_set_anew),
        TEST(test_timer_put_off),
        TEST(test_timers_are_in_time),
        TEST(test_news_while_due),
        TEST(test_clock),
        TEST(test_clock_after_a_pause),
        TEST(test_clock_after_a_late_tick),
        TEST(test_clock_and_channel),
        TEST(test_blocked),
        TEST(test_blocked_for_long),
        TEST(test_blocks_while_served),
        TEST(test_blocked_timer),
        TEST(test_joins_blocked),
        TEST(test_descriptor_used_again),
        TEST(test_recall),
        TEST(test_recall_far_back),
        TEST(test_stopping),
        TEST(test_stopping_while_joining),
        TEST(test_stop),
        TEST(test_stop_within_a_limit),
        TEST(test_start_and_stop),
        TEST_BARE(test_no_store_yet),
        TEST(test_read_fails),
        TEST(test_replaced),
        TEST(test_errors_are_told),
        TEST(test_deaf),
        TEST(test_selections),
        TEST(test_wakes_only_those_concerned),
        TEST(test_outgrown),
        TEST(test_outgrown_far_back),
        TEST(test_recall_outgrown),
        TEST(test_many_selections),
        TEST(test_leave_and_join_while_publishing),
        TEST_BARE(test_two_children),
        TEST_BARE(test_two_children_selections),
    };
    int failed;

    apr_initialize();
    scratch_make();
    sem_init(&gate.open, 0, 0);
    assert_int_equal(comet_metrics_create(&metrics, 1), 0);
    comet_metrics_attach(metrics);
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    apr_terminate();
    return failed;
}
