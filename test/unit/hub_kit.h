/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file hub_kit.h
 * A hub with real logs, and simulated clients that note what they get.
 */
#ifndef HUB_KIT_H
#define HUB_KIT_H

#include "scratch.h"

#include <semaphore.h>
#include <stdatomic.h>

#include "hub/hub.h"
#include "shared/metrics.h"

#define HUB_STORES 2
#define CLIENT_ROOM 4096 /* how many messages a client can note */

/* Sanitizers are slow; fewer rounds prove the same. */
#if defined(__SANITIZE_THREAD__)
#define HUB_ROUNDS 300
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define HUB_ROUNDS 300
#endif
#endif
#ifndef HUB_ROUNDS
#define HUB_ROUNDS 500
#endif

/** A simulated client.  While it is joined, the hub's thread owns what it
 * saw. */
typedef struct client_t client_t;
struct client_t {
    comet_subscriber_t subscriber; /* first member: serve() gets its address */

    /* how it behaves */
    comet_outcome_e outcome; /* its answer after it got something */
    apr_interval_time_t rearm; /* 0: its timer fires once */
    void (*hook)(client_t *client, const comet_delivery_t *delivery);
    int accepts; /* how many messages it accepts before its socket blocks;
                  * -1: any number */
    int fd; /* of this socket */
    int stays_blocked; /* how many times it stays blocked though its socket
                        * is writable */

    /* what it saw */
    comet_timestamp_t *got;
    comet_timestamp_t cursor;
    apr_time_t was_due; /* when the timer fired last */
    unsigned first_reasons;
    int rests; /* it has answered COMET_REST */
    size_t largest; /* how many messages came at once */
    atomic_int count; /* of what it got */
    _Atomic comet_timestamp_t newest; /* of these */
    int finished; /* it was finished without a message */
    atomic_int served, news, timeouts, writables, stops, recheck;
};

extern apr_pool_t *hub_pool;
extern const comet_store_config_t *hub_configs[HUB_STORES];
extern char hub_paths[HUB_STORES][800]; /* the databases */
extern comet_bus_t *hub_buses[HUB_STORES];
extern comet_store_t *hub_writers[HUB_STORES];
extern comet_hub_config_t hub_config; /* for hub_start() */
extern comet_hub_t *hub;
extern comet_metrics_t *hub_metrics;

/** How many faults were noted; hub_teardown() fails the test for them. */
extern atomic_int hub_faults;

/** What the hub reported about the first store: how often, and the last
 * status. */
extern atomic_int hub_errors, hub_last_error;

/** Keeps the hub's thread in serve(). */
typedef struct hub_gate_t {
    client_t *client;
    sem_t open;
    atomic_int held;
} hub_gate_t;

extern hub_gate_t hub_gate;

/** Called before and after all tests of a program. */
int hub_begin(void **state);
int hub_end(void **state);
/** Called before and after each test; `bare` creates neither the hub nor the
 * first database. */
int hub_setup(void **state);
int hub_setup_bare(void **state);
int hub_teardown(void **state);

#define HUB_TEST(name) \
    cmocka_unit_test_setup_teardown(name, hub_setup, hub_teardown)
#define HUB_TEST_BARE(name) \
    cmocka_unit_test_setup_teardown(name, hub_setup_bare, hub_teardown)

/** Note a fault on the hub's thread, where assert_… must not be called. */
void hub_fault(const char *what);

void hub_open_writer(size_t i);
void hub_start(void);
void hub_stop(void);

/** Append a message to a store without a notification. */
comet_timestamp_t hub_append_to(comet_store_t *store, const char *channel);
/** The same, to the first store. */
comet_timestamp_t hub_append(const char *channel);
/** Append a message to the first store and notify its bus. */
comet_timestamp_t hub_publish(const char *channel);

/** The state of a store; the newest timestamp of the first one. */
comet_store_state_t hub_state(size_t i);
comet_timestamp_t hub_last(void);

/** Whether the hub has seen everything in the first store's log. */
int hub_in_step(void);

/** From hub_hold() to hub_release() the hub's thread stays in serve(). */
void hub_hold(void);
void hub_release(void);
/** A client's hook: wait once for hub_gate.open. */
void hub_wait_at_gate(client_t *client, const comet_delivery_t *delivery);

/** A client that has not joined.  @param seen  its cursor */
client_t *client_new(comet_timestamp_t seen);
/** Free a client that has left.  Its memory is overwritten first, so that a
 * later use of it is noticed. */
void client_free(client_t *client);

/** Join the first store's channel. */
void client_join(client_t *client, const char *channel);
/** Join by words; a trailing star makes a prefix. */
void client_join_words(client_t *client, const char *words);
/** A new client that has joined. */
client_t *client_joined(const char *channel, comet_timestamp_t seen);
client_t *client_joined_words(const char *words, comet_timestamp_t seen);

/**
 * A new client that has joined the clock.
 * @param young_for  for how long it gets no tick
 */
client_t *client_joined_clock(apr_interval_time_t young_for,
                              apr_interval_time_t period);

void client_leave(client_t *client);
void client_leave_and_free(client_t *client);

/** How many messages a client has got. */
int client_got(const client_t *client);

/** Check that a client, which has left, got exactly these messages. */
void client_check(const client_t *client, const comet_timestamp_t *expected,
                  int count);

/** Two ends of a socket. */
typedef struct pair_t {
    int ours, peers;
} pair_t;

/** A socket that accepts no data until its peer reads. */
pair_t pair_blocked(void);
/** Let the peer read all there is. */
void pair_drain(pair_t pair);
void pair_close(pair_t pair);

#endif /* HUB_KIT_H */
