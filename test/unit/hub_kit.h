/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file hub_kit.h
 * A hub with real logs, and simulated clients that note what they receive.
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

/* Sanitizers are slow, and need fewer rounds to find a race. */
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

/** A simulated client.  While it is joined, the part "what it saw" belongs to
 * the hub's thread. */
typedef struct client_t client_t;
struct client_t {
    comet_subscriber_t subscriber; /* first member: serve() takes its address */

    /* how it behaves */
    comet_outcome_e outcome; /* its answer once it has got something */
    apr_interval_time_t rearm; /* its timer fires again after this time; 0:
                                * never */
    void (*hook)(client_t *client, const comet_delivery_t *delivery);
    int accepts; /* how many messages it accepts before its socket blocks;
                  * -1: any number */
    int fd; /* the socket that blocks */
    int stays_blocked; /* how many times it stays blocked although its socket is
                        * writable */

    /* what it saw */
    comet_timestamp_t *got;
    comet_timestamp_t cursor;
    apr_time_t was_due; /* when its timer last fired */
    unsigned first_reasons;
    int rests; /* whether it has answered COMET_REST */
    size_t largest; /* the largest number of messages served at once */
    atomic_int count; /* how many messages it has got */
    _Atomic comet_timestamp_t newest; /* the newest message it has got */
    int finished; /* whether it was finished without a message */
    atomic_int served, news, timeouts, writables, stops, recheck;
};

extern apr_pool_t *hub_pool;
extern const comet_store_config_t *hub_configs[HUB_STORES];
extern char hub_paths[HUB_STORES][800]; /* the paths of the databases */
extern comet_bus_t *hub_buses[HUB_STORES];
extern comet_store_t *hub_writers[HUB_STORES];
extern comet_hub_config_t hub_config; /* for hub_start() */
extern comet_hub_t *hub;
extern comet_metrics_t *hub_metrics;

/** How many faults were noted.  If there are any, hub_teardown() fails the
 * test. */
extern atomic_int hub_faults;

/** How many times the hub has reported on the first store, and the last status
 * that it reported. */
extern atomic_int hub_errors, hub_last_error;

/** A gate that keeps the hub's thread in serve() until it opens. */
typedef struct hub_gate_t {
    client_t *client;
    sem_t open;
    atomic_int held;
} hub_gate_t;

extern hub_gate_t hub_gate;

/** Called before and after all tests of a program. */
int hub_begin(void **state);
int hub_end(void **state);
/** Called before and after each test; hub_setup_bare() creates neither the hub
 * nor the first database. */
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

/** Append a message to a store, but notify nobody. */
comet_timestamp_t hub_append_to(comet_store_t *store, const char *channel);
/** Append a message to the first store, but notify nobody. */
comet_timestamp_t hub_append(const char *channel);
/** Append a message to the first store and notify its bus. */
comet_timestamp_t hub_publish(const char *channel);

/** The state of store i, and the newest timestamp of the first store. */
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

/** Join a channel of the first store. */
void client_join(client_t *client, const char *channel);
/** Join a selection that is made from words; a trailing star makes a prefix. */
void client_join_words(client_t *client, const char *words);
/** A new client that has joined a channel, or a selection made from words. */
client_t *client_joined(const char *channel, comet_timestamp_t seen);
client_t *client_joined_words(const char *words, comet_timestamp_t seen);

/**
 * A new client that has joined the clock.
 * @param young_for  how long it gets no ticks after it has joined
 * @param period     the time between two ticks
 */
client_t *client_joined_clock(apr_interval_time_t young_for,
                              apr_interval_time_t period);

void client_leave(client_t *client);
void client_leave_and_free(client_t *client);

/** How many messages a client has got. */
int client_got(const client_t *client);

/** Check that a client that has left got exactly these messages. */
void client_check(const client_t *client, const comet_timestamp_t *expected,
                  int count);

/** Both ends of a connected socket. */
typedef struct pair_t {
    int ours, peers;
} pair_t;

/** A socket that accepts no data until its peer reads. */
pair_t pair_blocked(void);
/** Let the peer read everything that was sent. */
void pair_drain(pair_t pair);
void pair_close(pair_t pair);

#endif /* HUB_KIT_H */
