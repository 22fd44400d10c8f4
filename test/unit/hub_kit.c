/* SPDX-License-Identifier: Apache-2.0 */
/* A hub with real logs, and simulated clients that note what they receive. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "hub_kit.h"

#include "remote_kit.h"

#include <apr_general.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

apr_pool_t *hub_pool;
static comet_store_config_t store_configs[HUB_STORES];
const comet_store_config_t *hub_configs[HUB_STORES];
char hub_paths[HUB_STORES][800];
comet_bus_t *hub_buses[HUB_STORES];
comet_store_t *hub_writers[HUB_STORES];
comet_hub_config_t hub_config;
comet_hub_t *hub;
comet_metrics_t *hub_metrics;
atomic_int hub_faults;
atomic_int hub_errors, hub_last_error;
hub_gate_t hub_gate;

/* --- Helpers ------------------------------------------------------------- */

void hub_fault(const char *what)
{
    if (atomic_fetch_add(&hub_faults, 1) < 3) {
        fprintf(stderr, "# fault: %s\n", what);
    }
}

static void on_error(void *baton, const comet_store_config_t *store,
                     apr_status_t status, const char *detail)
{
    if (baton != &hub_errors
        || (store != hub_configs[0] && store != hub_configs[1])) {
        hub_fault("on_error was told nonsense");
    }
    if (store == hub_configs[0]) {
        atomic_store(&hub_last_error, status);
        atomic_fetch_add(&hub_errors, 1);
    }
}

void hub_open_writer(size_t i)
{
    assert_int_equal(comet_store_open(&hub_writers[i], hub_configs[i],
                                      COMET_STORE_WRITE, NULL),
                     0);
}

void hub_start(void)
{
    assert_int_equal(comet_hub_create(&hub, &hub_config, hub_pool),
                     APR_SUCCESS);
    assert_int_equal(comet_hub_is_stopping(hub), 0);
}

void hub_stop(void)
{
    assert_int_equal(comet_hub_stop(hub, 30 * SECOND), 1);
    assert_int_equal(comet_hub_is_stopping(hub), 1);
    comet_hub_free(hub);
    hub = NULL;
}

int hub_setup_bare(void **state)
{
    size_t i;

    scratch_clear();
    apr_pool_create(&hub_pool, NULL);
    for (i = 0; i < HUB_STORES; i++) {
        snprintf(hub_paths[i], sizeof(hub_paths[i]), "%s",
                 scratch_path(i ? "second.db" : "comet.db"));
        store_configs[i] =
            (comet_store_config_t){ .place = scratch_place(hub_paths[i]),
                                    .busy_timeout = 5 * SECOND };
        if (getenv("HUB_REMOTE")) { /* runs all tests of the hub with a remote
                                     * store */
            store_configs[i].place.engine = remote_engine();
        }
        hub_configs[i] = &store_configs[i];
        assert_int_equal(comet_bus_create(&hub_buses[i], hub_pool), 0);
    }
    hub_config = (comet_hub_config_t){ .stores = hub_configs,
                                       .buses = hub_buses,
                                       .count = HUB_STORES,
                                       .on_error = on_error,
                                       .baton = &hub_errors };
    atomic_store(&hub_faults, 0);
    atomic_store(&hub_errors, 0);
    atomic_store(&hub_last_error, 0);
    hub_open_writer(1);
    return 0;
}

int hub_setup(void **state)
{
    hub_setup_bare(state);
    hub_open_writer(0);
    hub_start();
    return 0;
}

int hub_teardown(void **state)
{
    size_t i;

    if (hub) {
        hub_stop();
    }
    for (i = 0; i < HUB_STORES; i++) {
        comet_store_close(hub_writers[i]);
        hub_writers[i] = NULL;
        close(comet_bus_fd(hub_buses[i]));
    }
    apr_pool_destroy(hub_pool);
    assert_int_equal(atomic_load(&hub_faults), 0);
    return 0;
}

comet_timestamp_t hub_append_to(comet_store_t *store, const char *channel)
{
    comet_message_t *message = comet_message_create(&(comet_message_fields_t){
        .channel = comet_text(channel), .body = comet_text("x") });
    comet_timestamp_t timestamp;
    apr_status_t result = APR_SUCCESS;
    apr_status_t status = scratch_append(store, &message, &result, 1);

    if (status != APR_SUCCESS || result != APR_SUCCESS) {
        hub_fault("append");
    }
    timestamp = message->timestamp;
    comet_message_unref(message);
    return timestamp;
}

