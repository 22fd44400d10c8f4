/* SPDX-License-Identifier: Apache-2.0 */
/* The hub with a remote store: the hub never waits for the store. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "hub_kit.h"

#include <errno.h>
#include <poll.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "remote_kit.h"

#define MANY 1100 /* more messages than the hub's memory holds */

/* Before each test: the first store becomes remote. */
static int setup(void **state)
{
    hub_setup_bare(state);
    remote_open_gate();
    ((comet_store_config_t *)hub_configs[0])->place.engine = remote_engine();
    hub_open_writer(0);
    return 0;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, hub_teardown)

#define NEWS 602 /* more than two batches */

/* Published messages are announced, so the hub needs no view of the log to
 * serve them, however many there are. */
static void test_announces(void **state)
{
    comet_timestamp_t sent[NEWS];
    client_t *client;
    int i, views;

    hub_start();
    wait_until(hub_in_step());
    views = remote_views();
    client = client_joined("chat", hub_last());
    sent[0] = hub_publish("chat");
    wait_until(client_got(client) == 1);
    sent[1] = hub_append("chat"); /* without a notification */
    wait_until(client_got(client) == 2);
    remote_close_gate();
    for (i = 2; i < NEWS; i++) {
        sent[i] = hub_publish("chat");
    }
    remote_open_gate();
    wait_until(client_got(client) == NEWS);
    client_leave(client);
    client_check(client, sent, NEWS);
    client_free(client);
    assert_int_equal(remote_views(), views);
}

/* Messages that are no longer in memory are fetched only once for all clients
 * with the same cursor. */
static void test_fetches_once(void **state)
{
    comet_timestamp_t sent[3];
    client_t *clients[40];
    int i, before;

    sent[0] = hub_append("rare");
    for (i = 0; i < MANY; i++) {
        hub_append("other");
    }
    sent[1] = hub_append("rare");
    hub_start();
    wait_until(hub_in_step());
    remote_close_gate();
    before = remote_reads();
    for (i = 0; i < 40; i++) {
        clients[i] = client_joined("rare", 0);
    }
    wait_until(remote_hanging() == 2); /* the fetcher, and the scout */
    remote_open_gate();
    for (i = 0; i < 40; i++) {
        wait_until(client_got(clients[i]) == 2);
    }
    sent[2] = hub_publish("rare");
    for (i = 0; i < 40; i++) {
        wait_until(client_got(clients[i]) == 3);
        client_leave(clients[i]);
        client_check(clients[i], sent, 3);
        client_free(clients[i]);
    }
    /* one read for all clients, and perhaps more for those that joined during
     * the first one */
    assert_in_range(remote_reads() - before, 1, 3);
}

/* While the store hangs, timers fire, and clients join and leave.  A client may
 * leave even while messages are fetched for it. */
static void test_hangs(void **state)
{
    client_t *client, *other, *behind, *gone;
    int i;

    hub_append("rare");
    for (i = 0; i < MANY; i++) {
        hub_append("other");
    }
    hub_start();
    wait_until(hub_in_step());
    remote_close_gate();
    behind = client_joined("rare", 0);
    gone = client_joined("rare", 1);
    wait_until(remote_hanging() == 2);
    client = client_new(hub_last());
    client->rearm = 20 * MS;
    client->subscriber.timeout_at = comet_monotonic() + 20 * MS;
    client_join(client, "chat");
    wait_until(atomic_load(&client->timeouts) >= 5);
    other = client_joined("chat", hub_last());
    client_leave_and_free(gone);
    client_leave_and_free(other);
    assert_int_equal(client_got(behind), 0);
    remote_open_gate();
    wait_until(client_got(behind) == 1);
    client_leave_and_free(behind);
    client_leave_and_free(client);
}

/* The hub can stop while the store hangs. */
static void test_ends(void **state)
{
    client_t *client;
    int64_t begun;

    hub_start();
    wait_until(hub_in_step());
    remote_close_gate();
    client = client_joined("rare", 0);
    wait_until(remote_hanging() >= 1);
    comet_hub_begin_stop(hub);
    wait_until(atomic_load(&client->stops) == 1);
    client_leave_and_free(client);
    begun = scratch_usec();
    hub_stop();
    assert_true(scratch_usec() - begun < 5 * SECOND);
}

/* A subscriber also gets messages that are announced or fetched while it is
 * being served. */
static void test_while_served(void **state)
{
    comet_timestamp_t sent[10];
    client_t *client;
    int i;

    hub_start();
    client = client_new(hub_last());
    for (i = 0; i < 10; i++) {
        client->hook = hub_wait_at_gate;
        client_join(client, "chat");
        sent[i] = hub_publish("chat");
        wait_until(atomic_load(&hub_gate.held));
        sent[++i] = hub_publish("chat");
        wait_until(hub_in_step()); /* the message is announced */
        sem_post(&hub_gate.open);
        wait_until(client_got(client) == i + 1);
        client_leave(client);
    }
    client_check(client, sent, 10);
    client_free(client);
}

