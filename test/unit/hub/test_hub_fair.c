/* SPDX-License-Identifier: Apache-2.0 */
/* The hub: a subscriber that is up to date does not wait for those that catch
 * up, and a resting subscriber makes room when it is asked to. */
#include "hub_kit.h"

enum { BEHIND = 100 };

static atomic_int caught_up; /* how many times clients were served while they
                              * were behind */
static atomic_int before_live; /* the value of caught_up when the live message
                                * was served */

static void count_catching_up(client_t *client,
                              const comet_delivery_t *delivery)
{
    atomic_fetch_add(&caught_up, delivery->batch->count != 0);
}

static void note_live(client_t *client, const comet_delivery_t *delivery)
{
    if (delivery->batch->count) {
        atomic_store(&before_live, atomic_load(&caught_up));
    }
}

/* Wait until the clients that are behind have everything; then let all clients
 * leave. */
static void end_all(client_t *const *behind, client_t *live)
{
    int i;

    for (i = 0; i < BEHIND; i++) {
        wait_until(client_got(behind[i]) == 1100);
        client_leave(behind[i]);
        assert_int_equal(behind[i]->largest, 10);
        client_free(behind[i]);
    }
    client_leave_and_free(live);
}

/*
 * 100 clients that are behind become ready while the hub is busy; then a
 * message arrives for another client.  The hub serves at most two of the 100
 * before that client: one before the hub looks at the store, and one more if
 * the hub was just about to look.
 * @param old, live_words  what the clients read, as for client_join_words()
 * @param store            the store to which the message is published
 */
static void check_live_first(const char *old, const char *live_words,
                             size_t store)
{
    client_t *behind[BEHIND], *live;
    comet_selection_t *selection = scratch_choose(live_words);
    comet_timestamp_t sent;
    int i;

    atomic_store(&caught_up, 0);
    for (i = 0; i < 1100; i++) { /* more than a ring holds */
        hub_append("old/a");
    }
    sent = hub_publish("other");
    live =
        client_new(store ? hub_append_to(hub_writers[store], "other") : sent);
    live->hook = note_live;
    assert_int_equal(comet_hub_join(hub, &live->subscriber, store, selection),
                     APR_SUCCESS);
    comet_selection_unref(selection);
    wait_until(hub_in_step());
    hub_hold();
    for (i = 0; i < BEHIND; i++) {
        behind[i] = client_new(0);
        behind[i]->hook = count_catching_up;
        behind[i]->subscriber.limit = 10;
        client_join_words(behind[i], old);
    }
    sent = hub_append_to(hub_writers[store], "live/a");
    comet_bus_notify(hub_buses[store]);
    hub_release();
    wait_until(atomic_load(&live->newest) == sent);
    assert_true(atomic_load(&before_live) <= 2);
    end_all(behind, live);
}

static void test_live_before_catching_up(void **state)
{
    check_live_first("old/a", "live/a", 0);
}

/* Clients of wildcards and of several channels take other code paths. */
static void test_live_wildcard_first(void **state)
{
    check_live_first("none old/a old/*", "x live/a live/*", 0);
}

/* Clients of one store do not delay those of another one. */
static void test_live_of_another_store_first(void **state)
{
    check_live_first("old/a", "live/a", 1);
}

/* The client that has rested longest is the first to be asked to make room.
 * Each client is asked only once.  A client that waits, or that does not yield,
 * is not asked. */
static void test_resting_make_room(void **state)
{
    client_t *clients[4];
    comet_timestamp_t last = hub_publish("x");
    int i;

    wait_until(hub_in_step());
    for (i = 0; i < 4; i++) {
        clients[i] = client_new(last);
        clients[i]->subscriber.resting = i != 1;
        clients[i]->subscriber.yields = i != 2;
        client_join(clients[i], "x");
    }
    assert_int_equal(comet_hub_members(hub, NULL), 4);
    assert_true(comet_hub_make_room(hub));
    wait_until(atomic_load(&clients[0]->served) > 0);
    assert_int_equal(comet_hub_members(hub, NULL), 3);
    assert_true(comet_hub_make_room(hub));
    wait_until(atomic_load(&clients[3]->served) > 0);
    assert_false(comet_hub_make_room(hub));
    assert_int_equal(comet_hub_members(hub, NULL), 2);
    assert_int_equal(atomic_load(&clients[1]->served), 0);
    assert_int_equal(atomic_load(&clients[2]->served), 0);
    for (i = 0; i < 4; i++) {
        client_leave_and_free(clients[i]);
    }
    assert_int_equal(comet_hub_members(hub, NULL), 0);
}

static apr_int64_t catch_ups(void)
{
    comet_metrics_total_t total;

    comet_metrics_sum(hub_metrics, &total);
    return total.values[COMET_METRIC_catch_ups];
}

/* If a client's channels are quiet, its cursor stays where it is.  The log is
 * read for this client once, and not again at each heartbeat. */
static void test_quiet_is_read_once(void **state)
{
    static const char *const quiet[] = { "quiet", "none", "quiet none",
                                         "none/*" };
    client_t *clients[4];
    comet_timestamp_t first = hub_append("quiet");
    apr_int64_t before;
    int i;

    for (i = 0; i < 1100; i++) { /* more than the ring holds */
        hub_append("loud");
    }
    hub_publish("loud");
    wait_until(hub_in_step());
    before = catch_ups();
    for (i = 0; i < 4; i++) {
        clients[i] = client_new(first);
        clients[i]->rearm = 10 * MS;
        clients[i]->subscriber.timeout_at = comet_monotonic() + 10 * MS;
        client_join_words(clients[i], quiet[i]);
    }
    for (i = 0; i < 4; i++) {
        wait_until(atomic_load(&clients[i]->timeouts) >= 10);
    }
    /* the log is read at least once for each client, but not at each
     * heartbeat */
    assert_true(catch_ups() - before >= 4);
    assert_true(catch_ups() - before < 4 * 5);
    first = hub_publish("quiet"); /* the clients have missed nothing */
    wait_until(atomic_load(&clients[0]->newest) == first
               && atomic_load(&clients[2]->newest) == first);
    for (i = 0; i < 4; i++) {
        assert_int_equal(client_got(clients[i]), i % 2 == 0);
        client_leave_and_free(clients[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        HUB_TEST(test_live_before_catching_up),
        HUB_TEST(test_live_wildcard_first),
        HUB_TEST(test_live_of_another_store_first),
        HUB_TEST(test_resting_make_room),
        HUB_TEST(test_quiet_is_read_once),
    };

    return cmocka_run_group_tests(tests, hub_begin, hub_end);
}
