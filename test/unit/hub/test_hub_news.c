/* SPDX-License-Identifier: Apache-2.0 */
/* The hub: each client gets every message of its channel after its cursor, once
 * and in order, from the ring or from the log. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "hub_kit.h"

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- News ---------------------------------------------------------------- */

static void test_join_then_publish(void **state)
{
    client_t *client = client_joined("chat", hub_last());
    comet_timestamp_t sent[3];
    int i;

    assert_int_equal(comet_hub_members(hub, NULL), 1);
    for (i = 0; i < 3; i++) {
        sent[i] = hub_publish("chat");
        wait_until(client_got(client) == i + 1);
    }
    client_leave(client);
    assert_int_equal(comet_hub_members(hub, NULL), 0);
    assert_int_equal(client->subscriber.seen, sent[2]);
    assert_int_equal(atomic_load(&client->timeouts), 0);
    assert_int_equal(atomic_load(&client->stops), 0);
    client_check(client, sent, 3);
    client_free(client);
}

/* After a notification the hub acts long before its regular look, even if
 * another child watches the file. */
static void test_hints(void **state)
{
    client_t *client;
    apr_int64_t took[9];
    int i;

    hub_stop();
    assert_int_equal(comet_bus_claim_watch(hub_buses[0]), 1);
    hub_start();
    client = client_joined("chat", hub_last());
    for (i = 0; i < 9; i++) {
        took[i] = comet_monotonic();
        hub_publish("chat");
        wait_until(client_got(client) == i + 1);
        took[i] = comet_monotonic() - took[i];
    }
    qsort(took, 9, sizeof(*took), scratch_ascending);
    print_message("# served after %d us (median)\n", (int)took[4]);
    assert_true(took[4] < 150 * MS);
    client_leave_and_free(client);
    comet_bus_release_watch(hub_buses[0]);
}

/* As soon as a client joins, it gets the messages that it has missed, from the
 * ring or from the log. */
static void test_publish_then_join(void **state)
{
    comet_timestamp_t sent[5];
    client_t *clients[5];
    int i;

    for (i = 0; i < 5; i++) {
        sent[i] = hub_publish("chat");
    }
    for (i = 0; i < 5; i++) {
        clients[i] = client_joined("chat", i ? sent[i - 1] : 0);
    }
    for (i = 0; i < 5; i++) {
        wait_until(client_got(clients[i]) == 5 - i);
        client_leave(clients[i]);
        assert_int_equal(clients[i]->first_reasons, COMET_NEWS);
        client_check(clients[i], sent + i, 5 - i);
        client_free(clients[i]);
    }
}

static void test_channels(void **state)
{
    static const char *const names[] = { "costarring", "liquid", "chat" };
    comet_timestamp_t sent[3][4];
    client_t *clients[3];
    int i, k;

    for (i = 0; i < 3; i++) {
        clients[i] = client_joined(names[i], hub_last());
    }
    for (k = 0; k < 4; k++) {
        for (i = 0; i < 3; i++) {
            sent[i][k] = k == 2 ? hub_append(names[i]) : hub_publish(names[i]);
        }
    }
    for (i = 0; i < 3; i++) {
        wait_until(client_got(clients[i]) == 4);
        client_leave(clients[i]);
        client_check(clients[i], sent[i], 4);
        client_free(clients[i]);
    }
}

static void test_stores(void **state)
{
    client_t *first = client_joined("chat", 0), *second = client_new(0);
    comet_timestamp_t sent[2];

    comet_hub_join(hub, &second->subscriber, 1,
                   scratch_select(comet_text("chat")));
    sent[0] = hub_publish("chat");
    wait_until(client_got(first) == 1);
    sent[1] = hub_append_to(hub_writers[1], "chat");
    comet_bus_notify(hub_buses[1]);
    wait_until(client_got(second) == 1);
    client_leave(first);
    client_leave(second);
    client_check(first, &sent[0], 1);
    client_check(second, &sent[1], 1);
    client_free(first);
    client_free(second);
}

/* A client that has its answer rests: it gets no further messages. */
static void test_rest(void **state)
{
    client_t *client = client_new(hub_last());
    client_t *witness = client_joined("chat", hub_last());
    comet_timestamp_t sent;

    client->outcome = COMET_REST;
    client_join(client, "chat");
    sent = hub_publish("chat");
    wait_until(client_got(client) == 1);
    hub_publish("chat");
    wait_until(client_got(witness) == 2);
    client_leave(client);
    client_check(client, &sent, 1);
    /* then it joins again, as a polling client does */
    client_join(client, "chat");
    wait_until(client_got(client) == 2);
    client_leave_and_free(client);
    client_leave_and_free(witness);
}