/* If new messages are announced while older ones are fetched, the client misses
 * none. */
static void test_older_than_news(void **state)
{
    comet_timestamp_t sent[2];
    client_t *client;
    int i;

    sent[0] = hub_append("rare");
    for (i = 0; i < MANY; i++) {
        hub_append("other");
    }
    hub_start();
    wait_until(hub_in_step());
    remote_hold_reads(1); /* the fetcher's view does not see later messages */
    client = client_joined("rare", 0);
    wait_until(remote_held() == 1);
    sent[1] = hub_publish("rare");
    wait_until(hub_in_step()); /* the message is announced */
    remote_hold_reads(0);
    wait_until(client_got(client) == 2);
    client_leave(client);
    client_check(client, sent, 2);
    client_free(client);
}

/* When the connection is lost and comes back, no client is asked to start over,
 * and none misses a message. */
static void test_goes_on(void **state)
{
    comet_timestamp_t sent[2];
    client_t *client;
    int before;

    hub_start();
    wait_until(hub_in_step()); /* so that joining needs no fetch */
    client = client_joined("chat", hub_last());
    sent[0] = hub_publish("chat");
    wait_until(client_got(client) == 1);
    before = remote_reads();
    remote_break(1);
    sent[1] = hub_publish("chat");
    wait_until(atomic_load(&hub_last_error) == ECONNRESET);
    remote_break(0);
    wait_until(client_got(client) == 2);
    assert_int_equal(remote_reads(), before);
    client_leave(client);
    client_check(client, sent, 2);
    client_free(client);
}

static atomic_int reached;

static void take_reached(client_t *client, const comet_delivery_t *delivery)
{
    comet_subscriber_t *subscriber = &client->subscriber;

    if (!(delivery->reasons & COMET_REACHED)) {
        return;
    }
    if (subscriber->seen != subscriber->until) {
        hub_fault("reached, but its cursor is elsewhere");
    }
    subscriber->until = 0;
    atomic_store(&reached, 1);
}

/* A client may wait until the scout reaches the client's `until`.  The client's
 * cursor is then `until`, whatever else is announced. */
static void test_until_announced(void **state)
{
    client_t *client;

    hub_start();
    wait_until(hub_in_step());
    client = client_new(hub_last());
    client->hook = take_reached;
    remote_close_gate();
    wait_until(remote_hanging() == 1);
    client->subscriber.until = hub_append("other");
    client_join(client, "chat");
    wait_until(atomic_load(&client->served) >= 2); /* now the client waits for
                                                    * the scout */
    hub_append("chat");
    remote_open_gate();
    wait_until(atomic_load(&reached));
    client_leave_and_free(client);
}

typedef struct asker_t {
    pthread_t thread;
    comet_timestamp_t after;
    int questions, answers, messages; /* how many questions it asks, how many
                                       * are answered, and how many messages the
                                       * answers hold */
} asker_t;

static int ask(comet_timestamp_t after, apr_interval_time_t limit)
{
    comet_message_t *room[COMET_LIMIT_MAX];
    comet_batch_t batch = { .messages = room, .size = COMET_LIMIT_MAX };
    comet_selection_t *selection = scratch_select(comet_text("chat"));
    comet_reading_t reading = { .selection = selection, .batch = &batch };
    comet_store_state_t state_;
    int known =
        comet_hub_recall_remote(hub, 0, limit, after, &state_, &reading);
    int count = (int)batch.count;

    comet_batch_clear(&batch);
    return known ? count : -1;
}

static void *ask_often(void *baton)
{
    asker_t *asker = baton;
    int i, count;

    for (i = 0; i < asker->questions; i++) {
        count = ask(asker->after, 10 * SECOND);
        asker->answers += count >= 0;
        asker->messages += count > 0 ? count : 0;
    }
    return NULL;
}

/* A question is answered with all messages that were stored before it, even
 * without a notification.  Questions that are open at the same time share a
 * look. */
static void test_shares_looks(void **state)
{
    asker_t askers[20];
    comet_timestamp_t before;
    int i, looks;

    hub_start();
    wait_until(hub_in_step());
    before = hub_last();
    for (i = 0; i < 20; i++) {
        hub_append("chat"); /* without a notification */
        assert_int_equal(ask(before, 10 * SECOND), i + 1);
    }
    looks = remote_looks();
    for (i = 0; i < 20; i++) {
        askers[i] = (asker_t){ .after = before, .questions = 50 };
        assert_int_equal(
            comet_thread_start(&askers[i].thread, ask_often, &askers[i]), 0);
    }
    for (i = 0; i < 20; i++) {
        pthread_join(askers[i].thread, NULL);
        assert_int_equal(askers[i].answers, 50);
        assert_int_equal(askers[i].messages, 50 * 20);
    }
    /* 1,000 questions, up to 20 of them open at a time */
    assert_in_range(remote_looks() - looks, 1, 300);
}

