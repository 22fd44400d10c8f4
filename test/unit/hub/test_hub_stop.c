/* SPDX-License-Identifier: Apache-2.0 */
/* The hub stops when its child ends. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "hub_kit.h"

#include <pthread.h>
#include <sched.h>

static void test_stopping(void **state)
{
    client_t *clients[8];
    pair_t pair = pair_blocked();
    int i;

    for (i = 0; i < 6; i++) {
        clients[i] = client_new(hub_last());
        clients[i]->outcome = i == 1 ? COMET_REST : COMET_WAIT;
        clients[i]->subscriber.blocked_fd = i == 2 ? pair.ours : -1;
        client_join(clients[i], i < 3 ? "chat" : "news");
    }
    clients[6] = client_joined_clock(0, 3600 * SECOND);
    hub_publish("chat");
    wait_until(client_got(clients[0]) == 1 && client_got(clients[1]) == 1);
    hub_hold();
    hub_publish("news"); /* now some clients are about to be served when the
                          * stop begins */
    comet_hub_begin_stop(hub);
    assert_int_equal(comet_hub_is_stopping(hub), 1);
    hub_release();
    clients[7] = client_joined("late", hub_last());
    for (i = 0; i < 8; i++) {
        wait_until(atomic_load(&clients[i]->stops) == 1);
    }
    comet_hub_begin_stop(hub); /* a second stop changes nothing, nor does a
                                * message */
    hub_publish("chat");
    wait_until(client_got(clients[0]) == 2);
    for (i = 0; i < 8; i++) {
        client_leave(clients[i]);
        assert_int_equal(atomic_load(&clients[i]->stops), 1);
        client_free(clients[i]);
    }
    pair_close(pair);
}

static void *join_meanwhile(void *baton)
{
    client_t **clients = baton;
    int i;

    for (i = 0; i < 20; i++) {
        clients[i] = client_new(0);
        clients[i]->subscriber.limit = 1;
        if (comet_hub_join(hub, &clients[i]->subscriber, 0,
                           scratch_select(comet_text("chat")))
            != APR_SUCCESS) {
            hub_fault("join");
        }
    }
    return NULL;
}

/* A client that joins while the stop begins also gets COMET_STOPPING exactly
 * once. */
static void test_stopping_while_joining(void **state)
{
    int round, i;

    hub_stop();
    for (round = 0; round < 60; round++) {
        client_t *clients[20];
        pthread_t thread;

        hub_start();
        pthread_create(&thread, NULL, join_meanwhile, clients);
        while (comet_hub_members(hub, NULL) < (apr_size_t)round % 20) {
        }
        comet_hub_begin_stop(hub);
        pthread_join(thread, NULL);
        for (i = 0; i < 20; i++) {
            wait_until(atomic_load(&clients[i]->stops) > 0);
        }
        assert_int_equal(comet_hub_stop(hub, 30 * SECOND), 1);
        for (i = 0; i < 20; i++) {
            client_leave(clients[i]);
            assert_int_equal(atomic_load(&clients[i]->stops), 1);
            client_free(clients[i]);
        }
        comet_hub_free(hub);
    }
    hub_start();
}

/* The hub's thread ends only after all clients are finished. */
static void test_stop(void **state)
{
    client_t *clients[1200];
    int i;

    for (i = 0; i < 1200; i++) {
        clients[i] = client_joined(i % 2 ? "chat" : "news", hub_last());
    }
    assert_int_equal(comet_hub_stop(hub, 30 * SECOND), 1);
    for (i = 0; i < 1200; i++) {
        assert_int_equal(atomic_load(&clients[i]->stops), 1);
        client_leave(clients[i]);
        client_free(clients[i]);
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
    sem_post(&hub_gate.open);
    return NULL;
}

/* Stopping waits up to its limit, which may be a fraction of a second. */
static void test_stop_within_a_limit(void **state)
{
    pthread_t thread;
    int64_t began;

    hub_hold();
    began = scratch_usec();
    assert_int_equal(comet_hub_stop(hub, 100 * MS), 0);
    assert_true(scratch_usec() - began >= 100 * MS);
    assert_true(scratch_usec() - began < 20 * SECOND);
    pthread_create(&thread, NULL, open_gate, NULL);
    assert_int_equal(comet_hub_stop(hub, 900 * MS), 1);
    pthread_join(thread, NULL);
    client_leave_and_free(hub_gate.client);
    comet_hub_free(hub);
    hub = NULL;
}

static void test_start_and_stop(void **state)
{
    int i;

    for (i = 0; i < 30; i++) {
        hub_stop();
        hub_start();
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        HUB_TEST(test_stopping),       HUB_TEST(test_stopping_while_joining),
        HUB_TEST(test_stop),           HUB_TEST(test_stop_within_a_limit),
        HUB_TEST(test_start_and_stop),
    };

    return cmocka_run_group_tests(tests, hub_begin, hub_end);
}
