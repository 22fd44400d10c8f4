/* SPDX-License-Identifier: Apache-2.0 */
/* The hub: clients whose sockets accept no more data. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "hub_kit.h"

#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

static apr_int64_t catch_ups(void)
{
    comet_metrics_total_t total;

    comet_metrics_sum(hub_metrics, &total);
    return total.values[COMET_METRIC_catch_ups];
}

/* A blocked client gets nothing.  Once it is no longer blocked, it gets
 * everything, from the ring or from the log. */
static void blocked_with(int count)
{
    client_t *client = client_new(hub_last()),
             *witness = client_joined("chat", hub_last());
    comet_timestamp_t *sent = calloc((size_t)count, sizeof(*sent));
    pair_t pair = pair_blocked();
    apr_int64_t before;
    int i;

    client->subscriber.blocked_fd = pair.ours;
    client_join(client, "chat");
    wait_until(hub_in_step());
    before = catch_ups();
    for (i = 0; i < count; i++) {
        sent[i] = i % 500 == 499 ? hub_publish("chat") : hub_append("chat");
    }
    comet_bus_notify(hub_buses[0]);
    wait_until(client_got(witness) == count);
    assert_int_equal(client_got(client), 0);
    assert_int_equal(atomic_load(&client->writables), 0);
    pair_drain(pair);
    wait_until(client_got(client) == count);
    client_leave(client);
    assert_int_equal(atomic_load(&client->writables), 1);
    client_check(client, sent, count);
    assert_int_equal(catch_ups() > before, count > COMET_RING_MESSAGES);
    client_free(client);
    client_leave_and_free(witness);
    pair_close(pair);
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

/* A client that was blocked while nothing happened is served just once when it
 * is no longer blocked. */
static void test_blocked_without_news(void **state)
{
    client_t *client = client_new(hub_last()),
             *witness = client_joined("chat", hub_last());
    pair_t pair = pair_blocked();
    comet_timestamp_t sent;

    wait_until(hub_in_step());
    client->subscriber.seen = hub_last();
    client->subscriber.blocked_fd = pair.ours;
    client_join(client, "quiet");
    pair_drain(pair);
    wait_until(atomic_load(&client->writables) == 1);
    sent = hub_publish("chat");
    wait_until(atomic_load(&witness->newest) == sent);
    client_leave_and_free(witness);
    client_leave(client);
    assert_int_equal(atomic_load(&client->served), 1);
    client_free(client);
    pair_close(pair);
}

/* A client accepts two of five messages at first, and the rest once its socket
 * is writable. */
static void test_blocks_while_served(void **state)
{
    client_t *client = client_new(hub_last());
    pair_t pair = pair_blocked();
    comet_timestamp_t sent[6];
    int i;

    client->accepts = 2;
    client->fd = pair.ours;
    client->stays_blocked = 1; /* stays blocked the first time it is woken */
    hub_hold();
    client_join(client, "chat");
    for (i = 0; i < 5; i++) {
        sent[i] = hub_append("chat");
    }
    hub_release();
    comet_bus_notify(hub_buses[0]);
    wait_until(client_got(client) == 2);
    sent[5] = hub_publish("chat");
    wait_until(hub_in_step());
    assert_int_equal(client_got(client), 2);
    pair_drain(pair);
    wait_until(client_got(client) == 6);
    client_leave(client);
    assert_int_equal(atomic_load(&client->writables), 2);
    client_check(client, sent, 6);
    client_free(client);
    pair_close(pair);
}

/* A blocked client's timer still fires, and the client is told that its child
 * ends. */
static void test_blocked_timer(void **state)
{
    client_t *client = client_new(hub_last());
    pair_t pair = pair_blocked();

    client->subscriber.blocked_fd = pair.ours;
    client->subscriber.timeout_at = comet_monotonic() + 20 * MS;
    client_join(client, "chat");
    hub_publish("chat");
    wait_until(atomic_load(&client->timeouts) == 1);
    assert_int_equal(client_got(client), 0);
    comet_hub_begin_stop(hub);
    wait_until(atomic_load(&client->stops) == 1);
    client_leave_and_free(client);
    pair_close(pair);
}

/* A client joins while it is blocked: it gets waiting messages once its socket
 * is writable. */
static void test_joins_blocked(void **state)
{
    comet_timestamp_t seen = hub_last(), sent = hub_publish("chat");
    client_t *client = client_new(seen);
    pair_t pair = pair_blocked();

    wait_until(hub_in_step());
    client->subscriber.blocked_fd = pair.ours;
    client_join(client, "chat");
    hub_publish("news");
    wait_until(hub_in_step());
    assert_int_equal(client_got(client), 0);
    pair_drain(pair);
    wait_until(client_got(client) == 1);
    client_leave(client);
    client_check(client, &sent, 1);
    client_free(client);
    pair_close(pair);
}

/* A blocked client leaves, and another one gets the same descriptor. */
static void test_descriptor_used_again(void **state)
{
    int i;

    for (i = 0; i < 50; i++) {
        client_t *first = client_new(hub_last()),
                 *second = client_new(hub_last());
        pair_t pair = pair_blocked();

        first->subscriber.blocked_fd = pair.ours;
        client_join(first, "chat");
        if (i % 3 == 0) {
            pair_drain(pair);
        }
        client_leave_and_free(first);
        pair_drain(pair); /* no subscriber is left to notice that the socket is
                           * writable */
        hub_publish("news");
        wait_until(hub_in_step());
        pair_close(pair);
        pair = pair_blocked();
        second->subscriber.blocked_fd = pair.ours;
        client_join(second, "chat");
        hub_publish("chat");
        pair_drain(pair);
        wait_until(client_got(second) == 1);
        client_leave_and_free(second);
        pair_close(pair);
    }
}

/* --- clients blocked by something other than a socket --------------------- */

static void poke(client_t *client, unsigned reasons)
{
    comet_hub_poke(hub, &client->subscriber, reasons);
}

/* A stalled client gets no messages, although the hub serves it, until it is
 * poked with COMET_WRITABLE. */
static void test_stalled(void **state)
{
    client_t *client = client_new(hub_last());
    comet_timestamp_t sent[2];

    client->subscriber.stalled = 1;
    client_join(client, "chat");
    sent[0] = hub_publish("chat");
    wait_until(hub_in_step());
    poke(client, COMET_POKED);
    wait_until(atomic_load(&client->served) == 1);
    assert_int_equal(client_got(client), 0);
    poke(client, COMET_WRITABLE);
    wait_until(client_got(client) == 1);
    sent[1] = hub_publish("chat");
    wait_until(client_got(client) == 2);
    client_leave(client);
    client_check(client, sent, 2);
    client_free(client);
}

static void stall_at_gate(client_t *client, const comet_delivery_t *delivery)
{
    client->subscriber.stalled = 1;
    hub_wait_at_gate(client, delivery);
}

/* A poke that arrives while the client is served is not forgotten. */
static void test_poked_while_served(void **state)
{
    client_t *client = client_new(hub_last());
    comet_timestamp_t sent[2];

    client->hook = stall_at_gate;
    client_join(client, "chat");
    sent[0] = hub_publish("chat");
    wait_until(atomic_load(&hub_gate.held));
    sent[1] = hub_append("chat");
    poke(client, COMET_WRITABLE);
    sem_post(&hub_gate.open);
    wait_until(atomic_load(&client->writables) == 1);
    comet_bus_notify(hub_buses[0]);
    wait_until(client_got(client) == 2);
    client_leave(client);
    client_check(client, sent, 2);
    client_free(client);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        HUB_TEST(test_blocked),
        HUB_TEST(test_blocked_for_long),
        HUB_TEST(test_blocked_without_news),
        HUB_TEST(test_blocks_while_served),
        HUB_TEST(test_blocked_timer),
        HUB_TEST(test_joins_blocked),
        HUB_TEST(test_descriptor_used_again),
        HUB_TEST(test_stalled),
        HUB_TEST(test_poked_while_served),
    };

    return cmocka_run_group_tests(tests, hub_begin, hub_end);
}
