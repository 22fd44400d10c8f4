/* SPDX-License-Identifier: Apache-2.0 */
/* The hub: timers fire when they are due, and the clock ticks. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "hub_kit.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>

/* --- Timers -------------------------------------------------------------- */

static void test_timers(void **state)
{
    client_t *clients[200];
    apr_time_t now = comet_monotonic();
    int i;

    for (i = 0; i < 200; i++) {
        clients[i] = client_new(hub_last());
        clients[i]->subscriber.timeout_at = now + (i * 37 % 300) * MS;
        client_join(clients[i], i % 2 ? "chat" : "news");
    }
    for (i = 0; i < 200; i++) {
        wait_until(atomic_load(&clients[i]->timeouts) == 1);
    }
    for (i = 0; i < 200; i++) {
        client_leave(clients[i]);
        assert_int_equal(atomic_load(&clients[i]->timeouts), 1);
        assert_int_equal(client_got(clients[i]), 0);
        assert_true(clients[i]->was_due == now + (i * 37 % 300) * MS);
        client_free(clients[i]);
    }
}

/* A timer that is set again fires again, whether its client waits or rests. */
static void test_timer_set_anew(void **state)
{
    client_t *waiting = client_new(hub_last()),
             *resting = client_new(hub_last());
    apr_time_t began = comet_monotonic();

    waiting->rearm = resting->rearm = 10 * MS;
    waiting->subscriber.timeout_at = began + 10 * MS;
    resting->outcome = COMET_REST;
    client_join(waiting, "chat");
    client_join(resting, "chat");
    hub_publish("chat");
    wait_until(client_got(resting) == 1);
    client_leave(resting);
    resting->subscriber.timeout_at = comet_monotonic() + 10 * MS;
    client_join(resting, "chat");
    wait_until(atomic_load(&waiting->timeouts) >= 4
               && atomic_load(&resting->timeouts) >= 3);
    assert_true(comet_monotonic() - began >= 40 * MS);
    client_leave_and_free(waiting);
    client_leave_and_free(resting);
}

static void put_off(client_t *client, const comet_delivery_t *delivery)
{
    client->subscriber.timeout_at = comet_monotonic() + 3600 * SECOND;
}

/* serve() may postpone a timer, and leave() clears it. */
static void test_timer_put_off(void **state)
{
    client_t *client = client_new(hub_last()), *gone = client_new(hub_last());
    client_t *witness = client_new(hub_last());
    apr_time_t due = comet_monotonic() + 400 * MS;

    client->subscriber.timeout_at = gone->subscriber.timeout_at = due;
    witness->subscriber.timeout_at = due + 60 * MS;
    client->hook = put_off;
    client_join(client, "chat");
    client_join(gone, "chat");
    client_join(witness, "none");
    hub_publish("chat");
    wait_until(client_got(client) == 1);
    client_leave_and_free(gone);
    wait_until(atomic_load(&witness->timeouts) == 1);
    client_leave(client);
    assert_int_equal(atomic_load(&client->timeouts), 0);
    client_free(client);
    client_leave_and_free(witness);
}

/* A sleeping hub wakes up for a new timer that is due before all others. */
static void test_timers_are_in_time(void **state)
{
    apr_int64_t late[9];
    int i;

    for (i = 0; i < 9; i++) {
        client_t *client = client_new(hub_last());
        apr_time_t due = comet_monotonic() + 20 * MS;

        client->subscriber.timeout_at = due;
        client_join(client, "chat");
        wait_until(atomic_load(&client->timeouts) == 1);
        late[i] = comet_monotonic() - due;
        client_leave_and_free(client);
    }
    qsort(late, 9, sizeof(*late), scratch_ascending);
    print_message("# timers: %d ms late (median)\n", (int)(late[4] / MS));
    assert_true(late[4] < 200 * MS); /* a hub that did not wake up would be 250
                                      * ms late */
}

/** Whether a client of test_news_while_due() has been at the gate. */
static atomic_int first_of_many;

static void first_waits_at_gate(client_t *client,
                                const comet_delivery_t *delivery)
{
    if ((delivery->reasons & COMET_TIMEOUT)
        && !atomic_exchange(&first_of_many, 1)) {
        hub_wait_at_gate(client, delivery);
    }
}

/* So many timers fire at once that messages come before all of them are
 * served. */
