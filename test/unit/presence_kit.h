/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file presence_kit.h
 * Children that keep presence in store_kit's store, and clients that are
 * present in channels.
 */
#ifndef PRESENCE_KIT_H
#define PRESENCE_KIT_H

#include "store_kit.h"

#include <stdatomic.h>

#include "store/presence.h"

#define HERE_CHILDREN 3
#define HERE_MEMBERS 5
#define HERE_CHANNELS 3
#define HERE_SEATS 40
/* The grace period.  A lease is twice as long, which is longer than a loaded
 * machine can delay a test. */
#define HERE_GRACE (SECOND * 2 / 5)

/** A child: its part of presence, and its connection to the store. */
typedef struct here_child_t {
    comet_presence_t *presence;
    comet_store_t *store;
    atomic_int stopping;
    int stalled; /* while set, the child takes no steps */
} here_child_t;

/** A client that is present. */
typedef struct here_client_t {
    comet_seat_t *seat; /* NULL: this entry is free */
    int child, channel, member; /* member < 0: the client has no name */
} here_client_t;


extern here_child_t here_children[HERE_CHILDREN];
extern here_client_t here_clients[HERE_SEATS];
extern sqlite3 *here_outside; /* another program's connection */
extern atomic_int here_woken; /* how many times a writer was woken */
extern int here_removals; /* how many steps reported that members were thrown
                           * out */
extern int here_sync_full; /* CometSync of the next test; 1: full; 0: normal,
                            * which is faster */

/** Called before and after all tests of a program, and before and after each
 * test. */
int here_begin(void **state);
int here_end(void **state);
int here_setup(void **state);
int here_teardown(void **state);

#define HERE_TEST(name) \
    cmocka_unit_test_setup_teardown(name, here_setup, here_teardown)

/** Start a child. */
void here_birth(here_child_t *child);

/** End a child.
 * @param graceful  0: the child is killed, and writes nothing more */
void here_death(here_child_t *child, int graceful);

/** Let each child take a step, if one is due. */
void here_steps(void);

/** Let time pass. */
void here_run_for(apr_interval_time_t time);

/** Wait until an SQL statement counts the wanted number. */
void here_await(const char *sql, sqlite3_int64 wanted);

const char *here_name_of(int member);
const char *here_channel_of(int channel);

/** Make a client present.
 * @param member  the member's number; below 0: the client has no name */
here_client_t *here_enter(int child, int channel, int member);
void here_leave(here_client_t *client);
int here_is_revoked(const here_client_t *client);

/** Tell all children that members were thrown out, as their hubs would. */
void here_notice_all(void);

#define HERE_TOLD(type) \
    "SELECT count(*) FROM message WHERE type = '" type \
    "' AND channel LIKE '%/@online'"
#define HERE_ONLINE "SELECT count(*) FROM online"

/** Check that the published joins and leaves add up to the members who are
 * online. */
void here_check_sum(void);

/** Check that no published event says that a member joined twice in a row, or
 * left twice; and that each channel's count of members is right. */
void here_check_order(void);

#endif /* PRESENCE_KIT_H */
