/* SPDX-License-Identifier: Apache-2.0 */
/* The hub: a subscriber that is up to date does not wait for those that catch
 * up, and a resting subscriber gives its place up. */
#include "hub_kit.h"

enum { BEHIND = 100 };

static atomic_int caught_up; /* how often clients that are behind were served */
static atomic_int before_live; /* how often that happened before the live
                                * message */

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

/*
 * 100 clients that are behind become ready while the hub is busy; then a
 * message comes for another client. The hub serves that client after at most
 * two of the 100: one before it looks at the store, and one more if it was
 * about to look.
 */
static void test_live_before_catching_up(void **state)
{
    client_t *behind[BEHIND], *live;
    comet_timestamp_t sent;
    int i;

    for (i = 0; i < 1100; i++) { /* more than a ring holds */
        hub_append("old");
    }
    live = client_new(hub_publish("other"));
    live->hook = note_live;
    client_join(live, "live");
    wait_until(hub_in_step());
    hub_hold();
    for (i = 0; i < BEHIND; i++) {
        behind[i] = client_new(0);
        behind[i]->hook = count_catching_up;
        behind[i]->subscriber.limit = 10;
        client_join(behind[i], "old");
    }
    sent = hub_publish("live");
    hub_release();
    wait_until(atomic_load(&live->newest) == sent);
    assert_true(atomic_load(&before_live) <= 2);
    for (i = 0; i < BEHIND; i++) { /* each client that is behind gets all */
        wait_until(client_got(behind[i]) == 1100);
        client_leave(behind[i]);
        assert_int_equal(behind[i]->largest, 10);
        client_free(behind[i]);
    }
    client_leave_and_free(live);
}

/* The client that has rested for the longest is asked first. Each is asked only
 * once. A client that waits, or does not yield, is not asked. */
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

/* A client whose channels are quiet stays where it is in the log.  The log is
 * read for it once, and not again at each of its heartbeats. */
static void test_quiet_is_read_once(void **state)
{
    static const char *const quiet[] = { "quiet", "none", "quiet none",
                                         "none/*" };
    client_t *clients[4];
    comet_timestamp_t first = hub_append("quiet");
    apr_int64_t before;
    int i;

    for (i = 0; i < 1100; i++) { /* more than a ring holds */
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
    /* each client's log is read at least once, and not at each heartbeat */
    assert_true(catch_ups() - before >= 4);
    assert_true(catch_ups() - before < 4 * 5);
    first = hub_publish("quiet"); /* they have missed nothing */
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
        HUB_TEST(test_resting_make_room),
        HUB_TEST(test_quiet_is_read_once),
    };

    return cmocka_run_group_tests(tests, hub_begin, hub_end);
}