static void wait_again(client_t *client, const comet_delivery_t *delivery)
{
    if (delivery->reasons & COMET_TIMEOUT) {
        client->outcome = COMET_WAIT;
    }
}

/* A client that joins with its answer already given gets no messages, but its
 * timer fires.  When it joins again, it waits for messages. */
static void test_joins_resting(void **state)
{
    client_t *client = client_new(hub_last());
    client_t *other;

    client->outcome = COMET_REST;
    client->finished = 1;
    client->subscriber.resting = 1;
    client->subscriber.timeout_at = comet_monotonic() + 100 * MS;
    hub_publish("chat"); /* the cursor with which the client joins is before
                          * this message */
    client_join(client, "chat");
    other = client_joined("chat", hub_last());
    hub_publish("chat");
    wait_until(client_got(other) == 1);
    wait_until(atomic_load(&client->timeouts) == 1);
    assert_int_equal(client_got(client), 0);
    comet_hub_leave(hub, &client->subscriber);
    client->subscriber.timeout_at = 0;
    client->outcome = COMET_WAIT;
    client_join(client, "chat");
    wait_until(client_got(client) == 2);
    client_leave_and_free(client);
    client_leave_and_free(other);
}

static void test_rest_and_wait_again(void **state)
{
    client_t *client = client_new(hub_last());
    client_t *witness = client_joined("chat", hub_last());
    comet_timestamp_t sent[3];

    client->outcome = COMET_REST;
    client->hook = wait_again;
    client->subscriber.timeout_at = comet_monotonic() + 400 * MS;
    client_join(client, "chat");
    sent[0] = hub_publish("chat");
    wait_until(client_got(client) == 1);
    sent[1] = hub_publish("chat");
    wait_until(client_got(witness) == 2);
    wait_until(atomic_load(&client->timeouts) == 1);
    sent[2] = hub_publish("chat");
    wait_until(atomic_load(&client->newest) == sent[2]);
    client_leave(client);
    client_check(client, sent, 3);
    client_free(client);
    client_leave_and_free(witness);
}

static void test_limit(void **state)
{
    static const apr_uint32_t limits[] = { 1, 3, 4, 100, 1000 };
    comet_timestamp_t sent[1500];
    size_t i;
    int k;

    for (k = 0; k < 1500; k++) {
        sent[k] = hub_append("chat");
    }
    comet_bus_notify(hub_buses[0]);
    for (i = 0; i < sizeof(limits) / sizeof(*limits); i++) {
        client_t *old = client_new(0), *recent = client_new(sent[1487]);

        old->subscriber.limit = recent->subscriber.limit = limits[i];
        client_join(old, "chat");
        client_join(recent, "chat");
        wait_until(client_got(old) == 1500 && client_got(recent) == 12);
        client_leave(old);
        client_leave(recent);
        client_check(old, sent, 1500);
        client_check(recent, sent + 1488, 12);
        /* the hub stops reading after 5 ms, but not before it has read 64
         * messages */
        assert_in_range(old->largest, limits[i] < 64 ? limits[i] : 64,
                        limits[i]);
        assert_true(recent->largest <= limits[i]);
        client_free(old);
        client_free(recent);
    }
}

/* Messages of a megabyte are served a few at a time, and none is lost. */
static void test_large_messages(void **state)
{
    static char body[COMET_BODY_MAX_BYTES];
    client_t *client = client_joined("chat", 0);
    comet_timestamp_t sent[20];
    client_t *late;
    int i;

    memset(body, 'x', sizeof(body));
    for (i = 0; i < 20; i++) {
        comet_message_t *message =
            comet_message_create(&(comet_message_fields_t){
                .channel = comet_text("chat"),
                .body = { body, i % 3 ? sizeof(body) : 100000 } });
        apr_status_t result;

        assert_int_equal(scratch_append(hub_writers[0], &message, &result, 1),
                         0);
        sent[i] = message->timestamp;
        comet_message_unref(message);
    }
    comet_bus_notify(hub_buses[0]);
    late = client_joined("chat", 0);
    wait_until(client_got(client) == 20 && client_got(late) == 20);
    client_leave(client);
    client_leave(late);
    assert_true(late->largest < 20);
    client_check(client, sent, 20);
    client_check(late, sent, 20);
    client_free(client);
    client_free(late);
}