static void test_news_while_due(void **state)
{
    client_t *clients[1200];
    comet_timestamp_t sent[2];
    apr_time_t due = comet_monotonic() + 300 * MS;
    int i;

    atomic_store(&first_of_many, 0);
    for (i = 0; i < 1200; i++) {
        clients[i] = client_new(hub_last());
        clients[i]->subscriber.timeout_at = due;
        clients[i]->hook = first_waits_at_gate;
        client_join(clients[i], "chat");
    }
    wait_until(atomic_load(&hub_gate.held));
    sent[0] = hub_publish("chat");
    sem_post(&hub_gate.open);
    wait_until(hub_in_step());
    for (i = 0; i < 1200; i++) {
        wait_until(atomic_load(&clients[i]->timeouts) == 1);
    }
    sent[1] = hub_publish("chat");
    for (i = 0; i < 1200; i++) {
        wait_until(atomic_load(&clients[i]->newest) == sent[1]);
    }
    for (i = 0; i < 1200; i++) {
        client_leave(clients[i]);
        client_check(clients[i], sent, 2);
        client_free(clients[i]);
    }
}

/* --- The clock ----------------------------------------------------------- */

/* Check that there is one tick in each period, soon after its beginning. */
static void check_ticks(const client_t *client, apr_interval_time_t period)
{
    apr_int64_t late[CLIENT_ROOM];
    int count = client_got(client) - 1, i;

    assert_true(count >= 3);
    for (i = 0; i < count; i++) {
        apr_time_t tick = client->got[i + 1];

        assert_true(tick / period > client->got[i] / period);
        late[i] = tick % period;
    }
    qsort(late, (size_t)count, sizeof(*late), scratch_ascending);
    assert_true(late[count / 2] < period / 2);
}

static void test_clock(void **state)
{
    apr_time_t began = apr_time_now();
    client_t *fast = client_joined_clock(0, 50 * MS);
    client_t *slow = client_joined_clock(0, 70 * MS);
    client_t *young = client_joined_clock(200 * MS, 50 * MS);

    assert_int_equal(comet_hub_members(hub, NULL), 3);
    wait_until(client_got(fast) >= 8 && client_got(slow) >= 6
               && client_got(young) >= 2);
    client_leave(fast);
    client_leave(slow);
    client_leave(young);
    check_ticks(fast, 50 * MS);
    check_ticks(slow, 70 * MS);
    assert_int_equal(atomic_load(&fast->news),
                     client_got(fast)); /* one tick at a time */
    assert_true(fast->got[0] >= began);
    assert_true(fast->got[0] < young->got[0]);
    assert_true(young->got[0] > began + 150 * MS);
    assert_true(apr_time_now() - began >= 7 * 50 * MS);
    client_free(fast);
    client_free(slow);
    client_free(young);
}

/* After a pause without subscribers, the next tick is at a multiple of the
 * period. */
static void test_clock_after_a_pause(void **state)
{
    const apr_interval_time_t period = 100 * MS;
    int i;

    for (i = 0; i < 5; i++) {
        client_t *client = client_joined_clock(0, period);
        apr_time_t now = apr_time_now(), began = now / period;

        client_leave_and_free(client);
        do {
            sched_yield();
            now = apr_time_now();
        } while (now / period < began + 2 || now % period < period / 2);
        client = client_joined_clock(0, period);
        wait_until(client_got(client));
        client_leave(client);
        assert_true(client->got[0] / period > now / period);
        client_free(client);
    }
}

/* After a late tick, the next one is at a multiple of the period again. */
static void test_clock_after_a_late_tick(void **state)
{
    const apr_interval_time_t period = 100 * MS;
    client_t *client = client_joined_clock(0, period);
    apr_int64_t late[5];
    apr_time_t now;
    int before, i;

    wait_until(client_got(client));
    hub_hold();
    before = client_got(client);
    do {
        sched_yield();
        now = apr_time_now();
    } while (now / period == client->got[before - 1] / period
             || now % period < 6 * period / 10);
    hub_release();
    wait_until(client_got(client) >= before + 6);
    client_leave(client);
    for (i = 0; i < 5; i++) {
        late[i] = client->got[before + 1 + i] % period;
    }
    qsort(late, 5, sizeof(*late), scratch_ascending);
    assert_true(late[2] < period / 2);
    client_free(client);
}

static void test_clock_and_channel(void **state)
{
    const apr_interval_time_t period = 50 * MS;
    client_t *clock = client_joined_clock(0, period);
    char name[sizeof(period)];
    client_t *client = client_new(hub_last());

    memcpy(name, &period, sizeof(period));
    comet_hub_join(hub, &client->subscriber, 0,
                   scratch_select((comet_text_t){ name, sizeof(name) }));
    wait_until(client_got(clock) >= 2);
    client_leave(client);
    assert_int_equal(client_got(client), 0);
    client_free(client);
    client_leave_and_free(clock);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        HUB_TEST(test_timers),
        HUB_TEST(test_timer_set_anew),
        HUB_TEST(test_timer_put_off),
        HUB_TEST(test_timers_are_in_time),
        HUB_TEST(test_news_while_due),
        HUB_TEST(test_clock),
        HUB_TEST(test_clock_after_a_pause),
        HUB_TEST(test_clock_after_a_late_tick),
        HUB_TEST(test_clock_and_channel),
    };

    return cmocka_run_group_tests(tests, hub_begin, hub_end);
}