comet_timestamp_t hub_append(const char *channel)
{
    return hub_append_to(hub_writers[0], channel);
}

comet_timestamp_t hub_publish(const char *channel)
{
    comet_timestamp_t timestamp = hub_append(channel);

    comet_bus_notify(hub_buses[0]);
    return timestamp;
}

comet_store_state_t hub_state(size_t i)
{
    comet_store_state_t state;

    assert_int_equal(comet_store_state(hub_writers[i], &state), 0);
    return state;
}

comet_timestamp_t hub_last(void)
{
    return hub_state(0).last;
}

int hub_in_step(void)
{
    comet_store_state_t state = hub_state(0);
    comet_batch_t none = { .count = 0 };
    comet_reading_t reading = {
        .selection = scratch_select(comet_text("nobody's")),
        .batch = &none,
    };

    return comet_hub_recall(hub, 0, &state, state.last, 0, &reading);
}

/* --- The client ---------------------------------------------------------- */

int client_got(const client_t *client)
{
    return atomic_load(&client->count);
}

static void take(client_t *client, const comet_delivery_t *delivery)
{
    size_t i;

    client->largest = delivery->batch->count > client->largest
                          ? delivery->batch->count
                          : client->largest;
    for (i = 0; i < delivery->batch->count && client->accepts; i++) {
        int count = atomic_load(&client->count);

        if (delivery->batch->messages[i]->timestamp <= client->cursor) {
            hub_fault("timestamps do not increase");
        }
        client->cursor = delivery->batch->messages[i]->timestamp;
        if (count < CLIENT_ROOM) {
            client->got[count] = client->cursor;
        }
        atomic_store(&client->count, count + 1);
        atomic_store(&client->newest, client->cursor);
        client->accepts -= client->accepts > 0;
    }
    if (delivery->batch->count && !client->accepts) {
        client->accepts = -1;
        client->subscriber.blocked_fd = client->fd;
        client->subscriber.seen = client->cursor;
    }
}

static void check_timer(client_t *client)
{
    apr_time_t due = client->subscriber.timeout_at;

    if (!due || comet_monotonic() < due) {
        hub_fault("a timer went off early");
    }
    client->was_due = due;
    client->subscriber.timeout_at =
        client->rearm ? comet_monotonic() + client->rearm : 0;
}

static void check_occasion(client_t *client, const comet_delivery_t *delivery)
{
    if (client->subscriber.state != COMET_SUBSCRIBER_SERVED) {
        hub_fault("served in another state");
    }
    if (!delivery->reasons) {
        hub_fault("served for nothing");
    }
    if (delivery->batch->count
        && (!(delivery->reasons & COMET_NEWS)
            || client->subscriber.blocked_fd >= 0
            || delivery->batch->count > client->subscriber.limit)) {
        hub_fault("it did not ask for these messages");
    }
    if (delivery->batch->count && client->rests) {
        hub_fault("it rests");
    }
    comet_hub_members(hub, NULL); /* takes the lock: the hub must have released
                                   * it */
}

static comet_outcome_e serve(comet_subscriber_t *subscriber,
                             const comet_delivery_t *delivery)
{
    client_t *client = (client_t *)subscriber;

    check_occasion(client, delivery);
    if (!atomic_load(&client->served)) {
        client->first_reasons = delivery->reasons;
    }
    if (delivery->reasons & COMET_TIMEOUT) {
        check_timer(client);
        atomic_fetch_add(&client->timeouts, 1);
    }
    if (delivery->reasons & COMET_WRITABLE) {
        if (client->stays_blocked-- <= 0) {
            subscriber->blocked_fd = -1;
        }
        atomic_fetch_add(&client->writables, 1);
    }
    take(client, delivery);
    if (client->hook) {
        client->hook(client, delivery);
    }
    atomic_fetch_add(&client->news, (delivery->reasons & COMET_NEWS) != 0);
    atomic_fetch_add(&client->stops, (delivery->reasons & COMET_STOPPING) != 0);
    atomic_fetch_add(&client->served, 1);
    client->rests = client->outcome == COMET_REST
                    && (client_got(client) || client->finished);
    return client->rests ? COMET_REST : COMET_WAIT;
}