/* A question is not answered if its cursor is ahead of the log, or if the store
 * hangs or fails.  It waits no longer than its limit; a store that fails ends
 * it at once. */
static void test_asks_in_vain(void **state)
{
    comet_timestamp_t first;
    int64_t begun;

    hub_start();
    wait_until(hub_in_step());
    first = hub_append("chat");
    hub_append("chat");
    assert_int_equal(ask(first, 10 * SECOND), 1);
    assert_int_equal(ask(hub_last() + 1, 10 * SECOND), -1); /* the cursor is
                                                             * ahead of the
                                                             * log */
    remote_close_gate();
    begun = scratch_usec();
    assert_int_equal(ask(first, 100 * MS), -1);
    assert_in_range(scratch_usec() - begun, 100 * MS, 5 * SECOND);
    remote_break(1);
    remote_open_gate();
    wait_until(atomic_load(&hub_last_error) == ECONNRESET);
    begun = scratch_usec();
    assert_int_equal(ask(first, 60 * SECOND), -1);
    assert_in_range(scratch_usec() - begun, 0, 10 * SECOND);
    remote_break(0);
    wait_until(ask(first, 100 * MS) == 1);
}

/* Whether the watch tells other servers of a commit although this server's own
 * look hangs. */
static int tells_at_once(void)
{
    int before = remote_told(), i;

    remote_close_gate();
    comet_bus_notify_commit(hub_buses[0]);
    for (i = 0; i < 200 && remote_told() == before; i++) {
        poll(NULL, 0, 1);
    }
    remote_open_gate();
    return remote_told() > before;
}

/* Other servers are told of a commit before this one looks.  A hint from
 * another server makes every child look, whatever this child finds. */
static void test_hints(void **state)
{
    struct epoll_event bell = { .events = EPOLLIN | EPOLLET };
    int epoll = epoll_create1(0), i = 0;

    hub_start();
    wait_until(hub_in_step());
    comet_bus_notify_commit(hub_buses[0]);
    wait_until(remote_told() > 0); /* there is a watch */
    while (!tells_at_once()) { /* a look had begun before the commit */
        assert_true(++i < 20);
    }
    epoll_ctl(epoll, EPOLL_CTL_ADD, comet_bus_fd(hub_buses[0]), &bell);
    while (epoll_wait(epoll, &bell, 1, 0) == 1) {
    }
    remote_hint();
    assert_int_equal(epoll_wait(epoll, &bell, 1, 30000), 1);
    close(epoll);
}

/* Announce commits until a counter has grown.  (An announcement is ignored if
 * there is another reason to look at the same time.) */
static void announce_until(void (*ring)(void), int (*counter)(void))
{
    int before = counter(), i;

    for (i = 0; counter() == before; i++) {
        assert_true(i < 500);
        ring();
        poll(NULL, 0, 20);
    }
}

static void announce_own(void)
{
    comet_bus_announce_commit(hub_buses[0]);
}

/* A child for whose clients a message may come waits for an announced commit.
 * This server's own announcements are passed on to other servers, but theirs
 * are not sent back. */
static void test_announcements(void **state)
{
    client_t *client;
    int announced;

    hub_start();
    wait_until(hub_in_step());
    comet_bus_notify_commit(hub_buses[0]);
    wait_until(remote_told() > 0); /* there is a watch */
    announce_until(announce_own, remote_announced);
    assert_int_equal(remote_awaited(), 0);
    client = client_joined("chat", hub_last());
    announce_until(announce_own, remote_awaited);
    announced = remote_announced();
    announce_until(remote_announce, remote_awaited);
    assert_int_equal(remote_announced(), announced);
    hub_append("chat");
    comet_bus_notify_commit(hub_buses[0]);
    wait_until(client_got(client) == 1);
    client_leave(client);
    client_free(client);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_shares_looks), TEST(test_asks_in_vain),
        TEST(test_hints),        TEST(test_announcements),
        TEST(test_announces),    TEST(test_fetches_once),
        TEST(test_hangs),        TEST(test_ends),
        TEST(test_while_served), TEST(test_older_than_news),
        TEST(test_goes_on),      TEST(test_until_announced),
    };

    return cmocka_run_group_tests(tests, hub_begin, hub_end);
}
