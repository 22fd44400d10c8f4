/* SPDX-License-Identifier: Apache-2.0 */
/* The hub: clients join and leave while others publish, in one child and in
 * two. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "hub_kit.h"

#include <pthread.h>
#include <sched.h>
#include <stdlib.h>

#include "shared/memory.h"

/* --- Races --------------------------------------------------------------- */

#define JOINERS 6
#define LOG 1000000

/** The timestamps of all published messages, by channel. */
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
            hub_fault("too many were published");
            break;
        }
        logs[i].timestamps[count] = hub_append(log_names[i]);
        atomic_store(&logs[i].count, count + 1);
        if (rand_r(&seed) % 4) {
            comet_bus_notify(hub_buses[0]);
        }
        comet_store_checkpoint(hub_writers[0]);
    }
    return NULL;
}

/* Check that the client's messages follow its cursor without a gap. */
static void check_sequence(const client_t *client, int i,
                           comet_timestamp_t seen)
{
    int count = client_got(client), at = 0, high, k;

    if (!count) {
        return;
    }
    while (logs[i].timestamps[atomic_load(&logs[i].count) - 1]
           < client->cursor) {
        sched_yield(); /* the publisher has not noted this message yet */
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
    for (k = 0; k < count && k < CLIENT_ROOM; k++) {
        if (client->got[k] != logs[i].timestamps[at + k]) {
            hub_fault("it missed one, or got one twice");
            return;
        }
    }
}

/* A cursor to start from: usually that of the last message, as if a page had
 * just been shown. */
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
        hub_fault("state");
    }
    return state.last;
}

static void join_once(comet_store_t *store, unsigned int *seed)
{
    int i = rand_r(seed) % 2, enough = rand_r(seed) % 4;
    int64_t end = scratch_usec() + 30 * SECOND;
    comet_timestamp_t seen = some_cursor(store, i, seed);
    client_t *client = client_new(seen);

    client->subscriber.limit = 1 + (apr_uint32_t)rand_r(seed) % 100;
    if (comet_hub_join(hub, &client->subscriber, 0,
                       scratch_select(comet_text(log_names[i])))
        != APR_SUCCESS) {
        hub_fault("join");
    }
    while (client_got(client) < enough) {
        if (scratch_usec() > end) {
            hub_fault("it got nothing");
            break;
        }
        sched_yield();
    }
    client_leave(client);
    check_sequence(client, i, seen);
    client_free(client);
}

static void *join_often(void *baton)
{
    unsigned int seed = (unsigned int)(size_t)baton;
    comet_store_t *store;
    int i;

    if (comet_store_open(&store, hub_configs[0], COMET_STORE_READ, NULL) != 0) {
        hub_fault("open");
    }
    for (i = 0; i < HUB_ROUNDS && !atomic_load(&hub_faults); i++) {
        join_once(store, &seed);
    }
    comet_store_close(store);
    atomic_fetch_sub(&joiners, 1);
    return NULL;
}

/* Clients read the log's state and join while others publish.  No message is
 * lost in between.  After leave() the hub does not touch the client's
 * memory. */
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
                  JOINERS * HUB_ROUNDS,
                  atomic_load(&logs[0].count) + atomic_load(&logs[1].count));
    assert_int_equal(comet_hub_members(hub, NULL), 0);
}

/* Whether the client is being served, and whether it is about to leave. */
static atomic_int inside, leaving;

static void be_slow(client_t *client, const comet_delivery_t *delivery)
{
    int64_t end = scratch_usec() + MS;

    if (!(delivery->reasons & COMET_NEWS)) {
        return; /* the client joined before the hub had read the last message */
    }
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
        client_t *client = client_new(hub_last());

        atomic_store(&leaving, 0);
        client->hook = be_slow;
        client_join(client, "chat");
        hub_publish("chat");
        wait_until(atomic_load(&inside));
        atomic_store(&leaving, 1);
        client_leave(client);
        assert_int_equal(atomic_load(&inside), 0);
        assert_int_equal(client_got(client), 1);
        client_free(client);
    }
}

/* leave() does not wait while another client is served. */
static void test_leave_while_another_is_served(void **state)
{
    client_t *client = client_joined("chat", hub_last());

    hub_hold();
    hub_publish("chat");
    client_leave(client);
    assert_int_equal(client_got(client), 0);
    hub_release();
    client_leave(client); /* it has left already, so this call does nothing */
    client_free(client);
    client = client_new(0);
    client_leave(client); /* it has never joined, so this call does nothing */
    client_free(client);
}

