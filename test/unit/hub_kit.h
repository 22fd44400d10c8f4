/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file hub_kit.h
 * A hub with real logs, and made-up clients that note what they see.
 */
#ifndef HUB_KIT_H
#define HUB_KIT_H

#include "scratch.h"

#include <semaphore.h>
#include <stdatomic.h>

#include "hub/hub.h"
#include "shared/metrics.h"

#define HUB_STORES 2
#define CLIENT_ROOM 4096 /* messages a client can take in a test */

/* Sanitizers are slow; what is proven is the same. */
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

/** A made-up client.  What it saw is the hub's thread's while it is joined. */
typedef struct client_t client_t;
struct client_t {
    comet_subscriber_t subscriber; /* first: serve() gets its address */

    /* how it behaves */
    comet_outcome_e outcome; /* once it has got something */
    apr_interval_time_t rearm; /* 0: its timer goes off once */
    void (*hook)(client_t *client, const comet_delivery_t *delivery);
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

/** What hub_fault() was told; hub_teardown() fails the test for it. */
extern atomic_int hub_faults;

/** What the hub reported of the first store: how often, the last status. */
extern atomic_int hub_errors, hub_last_error;

/** Keeps the hub's thread in serve(). */
typedef struct hub_gate_t {
    client_t *client;
    sem_t open;
    atomic_int held;
} hub_gate_t;

extern hub_gate_t hub_gate;

/** Before and after all tests of a program. */
int hub_begin(void **state);
int hub_end(void **state);
/** Before and after each test; `bare`: without hub and first database. */
int hub_setup(void **state);
int hub_setup_bare(void **state);
int hub_teardown(void **state);

#define HUB_TEST(name) \
    cmocka_unit_test_setup_teardown(name, hub_setup, hub_teardown)
#define HUB_TEST_BARE(name) \
    cmocka_unit_test_setup_teardown(name, hub_setup_bare, hub_teardown)

/** Note a fault where assert_… must not be called: on the hub's thread. */
void hub_fault(const char *what);

void hub_open_writer(size_t i);
void hub_start(void);
void hub_stop(void);

/** Append a message to a store without ringing the bell. */
comet_timestamp_t hub_append_to(comet_store_t *store, const char *channel);
/** The same, to the first store. */
comet_timestamp_t hub_append(const char *channel);
/** Append a message to the first store and ring its bell. */
comet_timestamp_t hub_publish(const char *channel);

/** The state of a store; the newest timestamp of the first one. */
comet_store_state_t hub_state(size_t i);
comet_timestamp_t hub_last(void);

/** Whether the hub has seen all that is in the first store's log. */
int hub_in_step(void);

/** From hub_hold() to hub_release() the hub's thread stays in serve(). */
void hub_hold(void);
void hub_release(void);
/** A client's hook: waits once, at the gate, for hub_gate.open. */
void hub_wait_at_gate(client_t *client, const comet_delivery_t *delivery);

/** A client that has not joined. @param seen  its cursor */
client_t *client_new(comet_timestamp_t seen);
/** Free a client that has left; its memory is spoilt first, so that a later
 * use of it shows. */
void client_free(client_t *client);

/** Join the first store's channel. */
void client_join(client_t *client, const char *channel);
/** Join by words: those that end in a star are prefixes. */
void client_join_words(client_t *client, const char *words);
/** A new client that has joined. */
client_t *client_joined(const char *channel, comet_timestamp_t seen);
client_t *client_joined_words(const char *words, comet_timestamp_t seen);

/** A new client that has joined the clock.
 * @param young_for  it gets no tick for so long */
client_t *client_joined_clock(apr_interval_time_t young_for,
                              apr_interval_time_t period);

void client_leave(client_t *client);
void client_leave_and_free(client_t *client);

/** How many messages a client has got. */
int client_got(const client_t *client);

/** Check that a client that has left got exactly these. */
void client_check(const client_t *client, const comet_timestamp_t *expected,
                  int count);

/** Two ends of a socket. */
typedef struct pair_t {
    int ours, peers;
} pair_t;

/** A socket that takes nothing more until its peer reads. */
pair_t pair_blocked(void);
/** Let the peer read all there is. */
void pair_drain(pair_t pair);
void pair_close(pair_t pair);

#endif /* HUB_KIT_H */