client_t *client_new(comet_timestamp_t seen)
{
    client_t *client = calloc(1, sizeof(*client));

    client->got = calloc(CLIENT_ROOM, sizeof(*client->got));
    client->subscriber.serve = serve;
    client->subscriber.seen = client->cursor = seen;
    client->subscriber.limit = 100;
    client->subscriber.blocked_fd = -1;
    client->accepts = -1;
    return client;
}

void client_join(client_t *client, const char *channel)
{
    client->rests = 0;
    assert_int_equal(comet_hub_join(hub, &client->subscriber, 0,
                                    scratch_select(comet_text(channel))),
                     APR_SUCCESS);
}

client_t *client_joined(const char *channel, comet_timestamp_t seen)
{
    client_t *client = client_new(seen);

    client_join(client, channel);
    return client;
}

void client_free(client_t *client)
{
    comet_timestamp_t *client_got = client->got;

    memset(client, 0xa5, sizeof(*client));
    free(client_got);
    free(client);
}

void client_leave(client_t *client)
{
    comet_hub_leave(hub, &client->subscriber);
    if (client->subscriber.state != COMET_SUBSCRIBER_OUT
        || client->subscriber.channel) {
        hub_fault("it left and is still in");
    }
}

void client_leave_and_free(client_t *client)
{
    client_leave(client);
    client_free(client);
}

void client_check(const client_t *client, const comet_timestamp_t *expected,
                  int count)
{
    assert_int_equal(client_got(client), count);
    assert_memory_equal(client->got, expected,
                        (size_t)count * sizeof(*expected));
}

/* --- Sockets that accept no more data ------------------------------------- */

pair_t pair_blocked(void)
{
    static const char bytes[4096];
    int ends[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends),
                     0);
    while (write(ends[0], bytes, sizeof(bytes)) > 0) {
    }
    return (pair_t){ ends[0], ends[1] };
}

void pair_drain(pair_t pair)
{
    char bytes[4096];

    while (read(pair.peers, bytes, sizeof(bytes)) > 0) {
    }
}

void pair_close(pair_t pair)
{
    close(pair.ours);
    close(pair.peers);
}

/* --- The gate ------------------------------------------------------------ */

void hub_wait_at_gate(client_t *client, const comet_delivery_t *delivery)
{
    if (delivery->batch->count || (delivery->reasons & COMET_TIMEOUT)) {
        client->hook = NULL;
        atomic_store(&hub_gate.held, 1);
        while (sem_wait(&hub_gate.open) != 0) {
        }
        atomic_store(&hub_gate.held, 0);
    }
}

void hub_hold(void)
{
    hub_gate.client = client_new(hub_last());
    hub_gate.client->hook = hub_wait_at_gate;
    client_join(hub_gate.client, "gate");
    hub_publish("gate");
    wait_until(atomic_load(&hub_gate.held));
}

void hub_release(void)
{
    sem_post(&hub_gate.open);
    client_leave_and_free(hub_gate.client);
}

void client_join_words(client_t *client, const char *words)
{
    comet_selection_t *selection = scratch_choose(words);

    assert_int_equal(comet_hub_join(hub, &client->subscriber, 0, selection),
                     APR_SUCCESS);
    comet_selection_unref(selection); /* the hub holds its own reference */
}

client_t *client_joined_clock(apr_interval_time_t young_for,
                              apr_interval_time_t period)
{
    client_t *client = client_new(comet_monotonic() + young_for);

    client->subscriber.limit = 1;
    assert_int_equal(comet_hub_join_clock(hub, &client->subscriber, period),
                     APR_SUCCESS);
    return client;
}

client_t *client_joined_words(const char *words, comet_timestamp_t seen)
{
    client_t *client = client_new(seen);

    client_join_words(client, words);
    return client;
}

int hub_begin(void **state)
{
    apr_initialize();
    scratch_make();
    sem_init(&hub_gate.open, 0, 0);
    assert_int_equal(comet_metrics_create(&hub_metrics, 1), 0);
    comet_metrics_attach(hub_metrics);
    return 0;
}

int hub_end(void **state)
{
    apr_terminate();
    return 0;
}