/* A thread that leaves and joins again and again, like a thread that blocks for
 * its request.  Its cursor is before all messages that arrive in between. */
static void *join_and_leave(void *baton)
{
    client_t *client = baton;

    while (client_got(client) < HUB_ROUNDS) {
        int seen = client_got(client);

        client->rests = 0;
        if (comet_hub_join(hub, &client->subscriber, 0,
                           scratch_select(comet_text("chat")))
            != APR_SUCCESS) {
            hub_fault("join");
        }
        while (client_got(client) == seen) {
            sched_yield();
        }
        client_leave(client);
    }
    return NULL;
}

static void test_leave_and_join_while_publishing(void **state)
{
    client_t *client = client_new(hub_last());
    comet_timestamp_t sent[HUB_ROUNDS];
    pthread_t thread;
    int i;

    client->outcome = COMET_REST;
    client->subscriber.limit = 3;
    assert_int_equal(comet_thread_start(&thread, join_and_leave, client), 0);
    for (i = 0; i < HUB_ROUNDS; i++) {
        sent[i] = hub_publish("chat");
    }
    pthread_join(thread, NULL);
    client_check(client, sent, HUB_ROUNDS);
    client_free(client);
}

/* --- Two children -------------------------------------------------------- */

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

/* What the client of each child reads, and the channels to which the children
 * publish in turn. */
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

        comet_bus_lock(hub_buses[0]);
        if (comet_store_open(&store, hub_configs[0], COMET_STORE_WRITE, NULL)) {
            hub_fault("open");
        }
        sent = hub_append_to(store, children_write[i % children_write_count]);
        atomic_store(&board->sent[atomic_fetch_add(&board->published, 1)],
                     sent);
        comet_store_close(store);
        comet_bus_unlock(hub_buses[0]);
        comet_bus_notify(hub_buses[0]);
    }
}

/* Run a child whose client must get what both children publish.  @return 0 if
 * the client got everything */
static int be_a_child(void *baton)
{
    int64_t end = scratch_usec() + 30 * SECOND;
    client_t *client = client_new(0);
    comet_selection_t *selection = scratch_choose(children_read);
    int i, wrong = 0;

    if (comet_hub_create(&hub, &hub_config, hub_pool) != APR_SUCCESS
        || comet_hub_join(hub, &client->subscriber, 0, selection) != APR_SUCCESS
        || !ready_to_publish()) {
        return 1;
    }
    publish_each();
    while (client_got(client) < 2 * EACH && scratch_usec() < end) {
        sched_yield();
    }
    client_leave(client);
    for (i = 0; i < 2 * EACH; i++) {
        wrong |= client->got[i] != atomic_load(&board->sent[i]);
    }
    wrong |= client_got(client) != 2 * EACH || atomic_load(&hub_faults);
    wrong |= !comet_hub_stop(hub, 30 * SECOND);
    comet_hub_free(hub);
    comet_selection_unref(selection);
    client_free(client);
    return wrong;
}

static void test_two_children(void **state)
{
    int pids[2];

    board = scratch_shared(sizeof(*board));
    hub_open_writer(0);
    pids[0] = scratch_fork(be_a_child, NULL);
    pids[1] = scratch_fork(be_a_child, NULL);
    assert_int_equal(scratch_reap(pids[0]), 0);
    assert_int_equal(scratch_reap(pids[1]), 0);
    assert_int_equal(atomic_load(&board->published), 2 * EACH);
    comet_memory_unmap(board, sizeof(*board));
}

static void test_two_children_selections(void **state)
{
    static const char *const names[] = { "chat", "room/1", "room/2" };

    children_read = "room/1 chat room/2 room/*";
    children_write = names;
    children_write_count = 3;
    test_two_children(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        HUB_TEST(test_join_while_publishing),
        HUB_TEST(test_leave_while_served),
        HUB_TEST(test_leave_while_another_is_served),
        HUB_TEST(test_leave_and_join_while_publishing),
        HUB_TEST_BARE(test_two_children),
        HUB_TEST_BARE(test_two_children_selections),
    };

    return cmocka_run_group_tests(tests, hub_begin, hub_end);
}