/* A message that was deleted before it was served is never served. */
static void test_erased(void **state)
{
    client_t *client = client_joined("chat", hub_last());
    comet_timestamp_t sent[3];
    char sql[100];
    sqlite3 *db;
    int i;

    hub_hold();
    for (i = 0; i < 3; i++) {
        sent[i] = hub_publish("chat");
    }
    snprintf(sql, sizeof(sql), "DELETE FROM message WHERE timestamp = %lld",
             (long long)sent[1]);
    assert_int_equal(sqlite3_open(hub_paths[0], &db), SQLITE_OK);
    sqlite3_busy_timeout(db, 5000);
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
    hub_release();
    wait_until(client_got(client) == 2);
    client_leave(client);
    sent[1] = sent[2];
    client_check(client, sent, 2);
    client_free(client);
}

/* --- Recall -------------------------------------------------------------- */

static int recall(const comet_store_state_t *state, comet_timestamp_t after,
                  size_t limit)
{
    comet_message_t *room[100];
    comet_batch_t batch = { .messages = room, .size = limit };
    comet_reading_t reading = { .selection = scratch_select(comet_text("chat")),
                                .batch = &batch };
    int count = -1;

    if (comet_hub_recall(hub, 0, state, after, 0, &reading)) {
        count = (int)batch.count;
        while (batch.count
               && batch.messages[batch.count - 1]->timestamp > after) {
            comet_message_unref(batch.messages[--batch.count]);
        }
    }
    assert_int_equal(batch.count, 0);
    comet_batch_clear(&batch);
    return count;
}

static void test_recall(void **state)
{
    comet_store_state_t before, after;
    comet_timestamp_t sent[10];
    client_t *client = client_joined("chat", hub_last());
    int i;

    for (i = 0; i < 10; i++) {
        sent[i] = hub_append(i == 5 ? "news" : "chat");
    }
    comet_bus_notify(hub_buses[0]);
    before = hub_state(0);
    wait_until(hub_in_step());
    assert_int_equal(recall(&before, 0, 100), 9);
    assert_int_equal(recall(&before, 0, 4), 4);
    assert_int_equal(recall(&before, sent[3], 100), 5);
    assert_int_equal(recall(&before, sent[9], 100), 0);
    hub_hold();
    hub_append("chat");
    after = hub_state(0);
    assert_int_equal(recall(&after, 0, 100), -1); /* the log is ahead */
    assert_int_equal(recall(&before, 0, 100), -1); /* the ring is ahead */
    hub_release();
    comet_bus_notify(hub_buses[0]);
    wait_until(hub_in_step());
    assert_int_equal(recall(&after, sent[8], 100), 2);
    after.erased++;
    assert_int_equal(recall(&after, sent[8], 100), -1);
    client_leave_and_free(client);
}

/* If the log is long, a recall is answered only from what the ring holds. */
static void test_recall_far_back(void **state)
{
    comet_timestamp_t sent[1100];
    comet_store_state_t now;
    client_t *client;
    int i;

    for (i = 0; i < 1100; i++) {
        sent[i] = hub_append("chat");
    }
    comet_bus_notify(hub_buses[0]);
    client = client_joined("chat", hub_last());
    wait_until(hub_in_step());
    now = hub_state(0);
    assert_int_equal(recall(&now, sent[1100 - 1025], 10), 10);
    assert_int_equal(recall(&now, sent[1100 - 1025] - 1, 10), -1);
    client_leave_and_free(client);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        HUB_TEST(test_join_then_publish),
        HUB_TEST(test_hints),
        HUB_TEST(test_publish_then_join),
        HUB_TEST(test_channels),
        HUB_TEST(test_stores),
        HUB_TEST(test_rest),
        HUB_TEST(test_joins_resting),
        HUB_TEST(test_rest_and_wait_again),
        HUB_TEST(test_limit),
        HUB_TEST(test_large_messages),
        HUB_TEST(test_erased),
        HUB_TEST(test_recall),
        HUB_TEST(test_recall_far_back),
    };

    return cmocka_run_group_tests(tests, hub_begin, hub_end);
}
